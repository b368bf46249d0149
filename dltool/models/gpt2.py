"""GPT-2: a decoder that predicts the next token, normalised before each part.

Radford et al. 2019, Language Models are Unsupervised Multitask Learners. Names as in the checkpoints that everyone loads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.causal import KVCache, causal_attention


class Conv1D(nn.Module):
    """A linear layer whose weight lies (in, out), as the checkpoints have it."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c_in, c_out).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """(..., c_in) -> (..., c_out)."""
        return functional.linear(x, self.weight.T, self.bias)


class Attention(nn.Module):
    """Causal self-attention of several heads.

    Args:
        layer: its place, under which it finds its keys and values in a cache.
        width, heads, dropout: of the model.
    """

    def __init__(self, layer: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layer, self.heads, self.dropout = layer, heads, dropout
        self.c_attn = Conv1D(width, 3 * width)
        self.c_proj = Conv1D(width, width)
        self.resid_dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, kept: Tensor | None, cache: KVCache | None) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.c_attn(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
        out = causal_attention(q, k, v, kept, dropout=self.dropout if self.training else 0.0)
        return self.resid_dropout(self.c_proj(out.transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    """Four times as wide inside; the tanh form of GELU."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.c_fc = Conv1D(width, 4 * width)
        self.c_proj = Conv1D(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        return self.dropout(self.c_proj(functional.gelu(self.c_fc(x), approximate="tanh")))


class Block(nn.Module):
    """Attention and MLP, each added to what it was given."""

    def __init__(self, layer: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(layer, width, heads, dropout)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width, dropout)

    def forward(self, x: Tensor, kept: Tensor | None, cache: KVCache | None) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        x = x + self.attn(self.ln_1(x), kept, cache)
        return x + self.mlp(self.ln_2(x))


class GPT2Model(nn.Module):
    """Tokens and positions embedded, the blocks, a last norm."""

    def __init__(self, layers: int, width: int, heads: int, vocab_size: int, positions: int, dropout: float) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab_size, width)
        self.wpe = nn.Embedding(positions, width)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(Block(layer, width, heads, dropout) for layer in range(layers))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, ids: Tensor, kept: Tensor | None, cache: KVCache | None) -> Tensor:
        """(N, T) -> (N, T, width)."""
        first = 0 if cache is None else cache.seen
        places = torch.arange(ids.shape[1], device=ids.device) + first  # which may be a number on the device
        x = self.drop(self.wte(ids) + self.wpe(places))
        for block in self.h:
            x = block(x, kept, cache)
        return self.ln_f(x)


class GPT2LMHeadModel(nn.Module):
    """GPT-2 with its head, which is the embedding of the tokens once more."""

    def __init__(self, layers: int, width: int, heads: int, vocab_size: int, positions: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.transformer = GPT2Model(layers, width, heads, vocab_size, positions, dropout)
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        self._initialise(layers)

    def _initialise(self, layers: int) -> None:
        """The more layers add to the residual path, the smaller they start. Source: Radford et al. 2019, section 2.3."""
        nn.init.normal_(self.transformer.wte.weight, std=0.02)
        nn.init.normal_(self.transformer.wpe.weight, std=0.02)
        for block in self.transformer.h:
            for last in (block.attn.c_proj, block.mlp.c_proj):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * layers))

    def cache(self, batch: int, length: int) -> KVCache:
        """An empty cache for `batch` sequences of at most `length` tokens."""
        table = self.transformer.wte.weight
        width = table.shape[1] // self.heads
        return KVCache(layers=len(self.transformer.h), batch=batch, heads=self.heads, length=length, width=width, like=table)

    def forward(
        self, input_ids: Tensor, past_key_values: KVCache | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """(N, T) -> logits (N, T, vocab_size) of the token after each.

        Args:
            input_ids: the tokens; with a cache those after what it has seen.
            past_key_values: from `cache`; extended by these tokens.
            attention_mask: (N, seen + T), 0 where a token is padding; or the whole mask, see `causal_attention`.
        """
        x = self.transformer(input_ids, attention_mask, past_key_values)
        if past_key_values is not None:
            past_key_values.seen += input_ids.shape[1]
        return self.lm_head(x)


def gpt2(
    *,
    layers: int = 12,
    width: int = 768,
    heads: int = 12,
    vocab_size: int = 50257,
    max_position_embeddings: int = 1024,
    dropout: float = 0.1,
) -> GPT2LMHeadModel:
    """GPT-2 with 124 million parameters."""
    return GPT2LMHeadModel(layers, width, heads, vocab_size, max_position_embeddings, dropout)


def gpt2_medium(*, layers: int = 24, width: int = 1024, heads: int = 16, vocab_size: int = 50257) -> GPT2LMHeadModel:
    """GPT-2 with 355 million parameters."""
    return gpt2(layers=layers, width=width, heads=heads, vocab_size=vocab_size)


def gpt2_large(*, layers: int = 36, width: int = 1280, heads: int = 20, vocab_size: int = 50257) -> GPT2LMHeadModel:
    """GPT-2 with 774 million parameters."""
    return gpt2(layers=layers, width=width, heads=heads, vocab_size=vocab_size)


def gpt2_xl(*, layers: int = 48, width: int = 1600, heads: int = 25, vocab_size: int = 50257) -> GPT2LMHeadModel:
    """GPT-2 with 1558 million parameters."""
    return gpt2(layers=layers, width=width, heads=heads, vocab_size=vocab_size)
