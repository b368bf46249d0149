"""Trainings: the target, how soon it was reached, the loss as a line, the verdict and its reasons."""

from __future__ import annotations

from dltool.render import learning
from dltool.render.terminal.page import Page
from dltool.results import Report

_NEEDS = (("loss", 110), ("metric", 96), ("target", 84))
"""Columns that are left out where the page is narrower than this."""


def show(report: Report, page: Page) -> None:
    """A table of all, and under it what is to be known of each."""
    cases = learning.rows(report)
    page.line(cases[0].device, style="bold")
    told = next((case for case in cases if case.settings), cases[0])
    page.line(learning.determinism(told), style="dim")
    page.line()
    left_out = {title for title, least in _NEEDS if page.width < least}
    kept = [place for place, title in enumerate(learning.HEAD) if title not in left_out]
    table = [learning.row(case) for case in cases]
    figures = [at for at, place in enumerate(kept) if learning.HEAD[place] in ("reached", "target", "time to target")]
    page.table([learning.HEAD[place] for place in kept], [[line[place] for place in kept] for line in table], right=figures)
    page.line()
    for case in cases:
        label = f"{case.params.get('trial', '')} {case.dtype}"
        for reason in learning.reasons(case):
            page.labelled(label, reason, indent=0, label_style="yellow")
        if page.verbose and case.learning is not None:
            for fact in learning.facts(case.learning):
                page.labelled(label, fact, indent=0)
    if report.interrupted:
        page.line("Interrupted: this is what was trained until then.", style="bold yellow")
