"""The next token of a translation; cross-entropy with label smoothing. Source: Vaswani et al. 2017, section 5.4."""

from __future__ import annotations

from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task

_SMOOTHING = 0.1


def targets(_model: nn.Module, inputs: Inputs, _chance: Generator) -> Tensor:
    """Each target token's successor, (N, T); a sentence goes on with its own beginning. The target is the last input."""
    return inputs[-1].roll(-1, dims=1)


def loss(model: nn.Module, inputs: Inputs, successors: Tensor) -> Tensor:
    """Smoothed cross-entropy of the successors."""
    logits = model(*inputs).flatten(0, 1).float()
    return functional.cross_entropy(logits, successors.flatten(), label_smoothing=_SMOOTHING)


TASK = Task(unit="token", targets=targets, loss=loss, per_sample=lambda inputs: inputs[-1].shape[1])
