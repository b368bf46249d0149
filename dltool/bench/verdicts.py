"""Is B faster than A, slower, the same, or can it not be told? Pure: samples in, verdict and interval out.

What is compared is the ratio of medians, on the log scale, so that neither a unit nor the order of A and B matters.

The samples of one run are no independent draws: clocks, heat and neighbours move slowly, so a test that counts each sample
calls unchanged code faster or slower far too often (nvbench issue 316). Hence the unit is a block of samples, never a sample:

- `interleaved`: blocks of A and B in turn (A B, B A, A B ...). Each round gives one difference of log medians; slow drift meets
  both sides, first one then the other, and cancels. The interval is Tukey's from the Wilcoxon signed-rank test with the
  Hodges-Lehmann estimate: distribution-free, and one wild round in eight cannot move it without widening it.
  Source: Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, chapter 3.
- `apart`: two runs at different times. Their samples cannot tell what differs between runs (another process or minute), so
  the variance is that of both medians, by batch means within each run, plus twice the variance between runs that a selftest of
  this machine measured, with Student's t at the degrees of freedom of Welch and Satterthwaite.
  Source: B. Schmeiser, Batch Size Effects in the Analysis of Simulation Output, Operations Research 30(3), 1982;
  F. Satterthwaite, An Approximate Distribution of Estimates of Variance Components, Biometrics Bulletin 2(6), 1946.

SAME is not "no difference was found": the whole interval must lie within the margin (two one-sided tests; D. Schuirmann, 1987).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dltool.bench.distributions import signed_rank, student_t
from dltool.differences import Verdict

CONFIDENCE = 0.99
"""Of each row: a table of twenty rows that never changed raises an alarm less than every fifth time."""
MARGIN = 0.02
"""Differences below this are called the same, where nobody says otherwise."""
_BATCHES = (4, 10)
"""Into how many blocks one run is cut; Schmeiser finds no gain beyond 10 to 30."""

Samples = Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What runs of the same differ by: the standard deviation of the log of a run's median."""

    sd: float
    degrees: float = math.inf
    """Of freedom: one less than the runs it is known from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """B's time over A's, with its interval; without one where the samples do not bear it, for a reason."""

    value: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""

    def times(self, factor: float) -> Ratio:
        """The same in another unit of B's time over that of A's."""
        if self.value is None:
            return self
        interval = (self.interval[0] * factor, self.interval[1] * factor) if self.interval else None
        return Ratio(value=self.value * factor, interval=interval, reason=self.reason)


def interleaved(a_blocks: Sequence[Samples], b_blocks: Sequence[Samples], *, confidence: float = CONFIDENCE) -> Ratio:
    """The ratio of blocks that ran in turn; block i of A and of B are neighbours in time."""
    if not all(_usable(block) for block in (*a_blocks, *b_blocks)):
        return Ratio(reason="a block has no positive times")
    logs = [math.log(statistics.median(b)) - math.log(statistics.median(a)) for a, b in zip(a_blocks, b_blocks, strict=True)]
    if not logs:
        return Ratio(reason="there are no blocks")
    walsh = sorted((first + second) / 2 for place, first in enumerate(logs) for second in logs[place:])
    centre = math.exp(statistics.median(walsh))
    left_out = signed_rank(len(logs), confidence)
    if left_out is None:
        return Ratio(value=centre, reason=f"{len(logs)} rounds do not bear {confidence:.0%} confidence")
    return Ratio(value=centre, interval=(math.exp(walsh[left_out]), math.exp(walsh[-1 - left_out])))


def apart(a: Samples, b: Samples, noise: Noise, *, confidence: float = CONFIDENCE) -> Ratio:
    """The ratio of two runs at different times; `noise` is what runs of the same differ by on this machine."""
    if not (_usable(a) and _usable(b)):
        return Ratio(reason="there are no positive times")
    log_ratio = math.log(statistics.median(b)) - math.log(statistics.median(a))
    within = [_within(samples) for samples in (a, b)]
    parts = [(2 * noise.sd**2, noise.degrees), *(part for part in within if part)]
    if None in within:
        return Ratio(value=math.exp(log_ratio), reason=f"{min(len(a), len(b))} samples do not tell how much they vary")
    half = standard_error(parts) * student_t(confidence, degrees_of_freedom(parts))
    return Ratio(value=math.exp(log_ratio), interval=(math.exp(log_ratio - half), math.exp(log_ratio + half)))


def standard_error(parts: Sequence[tuple[float, float]]) -> float:
    """Of a sum of independent parts, each with its variance and degrees of freedom."""
    return math.sqrt(sum(variance for variance, _ in parts))


def degrees_of_freedom(parts: Sequence[tuple[float, float]]) -> float:
    """Of that sum, by Welch and Satterthwaite."""
    uncertainty = sum(variance**2 / degrees for variance, degrees in parts)
    return sum(variance for variance, _ in parts) ** 2 / uncertainty if uncertainty else math.inf


def _within(samples: Samples) -> tuple[float, float] | None:
    """Variance of the log of a run's median, and its degrees of freedom: from the medians of consecutive batches.

    Few long batches see a clock that jumped once in the run, many short ones are surer of quick noise: the larger counts.
    """
    if len(samples) < 3:
        return None
    return max(_of_batches(samples, min(count, len(samples))) for count in _BATCHES)


def _of_batches(samples: Samples, count: int) -> tuple[float, float]:
    edges = [round(place * len(samples) / count) for place in range(count + 1)]
    logs = [math.log(statistics.median(samples[low:high])) for low, high in itertools.pairwise(edges)]
    return statistics.variance(logs) / count, count - 1


def _usable(samples: Samples) -> bool:
    return bool(samples) and all(0 < sample < math.inf for sample in samples)


def judge(ratio: Ratio, margin: float = MARGIN) -> Verdict:
    """The verdict on an interval.

    SLOWER: all of it is above 1 and part of it beyond the margin; SAME: all of it is within the margin.
    """
    if ratio.interval is None:
        return Verdict.CANNOT_TELL
    low, high = ratio.interval
    most = 1 + margin
    if low > 1 and high > most:
        return Verdict.SLOWER
    if high < 1 and low < 1 / most:
        return Verdict.FASTER
    return Verdict.SAME if 1 / most <= low and high <= most else Verdict.CANNOT_TELL


def at_equal_clocks(
    ratio: Ratio, a_mhz: float | None, b_mhz: float | None, margin: float = MARGIN
) -> tuple[Verdict, Ratio | None, str]:
    """The verdict that holds in seconds and in cycles alike: (verdict, the ratio in cycles, why it cannot be told).

    Code that did not change takes as many cycles at another clock; code that waits for memory takes as many seconds. Where the
    two disagree the clock moved, not (only) the code. After nvbench (docs/nvbench_compare_robust.md), which confirms a
    difference in cycles before it reports one. Without both clocks the seconds stand alone.
    """
    in_seconds = judge(ratio, margin)
    if not a_mhz or not b_mhz:
        return in_seconds, None, ratio.reason
    cycles = ratio.times(b_mhz / a_mhz)
    if in_seconds is Verdict.CANNOT_TELL or judge(cycles, margin) is in_seconds:
        return in_seconds, cycles, ratio.reason
    left = (cycles.value or 1) - 1
    reason = (
        f"clock differs: {a_mhz:.0f} MHz, then {b_mhz:.0f}; at equal clocks {left:+.1%} of time is left ({in_seconds.value})"
    )
    return Verdict.CANNOT_TELL, cycles, reason
