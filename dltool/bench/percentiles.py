"""Percentiles with their own uncertainty, and none at all where the samples do not bear them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dltool.bench.distributions import binomial_below


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """A percentile by nearest rank, and the samples between which the true one lies."""

    value: float
    low: float
    high: float
    confidence: float


def percentile(samples: Sequence[float], percent: float, *, confidence: float = 0.95) -> Percentile | None:
    """The `percent`-th percentile with a confidence interval from order statistics: no assumption about the distribution.

    None where the samples are too few to bound it on both sides: a p99 at 95 % needs 368 of them, a p90 36, a median 6.
    The samples must be independent draws: of requests in a queue the interval is too narrow.

    Source: J.-Y. Le Boudec, Performance Evaluation of Computer and Communication Systems, theorem 2.1.
    """
    if not 0 < percent < 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {percent}")
    count, tail = len(samples), (1 - confidence) / 2
    below = binomial_below(count, percent / 100)
    low = max((rank for rank in range(1, count + 1) if below[rank] <= tail), default=None)
    high = min((rank for rank in range(1, count + 1) if 1 - below[rank] <= tail), default=None)
    if low is None or high is None:
        return None
    ordered = sorted(samples)
    nearest = ordered[max(0, math.ceil(count * percent / 100 - 1e-9) - 1)]
    return Percentile(value=nearest, low=ordered[low - 1], high=ordered[high - 1], confidence=confidence)
