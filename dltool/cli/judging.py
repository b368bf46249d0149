"""From the facts of a machine to the report of doctor: as people here see it, as it leaves this machine, without any name."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.active import Active, redacted
from dltool.cli.common import names, report
from dltool.errors import UsageError
from dltool.lang import tr

if TYPE_CHECKING:
    from dltool.machine import Machine
    from dltool.results import Finding, Report, Status

    Count = Callable[[tuple[Finding, ...], Machine], tuple[Finding, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which checks run, and what counts: options of doctor."""

    only: Annotated[list[str] | None, typer.Option("--only", help="Run only these checks.", metavar="ID,..")] = None
    skip: Annotated[list[str] | None, typer.Option("--skip", help="Leave these checks out.", metavar="ID,..")] = None
    fail_on: Annotated[str, typer.Option("--fail-on", help="What makes the exit code 1: warn or fail.", metavar="LEVEL")] = (
        "fail"
    )

    @property
    def bar(self) -> Status:
        """What makes the exit code 1.

        Raises:
            UsageError: no such level.
        """
        from dltool.results import Status

        if self.fail_on not in ("warn", "fail"):
            raise UsageError(f"--fail-on {self.fail_on}: unknown level", remedy="Choose warn or fail.")
        return Status(self.fail_on)

    def of(self, active: Active) -> Chosen:
        """The names taken apart into checks and active checks.

        Raises:
            UsageError: an unknown name, or nothing is left to run.
        """
        if self.only is None and self.skip is None:
            return Chosen((), (), (), ())
        from dltool import checks

        only, skip = names(self.only), names(self.skip)
        probes, no_probes = active.take_out(only), active.take_out(skip)
        for name in (*only, *skip):
            checks.CHECKS.get(name)
        nothing_named = self.only is not None and not only and not probes
        if nothing_named or not set(only or checks.CHECKS.names()) - set(skip):
            raise UsageError("no check is left to run", remedy="Name some: --only ID,.. (all of them: dltool doctor --list)")
        return Chosen(tuple(only), tuple(skip), tuple(probes), tuple(no_probes))


@dataclass(frozen=True, slots=True)
class Chosen:
    """Names of checks and of active checks to run or to leave out; none to run is all."""

    only: tuple[str, ...]
    skip: tuple[str, ...]
    probes: tuple[str, ...]
    no_probes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judge:
    """How findings are made and counted."""

    chosen: Chosen
    count: Count
    """What becomes of findings: as a policy says."""

    def trying(self, active: Active, facts: Machine, *, quiet: bool) -> Judge:
        """The same, which also tells what active checks on this machine showed, where they are asked for."""
        chosen = self.chosen
        alone = bool(chosen.probes) and not chosen.only
        count = active.join(self.count, facts, list(chosen.probes), list(chosen.no_probes), alone=alone, quiet=quiet)
        return replace(self, count=count)

    def findings(self, facts: Machine) -> tuple[Finding, ...]:
        """What is wrong with it."""
        from dltool import checks

        return self.count(checks.run(facts, only=self.chosen.only, skip=self.chosen.skip), facts)

    def report(self, facts: Machine) -> Report:
        """The report on it, under its headline."""
        from dltool import checks

        findings = self.findings(facts)
        return report("doctor", machine=facts, findings=findings, headline=checks.headline(findings, facts))

    def redacted(self, facts: Machine) -> Report:
        """As it leaves this machine: judged without names, hence the same as a snapshot of it gives."""
        from dltool import probe, redact

        return self.report(redact.redact(facts, probe.redactor(facts)))

    def nameless(self, facts: Machine) -> Report:
        """The report without anything that tells whose machine it is, also where the facts are somebody else's, in full.

        The findings are redacted once more: an error of a plugin is no fact of the machine, and may name a path here.
        """
        from msgspec.structs import replace as with_parts

        from dltool import probe, redact

        homes = set(re.findall(r"(?:/home|/Users)/[^/\\:;,'\"\s\[]+", facts.to_json().decode()))
        redactors = [probe.redactor(facts), *(redact.Redactor(b"", home=home) for home in sorted(homes))]

        def scrubbed(text: str) -> str:
            for redactor in redactors:
                text = redactor.text(text)
            return text

        for redactor in redactors:
            facts = redact.redact(facts, redactor)
        judged = self.report(facts)
        return with_parts(judged, findings=redacted(judged.findings, scrubbed), headline=scrubbed(judged.headline))


def facts_of(machine: Path | None, python: str | None) -> Machine:
    """This machine, or the one of a snapshot.

    Raises:
        UsageError: the snapshot cannot be read, or a Python is named beside it.
    """
    if machine is None:
        from dltool import checks, probe

        # The checks are loaded while the probes wait for their children; one that cannot be loaded is a bug and is raised.
        with ThreadPoolExecutor(1) as beside:
            loading = beside.submit(checks.CHECKS.names)
            facts = probe.read(python=python)
            loading.result()
        return facts
    from dltool import machine as machines

    if python:
        raise UsageError("--python and --machine exclude one another", remedy="A snapshot holds its own Python.")
    return machines.load(machine)


def baseline_of(path: Path | None) -> Report | None:
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


def without(result: Report, known: Report) -> Report:
    """The report less what is known, under the headline of what is left."""
    from msgspec.structs import replace as with_parts

    from dltool import checks, compare
    from dltool.results import root_problems

    left = compare.hide_known(result, known)
    if left is result or left.machine is None:
        return left
    told = next(finding.summary for finding in left.findings if finding.id == compare.KNOWN)
    nothing = tr("nothing new", "没有新的问题")
    worst = checks.headline(left.findings, left.machine) if root_problems(left.findings) else nothing
    return with_parts(left, headline=f"{worst}{tr('; ', '；')}{told}")
