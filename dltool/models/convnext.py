"""A convolutional network brought up to date with what made transformers good.

Liu, Mao, Wu, Feichtenhofer, Darrell, Xie 2022, A ConvNet for the 2020s, sections 2 and 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.layers import Permute, StochasticDepth

_EPS = 1e-6
_SCALE = 1e-6
"""Of each branch at the start of training. Source: table 5 of the paper."""


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each place of a map."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> the same shape."""
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Block(nn.Module):
    """Depthwise 7x7, norm, four times as wide and back; scaled by channel and added to its input."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(width, eps=_EPS),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            Permute(0, 3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), _SCALE))
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> the same shape."""
        return x + self.stochastic_depth(self.layer_scale * self.block(x))


class ConvNeXt(nn.Module):
    """Patches of 4x4, stages with halving between them, global average, classifier.

    Args:
        depths, dims: blocks and channels of each stage.
        num_classes: of the classifier.
        stochastic_depth_prob: how often training leaves the last block out; less the earlier.
    """

    def __init__(self, depths: tuple[int, ...], dims: tuple[int, ...], num_classes: int, stochastic_depth_prob: float) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, dims[0], 4, stride=4), LayerNorm2d(dims[0], eps=_EPS))]
        drops = iter(torch.linspace(0, stochastic_depth_prob, sum(depths), device="cpu").tolist())
        for place, (depth, width) in enumerate(zip(depths, dims, strict=True)):
            if place > 0:
                before = dims[place - 1]
                parts.append(nn.Sequential(LayerNorm2d(before, eps=_EPS), nn.Conv2d(before, width, 2, stride=2)))
            parts.append(nn.Sequential(*(Block(width, next(drops)) for _ in range(depth))))
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Sequential(LayerNorm2d(dims[-1], eps=_EPS), nn.Flatten(1), nn.Linear(dims[-1], num_classes))
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        return self.classifier(functional.adaptive_avg_pool2d(self.features(x), 1))


def _initialise(module: nn.Module) -> None:
    """Source: appendix A.1 of the paper."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def convnext_tiny(
    *,
    num_classes: int = 1000,
    depths: tuple[int, ...] = (3, 3, 9, 3),
    dims: tuple[int, ...] = (96, 192, 384, 768),
    stochastic_depth_prob: float = 0.1,
) -> nn.Module:
    """ConvNeXt-T."""
    return ConvNeXt(depths, dims, num_classes, stochastic_depth_prob)
