"""U-Net: down to see wide, up to see sharp, and bridges between both arms at every resolution.

Ronneberger, Fischer, Brox 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation. Two networks have this name:
`unet` is the paper's (convolutions without padding, no norm: 572x572 in, 388x388 out); `unet_padded` is the one that most
people train (milesial/Pytorch-UNet: same size in and out, batch norm), with that repository's layer names.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEVELS = 4
"""Poolings, and up-convolutions."""


class UNet(nn.Module):
    """Figure 1 of the paper.

    The ReLU follows the 3x3 convolutions, as in the figure; the authors' Caffe file also has one after each up-convolution.

    Args:
        n_channels: of the image.
        n_classes: of the last 1x1 convolution.
        width: channels of the first convolutions; doubled at each level.
    """

    def __init__(self, n_channels: int, n_classes: int, width: int) -> None:
        super().__init__()
        widths = [width << level for level in range(_LEVELS + 1)]
        self.down = nn.ModuleList(_pair(a, b) for a, b in pairwise([n_channels, *widths]))
        self.dropout = nn.Dropout(0.5)  # "at the end of the contracting path": the last two levels in the authors' file
        upwards = widths[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairwise(upwards))
        self.merge = nn.ModuleList(_pair(a, b) for a, b in pairwise(upwards))
        self.score = nn.Conv2d(width, n_classes, 1)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_channels, H, W) -> (N, n_classes, H - 184, W - 184); sides are 16 times a number, and 12 more: 572."""
        maps: list[Tensor] = []
        for level, pair in enumerate(self.down):
            x = pair(functional.max_pool2d(x, 2) if level else x)
            if level >= _LEVELS - 1:
                x = self.dropout(x)
            maps.append(x)
        maps.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = up(x)
            x = merge(torch.cat([_middle(maps.pop(), x.shape[-2:]), x], dim=1))
        return self.score(x)


def _pair(c_in: int, c_out: int) -> nn.Sequential:
    """Two 3x3 convolutions without padding: (N, c_in, h, w) -> (N, c_out, h - 4, w - 4)."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3), nn.ReLU(inplace=True), nn.Conv2d(c_out, c_out, 3), nn.ReLU(inplace=True))


def _middle(x: Tensor, size: torch.Size) -> Tensor:
    """The middle of a map, as large as the one it is joined to."""
    top, left = ((have - want) // 2 for have, want in zip(x.shape[-2:], size, strict=True))
    return x[..., top : top + size[0], left : left + size[1]]


def _initialise(module: nn.Module) -> None:
    """Source: section 3 of the paper: normal with a deviation of sqrt(2 / incoming nodes)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class DoubleConv(nn.Module):
    """Twice 3x3 convolution, batch norm and ReLU."""

    def __init__(self, c_in: int, c_out: int, c_mid: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(c_in, c_mid, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(c_mid, c_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) -> (N, c_out, h, w)."""
        return self.double_conv(x)


class Down(nn.Module):
    """Half the resolution, then two convolutions."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(c_in, c_out, c_out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) -> (N, c_out, h // 2, w // 2)."""
        return self.maxpool_conv(x)


class Up(nn.Module):
    """Twice the resolution, joined with the map of the other arm, then two convolutions.

    Args:
        c_in: channels of both maps together.
        c_out: of the result.
        bilinear: interpolate; otherwise a transposed convolution that halves the channels.
    """

    def __init__(self, c_in: int, c_out: int, bilinear: bool) -> None:
        super().__init__()
        self.up = (
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            if bilinear
            else nn.ConvTranspose2d(c_in, c_in // 2, 2, stride=2)
        )
        self.conv = DoubleConv(c_in, c_out, c_in // 2 if bilinear else c_out)

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        """(N, c, h, w), (N, c_in / 2, H, W) -> (N, c_out, H, W); H is 2h or, where pooling left a row out, one more."""
        x = self.up(x)
        rows, columns = bridge.shape[-2] - x.shape[-2], bridge.shape[-1] - x.shape[-1]
        x = functional.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return self.conv(torch.cat([bridge, x], dim=1))


class PaddedUNet(nn.Module):
    """The U-Net with padding and batch norm.

    Args:
        n_channels: of the image.
        n_classes: of the last 1x1 convolution.
        bilinear: interpolate on the way up, with half the channels at the bottom.
        width: channels of the first convolutions; doubled at each level.
    """

    def __init__(self, n_channels: int, n_classes: int, bilinear: bool, width: int) -> None:
        super().__init__()
        share = 2 if bilinear else 1
        self.inc = DoubleConv(n_channels, width, width)
        self.down1 = Down(width, 2 * width)
        self.down2 = Down(2 * width, 4 * width)
        self.down3 = Down(4 * width, 8 * width)
        self.down4 = Down(8 * width, 16 * width // share)
        self.up1 = Up(16 * width, 8 * width // share, bilinear)
        self.up2 = Up(8 * width, 4 * width // share, bilinear)
        self.up3 = Up(4 * width, 2 * width // share, bilinear)
        self.up4 = Up(2 * width, width, bilinear)
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(width, n_classes, 1)})

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_channels, H, W) -> (N, n_classes, H, W)."""
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.up1(self.down4(x4), x4)
        x = self.up2(x, x3)
        x = self.up3(x, x2)
        x = self.up4(x, x1)
        return self.outc["conv"](x)


def unet(*, n_channels: int = 1, n_classes: int = 2, width: int = 64) -> UNet:
    """U-Net as in the paper: 572x572 grey pixels in, 388x388 out."""
    return UNet(n_channels, n_classes, width)


def unet_padded(*, n_channels: int = 3, n_classes: int = 2, bilinear: bool = False, width: int = 64) -> PaddedUNet:
    """U-Net with padding and batch norm (milesial)."""
    return PaddedUNet(n_channels, n_classes, bilinear, width)
