"""Quantiles of the few distributions that the verdicts rest on, exact and in plain Python. Pure."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

_MANY = 200
"""Degrees of freedom from which Student's t is taken as normal: they differ by less than 1 % there, at any usual level."""


def student_t(confidence: float, degrees: float) -> float:
    """The t with P(|T| <= t) = confidence; a fraction of a degree is not counted, which makes it wider.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4, turned round by bisection.
    """
    if degrees >= _MANY:
        return NormalDist().inv_cdf(0.5 + confidence / 2)
    whole = max(1, math.floor(degrees))
    low, high = 0.0, 1.0
    while _within(high, whole) < confidence:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, whole) < confidence else (low, middle)
    return high


def _within(t: float, degrees: int) -> float:
    """P(|T| <= t) for a whole number of degrees of freedom: a finite sum."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    term, total = (1.0, 1.0) if degrees % 2 == 0 else (cosine, cosine)
    for number in range(2 if degrees % 2 == 0 else 3, degrees - 1, 2):
        term *= cosine**2 * (number - 1) / number
        total += term
    if degrees % 2 == 0:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if degrees > 1 else 0.0))


def signed_rank(count: int, confidence: float) -> int | None:
    """How many of the ordered Walsh averages of `count` differences to leave out at each end for this confidence.

    None: so few differences do not bear it, even with none left out (8 are needed for 99 %, 6 for 95 %).
    Source: M. Hollander, D. Wolfe, E. Chicken, Nonparametric Statistical Methods, 3.3 (interval of Tukey).
    """
    ways = _signed_rank_counts(count)
    tail, most = (1 - confidence) / 2 * 2**count, None
    cumulative = 0
    for rank, number in enumerate(ways):
        cumulative += number
        if cumulative > tail:
            break
        most = rank
    return most


@functools.lru_cache(maxsize=64)
def _signed_rank_counts(count: int) -> tuple[int, ...]:
    """In how many of the 2**count patterns of signs the ranks of the positive ones add up to 0, 1, 2 ..."""
    ways = [1]
    for rank in range(1, count + 1):
        longer = ways + [0] * rank
        for place, number in enumerate(ways):
            longer[place + rank] += number
        ways = longer
    return tuple(ways)


def binomial_below(count: int, probability: float) -> list[float]:
    """P(X < k) of a binomial X for k = 0 ... count + 1."""
    logs = (math.log(probability), math.log1p(-probability))
    below = [0.0]
    for hits in range(count + 1):
        ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
        below.append(below[-1] + math.exp(ways + hits * logs[0] + (count - hits) * logs[1]))
    return below
