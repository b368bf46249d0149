"""What a selftest found: how much runs of the same differ here, and what can be told apart."""

from __future__ import annotations

import statistics

from dltool.differences import Noise
from dltool.render import verdicts
from dltool.render.terminal.page import Page
from dltool.results import Report
from dltool.units import seconds

_NEEDS = 76


def show(report: Report, page: Page) -> None:
    """A row for each workload, what the columns mean, and what was wrong with the machine meanwhile."""
    found = report.selftest
    if found is None:
        return
    device, torch = found.fingerprint.get("device", ""), found.fingerprint.get("torch", "")
    page.line(f"{device}", style="bold")
    load = "" if found.load_average is None else f", load average {found.load_average:.1f}"
    page.line(f"torch {torch}, fingerprint {found.id}{load}", style="dim")
    page.line()
    head = ["unchanged case", "step", "noise floor", "told apart", "in turn", "false alarms"]
    kept = len(head) - (page.width < _NEEDS)
    page.table(head[:kept], [_row(noise)[:kept] for noise in found.noise], right=range(1, kept))
    page.line()
    page.line(
        "Noise floor: medians of two runs of the same differ by less than this, 19 times of 20. Told apart: a true difference "
        f"between two runs that is called 8 times of 10, at {found.confidence:.0%} confidence; in turn: of {_runs(report)} "
        "rounds of blocks that alternate (dltool bench ab). False alarms: of the pairs of runs here, judged by the others.",
        style="dim",
    )
    alarms = sum(noise.interleaved is not None and noise.interleaved.value in ("faster", "slower") for noise in found.noise)
    page.line(f"In turn, {alarms} of {len(found.noise)} raised a false alarm.", style="dim")
    if found.notes:
        page.line()
        page.line("This machine was not quiet: " + "; ".join(found.notes) + ".", style="yellow")


def _runs(report: Report) -> int:
    return max((noise.runs for noise in report.selftest.noise), default=0) if report.selftest else 0


def _row(noise: Noise) -> list[str]:
    return [
        verdicts.label(noise.workload, noise.params),
        seconds(statistics.median(noise.medians_s)),
        verdicts.share(noise.floor),
        verdicts.share(noise.least_apart),
        verdicts.share(noise.least_interleaved),
        f"{noise.false_alarms} of {noise.trials}",
    ]
