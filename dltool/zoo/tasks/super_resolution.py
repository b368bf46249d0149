"""Images enlarged, each pixel judged by its squared error, as SRCNN and SRResNet are trained."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task

_DETAIL = 0.1
"""Standard deviation of what the large images hold besides the small ones; those are normal numbers."""


def targets(model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """The inputs enlarged to the model's output, with random detail: (N, c, r H, r W)."""
    (images,) = inputs
    training = model.training
    with torch.no_grad():
        size = model.eval()(images[:1]).shape[2:]
    model.train(training)
    large = functional.interpolate(images.float(), size=size, mode="bilinear")
    return (large + _DETAIL * torch.randn(large.shape, generator=chance).to(large)).to(images)


def loss(model: nn.Module, inputs: Inputs, large: Tensor) -> Tensor:
    """Mean squared error of the pixels."""
    return functional.mse_loss(model(*inputs).float(), large.float())


TASK = Task(unit="image", targets=targets, loss=loss)
