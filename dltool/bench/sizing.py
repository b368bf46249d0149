"""Climb from a tiny size to the one asked for, so that a slow case is found out before it takes minutes."""

from __future__ import annotations

from dataclasses import replace

from dltool import units
from dltool.bench import Prepared, Workload, timers
from dltool.bench.run_state import Run, parameters

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "std::bad_alloc")
"""What torch's allocators say, on CUDA and on a CPU."""


def fitting_size(state: Run) -> tuple[Workload, Prepared, float]:
    """Climb as long as the next step is foreseen to stay within `plan.step_s`, and memory suffices.

    Returns:
        The largest size that fits, prepared, and the seconds that one of its steps takes.
    """
    tried: list[tuple[int, float]] = []
    best: tuple[Workload, Prepared, float] | None = None
    whole = state.workload
    for size in state.workload.sizes():
        foreseen = _foresee(tried, _cost(size))
        if best is not None and (foreseen > state.plan.step_s or not state.time_left()):
            state.warnings.append(f"measured at a smaller size: {_reason(_asked(whole, best[0]), foreseen, state.plan.step_s)}")
            break
        smaller = best[0] if best is not None else None
        best = None  # let go of the smaller arrays before the larger are made
        try:
            best = _tried(state, size)
        except (RuntimeError, MemoryError) as error:
            if smaller is None or not is_out_of_memory(error):
                raise
        if best is None:  # outside of the handler, which would keep what was allocated
            assert smaller is not None
            state.release()
            state.warnings.append(f"measured at a smaller size: there is no memory for it as {_asked(whole, smaller)}")
            return _tried(state, smaller)
        tried.append((_cost(size), best[2]))
    if best is None:
        raise ValueError("the workload offers no size")
    return best


def _asked(whole: Workload, smaller: Workload) -> str:
    """What was asked for, as far as it is not what was measured."""
    measured = parameters(smaller)
    changed = [f"{key}={value}" for key, value in parameters(whole).items() if value != measured[key]]
    return " ".join(["asked for", *changed])


def _reason(asked: str, foreseen_s: float, most_s: float) -> str:
    """What is foreseen to be short was left out because the time for trying was over."""
    if foreseen_s > most_s:
        return f"one step as {asked} would take {units.seconds(foreseen_s)} or more"
    return f"there was no time to try it as {asked}"


def _tried(state: Run, size: Workload) -> tuple[Workload, Prepared, float]:
    began = state.clock()
    prepared = size.prepare(state.device)
    state.prepare_s = state.clock() - began
    if prepared.on_host:
        state.device = replace(state.device, timer=timers.host_timer)
    state.device.timer(prepared.step, 1)  # compiling, loading and choosing an algorithm are not the work
    return size, prepared, _quickest_step(state, prepared)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY)


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


def _quickest_step(state: Run, prepared: Prepared) -> float:
    """Seconds of the quickest of a few steps: the first ones of a tiny size tell more of waking threads than of the work."""
    times: list[float] = []
    while len(times) < 20 and sum(times) < 3 * state.plan.sample_s:
        times.append(state.device.timer(prepared.step, 1))
    return min(times)


def _cost(workload: Workload) -> int:
    work = workload.work()
    return max(work.ops, work.bytes)
