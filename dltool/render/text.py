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
    for part in _parts(report):
        import_module(f"dltool.render.terminal.{part}").show(report, sheet)
    return sheet.text()


def _parts(report: Report) -> Iterator[str]:
    """The modules of `dltool.render.terminal` that show it, in order."""
    if report.findings and not report.creation:
        yield "findings"
    if report.log:
        yield "log"
    if report.boards and not report.measurements:
        yield "boards"
    yield from (name for name in ("architectures", "compat", "plan", "creation", "environments") if getattr(report, name))
    if report.measurements:
        yield "measurements"
    if report.searches:
        yield "searches"
    if report.own_shapes:
        yield "own_shapes"
