"""A training step of a model of the zoo on images, as usual: SGD with momentum; on a GPU autocast and channels_last."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from dltool.bench.devices import Device
from dltool.bench.pipeline.decoding import MODES
from dltool.errors import UsageError
from dltool.zoo.entries import entry
from dltool.zoo.inputs import parse

if TYPE_CHECKING:
    from torch import Tensor

_HALF_FROM = (8, 0)
"""The compute capability from which bf16 is computed natively."""


def picture_of(name: str) -> tuple[int, int]:
    """Channels and side of the images that a model takes.

    Raises:
        UsageError: no such model, or it does not take one image alone.
    """
    inputs = parse(entry(name).input)
    sides = inputs[0].sides
    channels = sides[1] if len(sides) == 4 else None
    if len(inputs) > 1 or inputs[0].kind != "float" or channels not in MODES or sides[0] is not None or sides[2] is None:
        raise UsageError(
            f"{name} is not trained on single images (it takes {entry(name).input})",
            remedy="Choose a model of images, such as resnet50: dltool models lists all.",
        )
    return channels, sides[2]


class Training:
    """A model that learns."""

    def __init__(self, name: str, example_NCHW: Tensor, device: Device) -> None:
        import torch

        from dltool.zoo import subject

        made = subject.of_zoo(name)
        assert made.task is not None
        self._task = made.task
        self._model = made.make(device=device.name, training=True).train()
        self._cuda = device.kind == "cuda"
        if self._cuda:
            self._model = self._model.to(memory_format=torch.channels_last)
        self._targets = self._task.targets(self._model, (example_NCHW,), torch.Generator().manual_seed(1))
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-4, momentum=0.9)
        self.loss: Any = None
        """Of the last step, a tensor."""

    def __call__(self, images_NCHW: Tensor) -> None:
        """One step. Its targets are always the same: making them costs no time, and what is learnt is not looked at."""
        import torch

        self._optimizer.zero_grad(set_to_none=True)
        if self._cuda:
            images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", dtype=half(torch)) if self._cuda else nullcontext():
            self.loss = self._task.loss(self._model, (images_NCHW,), self._targets)
        self.loss.backward()
        self._optimizer.step()


def half(torch: Any) -> Any:
    """The dtype of autocast: bf16, and fp16 on GPUs before Ampere."""
    return torch.bfloat16 if torch.cuda.get_device_capability() >= _HALF_FROM else torch.float16


def repeated(train: Callable[[Any], object], images: Any) -> Callable[[], None]:
    """The step on data that is always there: what the device could do if it never waited."""
    return lambda: (train(images), None)[1]
