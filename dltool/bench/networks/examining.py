"""What is found out of a step after it was timed: latencies, parts, memory, utilisation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dltool.bench import resident
from dltool.bench.devices import Device, Step
from dltool.bench.networks import figures, launches, parts
from dltool.bench.networks.making import Network
from dltool.bench.plan import Plan
from dltool.errors import DltoolError
from dltool.model_results import Flops, Prediction
from dltool.step_results import Accuracy, ModelStep, StepMemory
from dltool.zoo import flops as counting
from dltool.zoo.recorder import products_of
from dltool.zoo.subject import Subject, anywhere, forward_of, nominal, samples, step_of, stepping

_MOST_LATENCIES = 400
"""A p99 needs 368."""
_SHARE = 0.3
"""Of the time that the samples took, for each further look."""
_LEAST_S = 0.2
_LONG_S = Plan().sample_s
"""Longer steps are samples by themselves."""


@dataclass(slots=True, kw_only=True)
class Examined:
    """A step that was timed, and what was noted while it was made."""

    made: Network
    step: Step
    split: bool
    """Whether it is a training step that can be taken apart."""
    batch: int
    flops: Flops | None
    peak: tuple[float, str] | None
    before_bytes: int | None
    first_step_s: float
    build_s: float
    accuracy: Accuracy | None = None
    notes: list[str] = field(default_factory=list)
    predicted: Callable[[float], tuple[Prediction, ...]]
    """What a step that takes so many seconds here would take elsewhere."""

    def figures(self, seconds: Sequence[float]) -> ModelStep:
        """Everything that practitioners report of it."""
        made, median = self.made, statistics.median(seconds) if seconds else None
        unit, units = counted_units(made.subject, made.inputs, self.batch)
        most_s = max(_LEAST_S, _SHARE * sum(seconds))
        used = (
            figures.utilisation(self.flops, median, self.peak)
            if self.flops is not None and median
            else figures.Utilisation(formula="operations could not be counted")
        )
        held = memory(made.device, made.torch, self.before_bytes)
        split = parts.of_training(made, most_s) if self.split else ()
        return ModelStep(
            unit=unit,
            units=units,
            samples=self.batch,
            throughput=units / median if median else None,
            latencies=figures.latencies(self._single(seconds, most_s)),
            parts=(*split, *parts.of_data(made, most_s)),
            memory=held,
            flops=self.flops,
            mfu=used.mfu,
            hfu=used.hfu,
            formula=used.formula,
            first_step_s=self.first_step_s,
            build_s=self.build_s,
            launch_share=launches.waiting_share(made, self.step),
            accuracy=self.accuracy,
            prediction=self._elsewhere(median),
            notes=tuple(self.notes),
        )

    def _elsewhere(self, median: float | None) -> tuple[Prediction, ...]:
        try:
            return self.predicted(median) if median else ()
        except (DltoolError, RuntimeError) as error:  # the measurement stands without it
            self.notes.append(f"no prediction: {error}")
            return ()

    def _single(self, seconds: Sequence[float], most_s: float) -> Sequence[float]:
        """Seconds of steps that were each waited for; on a CPU those of the samples, where a sample is one step."""
        if self.made.device.kind == "cpu" and seconds and min(seconds) > _LONG_S:
            return seconds
        return single_steps(self.made, self.step, most_s)


def counted_units(subject: Subject, inputs: tuple[Any, ...], batch: int) -> tuple[str, int]:
    """What its throughput counts, and how many of them a step holds."""
    held = samples(subject, batch)
    if subject.task is None:
        return "sample", held
    return subject.task.unit, held * subject.task.per_sample(inputs)


def single_steps(made: Network, step: Step, most_s: float) -> list[float]:
    """Seconds of steps of which each is waited for: what a caller sees, launch and all."""
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < _MOST_LATENCIES and time.perf_counter() - began < most_s:
        made.wait()
        start = time.perf_counter()
        step()
        made.wait()
        found.append(time.perf_counter() - start)
    return found


def memory(device: Device, torch: Any, before: int | None) -> StepMemory:
    """The most that was held so far."""
    if device.kind != "cuda":
        return StepMemory(process=resident.beyond(before))
    return StepMemory(
        allocated=torch.cuda.max_memory_allocated(device.name),
        reserved=torch.cuda.max_memory_reserved(device.name),
        process=launches.process_bytes(device),
    )


def forget_peak(device: Device, torch: Any) -> None:
    """Begin anew to note the most that is held: what taking the reference took is not the step's."""
    if device.kind == "cuda":
        torch.cuda.reset_peak_memory_stats(device.name)
    else:
        resident.forget_peak()


def operations(subject: Subject, batch: int, *, training: bool) -> Flops | None:
    """Of a step, counted on the meta device where the model lets itself be made there; None where it cannot be counted."""
    import torch

    def inference(device: str) -> Flops:
        model, inputs = forward_of(subject, batch, device)
        return counting.of_products(products_of(torch.no_grad()(lambda: nominal(model)(*inputs))))

    def step(device: str, plain: bool) -> Flops:
        made = step_of(subject, batch, device, plain=plain)
        return counting.of_products(products_of(lambda: made.loss().backward()))

    try:
        return stepping(subject, batch, step)[0] if training else anywhere(inference)[0]
    except Exception:  # somebody's own model, which runs where it is timed and nowhere else
        return None
