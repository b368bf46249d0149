"""Two or more cases measured in turn in one process, so that whatever drifts meets all of them alike: A B B A A B B A ...

    (a, b) = interleave([("gemm", case_a), ("gemm", case_b)], device, plan)

gives one measurement each, whose `seconds` belong together by their index: sample i of each was taken in the same round. The
difference of two cases is judged by these pairs, not by two medians. `alternate` does the same for bare steps. All cases hold
their data at once; a case that cannot run is a row that says why, and the others go on without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dltool.bench import Prepared, Workload, harness, sampling, sizing
from dltool.bench.conditions import Sampler
from dltool.bench.devices import Device, import_torch
from dltool.bench.plan import Plan
from dltool.bench.run_state import Run
from dltool.results import Measurement


@dataclass(slots=True)
class _Case:
    name: str
    state: Run
    prepared: Prepared | None = None
    failed: str | None = None
    precision: str | None = None
    """How torch multiplies fp32 in this case: one switch for the whole process, which is set anew for each sample."""


def interleave(
    cases: Sequence[tuple[str, Workload]],
    device: Device,
    plan: Plan,
    *,
    clock: Callable[[], float] = time.perf_counter,
    progress: harness.Progress = lambda _text: None,
) -> tuple[Measurement, ...]:
    """Warm each case up, then sample them in turn for `plan.sampling_s` each, then check every result.

    Raises:
        harness.Interrupted: Ctrl-C while sampling; holds the first case with what it has.
    """
    sampler = Sampler(device, measure_clock=plan.sampling_s >= harness.CLOCK_TIMED_FROM_S)
    held: list[_Case] = []
    with harness.own_precision(device):
        for name, workload in cases:
            progress(harness.describe(name, workload))
            held.append(_warm(_Case(name, Run(workload, device, plan, clock, clock())), sampler))
        ready = [case for case in held if case.failed is None]
        try:
            with sampler:
                _in_turn(ready, plan.sampling_s * len(ready), clock)
        except KeyboardInterrupt:
            raise harness.Interrupted(_partial(held[0], sampler)) from None
        except harness.CANNOT as error:
            for case in ready:
                case.failed = harness.why(error)
        return tuple(_row(case, sampler) for case in held)


def _warm(case: _Case, sampler: Sampler) -> _Case:
    state = case.state
    try:
        state.workload, case.prepared, step_s = sizing.fitting_size(state)
        state.suit(step_s, case.prepared.step)
        sampling.warm_up(state, case.prepared, step_s, sampler.glance)
    except harness.CANNOT as error:
        case.failed = harness.why(error)
    if state.device.kind in ("cpu", "cuda"):
        case.precision = import_torch().get_float32_matmul_precision()
    return case


def _in_turn(ready: Sequence[_Case], duration_s: float, clock: Callable[[], float]) -> None:
    def sampler_of(case: _Case) -> Callable[[], float]:
        def sample() -> float:
            assert case.prepared is not None
            if case.precision is not None:
                import_torch().set_float32_matmul_precision(case.precision)
            return case.state.time(case.prepared.step)

        return sample

    samples = alternate([sampler_of(case) for case in ready], duration_s, clock=clock)
    for case, seconds in zip(ready, samples, strict=True):
        case.state.seconds.extend(seconds)


def alternate(
    samplers: Sequence[Callable[[], float]],
    duration_s: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
    least: int = 2,
) -> tuple[tuple[float, ...], ...]:
    """Call each of the samplers in turn, there and back, for a time; whole rounds only.

    Args:
        samplers: each takes one sample and gives its seconds.
        duration_s: for all together.
        clock: what tells the time.
        least: rounds that are done in any case.

    Returns:
        The samples of each, all of the same number.
    """
    began, taken = clock(), [list[float]() for _ in samplers]
    rounds = 0
    while samplers and (rounds < least or clock() - began < duration_s):
        order = range(len(samplers)) if rounds % 2 == 0 else reversed(range(len(samplers)))
        for number in order:
            taken[number].append(samplers[number]())
        rounds += 1
    return tuple(tuple(seconds) for seconds in taken)


def _row(case: _Case, sampler: Sampler) -> Measurement:
    verified = None
    if case.failed is None and case.prepared is not None:
        try:
            verified = case.prepared.verify()
        except harness.CANNOT as error:
            case.failed = harness.why(error)
    return harness.result(case.name, case.state, sampler, verified, case.failed)


def _partial(case: _Case, sampler: Sampler) -> Measurement:
    case.state.warnings.append("interrupted: fewer samples than planned, result not verified")
    return harness.result(case.name, case.state, sampler, None, case.failed or (None if case.state.seconds else "interrupted"))
