"""Cases in, measurements out: try small, warm up until steady, sample for a time, check the result, divide.

The timer, the wall clock and the device are arguments, so that a test runs all of this in microseconds with scripted times.
Everything here runs in the process that calls it; `dltool.bench.isolation` gives each case a process of its own.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator

from msgspec import structs

from dltool import units
from dltool.bench import Prepared, Workload, sampling, sizing, stats, support_of, timers, witness
from dltool.bench.conditions import Sampler
from dltool.bench.devices import Device, import_torch, settings
from dltool.bench.explain import explain
from dltool.bench.plan import Plan
from dltool.bench.run_state import Run, describe, parameters
from dltool.errors import DltoolError
from dltool.results import Conditions, Measurement, Verified
from dltool.step_results import ModelStep

__all__ = [
    "CANNOT",
    "CLOCK_TIMED_FROM_S",
    "HARNESS_VERSION",
    "Interrupted",
    "Plan",
    "Progress",
    "describe",
    "failed",
    "measure",
    "own_precision",
    "parameters",
    "result",
    "run",
    "shared",
    "why",
]
HARNESS_VERSION = 2
"""Raised whenever the way of measuring changes: figures of different versions are not compared."""
Progress = Callable[[str], None]
_STEAL = 0.02
CLOCK_TIMED_FROM_S = 0.3
"""Timing the clock of a CPU takes some 30 ms, which shorter samplings do not spend."""


CANNOT = (DltoolError, RuntimeError, NotImplementedError, ValueError, TypeError, MemoryError, OverflowError)
"""How workloads, and torch, say that they cannot do a thing."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a case; `partial` is what it had by then."""

    def __init__(self, partial: Measurement) -> None:
        super().__init__(partial)
        self.partial = partial


def run(
    cases: Iterable[tuple[str, Workload]],
    device: Device,
    plan: Plan,
    *,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = lambda _text: None,
) -> Iterator[Measurement]:
    """Measure every case, one after the other, in this process; one that cannot run is a measurement that says why.

    What a case leaves of a budget is shared by those after it.

    Raises:
        Interrupted: Ctrl-C; holds the measurement of the case in hand.
    """
    chosen = list(cases)
    began = clock()
    with own_precision(device):
        for number, (name, workload) in enumerate(chosen):
            progress(describe(name, workload))
            yield measure(name, workload, device, shared(plan, clock() - began, len(chosen) - number), clock=clock)


def shared(plan: Plan, spent_s: float, cases_left: int) -> Plan:
    """The plan of the next case after so much of the budget is spent."""
    return plan.with_left((plan.budget_s or 0.0) - spent_s, cases_left)


@contextlib.contextmanager
def own_precision(device: Device) -> Iterator[None]:
    """Workloads choose how torch multiplies fp32, sums fp16 and searches in cuDNN; the caller gets back what was set before."""
    if device.kind not in ("cpu", "cuda"):
        yield
        return
    torch = import_torch()
    before, cudnn, products = torch.get_float32_matmul_precision(), torch.backends.cudnn, torch.backends.cuda.matmul
    switches = cudnn.allow_tf32, cudnn.benchmark
    sums = getattr(products, "allow_fp16_accumulation", None)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        cudnn.allow_tf32, cudnn.benchmark = switches
        if sums is not None:
            products.allow_fp16_accumulation = sums


def measure(
    name: str, workload: Workload, device: Device, plan: Plan, *, clock: Callable[[], float] = time.perf_counter
) -> Measurement:
    """Measure one case within `plan.cap_s`.

    Raises:
        Interrupted: Ctrl-C.
    """
    state = Run(workload, device, plan, clock, clock())
    sampler = Sampler(device, measure_clock=plan.sampling_s >= CLOCK_TIMED_FROM_S)
    verified: Verified | None = None
    not_run: str | None = None
    no_memory: str | None = None
    prepared: Prepared | None
    try:
        state.workload, prepared, step_s = sizing.fitting_size(state)
        state.work = prepared.work
        state.suit(step_s, prepared.step)
        sampling.warm_up(state, prepared, step_s, sampler.glance)
        with sampler:
            sampling.sample(state, prepared)
        verified = prepared.verify()
        if support_of(state.workload, device) is not None:
            state.kernel = witness.watch(device, prepared.step)
        if prepared.examine is not None:
            state.model = prepared.examine(state.seconds)
    except KeyboardInterrupt:
        state.warnings.append("interrupted: fewer samples than planned, result not verified")
        raise Interrupted(result(name, state, sampler, None, None if state.seconds else "interrupted")) from None
    except CANNOT as error:
        not_run = why(error)
        no_memory = str(error) if sizing.is_out_of_memory(error) else None
    finally:
        prepared = None  # the arrays go before the memory that they took is given back
        with contextlib.suppress(ImportError, RuntimeError):  # a GPU that failed cannot give anything back
            state.release()
    explained = getattr(workload, "out_of_memory", None)
    if no_memory is not None and explained is not None:
        with contextlib.suppress(Exception):  # an explanation that fails costs itself alone
            state.out_of_memory = explained(device, no_memory)
    return result(name, state, sampler, verified, not_run)


def failed(name: str, workload: Workload, device: Device, reason: str) -> Measurement:
    """The row of a case of which nothing is known but why it did not run."""
    return Measurement(
        workload=name,
        params=parameters(workload),
        device=f"{device.name} {device.board.name}",
        dtype=workload.dtype,
        label=getattr(workload, "label", ""),
        size=getattr(workload, "size", ""),
        work=workload.work(),
        rate_unit=workload.rate_unit,
        settings={"harness": HARNESS_VERSION},
        not_run=reason,
    )


def result(name: str, state: Run, sampler: Sampler, verified: Verified | None, not_run: str | None) -> Measurement:
    """The row of a case: what was measured of it, and what follows."""
    conditions, power_w = structs.replace(sampler.conditions(), cpu_share=state.cpu_share), sampler.mean_power_w()
    workload, device, seconds = state.workload, state.device, state.seconds
    work = state.work or workload.work()
    unit = workload.rate_unit
    amount = work.bytes if unit == "B/s" else work.ops
    median = statistics.median(seconds) if seconds else None
    peak = workload.peak(device)
    right = verified is None or verified.ok
    rate = amount / median if median and right else None
    support = support_of(workload, device, state.kernel, not_run)
    doubts = [*workload.doubts(device), *_doubts(conditions, verified)] if seconds else []
    warnings = [*state.warnings, *stats.warnings(seconds), *doubts]
    measured = Measurement(
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
        burst_s=state.burst_s,
        cold_s=state.cold_s,
        energy_j=power_w * median if power_w is not None and median is not None else None,
        implementation=None if not_run else str(support) if support else workload.implementation(device),
        support=support.state if support else None,
        kernel=(support.kernel if support else None) or state.kernel,
        conditions=conditions,
        verified=verified,
        settings={**settings(device), "timer": timers.name_of(state.timer or device.timer), "harness": HARNESS_VERSION},
        overhead_s=max(0.0, state.clock() - state.began - sum(seconds) * state.steps),
        not_run=not_run,
        model=_with_energy(state.model, power_w),
        out_of_memory=state.out_of_memory,
    )
    return explain(measured, device)


def _with_energy(model: ModelStep | None, power_w: float | None) -> ModelStep | None:
    """The step of a model with what a unit of it took, from the power that was drawn."""
    if model is None or power_w is None or not model.throughput:
        return model
    return structs.replace(model, joules_per_unit=power_w / model.throughput)


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
        named = f": {', '.join(conditions.other_names)}" if conditions.other_names else ""
        found.append(f"{conditions.other_processes} other programs used this GPU{named}")
    if conditions.quota_wait_s:
        found.append(f"the control group's CPU quota stopped it for {units.seconds(conditions.quota_wait_s)}")
    if conditions.steal is not None and conditions.steal > _STEAL:
        found.append(f"the hypervisor gave {conditions.steal:.0%} of the processors' time to others")
    return found


def why(error: BaseException) -> str:
    """Why a case did not run, and what to do, in one line."""
    if isinstance(error, DltoolError):
        return f"{error}. {error.remedy}" if error.remedy else str(error)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
