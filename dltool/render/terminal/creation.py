"""How an environment was made, or would be: its steps, what the proof showed, and how to use it."""

from __future__ import annotations

from dltool.render.terminal.page import Page
from dltool.results import Creation, Finding, Report, Status
from dltool.units import seconds

_MARKS = {
    Status.PASS: ("ok", "green"),
    Status.INFO: ("note", "cyan"),
    Status.WARN: ("WARN", "yellow"),
    Status.FAIL: ("FAIL", "red"),
}
_WORDS = {
    "planned": ("would be made; nothing is done yet", "bold"),
    "finished": ("made, and shown to work", "bold green"),
    "failed": ("does not work", "bold red"),
}


def show(report: Report, page: Page) -> None:
    """What it came to, the steps, the proof, the next command."""
    creation = report.creation
    if creation is None:
        return
    words, style = _WORDS[creation.state]
    if creation.state == "finished" and all(step.state == "kept" for step in creation.steps[:-1]):
        words = "was there, and is shown to work"
    page.line(f"{creation.directory}: {words}", style=style)
    made = creation.environment
    page.line(f"torch {made.torch}+{made.build}, Python {made.python}, {made.manager}", style="dim")
    page.line()
    _steps(creation, page)
    if report.findings:
        page.line()
    for finding in report.findings:
        _proved(finding, page)
    _ending(creation, page)


def _steps(creation: Creation, page: Page) -> None:
    for number, step in enumerate(creation.steps, 1):
        took = "done before" if step.state == "kept" else seconds(step.seconds) if step.seconds is not None else ""
        page.labelled(f"{number}.", " ".join(filter(None, (step.title, took and f"({took})"))), indent=0)
        if creation.state == "planned" or page.verbose:
            for command in step.commands:
                page.command(command, indent=4)


def _proved(finding: Finding, page: Page) -> None:
    mark, style = _MARKS.get(finding.status, ("?", "cyan"))
    page.labelled(mark.ljust(4), finding.summary, indent=0, label_style=style)
    if finding.status is Status.PASS:
        return
    for fact in finding.evidence:
        page.labelled("    ", f"{fact.fact}: {fact.value}  ({fact.read_from})", indent=0, style="dim")
    for remedy in finding.remedies:
        page.labelled("     fix", remedy.text, indent=0)
        for command in remedy.commands:
            page.command(command, indent=9)


def _ending(creation: Creation, page: Page) -> None:
    page.line()
    for note in creation.notes:
        page.line(note)
    if creation.state == "finished" and creation.activate:
        page.line("activate it:")
        page.command(creation.activate, indent=2)
    if creation.log and creation.state == "finished":
        page.line(f"log: {creation.log}", style="dim")
