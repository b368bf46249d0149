"""What follows from a row of timings, and what makes it doubtful. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

NOISY = 0.10
"""Interquartile range over median from which a figure is called noisy (torch.utils.benchmark warns at the same)."""
DRIFT = 0.03
FEW = 6
"""Below this no 95 % confidence interval of a median exists: even the extremes cover less."""


def iqr(samples: Sequence[float]) -> float | None:
    """Interquartile range; None for fewer than four samples."""
    if len(samples) < 4:
        return None
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return high - low


def median_ci95(samples: Sequence[float]) -> tuple[float, float] | None:
    """A 95 % confidence interval of the median from order statistics: no assumption about the distribution.

    The ranks are the binomial's (n trials, p = 1/2), exact to 200 samples and by the normal approximation above.
    Source: J.-Y. Le Boudec, Performance Evaluation of Computer and Communication Systems, theorem 2.1.
    """
    count = len(samples)
    if count < FEW:
        return None
    rank = _exact_rank(count) if count <= 200 else math.floor(count / 2 - 0.98 * math.sqrt(count))
    ordered = sorted(samples)
    return ordered[rank - 1], ordered[count - rank]


def half_width(samples: Sequence[float]) -> float:
    """The wider side of that interval as a share of the median; infinite where there are too few samples for one."""
    interval = median_ci95(samples)
    median = statistics.median(samples)
    if interval is None or median <= 0:
        return math.inf
    return max(median - interval[0], interval[1] - median) / median


def _exact_rank(count: int) -> int:
    """The greatest 1-based rank r with P(fewer than r of n fall below the median) <= 2.5 %."""
    cumulative = 0
    for rank in range(count):
        cumulative += math.comb(count, rank)
        if cumulative > 0.025 * 2**count:
            return max(rank, 1)
    return 1


def warnings(samples: Sequence[float]) -> list[str]:
    """Why a median of these samples should be taken with care, each with what to do."""
    if not samples:
        return []
    found = []
    median = statistics.median(samples)
    spread = iqr(samples)
    if len(samples) < FEW:
        found.append(f"only {len(samples)} samples: give a larger --budget")
    if spread is not None and spread > NOISY * median:
        found.append(f"noisy: the middle half of the samples spans {spread / median:.0%} of the median; stop other programs")
    if len(samples) >= 20:
        half = len(samples) // 2
        drift = statistics.median(samples[half:]) / statistics.median(samples[:half]) - 1
        if abs(drift) > DRIFT and (spread is None or abs(drift) * median > spread / 2):
            change = f"{abs(drift):.0%} {'more' if drift > 0 else 'less'} time"
            found.append(f"drifting: the second half took {change}; clock or temperature still changes")
    outliers = _outliers(samples, median)
    if outliers > 0.05 * len(samples) and len(samples) >= 20:
        found.append(f"{outliers} of {len(samples)} samples are outliers: something else ran now and then")
    return found


def _outliers(samples: Sequence[float], median: float) -> int:
    """Samples whose modified Z-score exceeds 3.5 (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""
    deviation = statistics.median(abs(sample - median) for sample in samples)
    if deviation == 0:
        return 0
    return sum(0.6745 * abs(sample - median) / deviation > 3.5 for sample in samples)
