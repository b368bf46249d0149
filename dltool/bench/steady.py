"""When is a warm-up over? When times, clock and temperature have stopped moving, by the figures of the last windows. Pure."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dltool.bench import stats

LAST = 5
"""Windows that are looked at: three in a row may agree by chance while all of them creep."""
_NOISE = 1.5
"""Three medians of the same noise lie this far apart about as often as not: their range is 1.7 standard deviations."""
_CLOCK_SLOPE = 0.02
"""Of the clock, over the last windows: below a power limit it swings by about a per cent for ever."""
_KELVIN_PER_S = 1.0
_LEAST_SPAN_S = 1.0
"""Sensors report whole degrees: over less time than this a slope of the temperature means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A few samples in a row, and what the device showed at their end. Seconds of one step; None: not known."""

    samples: tuple[float, ...]
    ended_s: float
    mhz: float | None = None
    celsius: float | None = None

    @property
    def median(self) -> float:
        """Of the samples."""
        return statistics.median(self.samples)

    @property
    def noise(self) -> float:
        """What the median moves by chance, as a share of it: about the interquartile range over the root of the size."""
        spread = stats.iqr(self.samples) or 0.0
        return float(spread / max(self.median, 1e-9) / len(self.samples) ** 0.5)


def unsteady(windows: Sequence[Window], tolerance: float) -> str | None:
    """What still moves, in words; None once nothing does.

    Args:
        windows: all so far.
        tolerance: the share of itself by which the median of a window may move over the last windows, if its own noise is
            no greater.
    """
    last = windows[-LAST:]
    if len(last) < LAST:
        return "too few windows of samples"
    allowed = max(tolerance, _NOISE * statistics.median(window.noise for window in last))
    medians = [window.median for window in last]
    recent = medians[-3:]
    if max(recent) - min(recent) > allowed * recent[-1]:
        return f"times differ by {(max(recent) - min(recent)) / recent[-1]:.1%}"
    drift = slope(medians) * (LAST - 1) / medians[-1]
    if abs(drift) > allowed:
        return f"steps get {'slower' if drift > 0 else 'faster'}, by {abs(drift):.1%} over the last windows"
    return _clock_moves(last) or _heat_moves(windows)


def _clock_moves(last: Sequence[Window]) -> str | None:
    clocks = [window.mhz for window in last if window.mhz]
    if len(clocks) < len(last):
        return None
    moved = slope(clocks) * (len(clocks) - 1)
    if abs(moved) <= _CLOCK_SLOPE * clocks[-1]:
        return None
    return f"the clock {'rises' if moved > 0 else 'falls'} by {abs(moved):.0f} MHz over the last windows"


def _heat_moves(windows: Sequence[Window]) -> str | None:
    """The temperature over the last second or more."""
    last = [window for window in windows if window.ended_s >= windows[-1].ended_s - 2 * _LEAST_SPAN_S]
    known = [(window.ended_s, window.celsius) for window in last if window.celsius is not None]
    if len(known) < 2 or known[-1][0] - known[0][0] < _LEAST_SPAN_S:
        return None
    per_s = (known[-1][1] - known[0][1]) / (known[-1][0] - known[0][0])
    return f"the temperature moves by {per_s:+.1f} °C a second" if abs(per_s) > _KELVIN_PER_S else None


def slope(values: Sequence[float]) -> float:
    """The change from one value to the next: the median of the slopes of all pairs, which a single outlier cannot move.

    Source: P. K. Sen, Estimates of the Regression Coefficient Based on Kendall's Tau, JASA 63 (1968).
    """
    pairs = itertools.combinations(enumerate(values), 2)
    return statistics.median((later - earlier) / (there - here) for (here, earlier), (there, later) in pairs)
