"""The environments on this machine, a line each, and why those that do not suit do not."""

from __future__ import annotations

from dltool.render.terminal.page import Page
from dltool.results import EnvironmentFound, Report

_HEAD = ("verdict", "torch", "python", "kind", "packages", "path")


def show(report: Report, page: Page) -> None:
    """A table, then the reasons."""
    found = report.environments
    page.columns(_HEAD, [_row(one) for one in found], right=(4,))
    reasons = [one for one in found if one.why and (one.verdict is not None or page.verbose)]
    if reasons:
        page.line()
    for one in reasons:
        page.labelled(one.path, one.why, indent=0)
    page.line()
    page.line(_legend(found), style="dim")


def _row(one: EnvironmentFound) -> tuple[str, ...]:
    torch = f"{one.torch}+{one.build}" if one.torch and one.build else one.torch or "-"
    count = "" if one.packages is None else str(one.packages)
    marks = ["activated"] * one.active + ["by setup create"] * one.created_here
    path = one.path + (f" ({', '.join(marks)})" if marks else "")
    return one.verdict or "-", torch, one.python or "?", one.kind, count, path


def _legend(found: tuple[EnvironmentFound, ...]) -> str:
    with_torch = sum(one.torch is not None for one in found)
    return f"{len(found)} environments, {with_torch} with PyTorch, judged against driver and GPUs here"
