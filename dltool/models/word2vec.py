"""word2vec: skip-gram with negative sampling.

Mikolov et al. 2013, Distributed Representations of Words and Phrases and their Compositionality.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SkipGram(nn.Sequential):
    """Two vectors for each word: one for where it is the centre, one for where it stands around another."""

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__(nn.Embedding(vocab_size, width), nn.Embedding(vocab_size, width))

    def forward(self, center: Tensor, contexts_and_negatives: Tensor) -> Tensor:
        """(N, 1) and (N, C) -> (N, 1, C): how likely each word stands around the centre, as a logit."""
        centres, others = self[0](center), self[1](contexts_and_negatives)
        return torch.bmm(centres, others.transpose(1, 2))


def word2vec(*, vocab_size: int = 6719, width: int = 100) -> SkipGram:
    """Skip-gram with negative sampling; the vocabulary is that of the Penn Treebank's words seen ten times or more."""
    return SkipGram(vocab_size, width)
