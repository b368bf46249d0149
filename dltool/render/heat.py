"""The trials of a search as a heat map: m across, n upwards, the best k of each cell. PNG or SVG, or a terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from dltool.render.plot import no_matplotlib
from dltool.shape_results import Search, Trial
from dltool.units import rate

_HALF_OCTAVE = 2


class Cell(Struct, frozen=True, kw_only=True):
    """The best trial whose m and n lie in one cell: half an octave each way."""

    column: int
    row: int
    rate: float
    k: int


def cells(search: Search) -> list[Cell]:
    """The cells that were tried; each shows the median of its best shape's samples, which short trials make rough."""
    best: dict[tuple[int, int], Cell] = {}
    for (m, n, k), seconds in _medians(search.trials).items():
        cell = Cell(column=_place(m), row=_place(n), rate=2 * m * n * k / seconds, k=k)
        held = best.get((cell.column, cell.row))
        if held is None or cell.rate > held.rate:
            best[cell.column, cell.row] = cell
    return sorted(best.values(), key=lambda cell: (cell.row, cell.column))


def _medians(trials: Sequence[Trial]) -> dict[tuple[int, int, int], float]:
    samples: dict[tuple[int, int, int], list[float]] = {}
    for trial in trials:
        if trial.seconds:
            samples.setdefault((trial.m, trial.n, trial.k), []).extend(trial.seconds)
    return {shape: sorted(seconds)[len(seconds) // 2] for shape, seconds in samples.items()}


def _place(side: int) -> int:
    """Half octaves: 1024 -> 20, 1536 -> 21, 2048 -> 22."""
    return round(math.log2(side) * _HALF_OCTAVE)


def _side(place: int) -> int:
    """The length in the middle of a cell, as the grid names it: 1, 1.5, 2, 3 ... times a power of two."""
    octave, half = divmod(place, _HALF_OCTAVE)
    whole = 1 << octave
    return whole * 3 // 2 if half else whole


def picture(searches: Sequence[Search], ending: str) -> bytes:
    """The heat maps, and beside each the rate over k, as a file of this kind.

    Raises:
        CannotRun: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise no_matplotlib() from None
    figure = Figure(figsize=(13, 5.6 * len(searches)), layout="constrained")
    grid = figure.subplots(len(searches), 2, squeeze=False, width_ratios=(1.5, 1))
    for search, (left, right) in zip(searches, grid, strict=True):
        _map(figure, left, search)
        _over_k(right, search)
    data = io.BytesIO()
    figure.savefig(data, format=ending, dpi=150)
    return data.getvalue()


def _map(figure: Any, axes: Any, search: Search) -> None:
    found = cells(search)
    top = max(cell.rate for cell in found)
    columns = range(min(cell.column for cell in found), max(cell.column for cell in found) + 1)
    rows = range(min(cell.row for cell in found), max(cell.row for cell in found) + 1)
    field = [[math.nan] * len(columns) for _ in rows]
    for cell in found:
        field[cell.row - rows[0]][cell.column - columns[0]] = cell.rate / top * 100
    shown = axes.imshow(field, origin="lower", aspect="auto", cmap="viridis", vmin=_floor(found, top), vmax=100)
    for cell in found:
        share = cell.rate / top * 100
        color = "black" if share > (100 + _floor(found, top)) / 2 else "white"
        place = (cell.column - columns[0], cell.row - rows[0])
        axes.annotate(f"{share:.0f}\nk {cell.k}", place, color=color, ha="center", va="center", fontsize=7)
    _star(axes, search, columns[0], rows[0])
    axes.set_xticks(range(len(columns)), [str(_side(column)) for column in columns], rotation=45)
    axes.set_yticks(range(len(rows)), [str(_side(row)) for row in rows])
    axes.set_xlabel("m (rows of A and C)")
    axes.set_ylabel("n (columns of B and C)")
    axes.set_title(f"{search.dtype}: best k of each cell (short trials of {search.tried} shapes), {search.device}", fontsize=10)
    axes.set_facecolor("0.93")
    figure.colorbar(shown, ax=axes, label=f"per cent of {rate(top, search.rate_unit)}", pad=0.01)


def _floor(found: Sequence[Cell], top: float) -> float:
    """Where the colours begin: a tenth of the cells may lie below, so that one bad corner does not take all contrast."""
    ordered = sorted(cell.rate for cell in found)
    return min(90.0, ordered[len(ordered) // 10] / top * 100)


def _star(axes: Any, search: Search, left: int, bottom: int) -> None:
    if not search.finalists:
        return
    best = search.finalists[0]
    place = (_place(best.m) - left, _place(best.n) - bottom)
    axes.plot(*place, marker="s", markersize=34, markerfacecolor="none", markeredgecolor="red", markeredgewidth=2)


def _over_k(axes: Any, search: Search) -> None:
    points = [(k, 2 * m * n * k / seconds, m * n) for (m, n, k), seconds in _medians(search.trials).items()]
    scale, unit = _scaled(max(point[1] for point in points), search.rate_unit)
    sizes = [math.log2(point[2]) for point in points]
    shown = axes.scatter([point[0] for point in points], [point[1] / scale for point in points], c=sizes, cmap="plasma", s=14)
    if search.finalists:
        best = search.finalists[0]
        title = f"confirmed best {best.m}x{best.n}x{best.k}: {rate(best.rate, search.rate_unit)}"
        axes.plot([best.k], [best.rate / scale], "s", color="red", markersize=11, markerfacecolor="none", markeredgewidth=2)
        axes.set_title(title, fontsize=10)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda side, _place: f"{side:.0f}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("k (summed over)")
    axes.set_ylabel(unit)
    axes.grid(visible=True, alpha=0.25)
    axes.figure.colorbar(shown, ax=axes, label="log2 of m x n", pad=0.01)


def _scaled(top: float, unit: str) -> tuple[float, str]:
    return (1e12, f"T{unit}") if top >= 1e12 else (1e9, f"G{unit}")


_SHADES = (236, 17, 18, 24, 30, 35, 71, 107, 148, 184, 220)
"""Of the 256 colours of terminals: from dark to yellow in eleven steps."""


def text(searches: Sequence[Search], *, width: int, color: bool) -> str:
    """The heat maps for a terminal: per cent of the best, the winner in brackets."""
    return "\n".join("\n".join(_lines(search, width, color=color)) for search in searches) + "\n"


def _lines(search: Search, width: int, *, color: bool) -> list[str]:
    found = {(cell.column, cell.row): cell.rate for cell in cells(search)}
    top = max(found.values())
    columns = sorted({column for column, _ in found})[-max(1, (width - 8) // 6) :]
    best = search.finalists[0] if search.finalists else None
    lines = [f"{search.dtype}: per cent of {rate(top, search.rate_unit)}, the best k of each m (across) and n (down)"]
    lines.append("     n\\m" + "".join(f"{_side(column):>6}" for column in columns))
    for row in sorted({row for _, row in found}, reverse=True):
        marks = [
            _mark(found.get((column, row)), top, best is not None and (_place(best.m), _place(best.n)) == (column, row), color)
            for column in columns
        ]
        lines.append(f"{_side(row):>8}" + "".join(marks))
    return [line.rstrip() for line in lines]


def _mark(found: float | None, top: float, is_best: bool, color: bool) -> str:
    if found is None:
        return "     ."
    share = found / top
    body = f"{f'[{share * 100:.0f}]' if is_best else f'{share * 100:.0f} ':>6}"
    if not color:
        return body
    shade = _SHADES[min(10, max(0, int(share * 10)))]
    return f"\x1b[48;5;{shade}m\x1b[38;5;{16 if share >= 0.6 else 255}m{body}\x1b[0m"
