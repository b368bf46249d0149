"""How far the loss of a course may stray from that of fp32, and what else shows that it does not learn as fp32 does."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

POINTS = 20
"""Of a smoothed curve: each the mean over as many steps."""
SPREADS = 2.0
"""Standard deviations between seeds that a loss may be off."""
LEAST_GRADIENT = 1e-3
"""What a gradient may be off in any format: sums in another order differ, by less than this."""


def smoothed(losses: Sequence[float]) -> tuple[float, ...]:
    """Means over equal parts, in order; a part with a loss that is no number is none."""
    count = min(POINTS, len(losses))
    edges = [len(losses) * place // count for place in range(count + 1)] if count else [0]
    return tuple(statistics.fmean(losses[start:end]) for start, end in pairwise(edges))


def widths(curves: Sequence[Sequence[float]], floor: float) -> tuple[float, ...]:
    """At each point: `SPREADS` deviations between the seeds there or at a neighbour, at least `floor`.

    A neighbour counts because a loss falls a little earlier or later, which at one point alone looks like a great difference.
    """
    deviations = [statistics.stdev(point) if len(point) > 1 else 0.0 for point in zip(*curves, strict=True)]
    nearby = (max(deviations[max(0, place - 1) : place + 2]) for place in range(len(deviations)))
    return tuple(max(floor, SPREADS * deviation) for deviation in nearby)


def strays(curve: Sequence[float], reference: Sequence[float], allowed: Sequence[float]) -> int | None:
    """The first point at which a curve is outside the band; None: it stays inside."""
    for place, (here, there, width) in enumerate(zip(curve, reference, allowed, strict=True)):
        if not abs(here - there) <= width:  # as it reads where one of them is no number
            return place
    return None


def first_bad(losses: Sequence[float]) -> int | None:
    """The first step, from 1, whose loss is no number."""
    return next((step for step, loss in enumerate(losses, start=1) if not math.isfinite(loss)), None)


def finite(value: float) -> float | None:
    """None for what is no number, which JSON cannot hold."""
    return value if math.isfinite(value) else None
