"""The state of one case while it is measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dltool.bench import Workload, timers
from dltool.bench.devices import Device
from dltool.bench.plan import Plan
from dltool.bench.timers import Step, Timer
from dltool.results import Scalar, Work
from dltool.step_results import ModelStep, OutOfMemory

TICK_S = 1e-6
"""No step counts as shorter: below the tick of CUDA events (half of this) a single one reads as nothing."""


@dataclass(slots=True)
class Run:
    """One case: what it is, and what was found so far."""

    workload: Any
    device: Device
    plan: Plan
    clock: Callable[[], float]
    began: float
    warnings: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    steps: int = 1
    prepare_s: float = 0.0
    """What making the data took; looking at all of it again, to check the result, takes about as long."""
    warmup_s: float | None = None
    burst_s: float | None = None
    cold_s: float | None = None
    cpu_share: float | None = None
    kernel: str | None = None
    """What ran, where somebody tells."""
    timer: Timer | None = None
    work: Work | None = None
    """What a step is found to do, where its workload does not know."""
    model: ModelStep | None = None
    out_of_memory: OutOfMemory | None = None

    def time_left(self) -> bool:
        """Whether the case may still take time."""
        return self.clock() - self.began < self.plan.cap_s

    def suit(self, step_s: float, step: Step) -> None:
        """Choose the timer, and the steps of a sample, for steps that take so long when they are quick.

        The number is grown up to what that asks for: where other programs compute, a step that waits for its threads may take
        a thousand times as long, and a sample of the full number minutes.
        """
        self.timer = timers.for_step(self.device.timer, step_s)
        wanted = max(1, round(self.plan.sample_s / max(step_s, TICK_S)))
        self.steps = 1
        while self.steps < wanted:
            took = self.time(step) * self.steps
            if took >= self.plan.sample_s:
                break
            self.steps = min(wanted, 4 * self.steps)

    def shorten(self, step_s: float) -> None:
        """Fewer steps for a sample, where they turned out to take so much longer that it would last for several samples."""
        if self.steps > 1 and step_s * self.steps > 4 * self.plan.sample_s:
            self.steps = max(1, round(self.plan.sample_s / step_s))

    def release(self) -> None:
        """Give back the device's memory that nothing holds any more."""
        if self.device.kind == "cuda":
            import torch

            torch.cuda.empty_cache()

    def time(self, step: Step) -> float:
        """One sample: seconds of a step."""
        return (self.timer or self.device.timer)(step, self.steps) / self.steps


def parameters(workload: Workload) -> dict[str, Scalar]:
    """The fields of a workload: the result repeats what was run."""
    return {field.name: getattr(workload, field.name) for field in dataclasses.fields(workload)}  # type: ignore[arg-type]


def describe(name: str, workload: Workload) -> str:
    """A case in a few words, for the progress display, and the same for the same case."""
    return " ".join([name, *(f"{key}={value}" for key, value in parameters(workload).items())])
