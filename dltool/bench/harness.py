"""Cases in, measurements out: try small, warm up until steady, sample for a time, check the result, divide.

The timer, the wall clock and the device are arguments, so that a test runs all of this in microseconds with scripted times.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dltool import units
from dltool.bench import Prepared, Workload, stats
from dltool.bench.conditions import Sampler
from dltool.bench.devices import Device, import_torch, settings
from dltool.errors import DltoolError
from dltool.results import Conditions, Measurement, Scalar, Verified

HARNESS_VERSION = 1
"""Raised whenever the way of measuring changes: figures of different versions are not compared."""
_TICK_S = 1e-6
"""No step counts as shorter: below the tick of CUDA events (half of this) a single one reads as nothing."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long to measure one case. Seconds."""

    case_s: float = math.inf
    """What all of the case may take; sampling ends then, but not before a third of its own time."""
    sampling_s: float = 2.0
    warmup_s: float = 2.0
    """The most that the warm-up may take; it ends earlier, as soon as it is steady."""
    sample_s: float = 0.01
    """Shortest sample: shorter steps are repeated within one, so that reading the clock costs nothing."""
    step_s: float = 0.5
    """Longest step: a case that would take longer is measured at a smaller size, which is said."""
    cap_s: float = 30.0
    """After so much wall time the case ends with what it has."""
    window: int = 5
    steady: float = 0.01
    """Medians of three windows within this of one another are steady."""

    @classmethod
    def for_budget(cls, budget_s: float, case_count: int) -> Plan:
        """Share a budget among cases; what trying, warming up and checking take is taken from the sampling."""
        share = budget_s / max(1, case_count)
        return cls(
            case_s=share * 0.98,
            sampling_s=share,
            warmup_s=min(0.3 * share, 0.3 + 0.03 * share, 5.0),
            step_s=share / 8,
            cap_s=max(2.0, share * 3),
        )


@dataclass(slots=True)
class _Run:
    """The state of one case while it is measured."""

    workload: Any
    device: Device
    plan: Plan
    clock: Callable[[], float]
    began: float
    warnings: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    steps: int = 1
    warmup_s: float | None = None

    def time_left(self) -> bool:
        return self.clock() - self.began < self.plan.cap_s


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a case; `partial` is what it had by then."""

    def __init__(self, partial: Measurement) -> None:
        super().__init__()
        self.partial = partial


def run(
    cases: Iterable[tuple[str, Workload]],
    device: Device,
    plan: Plan,
    *,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = lambda _text: None,
) -> Iterator[Measurement]:
    """Measure every case, one after the other; one that cannot run is a measurement that says why.

    Raises:
        Interrupted: Ctrl-C; holds the measurement of the case in hand.
    """
    with _own_precision(device):
        for name, workload in cases:
            progress(describe(name, workload))
            yield measure(name, workload, device, plan, clock=clock)


@contextlib.contextmanager
def _own_precision(device: Device) -> Iterator[None]:
    """Workloads choose how torch multiplies fp32 and cuDNN its algorithms; whoever called gets back what was set before."""
    if device.kind not in ("cpu", "cuda"):
        yield
        return
    torch = import_torch()
    before, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn
    switches = cudnn.allow_tf32, cudnn.benchmark
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        cudnn.allow_tf32, cudnn.benchmark = switches


def describe(name: str, workload: Workload) -> str:
    """A case in a few words, for the progress display."""
    return " ".join([name, *(f"{key}={value}" for key, value in parameters(workload).items())])


def parameters(workload: Workload) -> dict[str, Scalar]:
    """The fields of a workload: the result repeats what was run."""
    return {field.name: getattr(workload, field.name) for field in dataclasses.fields(workload)}  # type: ignore[arg-type]


def measure(
    name: str, workload: Workload, device: Device, plan: Plan, *, clock: Callable[[], float] = time.perf_counter
) -> Measurement:
    """Measure one case within `plan.cap_s`.

    Raises:
        Interrupted: Ctrl-C.
    """
    state = _Run(workload, device, plan, clock, clock())
    sampler = Sampler(device)
    verified: Verified | None = None
    not_run: str | None = None
    prepared: Prepared | None
    try:
        state.workload, prepared, step_s = _fitting_size(state)
        state.steps = max(1, round(plan.sample_s / max(step_s, _TICK_S)))
        _warm_up(state, prepared, step_s)
        with sampler:
            _sample(state, prepared)
        verified = prepared.verify()
    except KeyboardInterrupt:
        state.warnings.append("interrupted: fewer samples than planned, result not verified")
        raise Interrupted(_result(name, state, sampler.conditions(), None, None if state.seconds else "interrupted")) from None
    except DltoolError as error:
        not_run = str(error)
    except (
        RuntimeError,
        NotImplementedError,
        ValueError,
        TypeError,
        MemoryError,
        OverflowError,
    ) as error:  # torch says so when it cannot do a thing
        not_run = _first_line(error)
    finally:
        prepared = None  # the arrays go before the memory that they took is given back
        _release(device)
    return _result(name, state, sampler.conditions(), verified, not_run)


def _fitting_size(state: _Run) -> tuple[Workload, Prepared, float]:
    """Climb from tiny to the size asked for, as long as the next step is foreseen to stay within `plan.step_s`.

    Returns:
        The largest size that fits, prepared, and the seconds that one of its steps takes.
    """
    tried: list[tuple[int, float]] = []
    best: tuple[Workload, Prepared, float] | None = None
    for size in state.workload.sizes():
        foreseen = _foresee(tried, _cost(size))
        if best is not None and (foreseen > state.plan.step_s or not state.time_left()):
            asked = describe("asked for", state.workload)
            state.warnings.append(
                f"measured at a smaller size: one step as {asked} would take {units.seconds(foreseen)} or more"
            )
            break
        best = None  # let go of the smaller arrays before the larger are made
        prepared = size.prepare(state.device)
        state.device.timer(prepared.step, 1)  # compiling, loading and choosing an algorithm are not the work
        best = (size, prepared, _quickest_step(state, prepared))
        tried.append((_cost(size), best[2]))
    if best is None:
        raise ValueError("the workload offers no size")
    return best


def _foresee(tried: list[tuple[int, float]], cost: int) -> float:
    """Seconds of a step of this cost: along the line through the last two sizes, which leaves out what every step costs.

    One tiny size alone foretells nothing: on a busy machine it tells how long a thread waits for its turn.
    """
    if len(tried) < 2:
        return 0.0
    last_cost, last_s = tried[-1]
    before_cost, before_s = tried[-2]
    slope = max(0.0, last_s - before_s) / max(1, last_cost - before_cost)
    return last_s + slope * (cost - last_cost)


def _quickest_step(state: _Run, prepared: Prepared) -> float:
    """Seconds of the quickest of a few steps: the first ones of a tiny size tell more of waking threads than of the work."""
    times: list[float] = []
    while len(times) < 20 and sum(times) < 3 * state.plan.sample_s:
        times.append(state.device.timer(prepared.step, 1))
    return min(times)


def _cost(workload: Workload) -> int:
    work = workload.work()
    return max(work.ops, work.bytes)


def _warm_up(state: _Run, prepared: Prepared, step_s: float) -> None:
    """Run until three windows of samples in a row have the same median, or the time for it is up."""
    plan, began = state.plan, state.clock()
    medians: list[float] = []
    size = min(plan.window, max(1, int(plan.warmup_s / (6 * max(step_s, _TICK_S) * state.steps))))
    while state.clock() - began < plan.warmup_s and state.time_left():
        window = [state.device.timer(prepared.step, state.steps) / state.steps for _ in range(size)]
        medians.append(statistics.median(window))
        last = medians[-3:]
        if len(last) == 3 and max(last) - min(last) <= max(plan.steady, _noise(window)) * last[-1]:
            state.warmup_s = state.clock() - began
            return
    state.warnings.append(f"not steady after {state.clock() - began:.1f} s of warm-up")


def _noise(window: list[float]) -> float:
    """What the median of a window moves by chance: about its interquartile range over the root of its size."""
    spread = stats.iqr(window) or 0.0
    return float(spread / max(statistics.median(window), _TICK_S) / len(window) ** 0.5)


def _sample(state: _Run, prepared: Prepared) -> None:
    began, cpu_began = state.clock(), time.process_time()
    sampling_s = min(state.plan.sampling_s, max(state.began + state.plan.case_s - began, state.plan.sampling_s / 3))
    while state.clock() - began < sampling_s and state.time_left():
        state.seconds.append(state.device.timer(prepared.step, state.steps) / state.steps)
    if not state.seconds:
        state.seconds.append(state.device.timer(prepared.step, state.steps) / state.steps)
    if state.device.kind == "cpu":
        _notice_neighbours(state, state.clock() - began, time.process_time() - cpu_began)


def _notice_neighbours(state: _Run, wall_s: float, cpu_s: float) -> None:
    """A process that computes all the time gets all of its processors, unless others want them too."""
    share = cpu_s / (wall_s * state.device.threads) if wall_s > 0 else 1.0
    if 0 < share < 0.9:
        state.warnings.append(f"got {share:.0%} of {state.device.threads} processors: other programs ran, or threads waited")


def _result(name: str, state: _Run, conditions: Conditions, verified: Verified | None, not_run: str | None) -> Measurement:
    workload, device, seconds = state.workload, state.device, state.seconds
    work = workload.work()
    unit = workload.rate_unit
    amount = work.bytes if unit == "B/s" else work.ops
    median = statistics.median(seconds) if seconds else None
    peak = workload.peak(device)
    rate = amount / median if median else None
    doubts = [*workload.doubts(device), *_doubts(conditions, verified)] if seconds else []
    warnings = [*state.warnings, *stats.warnings(seconds), *doubts]
    return Measurement(
        workload=name,
        params=parameters(workload),
        device=f"{device.name} {device.board.name}",
        dtype=workload.dtype,
        label=getattr(workload, "label", ""),
        size=getattr(workload, "size", ""),
        seconds=tuple(seconds),
        steps_per_sample=state.steps,
        warmup_s=state.warmup_s,
        median_s=median,
        iqr_s=stats.iqr(seconds),
        ci95_s=stats.median_ci95(seconds),
        warnings=tuple(warnings),
        work=work,
        rate=rate,
        rate_unit=unit,
        peak=peak[0] if peak else None,
        peak_basis=peak[1] if peak else None,
        share_of_peak=rate / peak[0] if rate and peak else None,
        implementation=None if not_run else workload.implementation(device),
        conditions=conditions,
        verified=verified,
        settings={**settings(device), "harness": HARNESS_VERSION},
        overhead_s=state.clock() - state.began - sum(seconds) * state.steps,
        not_run=not_run,
    )


def _doubts(conditions: Conditions, verified: Verified | None) -> list[str]:
    """What was seen during the run that a reader of the figure must know."""
    found = []
    if verified is not None and not verified.ok:
        error = "no number" if verified.error is None else f"error {verified.error:.2g}"
        found.append(f"WRONG RESULT: {error}, tolerance {verified.tolerance:.2g} against {verified.reference}")
    held = set(conditions.throttle or ()) & {
        "hw_slowdown",
        "hw_thermal_slowdown",
        "sw_thermal_slowdown",
        "hw_power_brake_slowdown",
    }
    if held:
        found.append(f"throttled: {', '.join(sorted(held))}")
    if conditions.other_processes:
        found.append(f"{conditions.other_processes} other programs used this GPU")
    return found


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def _release(device: Device) -> None:
    """Give the device's memory back before the next case."""
    if device.kind == "cuda":
        with contextlib.suppress(ImportError):
            import torch

            torch.cuda.empty_cache()
