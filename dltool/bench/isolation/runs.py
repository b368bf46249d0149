"""The harness's `run`, with a child process for each case."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from dltool.bench import Workload, harness
from dltool.bench.devices import Device
from dltool.bench.isolation import memory
from dltool.bench.isolation.workers import Child, Died, Interrupted, Workers
from dltool.bench.plan import Plan
from dltool.results import Measurement

_ADDED_S = 15.0
"""For making a child, allocating and checking, beyond twice what the plan allows a case."""


def run(
    cases: Iterable[tuple[str, Workload]],
    device: Device,
    plan: Plan,
    workers: Workers,
    *,
    clock: Callable[[], float] = time.perf_counter,
    progress: harness.Progress = lambda _text: None,
) -> Iterator[Measurement]:
    """Measure every case in a child; whatever becomes of it is a row.

    Raises:
        harness.Interrupted: Ctrl-C; holds the measurement of the case in hand.
    """
    chosen = list(cases)
    began = clock()
    kept = Kept(workers, device)
    try:
        for number, (name, workload) in enumerate(chosen):
            progress(harness.describe(name, workload))
            yield kept.measure(name, workload, harness.shared(plan, clock() - began, len(chosen) - number))
    finally:
        kept.end()


class Kept:
    """The children of one device: one for each case on a CPU, one for as long as it is well on a GPU."""

    def __init__(self, workers: Workers, device: Device) -> None:
        self._workers = workers
        self._device = device
        self._child: Child | None = None

    def measure(self, name: str, workload: Workload, plan: Plan) -> Measurement:
        """One case; whatever becomes of it is a row.

        Raises:
            harness.Interrupted: Ctrl-C.
        """
        child = self._child or self._workers.make_child()
        self._child = None
        most = memory.limit(memory.available_bytes())
        try:
            measured: Measurement = self._workers.call(
                measure_here, name, workload, self._device, plan, most,
                timeout_s=2 * plan.cap_s + _ADDED_S + getattr(workload, "extra_s", 0.0), memory_bytes=most, child=child,
            )  # fmt: skip
        except Died as death:
            return harness.failed(name, workload, self._device, f"the process of this case {death}")
        except Interrupted as stop:
            partial = stop.partial or harness.failed(name, workload, self._device, "interrupted")
            raise harness.Interrupted(partial) from None
        if self._device.kind == "cuda" and measured.not_run is None:
            self._child = child
        else:
            self._workers.end(child)
        return measured

    def end(self) -> None:
        """End the child that is kept."""
        if self._child is not None:
            self._workers.end(self._child)


def measure_here(name: str, workload: Workload, device: Device, plan: Plan, most: int | None) -> Measurement:
    """What a child does: one case, with allocations that fail before they hurt others (CUDA reserves more than it takes)."""
    if device.kind == "cpu" and most is not None:
        memory.refuse_beyond(most)
    return harness.measure(name, workload, device, plan)
