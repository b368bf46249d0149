"""BERT's pre-training: the tokens that were masked, and whether one sentence follows the other; two cross-entropies.

Source: Devlin et al. 2018, section 3.1: 15 of 100 tokens are to be guessed.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task

_SHARE = 0.15
_LEFT_OUT = -100
"""Stands where there is nothing to guess; cross_entropy passes it over."""


def targets(_model: nn.Module, inputs: Inputs, chance: Generator) -> tuple[Tensor, Tensor]:
    """Masked tokens, (N, T), -100 elsewhere, and which of two sentences follow one another, (N)."""
    ids = inputs[0]
    batch, length = ids.shape
    masked = torch.rand(ids.shape, generator=chance).topk(max(1, round(_SHARE * length)), dim=1).indices
    others = ids.flatten()[torch.randperm(ids.numel(), generator=chance).to(ids.device)].view_as(ids)
    hidden = torch.zeros(ids.shape, dtype=torch.bool).scatter(1, masked, value=True).to(ids.device)
    follows = torch.randint(2, (batch,), generator=chance).to(ids.device)
    return others.where(hidden, _LEFT_OUT), follows


def loss(model: nn.Module, inputs: Inputs, wanted: tuple[Tensor, Tensor]) -> Tensor:
    """The sum of both cross-entropies."""
    tokens, follows = wanted
    guessed, relation = model(*inputs)
    of_tokens = functional.cross_entropy(guessed.flatten(0, 1).float(), tokens.flatten(), ignore_index=_LEFT_OUT)
    return of_tokens + functional.cross_entropy(relation.float(), follows)


TASK = Task(unit="token", targets=targets, loss=loss, per_sample=lambda inputs: inputs[0].shape[1])
