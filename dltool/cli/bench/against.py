"""The gate of all benchmark commands: their options, and the way from two reports to verdicts."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.differences import Selftest
    from dltool.results import Report

FailIfSlower = Annotated[
    float | None,
    typer.Option("--fail-if-slower", help="Exit code 1 where a case is slower by more than this, in per cent.", metavar="PCT"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """What the measurements are compared with: options of every benchmark."""

    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", help="Compare with this report: JSON file, id, or `last` of this command.", metavar="FILE"),
    ] = None
    fail_if_slower: FailIfSlower = None

    def load(self, command: str) -> Report | None:
        """The baseline, read before anything is measured; `last` is the last run of the same command that measured anything.

        Raises:
            UsageError: it cannot be read, holds no measurements, or the limit is no limit.
        """
        check_limit(self.fail_if_slower)
        if self.baseline is None:
            if self.fail_if_slower is not None:
                raise UsageError("--fail-if-slower needs something to compare with", remedy="Add --baseline FILE.")
            return None
        if str(self.baseline) == "last":
            return _last(command)
        from dltool import store

        return with_measurements(store.load(str(self.baseline)), str(self.baseline))

    def judge(self, result: Report, baseline: Report | None) -> Report:
        """The report with a verdict on each case that the baseline holds too."""
        return result if baseline is None else compared(baseline, result, self.fail_if_slower, result)


def _last(command: str) -> Report:
    from dltool import results, store

    for entry in store.entries():
        if entry.command == command:
            with contextlib.suppress(UsageError):  # one that cannot be read is not the last that can
                found = results.load(entry.path)
                if found.measurements:
                    return found
    raise UsageError(f"no run of dltool {command} is stored yet", remedy="Name another one: dltool report list")


def check_limit(percent: float | None) -> None:
    """Refuse what is no limit.

    Raises:
        UsageError: negative, or no number.
    """
    if percent is not None and not (0 <= percent < math.inf):
        raise UsageError(f"--fail-if-slower {percent}: not a share in per cent", remedy="For example: --fail-if-slower 5")


def with_measurements(report: Report, name: str) -> Report:
    """The report, if it is one of a benchmark.

    Raises:
        UsageError: it holds no measurements.
    """
    if not report.measurements:
        made_by = " ".join(report.command) or "an unknown command"
        raise UsageError(
            f"{name} is a report of {made_by}, without measurements", remedy="Make one: dltool bench quick -o base.json"
        )
    return report


def compared(a: Report, b: Report, limit_percent: float | None, onto: Report) -> Report:
    """`onto` with the verdicts on B against A, by the noise of B's machine where it is known."""
    from msgspec.structs import replace

    from dltool.bench import gates

    rows, notes = gates.compare(a, b, noise_of(b), gates.bar(limit_percent))
    return replace(onto, comparisons=rows, findings=(*onto.findings, *notes))


def noise_of(report: Report) -> Selftest | None:
    """The selftest of the machine and settings of this report, if one is stored here."""
    from dltool import store
    from dltool.bench.fingerprint import fingerprint, short_id

    ran = next((measurement for measurement in report.measurements if not measurement.not_run), None)
    return None if ran is None else store.selftest(short_id(fingerprint(report.machine, ran)))
