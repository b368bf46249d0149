"""The search for the best shape: how many were tried, which came to the confirmation, and how far apart they are."""

from __future__ import annotations

from dltool.render.terminal.page import Page
from dltool.results import Report
from dltool.shape_results import Finalist, Search
from dltool.units import rate, seconds

_ENDS = {
    "budget": "until the budget was used",
    "settled": "until no neighbour of the best was better",
    "interrupted": "until it was interrupted",
    "failed": "in vain",
}


def show(report: Report, page: Page) -> None:
    """A paragraph and the finalists of each search."""
    for search in report.searches:
        page.line()
        page.line(headline(search), style="bold")
        page.line(_how(search), style="dim")
        if search.finalists:
            titles = ["finalist", "rate", "95 % of median", "against the best", "samples"]
            page.table(titles, [_row(search, finalist) for finalist in search.finalists], right=range(1, 5), indent=2)
        for note in search.notes:
            page.labelled("note", note, indent=2)
    if report.interrupted:
        page.line()
        page.command("Go on with it: the same command with --resume", indent=0)


def headline(search: Search) -> str:
    """The winner with its uncertainty, and how it was chosen."""
    if search.failed:
        return f"{search.dtype}: no shape could be run: {search.failed}"
    if not search.finalists:
        return f"{search.dtype}: {search.tried} shapes tried, none confirmed"
    first = search.finalists[0]
    return (
        f"{search.dtype}: best of {search.tried} shapes {first.m}x{first.n}x{first.k}, confirmed: "
        f"{rate(first.rate, search.rate_unit)} {_interval(first)}{_level(search)}"
    )


def _level(search: Search) -> str:
    """How many others cannot be told from the winner."""
    level = sum(other.level for other in search.finalists)
    return f" ({level} {'other is' if level == 1 else 'others are'} as fast, as far as can be told)" if level else ""


def _how(search: Search) -> str:
    pruned = ", ".join(f"{count} by {reason}" for reason, count in sorted(search.pruned.items()))
    earlier = f", {seconds(search.resumed_s)} of it in an earlier run" if search.resumed_s else ""
    return (
        f"searched {seconds(search.spent_s)}{earlier} {_ENDS[search.ended]}; sides {search.lowest} to {search.highest}; "
        f"{search.candidates} candidates" + (f", left out {pruned}" if pruned else "")
    )


def _row(search: Search, finalist: Finalist) -> list[str]:
    shape = f"{finalist.m}x{finalist.n}x{finalist.k}"
    return [shape, rate(finalist.rate, search.rate_unit), _interval(finalist), _behind(finalist), str(finalist.samples)]


def _interval(finalist: Finalist) -> str:
    """The confidence interval as per cent of the median, the wider side."""
    if finalist.ci95_s is None:
        return "too few samples"
    low, high = finalist.ci95_s
    return f"±{100 * max(finalist.median_s - low, high - finalist.median_s) / finalist.median_s:.1f} %"


def _behind(finalist: Finalist) -> str:
    if finalist.behind is None:
        return "the best"
    if finalist.behind_ci95 is None:
        return f"{100 * (finalist.behind - 1):+.1f} %"
    low, high = (100 * (end - 1) for end in finalist.behind_ci95)
    return f"{100 * (finalist.behind - 1):+.1f} % ({low:+.1f} to {high:+.1f})"
