"""Densely connected networks: each layer sees the maps of all layers before it.

Huang, Liu, van der Maaten, Weinberger 2016, Densely Connected Convolutional Networks; the bottlenecked, compressed form
(DenseNet-BC), table 1.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.layers import rename

_BOTTLENECK = 4
"""Channels after a layer's 1x1 convolution, in growth rates. Source: section 3, bottleneck layers."""


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1, norm, ReLU, 3x3: adds `growth` maps to those before it."""

    def __init__(self, c_in: int, growth: int) -> None:
        super().__init__()
        inner = _BOTTLENECK * growth
        self.norm1 = nn.BatchNorm2d(c_in)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(c_in, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """All maps so far, c_in channels together, each (N, c, H, W) -> (N, growth, H, W)."""
        x = self.conv1(self.relu1(self.norm1(torch.cat(maps, 1))))
        return self.conv2(self.relu2(self.norm2(x)))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        rename(state_dict, prefix, {f"{part}.{place}.": f"{part}{place}." for part in ("norm", "conv") for place in (1, 2)})
        super()._load_from_state_dict(state_dict, prefix, *rest)


class DenseBlock(nn.ModuleDict):
    """Layers at one resolution, each fed with all maps before it."""

    def __init__(self, depth: int, c_in: int, growth: int) -> None:
        super().__init__({f"denselayer{n + 1}": DenseLayer(c_in + n * growth, growth) for n in range(depth)})

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_in + depth * growth, H, W)."""
        maps = [x]
        for layer in self.values():
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class Transition(nn.Sequential):
    """Fewer channels at half the resolution: (N, c_in, H, W) -> (N, c_out, H / 2, W / 2)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(
            OrderedDict(
                norm=nn.BatchNorm2d(c_in),
                relu=nn.ReLU(inplace=True),
                conv=nn.Conv2d(c_in, c_out, 1, bias=False),
                pool=nn.AvgPool2d(2, stride=2),
            )
        )


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions between them, global average, classifier."""

    def __init__(self, growth: int, depths: tuple[int, ...], stem: int, num_classes: int) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(stem),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels = stem
        for place, depth in enumerate(depths, start=1):
            parts[f"denseblock{place}"] = DenseBlock(depth, channels, growth)
            channels += depth * growth
            if place < len(depths):
                parts[f"transition{place}"] = Transition(channels, channels // 2)
                channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(parts)
        self.classifier = nn.Linear(channels, num_classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        x = functional.relu(self.features(x), inplace=True)
        return self.classifier(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def _initialise(module: nn.Module) -> None:
    """Source: section 4.2 of the paper, which follows He et al. 2015."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def densenet121(
    *,
    growth_rate: int = 32,
    block_config: tuple[int, ...] = (6, 12, 24, 16),
    num_init_features: int = 64,
    num_classes: int = 1000,
) -> nn.Module:
    """DenseNet-121."""
    return DenseNet(growth_rate, block_config, num_init_features, num_classes)
