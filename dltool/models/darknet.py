"""Darknet-53 and CSPDarknet: the backbones of YOLOv3 and YOLOX.

Redmon, Farhadi 2018, YOLOv3: An Incremental Improvement; Wang et al. 2019, CSPNet; He et al. 2014, Spatial Pyramid Pooling
in Deep Convolutional Networks; Ge et al. 2021, YOLOX. Each gives its maps at 1/8, 1/16 and 1/32 of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[..., nn.Module]
leaky: Activation = partial(nn.LeakyReLU, 0.1)
Maps = tuple[Tensor, Tensor, Tensor]


class ConvBlock(nn.Module):
    """Convolution that keeps the size (or halves it), batch norm, activation."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, *, act: Activation = nn.SiLU) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.03)
        self.act = act(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        return self.act(self.bn(self.conv(x)))


class Focus(nn.Module):
    """Each 2x2 patch of pixels becomes one place with four times the channels; then a 3x3 convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = ConvBlock(4 * c_in, c_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / 2, W / 2)."""
        patches = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(patches, 1))


class Bottleneck(nn.Module):
    """1x1, 3x3, and where wanted the input added."""

    def __init__(self, width: int, *, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = ConvBlock(width, width, 1)
        self.conv2 = ConvBlock(width, width, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> the same."""
        out = self.conv2(self.conv1(x))
        return out + x if self.shortcut else out


class CSPLayer(nn.Module):
    """Cross stage partial: half the channels pass through bottlenecks, half go round them."""

    def __init__(self, c_in: int, c_out: int, depth: int, *, shortcut: bool = True) -> None:
        super().__init__()
        half = c_out // 2
        self.conv1 = ConvBlock(c_in, half, 1)
        self.conv2 = ConvBlock(c_in, half, 1)
        self.conv3 = ConvBlock(2 * half, c_out, 1)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut=shortcut) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W)."""
        return self.conv3(torch.cat((self.m(self.conv1(x)), self.conv2(x)), 1))


class SPP(nn.Module):
    """Spatial pyramid pooling: the map beside its maxima over 5x5, 9x9 and 13x13 places."""

    def __init__(self, c_in: int, c_out: int, *, act: Activation = nn.SiLU) -> None:
        super().__init__()
        half = c_in // 2
        self.conv1 = ConvBlock(c_in, half, 1, act=act)
        self.conv2 = ConvBlock(4 * half, c_out, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W)."""
        maps = [self.conv1(x)]
        for _ in range(3):  # the maximum of 5x5 maxima is that of 9x9, and once more of 13x13
            maps.append(functional.max_pool2d(maps[-1], 5, stride=1, padding=2))
        return self.conv2(torch.cat(maps, 1))


class CSPDarknet(nn.Module):
    """YOLOX's backbone.

    Args:
        depth: of 3, 9, 9, 3 bottlenecks, this share.
        width: of 64 channels in the stem, this share; they double in each stage.
    """

    def __init__(self, depth: float, width: float) -> None:
        super().__init__()
        c, blocks = int(64 * width), max(round(3 * depth), 1)
        self.stem = Focus(3, c)
        self.dark2 = nn.Sequential(ConvBlock(c, 2 * c, 3, 2), CSPLayer(2 * c, 2 * c, blocks))
        self.dark3 = nn.Sequential(ConvBlock(2 * c, 4 * c, 3, 2), CSPLayer(4 * c, 4 * c, 3 * blocks))
        self.dark4 = nn.Sequential(ConvBlock(4 * c, 8 * c, 3, 2), CSPLayer(8 * c, 8 * c, 3 * blocks))
        self.dark5 = nn.Sequential(
            ConvBlock(8 * c, 16 * c, 3, 2),
            SPP(16 * c, 16 * c),
            CSPLayer(16 * c, 16 * c, blocks, shortcut=False),
        )

    def forward(self, x: Tensor) -> Maps:
        """(N, 3, H, W) -> (N, 4c, H / 8, W / 8), (N, 8c, H / 16, W / 16), (N, 16c, H / 32, W / 32)."""
        third = self.dark3(self.dark2(self.stem(x)))
        fourth = self.dark4(third)
        return third, fourth, self.dark5(fourth)


class Residual(nn.Module):
    """1x1 to half the channels, 3x3 back, and the input added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer1 = ConvBlock(width, width // 2, 1, act=leaky)
        self.layer2 = ConvBlock(width // 2, width, 3, act=leaky)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> the same."""
        return x + self.layer2(self.layer1(x))


class Darknet(nn.Module):
    """YOLOv3's backbone, Darknet-53, with spatial pyramid pooling at its end.

    Args:
        stem: channels of the first convolution; they double in each stage.
        blocks: residual blocks of the stages dark2 to dark5.
    """

    def __init__(self, stem: int, blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        c = stem
        self.stem = nn.Sequential(ConvBlock(3, c, 3, act=leaky), *_stage(c, 1))
        self.dark2 = nn.Sequential(*_stage(2 * c, blocks[0]))
        self.dark3 = nn.Sequential(*_stage(4 * c, blocks[1]))
        self.dark4 = nn.Sequential(*_stage(8 * c, blocks[2]))
        self.dark5 = nn.Sequential(
            *_stage(16 * c, blocks[3]),
            ConvBlock(32 * c, 16 * c, 1, act=leaky),
            ConvBlock(16 * c, 32 * c, 3, act=leaky),
            SPP(32 * c, 16 * c, act=leaky),
            ConvBlock(16 * c, 32 * c, 3, act=leaky),
            ConvBlock(32 * c, 16 * c, 1, act=leaky),
        )

    def forward(self, x: Tensor) -> Maps:
        """(N, 3, H, W) -> (N, 8c, H / 8, W / 8), (N, 16c, H / 16, W / 16), (N, 16c, H / 32, W / 32)."""
        third = self.dark3(self.dark2(self.stem(x)))
        fourth = self.dark4(third)
        return third, fourth, self.dark5(fourth)


def _stage(c_in: int, blocks: int) -> list[nn.Module]:
    """Half the size, twice the channels, then residual blocks."""
    return [ConvBlock(c_in, 2 * c_in, 3, 2, act=leaky), *(Residual(2 * c_in) for _ in range(blocks))]
