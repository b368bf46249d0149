"""The roofline as a picture: PNG or SVG by matplotlib, in a terminal by plotext."""

from __future__ import annotations

import io
import math
import string
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dltool.errors import CannotRun, UsageError
from dltool.measured_roofline import Level, MeasuredRoofline, Point
from dltool.peaks import label
from dltool.roofline import Roof, intensities
from dltool.units import percent, rate, significant

_ENDINGS = ("png", "svg", "pdf")
_MARKS = string.ascii_uppercase + string.ascii_lowercase
_SAME = 0.01
_RIGHT = 0.62
"""From this part of the width on there is no room for a name at the right of its point."""
_APART = 0.04
"""Labels are this part of the height away from each other at least."""


def check(path: str) -> None:
    """Refuse a picture of a kind that is not drawn.

    Raises:
        UsageError: the ending is none of png, svg, pdf, and it is not `-` (the terminal).
    """
    if path != "-" and Path(path).suffix.lower().lstrip(".") not in _ENDINGS:
        raise UsageError(f"`{path}` is no picture", remedy="End it in .png, .svg or .pdf, or write - for the terminal.")


def check_package(path: str) -> None:
    """Say before a long run that nothing can be drawn after it.

    Raises:
        CannotRun: the package that draws this kind is not installed.
    """
    if find_spec("plotext" if path == "-" else "matplotlib") is None:
        raise _no_plotext() if path == "-" else no_matplotlib()


def picture(roofs: Sequence[Roof], ending: str, measured: MeasuredRoofline | None = None) -> bytes:
    """The rooflines as a file of this kind, with what was measured under them.

    Raises:
        CannotRun: matplotlib is not installed.
    """
    figure = _figure()
    axes = figure.subplots()
    one = len({roof.board for roof in roofs}) == 1
    scale, prefix = _scale(roofs)
    colors = _draw_roofs(axes, roofs, _where(roofs, measured, 200), scale, one=one)
    if measured is not None:
        _draw_measured(axes, measured, colors, scale)
    axes.set_xlabel("arithmetic intensity: operations per byte of device memory")
    axes.set_ylabel(f"{'reached' if measured else 'reachable'}, {prefix} operations per second")
    title = f"Roofline of {roofs[0].board}" if one else f"Rooflines, {label(roofs[0].key)}"
    axes.set_title(f"{title} and what was measured" if measured else title)
    axes.grid(visible=True, which="both", alpha=0.25)
    if measured is not None:
        figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    else:
        axes.legend(title="peak, and where memory stops being the limit", fontsize=9)
    data = io.BytesIO()
    figure.savefig(data, format=ending, dpi=150)
    return data.getvalue()


def _draw_roofs(axes: Any, roofs: Sequence[Roof], where: Sequence[float], scale: float, *, one: bool) -> dict[float, Any]:
    """The lines; their colours by peak."""
    colors = {}
    for roof in sorted(roofs, key=lambda roof: -roof.peak):
        (line,) = axes.loglog(where, [roof.at(x) / scale for x in where], linewidth=2, label=_legend(roof, one=one))
        colors[roof.peak] = line.get_color()
        if roof.ridge:
            axes.plot([roof.ridge], [roof.peak / scale], "o", color=line.get_color(), markersize=5)
    return colors


def _draw_measured(axes: Any, measured: MeasuredRoofline, colors: dict[float, Any], scale: float) -> None:
    """Points with their names beside them in the colour of their roof, roofs at the clocks held, bandwidths as slopes."""
    where = _where(measured.roofs, measured, 200)
    top = max(roof.peak for roof in (*measured.roofs, *measured.held))
    for roof in measured.held:
        color = _color(colors, next(found.peak for found in measured.roofs if found.key == roof.key))
        axes.loglog(where, [roof.at(x) / scale for x in where], "--", color=color, linewidth=1, label=_legend(roof, one=True))
    for level in measured.levels:
        until = [x for x in where if x * level.bandwidth <= top] or list(where[:2])
        axes.loglog(until, [x * level.bandwidth / scale for x in until], ":", color="gray", linewidth=1.5, label=_level(level))
    axes.set_xlim(where[0], where[-1])
    axes.set_ylim(min(point.rate for point in measured.points) / scale / 3, top / scale * 2)
    _name_points(axes, measured, colors, scale)


def _name_points(axes: Any, measured: MeasuredRoofline, colors: dict[float, Any], scale: float) -> None:
    """Diamonds; their names stand on the side where there is room."""
    low, high = (math.log10(end) for end in axes.get_ylim())
    left, right = measured.span
    for point, shift in _spread(measured.points, high - low):
        at_right = math.log(point.intensity / left) < _RIGHT * math.log(right / left)
        axes.plot([point.intensity], [point.rate / scale], "D", color=_color(colors, point.peak), markersize=5, zorder=5)
        axes.annotate(
            _short(point),
            (point.intensity, point.rate / scale),
            (point.intensity * (1.2 if at_right else 1 / 1.2), 10 ** (math.log10(point.rate / scale) + shift)),
            fontsize=7,
            ha="left" if at_right else "right",
            va="center",
            bbox={"boxstyle": "square,pad=0.1", "color": "white", "alpha": 0.7},
            arrowprops={"arrowstyle": "-", "color": "gray", "linewidth": 0.6} if shift else None,
            zorder=6,
        )


def _color(colors: dict[float, Any], peak: float | None) -> Any:
    """That of the roof of this peak; black where it has none."""
    return next((color for height, color in colors.items() if peak and abs(peak / height - 1) < _SAME), "black")


def _spread(points: Sequence[Point], decades: float) -> Iterator[tuple[Point, float]]:
    """Each point with the decades by which its label is moved up, so that labels do not lie upon one another."""
    held = -math.inf
    for point in sorted(points, key=lambda point: point.rate):
        own = math.log10(point.rate)
        placed = max(own, held + _APART * decades)
        held = placed
        yield point, placed - own


def text(roofs: Sequence[Roof], *, width: int, color: bool, measured: MeasuredRoofline | None = None) -> str:
    """The rooflines for a terminal; points are letters, which are named below.

    Raises:
        CannotRun: plotext is not installed.
    """
    try:
        import plotext
    except ImportError:
        raise _no_plotext() from None
    where = _where(roofs, measured, width)
    one = len({roof.board for roof in roofs}) == 1
    scale, prefix = _scale(roofs)
    plotext.clear_figure()
    plotext.plotsize(width, 24)
    plotext.theme("pro" if color else "clear")
    for roof in sorted(roofs, key=lambda roof: -roof.peak):
        plotext.plot(where, [roof.at(x) / scale for x in where], label=_legend(roof, one=one) if measured is None else None)
    points = measured.points if measured is not None else ()
    for mark, point in zip(_MARKS, points, strict=False):
        plotext.scatter([point.intensity], [point.rate / scale], marker=mark)
    plotext.xscale("log")
    plotext.yscale("log")
    plotext.xlabel("operations per byte of device memory")
    plotext.title(
        f"{'reached' if measured else 'reachable'}, {prefix.replace('¹²', '^12').replace('⁹', '^9')} operations per second"
    )
    drawn: str = plotext.build()
    named = "\n".join(_names(measured)) + "\n" if measured is not None else ""
    return (drawn if color else plotext.uncolorize(drawn)) + ("\n" + named if named else "")


def _names(measured: MeasuredRoofline) -> Iterator[str]:
    """What the lines and letters in the terminal are."""
    for roof in sorted(measured.roofs, key=lambda roof: -roof.peak):
        yield f"   {_legend(roof, one=True)}"
    for roof in measured.held:
        yield f"   {_legend(roof, one=True)}"
    for level in measured.levels:
        yield f"   {_level(level)}"
    for mark, point in zip(_MARKS, measured.points, strict=False):
        yield f"{mark}  {_short(point)}, {significant(point.intensity)} op/byte"


def _where(roofs: Sequence[Roof], measured: MeasuredRoofline | None, points: int) -> tuple[float, ...]:
    if measured is None:
        return intensities(roofs, points=points)
    low, high = measured.span
    steps = (low * (high / low) ** (number / (points - 1)) for number in range(points))
    return tuple(sorted({*steps, *(roof.ridge for roof in roofs if roof.ridge)}))


def _scale(roofs: Sequence[Roof]) -> tuple[float, str]:
    """Tera, or giga where nothing reaches a tera: a CPU."""
    return (1e12, "10¹²") if max(roof.peak for roof in roofs) >= 1e12 else (1e9, "10⁹")


def _short(point: Point) -> str:
    share = f", {percent(point.share)} of peak" if point.share is not None else ""
    return f"{point.label}: {rate(point.rate, point.unit)}{share}"


def _level(level: Level) -> str:
    return f"{level.name}, measured by {level.by}: {rate(level.bandwidth, 'B/s')}"


def _legend(roof: Roof, *, one: bool) -> str:
    kind = label(roof.key) if one else roof.board
    bend = f" from {roof.ridge:.3g} op/byte" if roof.ridge else ""
    peak = f"{roof.peak / 1e12:.4g} T/s" if roof.peak >= 1e12 else f"{roof.peak / 1e9:.4g} G/s"
    clock = f" at {roof.at_mhz:.0f} MHz" if roof.at_mhz else ""
    return f"{kind}{clock}: {peak}{bend}"


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise no_matplotlib() from None
    return Figure(figsize=(8, 5.5), layout="constrained")


def no_matplotlib() -> CannotRun:
    """What is said where a picture cannot be drawn."""
    return CannotRun("matplotlib is not installed, which draws the picture", remedy="pip install matplotlib")


def _no_plotext() -> CannotRun:
    return CannotRun("plotext is not installed, which draws in the terminal", remedy="pip install 'plotext<6'")
