"""The report for people: in a terminal, in a pipe, in a log."""

from __future__ import annotations

from dltool.render import FORMATS, Style
from dltool.results import Report


@FORMATS.register("text")
def render(report: Report, style: Style) -> str:
    """Whatever the report holds, each part in its own way."""
    from dltool.render.terminal import (
        architectures,
        boards,
        compat,
        creation,
        environments,
        findings,
        log,
        measurements,
        page,
        plan,
    )

    sheet = page.Page(style)
    if report.findings and not report.creation:
        findings.show(report, sheet)
    if report.log:
        log.show(report, sheet)
    if report.boards and not report.measurements:
        boards.show(report, sheet)
    if report.architectures:
        architectures.show(report, sheet)
    if report.compat:
        compat.show(report, sheet)
    if report.plan:
        plan.show(report, sheet)
    if report.creation:
        creation.show(report, sheet)
    if report.environments:
        environments.show(report, sheet)
    if report.measurements:
        measurements.show(report, sheet)
    return sheet.text()
