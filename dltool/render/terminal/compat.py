"""The answer of `dltool compat`: the verdict, what stands in the way, what holds, and what to install."""

from __future__ import annotations

from dltool.render.terminal.page import Page
from dltool.results import Compatibility, Finding, Report, Status

_WORDS = {
    "ok": ("ok: these go together", "bold green"),
    "warning": ("warning: this works with a limit", "bold yellow"),
    "error": ("error: this does not work", "bold red"),
    "unknown": ("unknown: the tables do not say", "bold cyan"),
}
_MARKS = {
    Status.PASS: ("ok", "green"),
    Status.INFO: ("note", "cyan"),
    Status.WARN: ("WARN", "yellow"),
    Status.FAIL: ("FAIL", "red"),
    Status.UNKNOWN: ("?", "cyan"),
}


def show(report: Report, page: Page) -> None:
    """Verdict first, then the rules from the gravest on, then what to install."""
    answer = report.compat
    if answer is None:
        return
    words, style = _WORDS[answer.verdict]
    page.line(words if answer.findings else "nothing to judge: give two things that must go together", style=style)
    for text in answer.assumed:
        page.line(f"assumed: {text}", style="dim")
    page.line()
    for finding in sorted(answer.findings, key=lambda finding: -finding.status.severity):
        _finding(finding, page)
    _recommendation(answer, page)
    page.line(f"tables of {answer.data_until}; what is newer is unknown to them", style="dim")


def _finding(finding: Finding, page: Page) -> None:
    mark, style = _MARKS[finding.status]
    page.labelled(mark.ljust(4), finding.summary, indent=0, label_style=style)
    if finding.status is Status.PASS and not page.verbose:
        return
    if finding.why:
        page.labelled("    ", finding.why, indent=0)
    for evidence in finding.evidence:
        page.labelled("    ", f"{evidence.fact}: {evidence.value}  ({evidence.read_from})", indent=0, style="dim")
    for remedy in finding.remedies:
        page.labelled("     fix", remedy.text, indent=0)
        for command in remedy.commands:
            page.command(command, indent=9)


def _recommendation(answer: Compatibility, page: Page) -> None:
    page.line()
    found = answer.recommend
    if found is None:
        page.line("No published PyTorch suits all of this.", style="bold")
        for text in answer.relax:
            page.labelled("  with", text, indent=0)
        if not answer.relax:
            page.line("No single change helps: build PyTorch from source, or use NVIDIA's own containers.", indent=2)
    else:
        page.line(f"torch {found.torch}+{found.build}: {found.why}", style="bold")
        for command in found.install:
            page.command(command, indent=2)
    page.line()
