"""Pairs of a text and its image; each is to be nearest to its partner among all of the batch."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task


def targets(_model: nn.Module, inputs: Inputs, _chance: Generator) -> Tensor:
    """The number of each text's image: (N)."""
    texts, _images = inputs
    return torch.arange(len(texts), device=texts.device)


def loss(model: nn.Module, inputs: Inputs, partners: Tensor) -> Tensor:
    """The mean of both cross-entropies. Source: Radford et al. 2021, figure 3."""
    output = model(*inputs)
    texts, images = (functional.cross_entropy(output[f"logits_per_{of}"].float(), partners) for of in ("text", "image"))
    return (texts + images) / 2


TASK = Task(unit="pair", targets=targets, loss=loss)
