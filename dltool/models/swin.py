"""Transformers whose tokens see one another within windows; every other layer the windows are shifted by half.

Liu et al. 2021, Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.layers import Mlp, Permute, StochasticDepth

_UNSEEN = -100.0
"""Added to the score of a token that is not to be seen. Source: the paper's published code."""


def into_windows(x: Tensor, side: int) -> Tensor:
    """(N, H, W, c) -> (N, windows, side * side, c)."""
    n, height, width, c = x.shape
    x = x.view(n, height // side, side, width // side, side, c).transpose(2, 3)
    return x.reshape(n, -1, side * side, c)


def from_windows(x: Tensor, height: int, width: int, side: int) -> Tensor:
    """(N, windows, side * side, c) -> (N, height, width, c)."""
    x = x.view(x.shape[0], height // side, width // side, side, side, -1)
    return x.transpose(2, 3).reshape(x.shape[0], height, width, -1)


def strangers(height: int, width: int, side: int, shifts: tuple[int, int], like: Tensor) -> Tensor:
    """What is added to the scores within shifted windows, where tokens meet that came from opposite edges.

    Returns:
        (windows, 1, side * side, side * side): 0 for neighbours, a large negative number for strangers.
    """
    down, right = (_regions(length, side, shift, like) for length, shift in zip((height, width), shifts, strict=True))
    regions = into_windows((3 * down[:, None] + right).view(1, height, width, 1), side)[0, :, :, 0]
    apart = regions[:, None, :] != regions[:, :, None]
    return torch.zeros_like(apart, dtype=like.dtype).masked_fill(apart, _UNSEEN)[:, None]


def _regions(length: int, side: int, shift: int, like: Tensor) -> Tensor:
    """Along one direction of a shifted map: 0 before the last window, in it 1 for what was there, 2 for what came round."""
    place = torch.arange(length, device=like.device)
    return (place >= length - side).long() + (place >= length - shift)


class WindowAttention(nn.Module):
    """Attention within windows, with a learnt bias for each offset between two tokens."""

    def __init__(self, width: int, heads: int, side: int, shift: int) -> None:
        super().__init__()
        self.heads, self.side, self.shift = heads, side, shift
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * side - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        at = torch.cartesian_prod(torch.arange(side), torch.arange(side))  # (side * side, 2)
        offset = at[:, None] - at[None] + side - 1  # from 0
        self.register_buffer("relative_position_index", (offset[..., 0] * (2 * side - 1) + offset[..., 1]).flatten())

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, width) -> the same shape; H and W are padded to whole windows and cut again."""
        height, width = x.shape[1:3]
        x = functional.pad(x, (0, 0, 0, -width % self.side, 0, -height % self.side))
        high, wide = x.shape[1:3]
        down, right = (0 if length <= self.side else self.shift for length in (high, wide))
        if down or right:
            x = torch.roll(x, (-down, -right), (1, 2))
        x = into_windows(x, self.side)
        bias = self._bias()
        if down or right:
            bias = bias + strangers(high, wide, self.side, (down, right), x)
        x = from_windows(self._attend(x, bias), high, wide, self.side)
        if down or right:
            x = torch.roll(x, (down, right), (1, 2))
        return x[:, :height, :width]

    def _bias(self) -> Tensor:
        """(heads, tokens, tokens)."""
        tokens = self.side**2
        return self.relative_position_bias_table[self.relative_position_index].view(tokens, tokens, -1).permute(2, 0, 1)

    def _attend(self, x: Tensor, bias: Tensor) -> Tensor:
        """(N, windows, tokens, width) -> the same shape."""
        n, windows, tokens, c = x.shape
        qkv = self.qkv(x).view(n, windows, tokens, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind()  # each (N, windows, heads, tokens, c / heads)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
        return self.proj((scores.softmax(-1) @ v).transpose(2, 3).reshape(x.shape))


class Block(nn.Module):
    """Attention within windows, then two layers for each token."""

    def __init__(self, width: int, heads: int, side: int, shift: int, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, side, shift)
        self.stochastic_depth = StochasticDepth(drop)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, width) -> the same shape."""
        x = x + self.stochastic_depth(self.attn(self.norm1(x)))
        return x + self.stochastic_depth(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Four neighbours become one token of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, width) -> (N, H / 2, W / 2, 2 width), halves rounded up."""
        x = functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        corners = [x[:, down::2, right::2] for right in (0, 1) for down in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1)))


class SwinTransformer(nn.Module):
    """Patches of 4x4, stages of blocks with merging between them, average, classifier."""

    def __init__(
        self,
        embed_dim: int,
        depths: tuple[int, ...],
        num_heads: tuple[int, ...],
        window_size: int,
        stochastic_depth_prob: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        width = embed_dim
        patches = nn.Sequential(nn.Conv2d(3, width, 4, stride=4), Permute(0, 2, 3, 1), nn.LayerNorm(width))
        parts: list[nn.Module] = [patches]
        drops = iter(torch.linspace(0, stochastic_depth_prob, sum(depths), device="cpu").tolist())
        for place, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            if place > 0:
                parts.append(PatchMerging(width))
                width *= 2
            shifts = [window_size // 2 * (number % 2) for number in range(depth)]
            parts.append(nn.Sequential(*(Block(width, heads, window_size, shift, next(drops)) for shift in shifts)))
        self.features = nn.Sequential(*parts)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        return self.head(self.norm(self.features(x)).mean((1, 2)))


def _initialise(module: nn.Module) -> None:
    """Source: the paper's published code."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def swin_t(
    *,
    num_classes: int = 1000,
    embed_dim: int = 96,
    depths: tuple[int, ...] = (2, 2, 6, 2),
    num_heads: tuple[int, ...] = (3, 6, 12, 24),
    window_size: int = 7,
    stochastic_depth_prob: float = 0.2,
) -> nn.Module:
    """Swin-T."""
    return SwinTransformer(embed_dim, depths, num_heads, window_size, stochastic_depth_prob, num_classes)
