"""The three timed parts of a case: warm up until steady, sample for a time, and sample with an empty cache."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from dltool.bench import Prepared, stats, timers
from dltool.bench.run_state import TICK_S, Run
from dltool.bench.steady import LAST, Window, unsteady

Glance = Callable[[], tuple[float | None, float | None]]
"""The clock in MHz and the temperature in °C now."""
_COLD_SHARE = 0.1
"""Of the time for sampling, where a cold cache may matter."""
_COLD_MATTERS = 0.005
"""Filling the cache again costs at most what emptying it took: below this share of a step there is nothing to see."""
_LEAST_COLD = 3
_LEAST_PRECISE = 20
_PRECISE_SHARE = 0.25
"""Of the time for sampling: an interval from a shorter one would not know the slow swings of a machine."""


def warm_up(state: Run, prepared: Prepared, step_s: float, glance: Glance) -> None:
    """Run until windows of samples prove it steady, or the time for it is up."""
    plan, began = state.plan, state.clock()
    windows: list[Window] = []
    size = min(plan.window, max(1, int(plan.warmup_s / ((LAST + 3) * max(step_s, TICK_S) * state.steps))))
    moves: str | None = "no time for it"
    while state.clock() - began < plan.warmup_s and state.time_left():
        samples = tuple(_shortened(state, prepared) for _ in range(size))
        mhz, celsius = glance()
        windows.append(Window(samples=samples, ended_s=state.clock() - began, mhz=mhz, celsius=celsius))
        moves = unsteady(windows, plan.steady)
        if moves is None:
            break
    taken = state.clock() - began
    state.burst_s = min((window.median for window in windows[:3]), default=None)
    if moves is None:
        state.warmup_s = taken
    else:
        state.warnings.append(f"not steady after {taken:.1f} s of warm-up: {moves}")


def _shortened(state: Run, prepared: Prepared) -> float:
    seconds = state.time(prepared.step)
    state.shorten(seconds)
    return seconds


def sample(state: Run, prepared: Prepared) -> None:
    """Sample for the time that the plan leaves, or until the median is known as well as the plan wants."""
    began, cpu_began = state.clock(), time.process_time()
    left_s = state.began + state.plan.case_s - began - state.prepare_s
    sampling_s = min(state.plan.sampling_s, max(left_s, state.plan.sampling_s / 3))
    flush = _flush_worth_it(state)
    hot_s = sampling_s * (1 - _COLD_SHARE) if flush is not None else sampling_s
    while _goes_on(state, hot_s - (state.clock() - began), hot_s):
        state.seconds.append(state.time(prepared.step))
    if state.device.kind == "cpu":
        threads = getattr(state.workload, "threads", None)
        _notice_neighbours(
            state, state.clock() - began, time.process_time() - cpu_began, state.device.threads if threads is None else threads
        )
    if flush is not None and state.time_left():
        _sample_cold(state, prepared, flush, sampling_s * _COLD_SHARE)


def _goes_on(state: Run, left_s: float, all_s: float) -> bool:
    """Whether another sample is taken: at least one is, and none of which more than half would be too late."""
    seconds = state.seconds
    if not seconds:
        return True
    if left_s < seconds[-1] * state.steps / 2 or not state.time_left():
        return False
    if (
        state.plan.precision is None
        or len(seconds) < _LEAST_PRECISE
        or len(seconds) % 10
        or left_s > all_s * (1 - _PRECISE_SHARE)
    ):
        return True
    return stats.half_width(seconds) > state.plan.precision


def _flush_worth_it(state: Run) -> Callable[[], object] | None:
    """What empties the cache, where the data of a step may be held in it and filling it anew would take part of the step."""
    cache, work = state.device.llc_bytes, state.workload.work()
    if state.device.kind not in ("cpu", "cuda") or not cache or not 0 < work.bytes < 8 * cache or state.plan.sampling_s < 0.1:
        return None
    if cache > state.device.free_bytes / 4:
        return None
    flush = timers.flusher(state.device.name, cache)
    flush_s = min(state.device.timer(flush, 1) for _ in range(2))
    step_s = state.burst_s or TICK_S
    return flush if flush_s > _COLD_MATTERS * step_s else None


def _sample_cold(state: Run, prepared: Prepared, flush: Callable[[], object], most_s: float) -> None:
    """Single steps, each after the cache was filled with other data."""
    began = state.clock()
    timer = state.timer or state.device.timer
    found: list[float] = []
    while state.time_left() and (len(found) < _LEAST_COLD or state.clock() - began < most_s):
        flush()
        found.append(timer(prepared.step, 1))
    if len(found) >= _LEAST_COLD:
        state.cold_s = statistics.median(found)


def _notice_neighbours(state: Run, wall_s: float, cpu_s: float, threads: int) -> None:
    """A process that computes all the time gets all of its processors, unless others want them too."""
    if not threads:  # other processes compute
        return
    share = cpu_s / (wall_s * threads) if wall_s > 0 else 1.0
    state.cpu_share = min(1.0, share)
    if 0 < share < 0.9:
        state.warnings.append(
            f"got {share:.0%} of {threads} processor{'s' * (threads != 1)}: other programs ran, or threads waited"
        )
