"""The policy of `dltool doctor`: read, applied, and written from the machine that is here."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.common import Output, deliver, say
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.machine import Machine
    from dltool.results import Finding, Report

Findings = tuple["Finding", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What the machine must be: options of doctor."""

    policy: Annotated[
        Path | None, typer.Option("--policy", help="What this machine must be, as TOML; unmet is exit code 1.", metavar="FILE")
    ] = None
    bench: Annotated[
        Path | None, typer.Option("--bench", help="The JSON report of bench whose rates the policy judges.", metavar="FILE")
    ] = None
    freeze: Annotated[bool, typer.Option("--freeze", help="Print the policy that this machine fulfils.")] = False

    @property
    def asked(self) -> bool:
        """Whether this run is about a policy at all."""
        return self.policy is not None or self.freeze

    def load(self, *, taken: tuple[Path | None, ...] = ()) -> Callable[[Findings, Machine], Findings]:
        """What counts the findings as the policy says; as they are where there is none.

        Args:
            taken: other files that are read, of which only one can be standard input.

        Raises:
            UsageError: policy or report cannot be read, or the options contradict one another.
        """
        if self.bench is not None and not self.asked:
            raise UsageError("--bench is read for a policy", remedy="Add --policy FILE or --freeze.")
        if self.freeze and self.policy is not None:
            raise UsageError("--freeze and --policy exclude one another", remedy="Write a new file: --freeze -o dltool.toml")
        if [str(path) for path in (self.policy, self.bench, *taken)].count("-") > 1:
            raise UsageError("only one file can be standard input", remedy="Name the others.")
        if self.policy is None:
            return lambda findings, _: findings
        from dltool import policy as policies
        from dltool.checks import CHECKS
        from dltool.probing import PROBES

        policy = policies.load(self.policy, ids=(*CHECKS.names(), *PROBES, "plugin-broken"))
        measured = self._measured()
        today = datetime.date.today()
        return lambda findings, facts: policies.apply(policy, facts, findings, measured, today)

    def _measured(self) -> Report | None:
        from dltool import results

        if self.bench is None:
            return None
        measured = results.load(self.bench)
        if not measured.measurements:
            made_by = " ".join(measured.command) or "an unknown command"
            raise UsageError(
                f"{self.bench} is a report of {made_by}, without measurements", remedy="dltool bench quick -o bench.json"
            )
        return measured

    def write(self, facts: Machine, judged: Report, out: Output) -> None:
        """The policy of this machine, as TOML.

        Raises:
            UsageError: another format is asked for.
        """
        from dltool import __version__, checks, policy
        from dltool.results import root_problems

        if out.format_name != "text":
            raise UsageError(f"a policy is TOML, not {out.format_name}", remedy="Leave --format and --json out: -o dltool.toml")
        frozen = policy.freeze(facts, self._measured())
        comments = (
            f"What a machine must be; judged by: dltool doctor --policy FILE. Frozen by dltool {__version__} from",
            checks.describe(facts),
        )
        deliver(policy.to_toml(frozen, comments=comments), out)
        problems = len(root_problems(judged.findings))
        if problems:
            things = f"{problems} problem{'s' * (problems > 1)}"
            say(
                f"warning: this machine has {things}, and a policy is best taken from a good one: dltool doctor",
                quiet=out.quiet,
            )
