"""A sequence of vectors from another; mean squared error. Time comes first: (T, N, width)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task


def targets(model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """Vectors like the model's outputs, within (-1, 1)."""
    with torch.no_grad():
        out, _ = model(*inputs)
    return (2 * torch.rand(out.shape, generator=chance) - 1).to(out)


def loss(model: nn.Module, inputs: Inputs, wanted: Tensor) -> Tensor:
    """Mean squared error of the outputs; the state is not carried on, as no step comes after."""
    out, _ = model(*inputs)
    return functional.mse_loss(out.float(), wanted.float())


TASK = Task(unit="step", targets=targets, loss=loss, per_sample=lambda inputs: inputs[0].shape[0])
