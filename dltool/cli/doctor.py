"""`dltool doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.common import Output, Python, as_json, deliver, finish, guarded, names, report
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.machine import Machine
    from dltool.results import Report

MachineFile = Annotated[
    Path | None, typer.Option("--machine", help="Judge this snapshot instead of the machine here (- is stdin).", metavar="FILE")
]


@guarded
def doctor(
    out: Output,
    machine: MachineFile = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run only these checks.", metavar="ID,..")] = None,
    skip: Annotated[list[str] | None, typer.Option("--skip", help="Leave these checks out.", metavar="ID,..")] = None,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="What makes the exit code 1: warn or fail.", metavar="LEVEL")
    ] = "fail",
    list_: Annotated[bool, typer.Option("--list", help="List the checks.")] = False,
    explain: Annotated[
        str | None, typer.Option("--explain", help="What a check looks at and what it means.", metavar="ID")
    ] = None,
    python: Python = None,
) -> None:
    """Say what is wrong with driver, CUDA, PyTorch and host, why, and the command that mends it.

    Exit code 0: healthy, 1: a problem was found. Example: dltool doctor --json -o doctor.json
    """
    from dltool import checks, redact
    from dltool import machine as machines
    from dltool.results import Status

    if list_ or explain is not None:
        deliver(_listing(out) if list_ else _explanation(explain or ""), out)
        return
    if fail_on not in ("warn", "fail"):
        raise UsageError(f"--fail-on {fail_on}: unknown level", remedy="Choose warn or fail.")
    chosen, left_out = names(only), names(skip)
    for name in (*chosen, *left_out):
        checks.CHECKS.get(name)
    if (only is not None and not chosen) or not set(chosen or checks.CHECKS.names()) - set(left_out):
        raise UsageError("no check is left to run", remedy="Name some: --only ID,.. (all of them: dltool doctor --list)")
    if machine is not None:
        if python:
            raise UsageError("--python and --machine exclude one another", remedy="A snapshot holds its own Python.")
        facts = machines.load(machine)
    else:
        from dltool import probe

        facts = probe.read(python=python)
    local = _judged(facts, chosen, left_out)
    if machine is not None:
        finish(local, out, bar=Status(fail_on), keep=None)
    # People here get commands with the paths that are here. What leaves is judged as it leaves: a snapshot gives the same.
    shared = _judged(redact.redact(facts, probe.redactor(facts)), chosen, left_out)
    finish(local if out.format_name == "text" else shared, out, bar=Status(fail_on), keep=shared)


def _judged(facts: Machine, only: list[str], skip: list[str]) -> Report:
    from dltool import checks

    findings = checks.run(facts, only=only, skip=skip)
    return report("doctor", machine=facts, findings=findings, headline=checks.headline(findings, facts))


def _listing(out: Output) -> str:
    from dltool.checks import CHECKS

    if out.format_name == "json":
        return as_json([{"id": name, "question": item.question} for name, item in CHECKS])
    width = max(len(name) for name in CHECKS.names())
    return "".join(f"{name:<{width}}  {item.question}\n" for name, item in CHECKS)


def _explanation(name: str) -> str:
    from dltool.checks import CHECKS

    if name == "plugin-broken":
        return "plugin-broken\n\nAn entry point of another distribution could not be loaded: what it brings is not here.\n"
    item = CHECKS.get(name)
    causes = f"\nOften caused by: {', '.join(item.caused_by)}\n" if item.caused_by else ""
    return f"{item.id}\n\n{item.explanation}\n{causes}"
