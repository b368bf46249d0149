"""What was compared: a row for each case with its verdict and interval, then why, and what all rows rest on."""

from __future__ import annotations

from rich.text import Text

from dltool.differences import Comparison, Gate, Verdict
from dltool.render import verdicts
from dltool.render.terminal.page import Cell, Page
from dltool.results import Report, Status
from dltool.units import seconds

_STYLES = {Verdict.FASTER: "green", Verdict.SLOWER: "red", Verdict.SAME: "", Verdict.CANNOT_TELL: "yellow"}
_STATUS = {Status.WARN: "bold yellow", Status.FAIL: "bold red"}
_NEEDS = 76
"""Columns of text below which the medians are left out."""


def show(report: Report, page: Page) -> None:
    """The table, its reasons, its notes."""
    rows = report.comparisons
    if page.text():
        page.line()
    page.line(verdicts.title(rows), style="bold")
    head = ["verdict", "case", "time", "interval", "A", "B"]
    kept = len(head) - 2 * (page.width < _NEEDS)
    page.table(head[:kept], [_row(row)[:kept] for row in rows], right=range(2, kept))
    _reasons(rows, page)
    for note in report.findings:
        page.line()
        page.line(f"{note.status.value.upper()} {note.summary}", style=_STATUS.get(note.status, ""))
        for remedy in note.remedies:
            page.line(remedy.text, indent=2)
            for command in remedy.commands:
                page.command(command, indent=4)


def _row(row: Comparison) -> list[Cell]:
    return [
        Text(verdicts.word(row.verdict), style=_STYLES[row.verdict]),
        verdicts.short(row),
        verdicts.change(row.ratio),
        verdicts.interval(row.ratio_ci),
        seconds(row.a_s) if row.a_s is not None else "-",
        seconds(row.b_s) if row.b_s is not None else "-",
    ]


def _reasons(rows: tuple[Comparison, ...], page: Page) -> None:
    """Why it cannot be told, and the noise that was allowed for, each once."""
    told = [(verdicts.short(row), reason) for row in rows if (reason := _reason(row))]
    if told:
        page.line()
    for name, reason in told:
        page.labelled(name, reason, indent=0, label_style="yellow")
    sources = dict.fromkeys(row.noise_from for row in rows if row.noise_from)
    if sources:
        page.line()
    for source in sources:
        page.line(f"noise allowed for: {source}", style="dim")


def _reason(row: Comparison) -> str:
    over = "over the limit" if row.gate is Gate.BROKEN else ""
    return "; ".join(filter(None, (over, row.reason)))
