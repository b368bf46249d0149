"""Xception: beyond the stem, every convolution is a depthwise one followed by a 1x1, with shortcuts round two or three.

Chollet 2016, Xception: Deep Learning with Depthwise Separable Convolutions, figure 5.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class SeparableConv(nn.Module):
    """3x3 within each channel, then 1x1 across channels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_in, 3, padding=1, groups=c_in, bias=False)
        self.pointwise = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W)."""
        return self.pointwise(self.conv1(x))


class Block(nn.Module):
    """Separable convolutions, each after ReLU, a pool where the map shrinks, and the shortcut round them.

    Args:
        widths: channels of the input and of each convolution.
        stride: of the pool; 1: none.
        relu_first: whether the first convolution has its ReLU; not behind the stem, which ends in one.
    """

    def __init__(self, *widths: int, stride: int = 1, relu_first: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, (c_in, c_out) in enumerate(pairwise(widths)):
            if place > 0 or relu_first:
                layers.append(nn.ReLU(inplace=place > 0))  # the first leaves the shortcut's input as it is
            layers += [SeparableConv(c_in, c_out), nn.BatchNorm2d(c_out)]
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, padding=1))
        self.rep = nn.Sequential(*layers)
        projects = stride > 1 or widths[0] != widths[-1]
        self.skip = nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False) if projects else None
        self.skipbn = nn.BatchNorm2d(widths[-1]) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, first width, H, W) -> (N, last width, H / stride, W / stride)."""
        out = self.rep(x)
        out += x if self.skip is None or self.skipbn is None else self.skipbn(self.skip(x))
        return out


class Xception(nn.Module):
    """Entry flow, eight blocks of middle flow, exit flow, global average, classifier."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.block1 = Block(64, 128, 128, stride=2, relu_first=False)
        self.block2 = Block(128, 256, 256, stride=2)
        self.block3 = Block(256, 728, 728, stride=2)
        for number in range(4, 12):
            setattr(self, f"block{number}", Block(728, 728, 728, 728))
        self.block12 = Block(728, 728, 1024, stride=2)
        self.conv3 = SeparableConv(1024, 1536)
        self.bn3 = nn.BatchNorm2d(1536)
        self.conv4 = SeparableConv(1536, 2048)
        self.bn4 = nn.BatchNorm2d(2048)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2048, num_classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        for number in range(1, 13):
            x = getattr(self, f"block{number}")(x)  # 1/4, 1/8, 1/16 ... 1/32
        x = self.relu(self.bn3(self.conv3(x)))
        x = self.relu(self.bn4(self.conv4(x)))
        return self.fc(self.avgpool(x).flatten(1))


def _initialise(module: nn.Module) -> None:
    """Source: He et al. 2015 Delving deep into rectifiers, for convolutions; the rest is torch's default."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def xception(*, num_classes: int = 1000) -> Xception:
    """Xception."""
    return Xception(num_classes)
