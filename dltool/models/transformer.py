"""The Transformer: encoder and decoder made of attention alone.

Vaswani et al. 2017, Attention Is All You Need. One vocabulary for both languages, whose embedding is also the head; each part
is normed after it is added, and nothing is normed at the end. Layers have the names of torch.nn.Transformer's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class MultiheadAttention(nn.Module):
    """Queries of one sequence, keys and values of another or the same; the three projections lie in one tensor."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor, other: Tensor | None = None, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """(N, T, width) -> (N, T, width).

        Args:
            x: what asks.
            other: (N, S, width), what is asked; x itself by default.
            mask: True where it may be asked, (N, 1, 1, S).
            causal: whether a position sees only itself and what came before.
        """
        if other is None:
            parts = functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            (w_q, w_kv), (b_q, b_kv) = (
                t.split([x.shape[-1], 2 * x.shape[-1]]) for t in (self.in_proj_weight, self.in_proj_bias)
            )
            parts = (functional.linear(x, w_q, b_q), *functional.linear(other, w_kv, b_kv).chunk(2, dim=-1))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        dropout = self.dropout if self.training else 0.0
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Self-attention and a network of two layers, each added and normed."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(width, heads, dropout)
        self.linear1 = nn.Linear(width, inner)
        self.linear2 = nn.Linear(inner, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, S, width) -> (N, S, width)."""
        x = self.norm1(x + self.dropout(self.self_attn(x, mask=mask)))
        return self.norm2(x + self.dropout(self.linear2(self.linear1(x).relu())))


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder's output, a network of two layers; each added and normed."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(width, heads, dropout)
        self.multihead_attn = MultiheadAttention(width, heads, dropout)
        self.linear1 = nn.Linear(width, inner)
        self.linear2 = nn.Linear(inner, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """(N, T, width), asking (N, S, width) -> (N, T, width)."""
        x = self.norm1(x + self.dropout(self.self_attn(x, causal=True)))
        x = self.norm2(x + self.dropout(self.multihead_attn(x, memory, mask)))
        return self.norm3(x + self.dropout(self.linear2(self.linear1(x).relu())))


class Transformer(nn.Module):
    """From a sentence in one language and the beginning of it in another to what comes next.

    Args:
        layers: of the encoder, and as many of the decoder.
        width, heads, inner: of the layers.
        vocab_size: tokens of both languages.
        dropout: of what each part adds, of the attention weights and of the embeddings.
    """

    def __init__(self, layers: int, width: int, heads: int, inner: int, vocab_size: int, dropout: float) -> None:
        super().__init__()
        sizes = (width, heads, inner, dropout)
        self.embedding = nn.Embedding(vocab_size, width)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(EncoderLayer(*sizes) for _ in range(layers))})
        self.decoder = nn.ModuleDict({"layers": nn.ModuleList(DecoderLayer(*sizes) for _ in range(layers))})
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def embed(self, ids: Tensor) -> Tensor:
        """(N, T) -> (N, T, width): tokens scaled by the root of the width, and where they stand."""
        x = self.embedding(ids)
        width = x.shape[-1]
        return self.dropout(x * math.sqrt(width) + sinusoids(ids.shape[1], width, ids.device).to(x.dtype))

    def forward(self, src: Tensor, tgt: Tensor, src_key_padding_mask: Tensor | None = None) -> Tensor:
        """(N, S) and (N, T) -> logits (N, T, vocab_size) of the token after each of tgt.

        Args:
            src: tokens of the sentence.
            tgt: tokens of its translation so far; padding behind them does no harm.
            src_key_padding_mask: (N, S), True where src is padding.
        """
        mask = None if src_key_padding_mask is None else ~src_key_padding_mask[:, None, None, :]
        memory = self.embed(src)
        for layer in self.encoder["layers"]:
            memory = layer(memory, mask)
        x = self.embed(tgt)
        for layer in self.decoder["layers"]:
            x = layer(x, memory, mask)
        return functional.linear(x, self.embedding.weight)


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Positions as sines (even channels) and cosines (odd channels), (length, width). Source: section 3.5."""
    places = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=device, dtype=torch.float32) * (-math.log(10000.0) / width))
    return torch.stack(((places * rates).sin(), (places * rates).cos()), dim=-1).flatten(1)


def transformer_base(
    *, layers: int = 6, width: int = 512, heads: int = 8, inner: int = 2048, vocab_size: int = 37000, dropout: float = 0.1
) -> Transformer:
    """Transformer base."""
    return Transformer(layers, width, heads, inner, vocab_size, dropout)


def transformer_big(
    *, layers: int = 6, width: int = 1024, heads: int = 16, inner: int = 4096, vocab_size: int = 37000, dropout: float = 0.3
) -> Transformer:
    """Transformer big."""
    return Transformer(layers, width, heads, inner, vocab_size, dropout)
