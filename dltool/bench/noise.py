"""From runs of unchanged cases to the noise of a machine, and to the noise that a gate allows a case. Pure."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dltool.bench import verdicts
from dltool.bench.distributions import student_t
from dltool.differences import Noise, Selftest, Verdict
from dltool.results import Measurement, Scalar

DEFAULT_SD = 0.03
"""What is allowed for where no selftest is stored: then two runs must differ by 11 % to be told apart at 99 %.

Conservative: on a shared two-core virtual machine the same loop, repeated minutes later, moved by up to 6 %: two of these.
"""
DEFAULT = "default of 3 % between runs: there is no selftest of this machine with these settings"
_LEAST_RUNS = 4
_NEIGHBOURS = ("other programs ran", "other programs used", "the hypervisor gave")
"""By which the harness's warnings of other programs are known: on a CPU, on a GPU, and outside of a virtual machine."""
_CALLED = 0.8
"""How often the least detectable difference is called: 8 times of 10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two neighbouring blocks of one case, in the run that they were in."""

    a: Measurement
    b: Measurement


def of_case(pairs: Sequence[Pair], *, confidence: float = verdicts.CONFIDENCE, margin: float = verdicts.MARGIN) -> Noise:
    """The noise of one case, from one pair of blocks of each run.

    The first blocks are the runs that a gate would compare; both blocks of each run are an interleaved comparison.
    """
    if len(pairs) < _LEAST_RUNS:
        raise ValueError(f"{len(pairs)} runs are too few, {_LEAST_RUNS} are needed")
    runs = [pair.a.seconds for pair in pairs]
    medians = [statistics.median(run) for run in runs]
    sd = statistics.stdev(map(math.log, medians))
    degrees = len(runs) - 1
    ratio = verdicts.interleaved(
        [(pair.a, pair.b)[place % 2].seconds for place, pair in enumerate(pairs)],
        [(pair.b, pair.a)[place % 2].seconds for place, pair in enumerate(pairs)],
        confidence=confidence,
    )
    trials = [verdict for first, second in itertools.combinations(range(len(runs)), 2)
              if (verdict := _cross_judged(runs, first, second, confidence, margin))]  # fmt: skip
    return Noise(
        workload=pairs[0].a.workload,
        params=pairs[0].a.params,
        runs=len(runs),
        medians_s=tuple(medians),
        between_runs_sd=sd,
        floor=math.expm1(student_t(0.95, degrees) * math.sqrt(2) * sd),
        least_apart=least_detectable(sd, degrees, confidence),
        least_interleaved=math.sqrt(ratio.interval[1] / ratio.interval[0]) - 1 if ratio.interval else None,
        interleaved=verdicts.judge(ratio, margin) if ratio.interval else None,
        trials=len(trials),
        false_alarms=sum(verdict in (Verdict.FASTER, Verdict.SLOWER) for verdict in trials),
        disturbed=sum(disturbed(pair.a) or disturbed(pair.b) for pair in pairs),
        confidence=confidence,
    )


def least_detectable(sd: float, degrees: float, confidence: float = verdicts.CONFIDENCE) -> float:
    """The true difference of two runs that is called 8 times of 10; more where the samples within a run vary much."""
    # One-sided: P(T <= t) = 0.8 is P(|T| <= t) = 0.6.
    return math.expm1((student_t(confidence, degrees) + student_t(2 * _CALLED - 1, degrees)) * math.sqrt(2) * sd)


def _cross_judged(runs: Sequence[Sequence[float]], first: int, second: int, confidence: float, margin: float) -> Verdict | None:
    """The verdict on two runs, by the noise that all other runs show: they must not testify for themselves."""
    others = [math.log(statistics.median(run)) for place, run in enumerate(runs) if place not in (first, second)]
    if len(others) < 3:
        return None
    known = verdicts.Noise(sd=statistics.stdev(others), degrees=len(others) - 1)
    return verdicts.judge(verdicts.apart(runs[first], runs[second], known, confidence=confidence), margin)


def disturbed(measurement: Measurement) -> bool:
    """Whether the harness saw other programs take processors or the GPU while it measured."""
    return any(words in warning for warning in measurement.warnings for words in _NEIGHBOURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The noise that a comparison allows for."""

    noise: verdicts.Noise
    source: str
    disturbed: bool = False
    """Whether it was measured while other programs ran, too."""


def allowed(selftest: Selftest | None, workload: str, params: Mapping[str, Scalar]) -> Allowed:
    """The noise to allow a case.

    That of the same workload with the same kernel and dtype; else the greatest of the workload; else the greatest of all.
    """
    if selftest is None or not selftest.noise:
        return Allowed(noise=verdicts.Noise(sd=DEFAULT_SD), source=DEFAULT)
    same = [noise for noise in selftest.noise if noise.workload == workload]
    alike = [noise for noise in same if all(noise.params.get(key) == params.get(key) for key in ("dtype", "kernel"))]
    chosen = max(alike or same or selftest.noise, key=lambda noise: noise.between_runs_sd)
    of = " ".join(str(part) for part in (chosen.workload, chosen.params.get("kernel"), chosen.params.get("dtype")) if part)
    source = f"selftest of {selftest.created}: {chosen.runs} runs of {of} differ by {chosen.between_runs_sd:.2%} (sd)"
    known = verdicts.Noise(sd=chosen.between_runs_sd, degrees=chosen.runs - 1)
    return Allowed(noise=known, source=source, disturbed=2 * chosen.disturbed >= chosen.runs)
