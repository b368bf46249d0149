"""Pairs of images are of one kind or not; binary cross-entropy."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task


def targets(_model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """1 for a pair of one kind, 0 for another, as many of each, in random order: (N, 1)."""
    pairs = len(inputs[0])
    same = torch.arange(pairs)[torch.randperm(pairs, generator=chance)] % 2
    return same[:, None].float().to(inputs[0].device)


def loss(model: nn.Module, inputs: Inputs, same: Tensor) -> Tensor:
    """Binary cross-entropy of the model's probabilities."""
    probability = model(*inputs)
    with torch.autocast(probability.device.type, enabled=False):
        return functional.binary_cross_entropy(probability.float(), same)


TASK = Task(unit="pair", targets=targets, loss=loss)
