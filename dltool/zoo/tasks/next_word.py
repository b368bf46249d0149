"""The next word of each text, read step by step; cross-entropy. Words lie (T, N), and the model gives its state besides."""

from __future__ import annotations

from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task


def targets(_model: nn.Module, inputs: Inputs, _chance: Generator) -> Tensor:
    """Each word's successor, (T, N); a text goes on with its own beginning."""
    return inputs[0].roll(-1, dims=0)


def loss(model: nn.Module, inputs: Inputs, successors: Tensor) -> Tensor:
    """Cross-entropy of the successors; the state is not carried on, as no step comes after."""
    logits, _ = model(*inputs)
    return functional.cross_entropy(logits.flatten(0, 1).float(), successors.flatten())


TASK = Task(unit="word", targets=targets, loss=loss, per_sample=lambda inputs: inputs[0].shape[0])
