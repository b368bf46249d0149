"""Where in a text the answer starts and ends; the mean of two cross-entropies. Source: Devlin et al. 2018, section 4.2."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task


def targets(_model: nn.Module, inputs: Inputs, chance: Generator) -> tuple[Tensor, Tensor]:
    """First and last place of each answer, (N) and (N)."""
    batch, length = inputs[0].shape
    first, last = torch.randint(length, (2, batch), generator=chance).sort(dim=0).values.to(inputs[0].device)
    return first, last


def loss(model: nn.Module, inputs: Inputs, wanted: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy over the places, the mean of start and end."""
    starts, ends = model(*inputs)
    first, last = wanted
    return (functional.cross_entropy(starts.float(), first) + functional.cross_entropy(ends.float(), last)) / 2


TASK = Task(unit="sequence", targets=targets, loss=loss)
