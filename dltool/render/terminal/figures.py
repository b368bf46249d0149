"""What others published: each figure of a board with how it was measured, or the ranges of all boards."""

from __future__ import annotations

import string
from collections.abc import Sequence
from itertools import groupby

from dltool.reference import Figure
from dltool.render.figures import amount, case, device, how, summary
from dltool.render.terminal.page import Page
from dltool.results import Report

_MANY = 150
"""Figures from which on only their ranges are shown, unless all are asked for."""


def show(report: Report, page: Page) -> None:
    """Each figure under its device, with sources and conditions as notes; of many only the ranges."""
    figures = report.figures
    if len(figures) > _MANY and not page.verbose:
        _ranges(figures, page)
        return
    sources = list(dict.fromkeys(f"{figure.source}, {figure.date}" for figure in figures))
    ways = [way for way in dict.fromkeys(map(how, figures)) if way]
    for name, group in groupby(sorted(figures, key=device), key=device):
        page.line(name, style="bold")
        rows = [_row(figure, sources, ways) for figure in group]
        page.columns(["workload", "dtype", "published", ""], rows, right=(2,), indent=2)
        page.line()
    for number, source in enumerate(sources, start=1):
        page.labelled(f"[{number}]", source, indent=0)
    for place, way in enumerate(ways):
        page.labelled(f" {_letters(place)} ", way, indent=0)


def _ranges(figures: Sequence[Figure], page: Page) -> None:
    for name, rows in summary(figures).items():
        page.line(name, style="bold")
        page.columns(["workload", "dtype", "published", "(n)"], rows, right=(2,), indent=2)
        page.line()
    page.line("Of one board with conditions and sources: dltool bench reference NAME", style="dim")


def _row(figure: Figure, sources: Sequence[str], ways: Sequence[str]) -> list[str]:
    source = sources.index(f"{figure.source}, {figure.date}") + 1
    way = how(figure)
    return [
        f"{figure.workload} {case(figure)}".strip(),
        " or ".join(figure.dtypes),
        amount(figure.value, figure.unit),
        f"[{source}]" + (f" {_letters(ways.index(way))}" if way else "") + ("" if figure.comparable else " !"),
    ]


def _letters(place: int) -> str:
    """a to z, then aa, ab ..."""
    most = len(string.ascii_lowercase)
    return ("" if place < most else string.ascii_lowercase[place // most - 1]) + string.ascii_lowercase[place % most]
