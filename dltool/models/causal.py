"""What the decoders share: attention to what came before, and what is kept of it from token to token."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class KVCache:
    """Keys and values of each layer, in memory set apart at the start: the next token then costs one position, not all.

    Args:
        layers, heads, width: of the model: its layers, their heads of keys, the width of a head.
        batch: sequences.
        length: the most positions that it will hold.
        like: a tensor of the model; its device and dtype are taken.
    """

    def __init__(self, *, layers: int, batch: int, heads: int, length: int, width: int, like: Tensor) -> None:
        shape = (layers, batch, heads, length, width)
        self.keys = torch.empty(shape, device=like.device, dtype=like.dtype)
        self.values = torch.empty_like(self.keys)
        self.seen = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep (N, heads, T, width) of one layer behind the `seen` positions; gives (N, heads, seen + T, width), all so far.

        Raises:
            ValueError: more positions than it was made for.
        """
        end = self.seen + keys.shape[2]
        if end > self.keys.shape[3]:
            raise ValueError(f"a cache of {self.keys.shape[3]} positions cannot hold {end}")
        self.keys[layer, :, :, self.seen : end] = keys
        self.values[layer, :, :, self.seen : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


def causal_attention(q: Tensor, k: Tensor, v: Tensor, kept: Tensor | None = None, *, dropout: float = 0.0) -> Tensor:
    """The last T of S positions attend to themselves and to all before them.

    Args:
        q: (N, H, T, d).
        k, v: (N, G, S, d), where each of the G heads serves H / G heads of q.
        kept: (N, S), 0 where a position is padding; or (N or 1, 1, T, S), True where a position is looked at, as it is; None:
            nothing is padding, and the cache holds nothing but what was seen.
        dropout: of the attention weights.

    Returns: (N, H, T, d).
    """
    last, all_ = q.shape[2], k.shape[2]
    whole = kept is not None and kept.dim() == 4
    mask = kept if whole else _mask(last, all_, kept, q) if kept is not None or 1 < last < all_ else None
    served = q.shape[1] // k.shape[1]
    shared = {"enable_gqa": True} if served > 1 and q.is_cuda else {}
    if served > 1 and not shared:  # only CUDA has kernels that share heads; elsewhere copies are three times as fast
        k, v = (part.repeat_interleave(served, dim=1) for part in (k, v))
    return functional.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None and last > 1, **shared)


def _mask(last: int, all_: int, kept: Tensor | None, like: Tensor) -> Tensor:
    """True where the last positions look: (last, all), or (N, 1, last, all) with padding."""
    here = torch.arange(all_ - last, all_, device=like.device)[:, None]
    there = torch.arange(all_, device=like.device)
    if kept is None:
        return there <= here
    seen = (there <= here) & kept[:, None, None, :].bool()
    # padding with nothing before it looks at itself: a softmax over nothing is not a number
    return seen | ((there == here) & ~seen.any(dim=-1, keepdim=True))
