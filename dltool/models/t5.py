"""T5: every task of language as text in, text out; positions are a bias of attention that depends on distance.

Raffel et al. 2019, Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer. Names as in the
checkpoints that everyone loads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPS = 1e-6
_BUCKETS = 32
_FAR = 128
"""Distances from here on are one and the same."""


class Attention(nn.Module):
    """Attention whose logits are not scaled, but shifted by position.

    Args:
        width, heads, head_width, dropout: of the model.
        positions: whether it holds the biases, which the first layer of a stack does for all.
        both: whether what comes after is seen too, as in the encoder.
    """

    def __init__(
        self, width: int, heads: int, head_width: int, dropout: float, *, positions: bool = False, both: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.both = heads, dropout, both
        self.q = nn.Linear(width, heads * head_width, bias=False)
        self.k = nn.Linear(width, heads * head_width, bias=False)
        self.v = nn.Linear(width, heads * head_width, bias=False)
        self.o = nn.Linear(heads * head_width, width, bias=False)
        nn.init.normal_(self.q.weight, std=(width * head_width) ** -0.5)
        for linear in (self.k, self.v, self.o):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        if positions:
            self.relative_attention_bias = nn.Embedding(_BUCKETS, heads)
            nn.init.normal_(self.relative_attention_bias.weight, std=width**-0.5)

    def bias(self, length: int) -> Tensor:
        """What is added to the logits of a sequence with itself: (1, H, length, length)."""
        places = torch.arange(length, device=self.relative_attention_bias.weight.device)
        kinds = buckets(places[None, :] - places[:, None], both=self.both)
        return self.relative_attention_bias(kinds).permute(2, 0, 1)[None]

    def forward(self, x: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
        """(N, T, width), asking (N, S, width) -> (N, T, width); bias goes with (N, H, T, S)."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q(x), self.k(other), self.v(other)))
        dropout = self.dropout if self.training else 0.0
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=1.0)
        return self.o(out.transpose(1, 2).flatten(2))


def buckets(distance: Tensor, *, both: bool) -> Tensor:
    """The kind of each distance (of what is seen, less where it is seen from), below 32.

    Near ones have a kind each, those further away share one with ever more others. With `both`, half of the kinds are for
    what comes after; without, what comes after counts as no distance.
    """
    count, after = _BUCKETS, torch.zeros_like(distance)
    if both:
        count //= 2
        after = (distance > 0) * count
        away = distance.abs()
    else:
        away = (-distance).clamp(min=0)
    near = count // 2
    share = torch.log(away.float() / near) / math.log(_FAR / near)
    shared = near + torch.where(away < near, 0.0, share * (count - near)).long()
    return after + torch.where(away < near, away, shared.clamp(max=count - 1))


class FeedForward(nn.Module):
    """Two layers with ReLU between."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.wi = nn.Linear(width, inner, bias=False)
        self.wo = nn.Linear(inner, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.wi, self.wo):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        return self.wo(self.dropout(self.wi(x).relu()))


class Part(nn.Module):
    """One part of a block with its norm, under the name that the checkpoints give it."""

    def __init__(self, name: str, part: Attention | FeedForward, width: int, dropout: float) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, part)
        self.layer_norm = nn.RMSNorm(width, eps=_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor | None = None, memory: Tensor | None = None) -> Tensor:
        """(N, T, width) -> (N, T, width): norm, part, added to what came in."""
        part, normed = getattr(self, self.name), self.layer_norm(x)
        if self.name == "DenseReluDense":
            return x + self.dropout(part(normed))
        return x + self.dropout(part(normed, normed if memory is None else memory, bias))


class Stack(nn.Module):
    """Encoder or decoder: the blocks and a last norm; the embedding is that of both."""

    def __init__(
        self,
        embedding: nn.Embedding,
        layers: int,
        heads: int,
        head_width: int,
        inner: int,
        dropout: float,
        *,
        decodes: bool,
    ) -> None:
        super().__init__()
        width = embedding.embedding_dim
        sizes = (width, heads, head_width, dropout)
        self.decodes = decodes
        self.embed_tokens = embedding
        self.block = nn.ModuleList()
        for number in range(layers):
            own = Attention(*sizes, positions=number == 0, both=not decodes)
            parts = [Part("SelfAttention", own, width, dropout)]
            if decodes:
                parts.append(Part("EncDecAttention", Attention(*sizes), width, dropout))
            parts.append(Part("DenseReluDense", FeedForward(width, inner, dropout), width, dropout))
            self.block.append(nn.ModuleDict({"layer": nn.ModuleList(parts)}))
        self.final_layer_norm = nn.RMSNorm(width, eps=_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, ids: Tensor, kept: Tensor | None, memory: Tensor | None = None, memory_kept: Tensor | None = None
    ) -> Tensor:
        """(N, T) -> (N, T, width); the decoder asks memory, (N, S, width). 0 in kept and memory_kept is padding."""
        x = self.dropout(self.embed_tokens(ids))
        bias = self.block[0]["layer"][0].SelfAttention.bias(ids.shape[1])
        if self.decodes:
            ahead = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).triu(1)
            bias = bias.masked_fill(ahead, torch.finfo(bias.dtype).min / 2)
        if kept is not None:
            bias = bias + _hidden(kept, bias.dtype)
        hidden = None if memory_kept is None else _hidden(memory_kept, x.dtype)
        for block in self.block:
            own, *cross, dense = block["layer"]
            x = own(x, bias)
            for part in cross:
                x = part(x, hidden, memory)
            x = dense(x)
        return self.dropout(self.final_layer_norm(x))


def _hidden(kept: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, S) -> (N, 1, 1, S): half the lowest number where there is padding, so that two of them can be added."""
    lowest = torch.finfo(dtype).min / 2
    return torch.zeros(kept.shape, dtype=dtype, device=kept.device).masked_fill(kept == 0, lowest)[:, None, None, :]


class T5ForConditionalGeneration(nn.Module):
    """Encoder, decoder and the head, which is their embedding once more."""

    def __init__(
        self, layers: int, width: int, heads: int, head_width: int, inner: int, vocab_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.shared = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.shared.weight)
        self.encoder = Stack(self.shared, layers, heads, head_width, inner, dropout, decodes=False)
        self.decoder = Stack(self.shared, layers, heads, head_width, inner, dropout, decodes=True)
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        self.lm_head.weight = self.shared.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """(N, S) and (N, T) -> logits (N, T, vocab_size) of the token after each of decoder_input_ids.

        Args:
            input_ids: the text given.
            attention_mask: (N, S), 0 where it is padding.
            decoder_input_ids: the text so far; needed.
            decoder_attention_mask: (N, T), 0 where that is padding.
        """
        if decoder_input_ids is None:
            raise ValueError("T5 needs decoder_input_ids: the text so far, at first its pad token alone")
        memory = self.encoder(input_ids, attention_mask)
        x = self.decoder(decoder_input_ids, decoder_attention_mask, memory, attention_mask)
        return self.lm_head(x * x.shape[-1] ** -0.5)


def t5_small(
    *,
    layers: int = 6,
    width: int = 512,
    heads: int = 8,
    head_width: int = 64,
    inner: int = 2048,
    vocab_size: int = 32128,
    dropout: float = 0.1,
) -> T5ForConditionalGeneration:
    """T5 small."""
    return T5ForConditionalGeneration(layers, width, heads, head_width, inner, vocab_size, dropout)
