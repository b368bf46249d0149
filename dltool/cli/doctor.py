"""`dltool doctor`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltool.cli.active import Active, rewritten
from dltool.cli.common import Python, SpokenOutput, as_json, deliver, finish, guarded, say
from dltool.cli.explaining import explain as explain_text
from dltool.cli.explaining import explain_stdin
from dltool.cli.fixing import Fixing, Mending, outcome
from dltool.cli.gate import Gate
from dltool.cli.judging import Choice, Judge, baseline_of, facts_of, without
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.machine import Machine
    from dltool.results import Fix, Report

MachineFile = Annotated[
    Path | None, typer.Option("--machine", help="Judge this snapshot instead of the machine here (- is stdin).", metavar="FILE")
]


@guarded
def doctor(
    out: SpokenOutput,
    choice: Choice,
    gate: Gate,
    active: Active,
    fixing: Fixing,
    machine: MachineFile = None,
    list_: Annotated[bool, typer.Option("--list", help="List the checks.")] = False,
    explain: Annotated[
        str | None,
        typer.Option("--explain", help="What a check, an error text or an Xid means (- reads a log).", metavar="ID|TEXT"),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", help="Leave out what this JSON report of doctor has too.", metavar="FILE"),
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Print a block for an issue tracker, without names.")] = False,
    python: Python = None,
) -> None:
    """Say what is wrong with driver, CUDA, PyTorch and host, why, and the command that mends it.

    Exit code 0: healthy, 1: a problem was found. Example: dltool doctor --json -o doctor.json

    A log on stdin is explained instead, with exit code 0: dltool doctor < train.log; sudo dmesg | dltool doctor. Without a
    known error in it the machine is judged as usual. A pipe that sends nothing yet is not waited for: --explain - waits.

    A gate for CI: dltool doctor --freeze -o dltool.toml on a good machine, dltool doctor --policy dltool.toml on the others.

    --fix shows which commands in the Python environment would mend what, how to undo them, and what is left to you; with --yes
    they run, and the machine is judged again. Nothing is done as root or outside that environment.
    """
    from msgspec.structs import replace

    active.check(replayed=machine is not None)
    others = {"--list": list_, "--explain": explain is not None, "--share": share, "--freeze": gate.freeze,
              "--baseline": baseline is not None}  # fmt: skip
    fixing.check(replayed=machine is not None, others=[name for name, given in others.items() if given])
    if list_:
        deliver(_listing(out, active), out)
        return
    if explain is not None:
        explain_text(explain, out)
        return
    if share and out.format_name not in ("text", "markdown"):
        raise UsageError(f"--share is markdown, not {out.format_name}", remedy="Leave --format and --json out.")
    bar, chosen = choice.bar, choice.of(active)
    counted = Judge(chosen, gate.load(taken=(machine, baseline)))
    known = baseline_of(baseline)
    asked = chosen.only or chosen.skip or python or share or baseline or gate.asked or active.probe or fixing.fix
    if machine is None and not asked:
        explain_stdin(out)
    facts = facts_of(machine, python)
    judge = counted.trying(active, facts, quiet=out.quiet)
    fix: Fix | None = None
    if fixing.fix:
        mending = Mending(fixing, facts, here=machine is None)
        facts, judge, fix = _mended(mending, counted, judge, active, python, quiet=out.quiet)
    # People here get commands with the paths that are here. What leaves is judged as it leaves: a snapshot gives the same.
    result = replace(judge.report(facts), fix=fix)
    if gate.freeze:
        gate.write(facts, result, out)
        return
    kept = _leaving(judge, facts, fix) if machine is None else None
    if kept is not None and out.format_name != "text":
        result = kept
    looks: dict[str, Any] = {}
    if share:
        result, out, looks = judge.nameless(facts), dataclasses.replace(out, format="markdown"), {"folded": True}
    if known is not None:
        result = without(result, known)
    finish(result, out, bar=bar, keep=kept, looks=looks)


def _mended(
    mending: Mending, counted: Judge, judge: Judge, active: Active, python: str | None, *, quiet: bool
) -> tuple[Machine, Judge, Fix]:
    """The machine after what the user let be done, how it is judged then, and what was planned and done."""
    from msgspec.structs import replace

    facts = mending.machine
    found = judge.findings(facts)
    fix = mending.plan(found)
    if not (mending.fixing.yes and fix.steps):
        return facts, judge, fix
    fix = mending.carry_out(fix, quiet=quiet)
    with mending.looking_again(fix):
        facts = facts_of(None, python)
        judge = counted.trying(active, facts, quiet=quiet)
    return facts, judge, replace(fix, outcome=outcome(found, judge.findings(facts), fix.steps))


def _leaving(judge: Judge, facts: Machine, fix: Fix | None) -> Report:
    """The verdict, and what was planned and done, without names."""
    from msgspec.structs import replace

    from dltool import probe, results

    without_names = None if fix is None else rewritten(fix, results.Fix, probe.redactor(facts).text)
    return replace(judge.redacted(facts), fix=without_names)


def _listing(out: SpokenOutput, active: Active) -> str:
    from dltool.checks import CHECKS
    from dltool.probing import STEPS

    listed = [(name, item.question, item.plugin.distribution if item.plugin else "") for name, item in CHECKS]
    listed += [(step.id, step.question, "") for step in STEPS if active.probe]
    for plugin, reason in CHECKS.broken.items():
        say(f"the plugin {plugin} cannot be loaded: {reason}", quiet=out.quiet)
    if out.format_name == "json":
        return as_json([{"id": name, "question": question, "plugin": plugin} for name, question, plugin in listed])
    width = max(len(name) for name, _, _ in listed)
    return "".join(f"{name:<{width}}  {question}{f' (from {plugin})' if plugin else ''}\n" for name, question, plugin in listed)
