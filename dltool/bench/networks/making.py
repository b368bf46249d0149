"""A model with its inputs on a device, in the precision and layout that are asked for, and the parts of its step."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.bench.devices import Device, Step
from dltool.bench.networks import precision as precisions
from dltool.bench.networks.precision import Precision
from dltool.errors import CannotRun
from dltool.zoo import providers
from dltool.zoo.memory import OPTIMIZERS
from dltool.zoo.recorder import summed, tensors_in
from dltool.zoo.subject import Subject, of_source

if TYPE_CHECKING:
    from torch import Tensor, nn

_RATE = 1e-3
"""Learning rate: many steps on one batch of noise shall stay finite."""


@dataclass(slots=True)
class Network:
    """A model that is ready to make steps."""

    torch: Any
    device: Device
    subject: Subject
    precision: Precision
    model: nn.Module
    inputs: tuple[Any, ...]
    targets: Any = None
    optimizer: Any = None
    scaler: Any = None

    def forward(self) -> Any:
        """The outputs, in eval mode and without gradients."""
        with self.torch.inference_mode(), self.autocast():
            return self.model(*self.inputs)

    def loss(self, model: Any = None) -> Tensor:
        """Forward and loss, by the model's task, of `model` in place of its own where given."""
        called = self.model if model is None else model
        with self.autocast():
            of = self.subject.task
            if of is not None:
                return of.loss(called, self.inputs, self.targets)
            total: Tensor = summed(called(*self.inputs))
            return total

    def backward(self, loss: Tensor) -> None:
        """The gradients."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def update(self) -> None:
        """One step of the optimizer; the gradients go."""
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def train(self) -> Tensor:
        """A whole training step; gives the loss."""
        loss = self.loss()
        self.backward(loss)
        self.update()
        return loss.detach()

    def autocast(self) -> Any:
        """The context of forward and loss."""
        return precisions.autocast(self.torch, self.precision, self.device.kind)

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.kind == "cuda":
            self.torch.cuda.synchronize(self.device.name)


def subject_of(name: str, options: Mapping[str, str], description: str | None) -> Subject:
    """The model of a name, wherever it comes from; see `dltool.zoo.providers`.

    Raises:
        UsageError: no such model, option, or description of inputs.
        CannotRun: its package is missing or broken.
    """
    return of_source(providers.source(name), dict(options), description)


def options_of(text: str) -> dict[str, str]:
    """ "num_classes=10;width=8" taken apart."""
    return dict(part.split("=", 1) for part in text.split(";") if part)


def network(
    torch: Any, subject: Subject, device: Device, precision: Precision, *, batch: int, training: bool, weights: str = ""
) -> Network:
    """The model in float32 with its inputs; random weights, the same each time, or those of a file."""
    torch.manual_seed(0)
    model = subject.make(device=device.name, training=training).train(training)
    if weights:
        from dltool.zoo.weights import load

        load(model, Path(weights))
    inputs = subject.inputs(batch, device=device.name)
    made = Network(torch, device, subject, precision, model, inputs)
    if training and subject.task is not None:
        made.targets = subject.task.targets(model, inputs, torch.Generator().manual_seed(1))
    return made


def converted(made: Network, *, layout: str) -> str:
    """Cast, quantise and lay out, in place; gives what is to be said of it."""
    torch, said = made.torch, ""
    if made.precision.quantised:
        from dltool.bench.networks.quantised import quantised

        name = "int8" if made.precision.dtype == "int8" else "fp8"
        made.model, said = quantised(made.model, name, made.device)
    wanted = getattr(torch, made.precision.weights)
    if wanted is not torch.float32:
        made.model = made.model.to(wanted)
        made.inputs = tuple(_cast(one, wanted) for one in made.inputs)
        made.targets = _cast(made.targets, wanted) if isinstance(made.targets, torch.Tensor) else made.targets
    if layout == "channels_last":
        _channels_last(made)
    return said


def _cast(given: Any, wanted: Any) -> Any:
    import torch

    return given.to(wanted) if isinstance(given, torch.Tensor) and given.is_floating_point() else given


def _channels_last(made: Network) -> None:
    """Four- and five-dimensional tensors with their channels innermost.

    Raises:
        CannotRun: the model takes none.
    """
    formats = {4: made.torch.channels_last, 5: made.torch.channels_last_3d}
    if not any(tensor.dim() in formats for tensor in tensors_in(made.inputs)):
        raise CannotRun(f"{made.subject.name} takes no images: channels_last is for those", remedy="Leave it out.")
    for parameter in made.model.parameters():
        if parameter.dim() in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.dim()])
    made.inputs = tuple(
        one.contiguous(memory_format=formats[one.dim()]) if getattr(one, "dim", int)() in formats else one
        for one in made.inputs
    )


def with_optimizer(made: Network, name: str, *, capturable: bool = False) -> None:
    """Give it an optimizer, and a scaler where its precision needs one; `capturable`: by a CUDA graph."""
    kind, options = OPTIMIZERS[name]
    small = {**options, "lr": min(options.get("lr", 1.0), _RATE)}
    make = getattr(made.torch.optim, kind)
    if capturable and "capturable" in inspect.signature(make).parameters:
        small["capturable"] = True
    made.optimizer = make([p for p in made.model.parameters() if p.requires_grad], **small)
    if made.precision.scaled:
        made.scaler = made.torch.amp.GradScaler(made.device.kind)


def first(made: Network, step: Step) -> float:
    """Seconds of the first step: compiling, loading and choosing algorithms are in it."""
    made.wait()
    began = time.perf_counter()
    step()
    made.wait()
    return time.perf_counter() - began
