"""What a device can multiply: a line for each dtype and each way that its layouts go, and under it the reasons."""

from __future__ import annotations

from dltool.render.cases import same_support
from dltool.render.terminal.page import Page
from dltool.results import Report

_STATES = ("native", "emulated", "library-missing", "unsupported")


def show(report: Report, page: Page) -> None:
    """A table of dtype, state, layouts and kernel; then why, where it is not just native."""
    page.line(report.support[0].device, style="bold")
    page.line()
    groups = same_support(report.support)
    rows = [(first.dtype, first.state or "unknown", layouts, first.kernel or "") for first, layouts in groups]
    page.table(("dtype", "support", "layouts", "what ran"), rows)
    reasons: dict[str, dict[str, None]] = {}
    for first, _ in groups:
        reasons.setdefault(first.why, {})[first.dtype] = None
    reasons.pop("", None)
    for why, dtypes in reasons.items():
        page.line()
        page.line(", ".join(dtypes), style="yellow")
        page.line(why, indent=2)
    page.line()
    page.line(_legend(report), style="dim")


def _legend(report: Report) -> str:
    counts = {state: sum(cell.state == state for cell in report.support) for state in _STATES}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"{len(report.support)} products tried: {told}. Layout nt is a @ b.t(), both along k, as in a linear layer."
