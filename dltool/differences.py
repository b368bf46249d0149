"""What comparing measurements gives: verdicts of two runs, the noise of a machine. JSON in and out.

The fields are part of the report (docs/report.schema.json); the reasoning is in `dltool.bench.verdicts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

Setting = str | int | float | bool | None


class Verdict(str, Enum):
    """How B compares with A."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    """Differs by less than the margin, or not at all."""
    CANNOT_TELL = "cannot-tell"

    @property
    def swapped(self) -> Verdict:
        """The verdict on A as compared with B."""
        return {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}.get(self, self)


class Gate(str, Enum):
    """Whether a row keeps the limit that was set."""

    MET = "met"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    """The samples do not tell; no failure, and no proof."""


class Comparison(Struct, frozen=True, kw_only=True):
    """One case in A (the baseline) and in B (now). A ratio is B's time over A's: above 1, B is slower."""

    workload: str
    params: Mapping[str, Setting] = {}
    params_b: Mapping[str, Setting] | None = None
    """Those of B, where they are other ones."""
    verdict: Verdict
    reason: str = ""
    """Why it cannot be told, or what to know of the verdict."""
    a_s: float | None = None
    """Median seconds of a step."""
    b_s: float | None = None
    ratio: float | None = None
    """Of the medians; of interleaved blocks the Hodges-Lehmann estimate of it."""
    ratio_ci: tuple[float, float] | None = None
    confidence: float = 0.99
    margin: float = 0.0
    """A difference below this share is called the same."""
    cycles_ratio: float | None = None
    """The same in clock cycles, where both clocks were seen: what is left of it at equal clocks."""
    cycles_ci: tuple[float, float] | None = None
    method: str = "apart"
    """"apart" (two runs, with the noise between runs), or "interleaved" (blocks in turn)."""
    pairs: tuple[tuple[float, float], ...] = ()
    """Of interleaved blocks: the medians of A and B of each round, in order. Seconds."""
    between_runs_sd: float | None = None
    """The standard deviation of the log of a run's median that was allowed for."""
    noise_from: str = ""
    """"selftest of 2026-11-21 ..., 8 runs of gemm fp32", or that it is the default."""
    gate: Gate | None = None
    """Against --fail-if-slower; null where no limit was set."""


class Noise(Struct, frozen=True, kw_only=True):
    """How much runs of one unchanged case differ on a machine. Shares: 0.01 is 1 %."""

    workload: str
    params: Mapping[str, Setting] = {}
    runs: int
    """Each in a process of its own, spread over the time of the selftest."""
    medians_s: tuple[float, ...] = ()
    between_runs_sd: float
    """Of the log of the medians."""
    floor: float
    """The medians of two runs of the same differ by less than this 19 times of 20."""
    least_apart: float
    """A true difference of two runs that is called slower or faster 8 times of 10, at `confidence`."""
    least_interleaved: float | None = None
    """Half the width of the interval of the same number of interleaved pairs."""
    interleaved: Verdict | None = None
    """The verdict on the same against the same, interleaved: SAME or CAN'T TELL, else a false alarm."""
    trials: int = 0
    """Pairs of runs that were judged by the noise of the others."""
    false_alarms: int = 0
    disturbed: int = 0
    """Runs during which other programs took processors or the GPU: their noise is in the figures."""
    confidence: float = 0.99


class Selftest(Struct, frozen=True, kw_only=True):
    """The noise of a machine, device and settings: what every gate there allows for."""

    id: str
    """Of the fingerprint."""
    fingerprint: Mapping[str, Setting] = {}
    created: str = ""
    confidence: float = 0.99
    margin: float = 0.0
    load_average: float | None = None
    noise: tuple[Noise, ...] = ()
    notes: tuple[str, ...] = ()
