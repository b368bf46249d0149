"""The report for people: in a terminal, in a pipe, in a log."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from dltool.render import FORMATS, Style
from dltool.results import Report


@FORMATS.register("text")
def render(report: Report, style: Style) -> str:
    """Whatever the report holds, each part in its own way; a part that is not there is not loaded."""
    from dltool.render.terminal.page import Page

    sheet = Page(style)
    for part in _parts(report, verbose=style.verbose):
        import_module(f"dltool.render.terminal.{part}").show(report, sheet)
    return sheet.text()


def _parts(report: Report, *, verbose: bool) -> Iterator[str]:
    """The modules of `dltool.render.terminal` that show it, in order."""
    compared = bool(report.comparisons)  # whose page tells the findings too
    if report.findings and not (report.creation or compared) and (report.fix is None or verbose):
        yield "findings"
    if report.fix:
        yield "fix"
    if report.log:
        yield "log"
    if report.support:
        yield "support"
    if report.boards and not report.measurements and not report.support:
        yield "boards"
    if report.models:
        yield "models"
    yield from (name for name in ("architectures", "compat", "plan", "creation", "environments") if getattr(report, name))
    if report.figures:
        yield "figures"
    in_turn = compared and report.comparisons[0].method == "interleaved"  # A and B are rows of one comparison
    learnt = [measurement.workload == "learn" for measurement in report.measurements]
    if not all(learnt) and not in_turn:
        yield "measurements"
    if any(learnt):
        yield "learning"
    yield from (name for name in ("searches", "own_shapes", "comparisons", "selftest") if getattr(report, name))
