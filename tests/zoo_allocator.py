"""What torch's allocator really hands out on this CPU, as its profiler sees every allocation and release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from zoo_small import Small

from dltool.zoo import Entry, build
from dltool.zoo.inputs import tensors
from dltool.zoo.subject import Subject, step_of
from dltool.zoo.tasks import task


def peak_of(run: Callable[[], Any]) -> int:
    """The most bytes that were allocated at once inside `run`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    sizes: list[tuple[int, int]] = []
    waiting = list(seen.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.tag.name == "Allocation":
            sizes.append((event.start_time_ns, event.extra_fields.alloc_size))
    live = peak = 0
    for _, size in sorted(sizes, key=lambda pair: pair[0]):
        live += size
        peak = max(peak, live)
    return peak


def training_peak(subject: Subject, batch: int, optimizer: type[torch.optim.Optimizer], **arguments: Any) -> int:
    """Of two training steps, the model's making included."""

    def run() -> None:
        step = step_of(subject, batch, "cpu")
        descent = optimizer((p for p in step.model.parameters() if p.requires_grad), **arguments)
        for _ in range(2):
            descent.zero_grad()
            step.loss().backward()
            descent.step()

    return peak_of(run)


def inference_peak(subject: Subject, batch: int) -> int:
    """Of a forward in eval mode."""

    def run() -> None:
        model = subject.make(device="cpu").eval()
        inputs = subject.inputs(batch, device="cpu")
        with torch.no_grad():
            model(*inputs)

    return peak_of(run)


def in_small(entry: Entry, small: Small) -> Subject:
    """A model of the zoo at the size of its tests."""
    options: Mapping[str, Any] = {**entry.options, **small.options}

    def make(*, device: Any = None, dtype: Any = None, training: bool = False) -> torch.nn.Module:
        return build(entry.name, device=device, dtype=dtype, training=training, **options)

    def inputs(batch: int, *, device: Any = "cpu", dtype: Any = None) -> tuple[Any, ...]:
        return tensors(small.input or entry.input, batch, device=device, dtype=dtype)

    return Subject(name=entry.name, make=make, inputs=inputs, task=task(entry.task))
