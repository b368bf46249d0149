"""A course: a model trained from a seed until its epochs are over, with every loss and the scores on the way."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dltool.bench.learning import gradients, metrics
from dltool.bench.learning.lessons import Lesson
from dltool.bench.learning.trials import Trial
from dltool.bench.learning.ways import WAYS, Way
from dltool.zoo.building import build
from dltool.zoo.entries import entry
from dltool.zoo.tasks import task

if TYPE_CHECKING:
    from torch import nn

_MOMENTUM = 0.9
_ASKED_AT_ONCE = 256
_COMPARED = 2
"""Epochs at whose start the gradients are compared: weights by chance, and weights that have learnt."""


@dataclass
class Course:
    """How one training went."""

    seed: int
    losses: list[float] = field(default_factory=list)
    """Of every step; NaN and infinities as they came."""
    scores: list[tuple[int, float, float]] = field(default_factory=list)
    """Step, seconds of training until then, and the metric, after each epoch."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """All of them, at the end."""
    off: Mapping[str, float] = field(default_factory=dict)
    """How far the gradients of each parameter are from those of fp32, at the start and after the first epoch."""
    seconds: float = 0.0
    """Of training alone."""
    epochs: int = 0
    left_out: int = 0
    """Steps whose gradients overflowed, so that the scaled loss was lowered and nothing learnt."""


def train(trial: Trial, lesson: Lesson, way: Way, device: str, seed: int, *, deadline: float | None = None) -> Course:
    """Train from the weights and the order of this seed, the same in every way and on every device.

    Args:
        trial: what is trained, and how long.
        lesson: its data.
        way: the number format.
        device: as torch calls it.
        seed: of weights and order.
        deadline: on time.monotonic's clock: no epoch begins after it.
    """
    import torch

    course = Course(seed)
    model = fresh(trial, lesson, seed).to(device, getattr(torch, way.precision.weights))
    pupil = _Pupil(trial, way, model, device)
    order = torch.Generator().manual_seed(seed)
    for epoch in range(trial.epochs):
        if deadline is not None and time.monotonic() > deadline:
            break
        if epoch < _COMPARED:
            course.off = _worse(course.off, pupil.compared(lesson, seed))
        began = time.perf_counter()
        losses = [pupil.step(batch) for batch in lesson.batches(trial.batch, order)]
        course.losses += [float(loss) for loss in losses]  # which waits for the device
        course.seconds += time.perf_counter() - began
        course.epochs += 1
        course.metrics = metrics.of(trial.metric, *pupil.answers(lesson), lesson)
        course.scores.append((len(course.losses), course.seconds, course.metrics[trial.metric]))
    course.left_out = pupil.left_out
    return course


def fresh(trial: Trial, lesson: Lesson, seed: int) -> nn.Module:
    """The model with the weights of a seed, on the CPU in fp32."""
    import torch

    options: dict[str, Any] = dict(trial.options)
    if trial.folder and lesson.classes:
        options["num_outputs" if trial.model == "mlp" else "num_classes"] = lesson.classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(trial.model, training=True, **options)


def optimizer(trial: Trial, model: nn.Module) -> Any:
    """The optimizer of a trial."""
    import torch

    if trial.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=trial.rate, momentum=_MOMENTUM)
    return torch.optim.Adam(model.parameters(), lr=trial.rate)


class _Pupil:
    """A model that is trained in one way."""

    def __init__(self, trial: Trial, way: Way, model: nn.Module, device: str) -> None:
        import torch

        self._trial, self._way, self._model, self._device = trial, way, model, device
        self._kind = device.partition(":")[0]
        self._dtype = getattr(torch, way.precision.weights)
        self._loss = task(entry(trial.model).task).loss
        self._optimizer = optimizer(trial, model)
        self._scaler = torch.amp.GradScaler(self._kind, enabled=way.precision.scaled)
        self.left_out = 0

    def step(self, batch: Any) -> Any:
        """One step; the loss, still on the device."""
        batch = batch.to(self._device, self._dtype)
        self._model.train()
        self._optimizer.zero_grad(set_to_none=True)
        with self._way.arithmetic():
            loss = self._forward(self._model, batch)
            self._scaler.scale(loss).backward()
            self._scaler.step(self._optimizer)
        before = self._scaler.get_scale()
        self._scaler.update()
        self.left_out += self._scaler.get_scale() < before
        return loss.detach()

    def _forward(self, model: nn.Module, batch: Any) -> Any:
        with self._way.cast(self._kind):
            return self._loss(model, batch.inputs, batch.targets)

    def compared(self, lesson: Lesson, seed: int) -> dict[str, float]:
        """How far the gradients of one batch are from those of fp32 on the CPU, for the weights as they are.

        Weights and inputs are rounded to bfloat16 first, which every format holds: only the arithmetic differs then.
        """
        import torch

        batch = next(iter(lesson.batches(self._trial.batch, torch.Generator().manual_seed(seed)))).to("cpu", torch.bfloat16)
        moved = batch.to(self._device, self._dtype)
        scale = self._scaler.get_scale() if self._way.precision.scaled else 1.0
        twin = copy.deepcopy(self._model).to(torch.bfloat16).to(self._dtype)
        clean = fresh(self._trial, lesson, seed)
        clean.load_state_dict(twin.state_dict())
        with self._way.arithmetic():
            here = gradients.of(twin, lambda model: self._forward(model, moved) * scale, scale)
        batch = batch.to("cpu", torch.float32)
        with WAYS["fp32"].arithmetic():
            there = gradients.of(clean, lambda model: self._loss(model, batch.inputs, batch.targets), 1.0)
        return gradients.off(here, there)

    def answers(self, lesson: Lesson) -> tuple[Any, Any]:
        """What the model makes of what is asked, and what was to come out: on the CPU in fp32."""
        import torch

        self._model.eval()
        outputs, targets = [], []
        with torch.no_grad(), self._way.arithmetic(), self._way.cast(self._kind):
            for batch in lesson.asked(_ASKED_AT_ONCE):
                made = self._model(*batch.to(self._device, self._dtype).inputs)
                outputs.append((made[0] if isinstance(made, tuple) else made).float().cpu())
                targets.append(batch.targets)
        axis = 1 if lesson.time_first else 0
        answer = torch.cat(outputs, axis)
        wanted = torch.cat(targets, axis)
        return (answer[-len(wanted) :] if lesson.whole else answer), wanted


def _worse(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {name: max(first.get(name, 0.0), value, key=_nan_last) for name, value in second.items()}


def _nan_last(value: float) -> float:
    return float("inf") if value != value else value
