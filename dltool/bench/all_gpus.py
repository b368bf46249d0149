"""Every GPU one at a time, then all at once: how far they differ, who is behind, and what they cost one another.

GPUs of one node share its power, its cooling and its processors; a job that waits for all of them is as fast as the slowest.
Each has a process of its own. At once, all begin the same case together; their samples overlap as far as they warm up alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from msgspec.structs import replace

from dltool.bench import Workload, harness
from dltool.bench.devices import Device
from dltool.bench.isolation.runs import Kept
from dltool.bench.isolation.workers import Workers
from dltool.bench.plan import Plan
from dltool.results import Measurement
from dltool.units import percent

STRAGGLES = 0.05
"""Below the median of all from which a GPU is named: nodes in good order spread by less."""


class Measurer(Protocol):
    """What measures cases on one device."""

    def measure(self, name: str, workload: Workload, plan: Plan) -> Measurement:
        """One case."""

    def end(self) -> None:
        """Let the device go."""


def run(
    cases: Sequence[tuple[str, Workload]],
    devices: Sequence[Device],
    plan: Plan,
    workers: Workers,
    *,
    clock: Callable[[], float] = time.perf_counter,
    progress: harness.Progress = lambda _text: None,
    measurer: Callable[[Workers, Device], Measurer] = Kept,
) -> Iterator[Measurement]:
    """Each case on each device alone, then on all at once, with a remark on every row of how it compares.

    Raises:
        KeyboardInterrupt: Ctrl-C; what was yielded by then is whole.
    """
    began = clock()
    kept = [measurer(workers, device) for device in devices]
    left = rounds(len(cases), len(devices))
    try:
        for name, workload in cases:
            alone = []
            for device, one in zip(devices, kept, strict=True):
                progress(f"{device.name} alone: {harness.describe(name, workload)}")
                alone.append(one.measure(name, workload, harness.shared(plan, clock() - began, left)))
                left -= 1
            yield from _remarked(alone, "one at a time")
            if len(devices) > 1:
                progress(f"all {len(devices)} at once: {harness.describe(name, workload)}")
                together = _at_once(kept, name, workload, harness.shared(plan, clock() - began, left), workers)
                left -= 1
                yield from _remarked(together, "at once", alone)
    finally:
        for one in kept:
            one.end()


def rounds(cases: int, devices: int) -> int:
    """Into how many parts of equal time such a run is divided."""
    return cases * (devices + 1 if devices > 1 else 1)


def _at_once(kept: Sequence[Measurer], name: str, workload: Workload, plan: Plan, workers: Workers) -> list[Measurement]:
    with ThreadPoolExecutor(len(kept)) as pool:
        try:
            return list(pool.map(lambda one: one.measure(name, workload, plan), kept))
        except KeyboardInterrupt:
            workers.close()  # the threads wait for their children, and hear of no Ctrl-C
            raise


def _remarked(rows: Sequence[Measurement], how: str, alone: Sequence[Measurement] = ()) -> list[Measurement]:
    """The rows with what tells them apart from one another, and from the same alone."""
    rates = [row.rate for row in rows if row.rate]
    marked = []
    for number, row in enumerate(rows):
        found = list(row.warnings)
        if row.rate and len(rates) > 1:
            found += _place(row.rate, rates, how)
        before = alone[number].rate if alone else None
        if row.rate and before:
            found.append(f"with all {len(rows)} at work: {percent(row.rate / before)} of its rate alone")
        marked.append(replace(row, warnings=tuple(found), settings={**row.settings, "gpus_at_once": len(rows) if alone else 1}))
    return marked


def _place(rate: float, rates: Sequence[float], how: str) -> Iterator[str]:
    """What is said of one of several rates: of the slowest how far they spread, and whether it is a straggler."""
    if rate > min(rates):
        return
    middle = statistics.median(rates)
    yield f"slowest of {len(rates)} GPUs {how}; they spread by {percent((max(rates) - rate) / middle)}"
    if rate < (1 - STRAGGLES) * middle:
        yield f"a straggler: {percent(1 - rate / middle)} below their median"
