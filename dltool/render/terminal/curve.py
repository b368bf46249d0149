"""Throughput over the batch: a line for each batch with a bar, the knee marked, and what follows."""

from __future__ import annotations

import textwrap

from dltool.render import zoo
from dltool.render.markdown import table
from dltool.render.markdown import text as plain
from dltool.step_results import BatchCurve, BatchPoint
from dltool.units import percent, seconds

_MARKS = {"knee": "<- knee", "best": "<- best", "both": "<- knee, best"}
_LEAST_BAR = 8
_EIGHTHS = " ▏▎▍▌▋▊▉"


def lines(curve: BatchCurve, width: int = 100) -> list[str]:
    """The curve for a terminal, at most `width` columns wide as far as its figures leave room."""
    cells = [_head(curve), *(_cells(point) for point in curve.points)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    used = [column for column in range(len(cells[0])) if any(row[column] for row in cells[1:])]
    fixed = sum(widths[column] + 2 for column in used)
    room = max(_LEAST_BAR, width - fixed - 1 - max(map(len, _MARKS.values())))
    top = max(point.rate for point in curve.points)
    rows = [_joined(cells[0], widths, used)]
    for point, row in zip(curve.points, cells[1:], strict=True):
        bar = _bar(point.rate / top if top else 0.0, room)
        rows.append(f"{_joined(row, widths, used)}  {bar}{_mark(curve, point)}".rstrip())
    return [*rows, *textwrap.wrap(curve.advice, width)]


def markdown(curve: BatchCurve) -> str:
    """The curve as a table, and the advice below it."""
    rows = [(*_cells(point), _mark(curve, point).removeprefix(" <- ")) for point in curve.points]
    return "\n\n".join([table((*_head(curve), ""), rows, right=range(5)), plain(curve.advice)])


def _head(curve: BatchCurve) -> tuple[str, ...]:
    return "batch", f"{curve.unit}/s", "95 %", "step", "memory"


def _cells(point: BatchPoint) -> tuple[str, ...]:
    memory = "" if point.peak_bytes is None else zoo.size(point.peak_bytes)
    return (
        str(point.batch),
        _rate(point.rate),
        _interval(point),
        "" if not point.latency_s else seconds(point.latency_s),
        memory,
    )


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.3g}"


def _interval(point: BatchPoint) -> str:
    """The wider side of the confidence interval."""
    if point.low is None or point.high is None or not point.rate:
        return ""
    return f"±{percent(max(point.rate - point.low, point.high - point.rate) / point.rate)}"


def _joined(row: tuple[str, ...], widths: list[int], used: list[int]) -> str:
    return "  ".join(row[column].rjust(widths[column]) for column in used)


def _bar(share: float, room: int) -> str:
    """In eighths of a column."""
    whole, part = divmod(round(share * room * 8), 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")


def _mark(curve: BatchCurve, point: BatchPoint) -> str:
    knee, best = point.batch == curve.knee, point.batch == curve.best
    found = "both" if knee and best else "knee" if knee else "best" if best else ""
    return f" {_MARKS[found]}" if found else ""
