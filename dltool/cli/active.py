"""The options of `dltool doctor` for active checks, and how their findings join the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from dltool.cli.common import say
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.machine import Machine
    from dltool.results import Finding

    Count = Callable[[tuple[Finding, ...], Machine], tuple[Finding, ...]]

T = TypeVar("T")
_Probe = Annotated[
    bool,
    typer.Option("--probe", help="Really try things too, in child processes: start the driver, import, multiply, copy ..."),
]
_Limit = Annotated[
    float | None,
    typer.Option("--probe-limit", help="How long each thing may take; 60 by default.", metavar="SECONDS"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """The options, and what follows from them."""

    probe: _Probe = False
    probe_limit: _Limit = None

    def check(self, *, replayed: bool) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: a limit without a probe, or a probe of a machine that is not here.
        """
        if self.probe_limit is not None and not self.probe:
            raise UsageError("--probe-limit is for --probe", remedy="dltool doctor --probe --probe-limit 120")
        if self.probe_limit is not None and not 0 < self.probe_limit <= 86_400:
            raise UsageError(f"--probe-limit {self.probe_limit:g}: not a time", remedy="Name seconds: --probe-limit 120")
        if self.probe and replayed:
            raise UsageError("--probe and --machine exclude one another", remedy="Only the machine here can be tried.")

    def take_out(self, chosen: list[str]) -> list[str]:
        """Remove and return the names of active checks, where such are asked for; else they are unknown checks."""
        if not self.probe:
            return []
        from dltool.probing import PROBES

        mine = [name for name in chosen if name in PROBES]
        chosen[:] = [name for name in chosen if name not in mine]
        return mine

    def join(self, count: Count, facts: Machine, only: list[str], skip: list[str], *, alone: bool, quiet: bool) -> Count:
        """Try things on this machine; what counts is then what the checks say, and what this showed.

        Args:
            count: what becomes of findings.
            facts: this machine.
            only: the active checks to run; all by default.
            skip: those to leave out.
            alone: leave the findings of the other checks out.
            quiet: no talk.
        """
        if not self.probe:
            return count
        from dltool import checks, probe, probing

        found = probing.run(
            facts,
            checks.run(facts),
            only=only,
            skip=skip,
            limit_s=self.probe_limit or probing.LIMIT_S,
            tell=lambda text: say(text, quiet=quiet),
        )
        leaving = redacted(found, probe.redactor(facts).text)

        def both(findings: tuple[Finding, ...], machine: Machine) -> tuple[Finding, ...]:
            added = found if machine is facts else leaving
            return count(added if alone else (*findings, *added), machine)

        return both


def redacted(findings: tuple[Finding, ...], text: Callable[[str], str]) -> tuple[Finding, ...]:
    """Findings with every text in them rewritten: what programs print may name anything."""
    from dltool.results import Finding

    return rewritten(findings, tuple[Finding, ...], text)


def rewritten(found: object, kind: type[T], text: Callable[[str], str]) -> T:
    """A result of this kind with every text in it rewritten."""
    import msgspec

    def scrubbed(value: object) -> object:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, dict):
            return {key: scrubbed(inner) for key, inner in value.items()}
        return [scrubbed(inner) for inner in value] if isinstance(value, list | tuple) else value

    return msgspec.convert(scrubbed(msgspec.to_builtins(found)), kind)
