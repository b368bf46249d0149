"""The roofline as a picture: PNG or SVG by matplotlib, in a terminal by plotext."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dltool.errors import CannotRun, UsageError
from dltool.peaks import label
from dltool.roofline import Roof, intensities

_ENDINGS = ("png", "svg", "pdf")


def check(path: str) -> None:
    """Refuse a picture of a kind that is not drawn.

    Raises:
        UsageError: the ending is none of png, svg, pdf, and it is not `-` (the terminal).
    """
    if path != "-" and Path(path).suffix.lower().lstrip(".") not in _ENDINGS:
        raise UsageError(f"`{path}` is no picture", remedy="End it in .png, .svg or .pdf, or write - for the terminal.")


def picture(roofs: Sequence[Roof], ending: str) -> bytes:
    """The rooflines as a file of this kind.

    Raises:
        CannotRun: matplotlib is not installed.
    """
    figure = _figure()
    axes = figure.subplots()
    where = intensities(roofs)
    one = len({roof.board for roof in roofs}) == 1
    for roof in sorted(roofs, key=lambda roof: -roof.peak):
        heights = [roof.at(intensity) / 1e12 for intensity in where]
        (line,) = axes.loglog(where, heights, linewidth=2, label=_legend(roof, one=one))
        axes.plot([roof.ridge], [roof.peak / 1e12], "o", color=line.get_color(), markersize=5)
    axes.set_xlabel("arithmetic intensity: operations per byte of device memory")
    axes.set_ylabel("reachable, 10¹² operations per second")
    axes.set_title(f"Roofline of {roofs[0].board}" if one else f"Rooflines, {label(roofs[0].key)}")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(title="peak, and where memory stops being the limit", fontsize=9)
    data = io.BytesIO()
    figure.savefig(data, format=ending, dpi=150)
    return data.getvalue()


def text(roofs: Sequence[Roof], *, width: int, color: bool) -> str:
    """The rooflines for a terminal.

    Raises:
        CannotRun: plotext is not installed.
    """
    try:
        import plotext
    except ImportError:
        raise CannotRun("plotext is not installed, which draws in the terminal", remedy="pip install 'plotext<6'") from None
    where = intensities(roofs, points=width)
    one = len({roof.board for roof in roofs}) == 1
    plotext.clear_figure()
    plotext.plotsize(width, 24)
    plotext.theme("pro" if color else "clear")
    for roof in sorted(roofs, key=lambda roof: -roof.peak):
        plotext.plot(where, [roof.at(intensity) / 1e12 for intensity in where], label=_legend(roof, one=one))
    plotext.xscale("log")
    plotext.yscale("log")
    plotext.xlabel("operations per byte of device memory")
    plotext.title("reachable, 10^12 operations per second")
    drawn: str = plotext.build()
    return drawn if color else plotext.uncolorize(drawn)


def _legend(roof: Roof, *, one: bool) -> str:
    kind = label(roof.key) if one else roof.board
    return f"{kind}: {roof.peak / 1e12:.4g} T/s from {roof.ridge:.3g} op/byte"


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise no_matplotlib() from None
    return Figure(figsize=(8, 5.5), layout="constrained")


def no_matplotlib() -> CannotRun:
    """What is said where a picture cannot be drawn."""
    return CannotRun("matplotlib is not installed, which draws the picture", remedy="pip install matplotlib")
