"""Networks whose depth, width and resolution are scaled together; the base of them.

Tan, Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, table 1.
"""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from dltool.models.layers import ConvNormActivation, SqueezeExcitation, divisible
from dltool.models.mobilenet import InvertedResidual

_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Expansion, kernel, stride, channels, blocks. Source: table 1 of the paper."""


class EfficientNet(nn.Module):
    """Stem, stages of inverted residuals that are left out more often the deeper they are, global average, classifier."""

    def __init__(
        self, *, num_classes: int, width_mult: float, depth_mult: float, dropout: float, stochastic_depth_prob: float
    ) -> None:
        super().__init__()
        layer = partial(ConvNormActivation, activation=nn.SiLU)
        channels = divisible(32 * width_mult)
        parts: list[nn.Module] = [layer(3, channels, stride=2)]
        depths = [math.ceil(stage[-1] * depth_mult) for stage in _STAGES]
        drops = iter([stochastic_depth_prob * number / sum(depths) for number in range(sum(depths))])
        for (expansion, kernel, stride, wide, _), depth in zip(_STAGES, depths, strict=True):
            c_out, blocks = divisible(wide * width_mult), []
            for number in range(depth):
                step = stride if number == 0 else 1
                blocks.append(_block(channels, c_out, expansion, kernel, step, next(drops)))
                channels = c_out
            parts.append(nn.Sequential(*blocks))
        last = 4 * channels
        parts.append(layer(channels, last, 1))
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Sequential(nn.Dropout(dropout, inplace=True), nn.Linear(last, num_classes))
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        return self.classifier(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


def _block(c_in: int, c_out: int, expansion: int, kernel: int, stride: int, drop: float) -> InvertedResidual:
    """Squeezed to a quarter of the channels before widening. Source: the paper's published code."""
    return InvertedResidual(
        c_in,
        divisible(c_in * expansion),
        c_out,
        kernel=kernel,
        stride=stride,
        norm=nn.BatchNorm2d,
        activation=nn.SiLU,
        excite=lambda inner: SqueezeExcitation(inner, max(1, c_in // 4), activation=nn.SiLU),
        drop=drop,
    )


def _initialise(module: nn.Module) -> None:
    """As the paper's published code does."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        bound = module.out_features**-0.5
        nn.init.uniform_(module.weight, -bound, bound)
        nn.init.zeros_(module.bias)


def efficientnet_b0(
    *,
    num_classes: int = 1000,
    width_mult: float = 1.0,
    depth_mult: float = 1.0,
    dropout: float = 0.2,
    stochastic_depth_prob: float = 0.2,
) -> nn.Module:
    """EfficientNet-B0."""
    return EfficientNet(
        num_classes=num_classes,
        width_mult=width_mult,
        depth_mult=depth_mult,
        dropout=dropout,
        stochastic_depth_prob=stochastic_depth_prob,
    )
