"""Llama: a decoder with rotary positions, RMS norms, gated MLPs and, in the larger and newer ones, fewer heads of keys.

Touvron et al. 2023, Llama 2: Open Foundation and Fine-Tuned Chat Models; Dubey et al. 2024, The Llama 3 Herd of Models.
Rotary positions: Su et al. 2021, RoFormer. Names as in the checkpoints that everyone loads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.causal import KVCache, causal_attention


@dataclass(frozen=True)
class Scaling:
    """Llama 3.1's way to longer contexts: slow rotations slowed by `factor`, quick ones left, a blend between.

    Args:
        factor: by which a rotation is slowed.
        low, high: turns within `original` positions: below `low` a rotation is slow, above `high` it is quick.
        original: positions of the training before.
    """

    factor: float = 32.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192


@dataclass(frozen=True)
class Rotary:
    """Positions as rotations of pairs of channels, from one radian a position down to nearly 1 / theta.

    Args:
        theta: the base of the frequencies.
        scaling: None leaves them as they are.
    """

    theta: float
    scaling: Scaling | None = None

    def frequencies(self, width: int, device: torch.device) -> Tensor:
        """Radians a position for each pair of a head's channels: (width / 2), float32."""
        exponents = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
        quick = 1.0 / self.theta**exponents
        if self.scaling is None:
            return quick
        turns = self.scaling.original * quick / (2 * math.pi)
        blend = ((turns - self.scaling.low) / (self.scaling.high - self.scaling.low)).clamp(0, 1)
        return blend * quick + (1 - blend) * quick / self.scaling.factor

    def angles(self, places: Tensor, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines at (N, T) positions, each (N, 1, T, width); made in float32 whatever the model's dtype."""
        turned = places[:, None, :, None].float() * self.frequencies(width, places.device)
        turned = torch.cat((turned, turned), dim=-1)
        return turned.cos().to(dtype), turned.sin().to(dtype)


def rotated(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """(N, H, T, d) turned: channel i is paired with channel i + d / 2."""
    cosines, sines = angles
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat((-second, first), dim=-1) * sines


class Attention(nn.Module):
    """Causal self-attention in which several heads of queries share a head of keys and values.

    Args:
        layer: its place, under which it finds its keys and values in a cache.
        width, heads, kv_heads: of the model.
    """

    def __init__(self, layer: int, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.layer, self.head_width = layer, width // heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, kv_heads * self.head_width, bias=False)
        self.v_proj = nn.Linear(width, kv_heads * self.head_width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], kept: Tensor | None, cache: KVCache | None) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        parts = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        q, k, v = (part.unflatten(-1, (-1, self.head_width)).transpose(1, 2) for part in parts)
        q, k = rotated(q, angles), rotated(k, angles)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
        return self.o_proj(causal_attention(q, k, v, kept).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """SwiGLU. Source: Shazeer 2020, GLU Variants Improve Transformer."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Attention and MLP, each after a norm and added to what it was given."""

    def __init__(self, layer: int, width: int, inner: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(layer, width, heads, kv_heads)
        self.mlp = MLP(width, inner)
        self.input_layernorm = nn.RMSNorm(width, eps=1e-5)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], kept: Tensor | None, cache: KVCache | None) -> Tensor:
        """(N, T, width) -> (N, T, width)."""
        x = x + self.self_attn(self.input_layernorm(x), angles, kept, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(nn.Module):
    """Tokens embedded, the layers, a last norm."""

    def __init__(self, layers: int, width: int, inner: int, heads: int, kv_heads: int, vocab_size: int, rotary: Rotary) -> None:
        super().__init__()
        self.head_width, self.rotary = width // heads, rotary
        self.embed_tokens = nn.Embedding(vocab_size, width)
        self.layers = nn.ModuleList(DecoderLayer(layer, width, inner, heads, kv_heads) for layer in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, ids: Tensor, kept: Tensor | None, places: Tensor | None, cache: KVCache | None) -> Tensor:
        """(N, T) -> (N, T, width)."""
        if places is None:
            first = 0 if cache is None else cache.seen
            places = (torch.arange(ids.shape[1], device=ids.device) + first)[None]  # it may be a number on the device
        x = self.embed_tokens(ids)
        angles = self.rotary.angles(places, self.head_width, x.dtype)
        for layer in self.layers:
            x = layer(x, angles, kept, cache)
        return self.norm(x)


class LlamaForCausalLM(nn.Module):
    """Llama with its head; in the smallest models that is the embedding of the tokens once more.

    Args:
        layers, width, heads, vocab_size: as everywhere.
        inner: width inside the MLPs.
        kv_heads: heads of keys and values.
        rotary: its positions.
        tied: whether the head is the embedding.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        inner: int,
        heads: int,
        kv_heads: int,
        vocab_size: int,
        *,
        rotary: Rotary,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.kv_heads = kv_heads
        self.model = LlamaModel(layers, width, inner, heads, kv_heads, vocab_size, rotary)
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        if tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.apply(_initialise)

    def cache(self, batch: int, length: int) -> KVCache:
        """An empty cache for `batch` sequences of at most `length` tokens."""
        layers, width = len(self.model.layers), self.model.head_width
        like = self.model.embed_tokens.weight
        return KVCache(layers=layers, batch=batch, heads=self.kv_heads, length=length, width=width, like=like)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: KVCache | None = None,
    ) -> Tensor:
        """(N, T) -> logits (N, T, vocab_size) of the token after each.

        Args:
            input_ids: the tokens; with a cache those after what it has seen.
            attention_mask: (N, seen + T), 0 where a token is padding; or the whole mask, see `causal_attention`.
            position_ids: (N, T), where the tokens stand; one after the other by default.
            past_key_values: from `cache`; extended by these tokens.
        """
        x = self.model(input_ids, attention_mask, position_ids, past_key_values)
        if past_key_values is not None:
            past_key_values.seen += input_ids.shape[1]
        return self.lm_head(x)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)


def llama_3_2_1b(
    *, layers: int = 16, width: int = 2048, inner: int = 8192, heads: int = 32, kv_heads: int = 8, vocab_size: int = 128256
) -> LlamaForCausalLM:
    """Llama 3.2 1B: its head is its embedding."""
    rotary = Rotary(theta=500000.0, scaling=Scaling())
    return LlamaForCausalLM(layers, width, inner, heads, kv_heads, vocab_size, rotary=rotary, tied=True)


def llama_3_8b(
    *, layers: int = 32, width: int = 4096, inner: int = 14336, heads: int = 32, kv_heads: int = 8, vocab_size: int = 128256
) -> LlamaForCausalLM:
    """Llama 3 8B."""
    return LlamaForCausalLM(layers, width, inner, heads, kv_heads, vocab_size, rotary=Rotary(theta=500000.0))


def llama_2_7b(
    *, layers: int = 32, width: int = 4096, inner: int = 11008, heads: int = 32, kv_heads: int = 32, vocab_size: int = 32000
) -> LlamaForCausalLM:
    """Llama 2 7B: a head of keys for each head of queries."""
    return LlamaForCausalLM(layers, width, inner, heads, kv_heads, vocab_size, rotary=Rotary(theta=10000.0))
