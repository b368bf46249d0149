"""Active checks: small things are really done, in child processes with a limit of time and memory, by the environment's Python.

A check of `dltool.checks` judges what is written somewhere; these start the driver, import PyTorch, multiply, copy, sum up and
compile. Whatever crashes, hangs or floods does so in a child, and becomes a finding with its likely cause.

steps.py       what is tried, in which order
running.py     one step in its children
judging.py     findings from what they told
passing.py     what is well, in words
causes.py      why a child died or a case failed: errors of the driver, and the findings of doctor that explain them
signals.py     what a signal says of the process that it ended
child*.py      run in the environment, as files; they know nothing of dltool
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from dltool.lang import tr
from dltool.machine import Machine
from dltool.probing import judging, running
from dltool.probing.steps import PROBES, STEPS, Step
from dltool.results import Finding, Status

__all__ = ["LIMIT_S", "PROBES", "STEPS", "Step", "run"]

LIMIT_S = 60.0


def run(
    machine: Machine,
    findings: Iterable[Finding] = (),
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    limit_s: float = LIMIT_S,
    memory_bytes: int | None = None,
    tell: Callable[[str], None] = lambda _text: None,
) -> tuple[Finding, ...]:
    """Take the steps on this machine.

    Args:
        machine: the facts of this very machine, with the Python to use.
        findings: what the checks found, which may explain a fault.
        only: ids of the steps to take; all by default. Those that they stand on are taken too.
        skip: ids of steps to leave out.
        limit_s: how long each step may take.
        memory_bytes: how much memory each may take; by default half of what is to be had.
        tell: told of each step before it begins.
    """
    limits = running.limits_for(machine, limit_s)
    if memory_bytes is not None:
        limits = running.Limits(limit_s, memory_bytes)
    wanted = {step.id for step in STEPS if (not only or step.id in only) and step.id not in skip}
    wanted |= {before for step in STEPS if step.id in wanted for before in step.after}
    chosen = [step for step in STEPS if step.id in wanted]
    static, found = tuple(findings), list[Finding]()
    addresses: list[str] = []
    with tempfile.TemporaryDirectory(prefix="dltool-probe-", ignore_cleanup_errors=True) as directory:
        for number, step in enumerate(chosen, 1):
            blocked = _blocked(step, machine, found)
            if blocked is not None:
                found.append(blocked)
                continue
            assert machine.python is not None
            tell(tr(f"probe {number} of {len(chosen)}: {step.doing}", f"探测 {number}/{len(chosen)}：{step.doing}"))
            told = running.take(step, machine.python.executable, limits, Path(directory))
            addresses = [str(address) for address in told.facts.get("addresses", addresses)]
            scene = judging.Scene(machine, limits, (*static, *found), addresses)
            try:
                found += list(judging.judge(step, told, scene))
            except Exception as error:
                found.append(judging.crashed(step, error))
    return tuple(found)


def _blocked(step: Step, machine: Machine, found: Iterable[Finding]) -> Finding | None:
    """Why a step need not be taken."""
    if machine.python is None:
        return judging.no_python(step, machine)
    if step.id != "probe-cuinit" and machine.python.torch is None:
        return judging.no_torch(step)
    bad = (finding for finding in found if finding.id in step.after and finding.status is not Status.PASS)
    first = next(bad, None)
    return judging.not_taken(step, first) if first is not None else None
