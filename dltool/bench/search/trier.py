"""The one place where a search touches a device: prepare a shape, time it, keep the last few at hand."""

from __future__ import annotations

import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from dltool.bench import WORKLOADS, Prepared, Workload, harness
from dltool.bench.devices import Device
from dltool.bench.search.space import Shape
from dltool.errors import DltoolError
from dltool.results import Measurement
from dltool.shape_results import Trial

_SAMPLE_S = 0.003
"""Shortest sample: shorter steps are repeated within one, so that reading the clock costs nothing."""
_MOST_STEPS = 4096
_KEPT = 3


def workload(shape: Shape, dtype: str) -> Workload:
    """The product of this shape, as `bench gemm` measures it."""
    made: Workload = WORKLOADS.get("gemm")(m=shape.m, n=shape.n, k=shape.k, dtype=dtype)
    return made


class DeviceTrier:
    """Times shapes of one dtype on one device."""

    def __init__(self, device: Device, dtype: str, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._device = device
        self._dtype = dtype
        self._clock = clock
        self._ready: OrderedDict[Shape, tuple[Prepared, int]] = OrderedDict()

    def __call__(self, shape: Shape, stage: str, samples: int) -> Trial:
        """Time a shape; one that cannot run is a trial that says why."""
        began = self._clock()
        try:
            prepared, steps = self._prepared(shape)
            seconds = [self._device.timer(prepared.step, steps) / steps for _ in range(samples)]
        except harness.CANNOT as error:
            self.release()
            reason = str(error).strip().splitlines() or [""]
            text = f"{type(error).__name__}: {reason[0][:160]}" if not isinstance(error, DltoolError) else str(error)
            return Trial(m=shape.m, n=shape.n, k=shape.k, stage=stage, cost_s=self._clock() - began, error=text)
        return Trial(
            m=shape.m, n=shape.n, k=shape.k, stage=stage, seconds=tuple(seconds), steps=steps, cost_s=self._clock() - began
        )

    def _prepared(self, shape: Shape) -> tuple[Prepared, int]:
        """The shape with its data on the device, and how many of its steps make a sample.

        It has run then: compiling, loading and choosing an algorithm are not the work.
        """
        if shape in self._ready:
            self._ready.move_to_end(shape)
            return self._ready[shape]
        while len(self._ready) >= _KEPT:
            self._ready.popitem(last=False)
        prepared = workload(shape, self._dtype).prepare(self._device)
        self._device.timer(prepared.step, 1)
        self._ready[shape] = (prepared, self._steps(prepared))
        return self._ready[shape]

    def _steps(self, prepared: Prepared) -> int:
        """Steps that together last long enough, found from one upwards.

        Not foreseen from one quick step: where other programs hold threads up now and then, many steps take far longer than
        many times one, and a sample must not take seconds.
        """
        steps = 1
        while (took_s := self._device.timer(prepared.step, steps)) < _SAMPLE_S / 2 and steps < _MOST_STEPS:
            steps *= min(4, max(2, math.ceil(_SAMPLE_S / max(took_s, 1e-6))))
        return steps

    def release(self) -> None:
        """Let go of all data."""
        self._ready.clear()
        if self._device.kind == "cuda":
            with contextlib.suppress(ImportError):
                import torch

                torch.cuda.empty_cache()


def measure(
    shape: Shape, dtype: str, device: Device, budget_s: float, *, clock: Callable[[], float] = time.perf_counter
) -> Measurement:
    """A shape by the harness: warmed up until steady, fresh samples, the result checked, conditions kept.

    It is measured as it is and not at a smaller size, unless one step alone takes all of the budget.

    Raises:
        harness.Interrupted: Ctrl-C.
    """
    plan = replace(harness.Plan.for_budget(budget_s, 1), step_s=budget_s)
    return harness.measure("gemm", workload(shape, dtype), device, plan, clock=clock)


def bandwidth(device: Device, budget_s: float) -> float | None:
    """Bytes per second of memory: the board's, else by the quickest sample of a triad; None where neither is to be had.

    It is a bound: what a neighbour took of it must not make it lower.
    """
    if device.board.memory_gb_per_s:
        return device.board.memory_gb_per_s * 1e9
    from dltool.bench.workloads.memory import array_bytes

    triad = WORKLOADS.get("memory")(kernel="triad", bytes=array_bytes(device))
    measured = harness.measure("memory", triad, device, harness.Plan.for_budget(budget_s, 1))
    return measured.work.bytes / min(measured.seconds) if measured.seconds else None
