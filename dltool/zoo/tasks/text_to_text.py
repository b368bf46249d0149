"""The next token of the text that answers another; cross-entropy. Source: Raffel et al. 2019, section 3.1.2."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task
from dltool.zoo.tasks.translation import targets


def loss(model: nn.Module, inputs: Inputs, successors: Tensor) -> Tensor:
    """Cross-entropy of the successors."""
    return functional.cross_entropy(model(*inputs).flatten(0, 1).float(), successors.flatten())


TASK = Task(unit="token", targets=targets, loss=loss, per_sample=lambda inputs: inputs[-1].shape[1])
