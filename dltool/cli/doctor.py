"""`dltool doctor`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltool.cli.active import Active, redacted
from dltool.cli.common import Output, Python, as_json, deliver, finish, guarded, names, report, say
from dltool.cli.gate import Findings, Gate
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.known_errors import Reading
    from dltool.machine import Machine
    from dltool.results import Report

MachineFile = Annotated[
    Path | None, typer.Option("--machine", help="Judge this snapshot instead of the machine here (- is stdin).", metavar="FILE")
]


_UNKNOWN = """No known error is in this text.

That says nothing about the machine: dltool doctor judges it. More of the output may help: the first error counts, and
dltool doctor < FILE reads a whole log.
"""


@guarded
def doctor(
    out: Output,
    gate: Gate,
    active: Active,
    machine: MachineFile = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run only these checks.", metavar="ID,..")] = None,
    skip: Annotated[list[str] | None, typer.Option("--skip", help="Leave these checks out.", metavar="ID,..")] = None,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="What makes the exit code 1: warn or fail.", metavar="LEVEL")
    ] = "fail",
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
    """
    from dltool import checks, redact
    from dltool import machine as machines
    from dltool.results import Status

    active.check(replayed=machine is not None)
    if list_ or explain is not None:
        if list_:
            deliver(_listing(out, active), out)
        else:
            _explain(explain or "", out)
        return
    if share and out.format_name not in ("text", "markdown"):
        raise UsageError(f"--share is markdown, not {out.format_name}", remedy="Leave --format and --json out.")
    if fail_on not in ("warn", "fail"):
        raise UsageError(f"--fail-on {fail_on}: unknown level", remedy="Choose warn or fail.")
    chosen, left_out = names(only), names(skip)
    probes, no_probes = active.take_out(chosen), active.take_out(left_out)
    probes_alone = bool(probes) and not chosen
    for name in (*chosen, *left_out):
        checks.CHECKS.get(name)
    if (only is not None and not chosen and not probes) or not set(chosen or checks.CHECKS.names()) - set(left_out):
        raise UsageError("no check is left to run", remedy="Name some: --only ID,.. (all of them: dltool doctor --list)")
    counted = gate.load(taken=(machine, baseline))
    known = _baseline(baseline)
    if machine is None and not (chosen or left_out or python or share or baseline or gate.asked or active.probe):
        _explain_stdin(out)
    if machine is not None:
        if python:
            raise UsageError("--python and --machine exclude one another", remedy="A snapshot holds its own Python.")
        facts = machines.load(machine)
    else:
        from dltool import probe

        facts = probe.read(python=python)
    counted = active.join(counted, facts, probes, no_probes, alone=probes_alone, quiet=out.quiet)
    # People here get commands with the paths that are here. What leaves is judged as it leaves: a snapshot gives the same.
    result = _judged(facts, chosen, left_out, counted)
    if gate.freeze:
        gate.write(facts, result, out)
        return
    kept = _judged(redact.redact(facts, probe.redactor(facts)), chosen, left_out, counted) if machine is None else None
    if kept is not None and out.format_name != "text":
        result = kept
    looks: dict[str, Any] = {}
    if share:
        result = _nameless(facts, chosen, left_out, counted)
        out = dataclasses.replace(out, format="markdown")
        looks["folded"] = True
    if known is not None:
        result = _without(result, known)
    finish(result, out, bar=Status(fail_on), keep=kept, looks=looks)


def _judged(facts: Machine, only: list[str], skip: list[str], counted: Callable[[Findings, Machine], Findings]) -> Report:
    from dltool import checks

    findings = counted(checks.run(facts, only=only, skip=skip), facts)
    return report("doctor", machine=facts, findings=findings, headline=checks.headline(findings, facts))


def _baseline(path: Path | None) -> Report | None:
    """The report whose findings are known.

    Raises:
        UsageError: it cannot be read, or is none of doctor.
    """
    from dltool import results

    if path is None:
        return None
    known = results.load(path)
    if not known.findings:
        made_by = " ".join(known.command) or "an unknown command"
        raise UsageError(f"{path} is no baseline: a report of {made_by}, without findings", remedy="dltool doctor -o FILE.json")
    return known


def _without(result: Report, known: Report) -> Report:
    """The report less what is known, under the headline of what is left."""
    from msgspec.structs import replace

    from dltool import checks, compare
    from dltool.results import root_problems

    left = compare.hide_known(result, known)
    if left is result or left.machine is None:
        return left
    told = next(finding.summary for finding in left.findings if finding.id == compare.KNOWN)
    worst = checks.headline(left.findings, left.machine) if root_problems(left.findings) else "nothing new"
    return replace(left, headline=f"{worst}; {told}")


def _nameless(facts: Machine, only: list[str], skip: list[str], counted: Callable[[Findings, Machine], Findings]) -> Report:
    """The report without anything that tells whose machine it is, also where the facts are somebody else's, in full.

    The findings are redacted once more: an error of a plugin is no fact of the machine, and may name a path here.
    """
    from msgspec.structs import replace

    from dltool import probe, redact

    homes = set(re.findall(r"(?:/home|/Users)/[^/\\:;,'\"\s\[]+", facts.to_json().decode()))
    redactors = [probe.redactor(facts), *(redact.Redactor(b"", home=home) for home in sorted(homes))]

    def scrubbed(text: str) -> str:
        for redactor in redactors:
            text = redactor.text(text)
        return text

    for redactor in redactors:
        facts = redact.redact(facts, redactor)
    judged = _judged(facts, only, skip, counted)
    return replace(judged, findings=redacted(judged.findings, scrubbed), headline=scrubbed(judged.headline))


def _listing(out: Output, active: Active) -> str:
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


def _explain(text: str, out: Output) -> None:
    """Say what a check looks at, or what an error text means.

    Raises:
        UsageError: there is nothing to explain, or a name is not known.
    """
    from dltool import checks, known_errors, policy, probing
    from dltool.cli import stdin

    remedy = "Name a check (dltool doctor --list) or paste an error text in quotes; - reads a log from stdin."
    if text == "-":
        reading = known_errors.read(stdin.everything())
        if not reading.lines:
            raise UsageError("stdin is empty: there is nothing to explain", remedy=remedy)
    elif not text.strip():
        raise UsageError("--explain needs a check or an error text", remedy=remedy)
    elif text in (*checks.CHECKS.names(), "baseline-known", "plugin-broken", *policy.EXPLANATIONS, *probing.PROBES):
        deliver(_explanation(text), out)
        return
    else:
        named = known_errors.by_name(text)
        errors = (named,) if named else known_errors.recognise(text)
        if not errors and re.fullmatch(r"[\w.-]+", text):  # one word: a name, mistyped
            checks.CHECKS.get(text)
        reading = known_errors.Reading(lines=0 if named else text.count("\n") + 1, errors=errors)
    if reading.errors or out.format_name != "text":
        finish(_of_log(reading), out, keep=None)
    deliver(_UNKNOWN, out)


def _explain_stdin(out: Output) -> None:
    """Explain the log on stdin and leave; come back where there is none, or nothing known in it."""
    from dltool import known_errors
    from dltool.cli import stdin

    pieces = stdin.waiting()
    if pieces is None:
        return
    reading = known_errors.read(pieces)
    if reading.errors:
        finish(_of_log(reading), out, keep=None)
    lines = f"{reading.lines} line{'s' * (reading.lines != 1)}"
    say(f"no known error in the {lines} on stdin: this is about the machine", quiet=out.quiet)


def _of_log(reading: Reading) -> Report:
    """The report of what was found in a text."""
    found, lines = len(reading.errors), reading.lines
    headline = f"{found or 'no'} known error{'s' * (found != 1)} in {lines} line{'s' * (lines != 1)}" if lines else ""
    return report("doctor", log=reading.errors, headline=headline)


def _explanation(name: str) -> str:
    from dltool.checks import CHECKS
    from dltool.policy import EXPLANATIONS
    from dltool.probing import PROBES

    if name in PROBES:
        return f"{name}\n\n{PROBES[name].explanation}\n\nOnly with: dltool doctor --probe\n"
    if name in EXPLANATIONS:
        return f"{name}\n\n{EXPLANATIONS[name]}\n"
    if name == "baseline-known":
        return "baseline-known\n\nWhat the report after --baseline has too is not shown and does not count.\n"
    if name == "plugin-broken":
        return "plugin-broken\n\nAn entry point of another distribution could not be loaded: what it brings is not here.\n"
    item = CHECKS.get(name)
    causes = f"\nOften caused by: {', '.join(item.caused_by)}\n" if item.caused_by else ""
    source = f"\nThis check comes from {item.plugin.distribution}.\n" if item.plugin else ""
    return f"{item.id}\n\n{item.explanation}\n{causes}{source}"
