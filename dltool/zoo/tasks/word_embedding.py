"""Which words stand around another, and which were drawn at random: negative sampling.

Source: Mikolov et al. 2013, section 2.2: five random words to each that was seen. The contexts of a word are padded to one
length, and the padding is left out of the loss.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task

_NEGATIVES = 5


def targets(_model: nn.Module, inputs: Inputs, chance: Generator) -> tuple[Tensor, Tensor]:
    """Both (N, C): 1 where a word was seen, and 1 where there is one; those seen come first, then theirs at random."""
    _, others = inputs
    count, length = others.shape
    seen = torch.randint(1, length // (1 + _NEGATIVES) + 1, (count, 1), generator=chance)
    places = torch.arange(length)
    made = ((places < seen).float(), (places < seen * (1 + _NEGATIVES)).float())
    return made[0].to(others.device), made[1].to(others.device)


def loss(model: nn.Module, inputs: Inputs, wanted: tuple[Tensor, Tensor]) -> Tensor:
    """Binary cross-entropy of each word: the mean over those of a centre, then over the centres."""
    seen, there = wanted
    logits = model(*inputs).squeeze(1).float()
    each = functional.binary_cross_entropy_with_logits(logits, seen, weight=there, reduction="none")
    return (each.sum(dim=1) / there.sum(dim=1)).mean()


TASK = Task(unit="word", targets=targets, loss=loss)
