"""The next token of each text; cross-entropy. Tokens lie (N, T)."""

from __future__ import annotations

from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task


def targets(_model: nn.Module, inputs: Inputs, _chance: Generator) -> Tensor:
    """Each token's successor, (N, T); a text goes on with its own beginning."""
    return inputs[0].roll(-1, dims=1)


def loss(model: nn.Module, inputs: Inputs, successors: Tensor) -> Tensor:
    """Cross-entropy of the successors."""
    return functional.cross_entropy(model(*inputs).flatten(0, 1).float(), successors.flatten())


TASK = Task(unit="token", targets=targets, loss=loss, per_sample=lambda inputs: inputs[0].shape[1])
