"""V-Net: a U-Net for volumes, whose stages learn what to add to their input.

Milletari, Navab, Ahmadi 2016, V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation. Layer
names, batch norm and ELU (the paper: no norm and PReLU) as in monai's VNet.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

_DROPPED = 0.5
"""Share of the channels that training drops. Source: monai's default; the paper names none."""


class Convolution(nn.Sequential):
    """5x5x5 convolution without bias, and batch norm."""

    def __init__(self, c_in: int, c_out: int) -> None:
        norm = nn.Sequential(OrderedDict(N=nn.BatchNorm3d(c_out)))
        super().__init__(OrderedDict(conv=nn.Conv3d(c_in, c_out, 5, padding=2, bias=False), adn=norm))


class LUConv(nn.Module):
    """Convolution and activation; keeps the shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = Convolution(channels, channels)
        self.act_function = nn.ELU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, D, H, W) -> the same."""
        return self.act_function(self.conv_block(x))


class InputTransition(nn.Module):
    """The volume's channels repeated, plus what a convolution makes of them."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.repeats = c_out // c_in
        self.conv_block = Convolution(c_in, c_out)
        self.act_function = nn.ELU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, D, H, W) -> (N, c_out, D, H, W); c_out is a multiple of c_in."""
        return self.act_function(self.conv_block(x) + x.repeat(1, self.repeats, 1, 1, 1))


class DownTransition(nn.Module):
    """Half the resolution by a convolution of stride 2, twice the channels, and a residual stage."""

    def __init__(self, c_in: int, depth: int, dropped: float = 0.0) -> None:
        super().__init__()
        c_out = 2 * c_in
        self.down_conv = nn.Conv3d(c_in, c_out, 2, stride=2, bias=False)
        self.bn1 = nn.BatchNorm3d(c_out)
        self.act_function1 = nn.ELU(inplace=True)
        self.dropout = nn.Dropout3d(dropped) if dropped else nn.Identity()
        self.ops = nn.Sequential(*(LUConv(c_out) for _ in range(depth)))
        self.act_function2 = nn.ELU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, D, H, W) -> (N, 2c, D / 2, H / 2, W / 2)."""
        down = self.act_function1(self.bn1(self.down_conv(x)))
        return self.act_function2(self.ops(self.dropout(down)) + down)


class UpTransition(nn.Module):
    """Twice the resolution by a transposed convolution, joined with the map of the way down, and a residual stage."""

    def __init__(self, c_in: int, c_out: int, depth: int, dropped: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout3d(dropped) if dropped else nn.Identity()
        self.dropout2 = nn.Dropout3d(_DROPPED)
        self.up_conv = nn.ConvTranspose3d(c_in, c_out // 2, 2, stride=2)
        self.bn1 = nn.BatchNorm3d(c_out // 2)
        self.act_function1 = nn.ELU(inplace=True)
        self.ops = nn.Sequential(*(LUConv(c_out) for _ in range(depth)))
        self.act_function2 = nn.ELU(inplace=True)

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        """(N, c_in, d, h, w), (N, c_out / 2, 2d, 2h, 2w) -> (N, c_out, 2d, 2h, 2w)."""
        bridge = self.dropout2(bridge)
        up = self.act_function1(self.bn1(self.up_conv(self.dropout(x))))
        joined = torch.cat([up, bridge], dim=1)
        return self.act_function2(self.ops(joined) + joined)


class OutputTransition(nn.Module):
    """To the classes: a 5x5x5 and a 1x1x1 convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_block = Convolution(c_in, c_out)
        self.act_function1 = nn.ELU(inplace=True)
        self.conv2 = nn.Conv3d(c_out, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, D, H, W) -> (N, c_out, D, H, W)."""
        return self.conv2(self.act_function1(self.conv_block(x)))


class VNet(nn.Module):
    """Four halvings and four doublings.

    Args:
        in_channels: of the volume; `width` is a multiple of it.
        out_channels: classes; one: foreground or not.
        width: channels at full resolution.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.in_tr = InputTransition(in_channels, width)
        self.down_tr32 = DownTransition(width, 1)
        self.down_tr64 = DownTransition(2 * width, 2)
        self.down_tr128 = DownTransition(4 * width, 3, _DROPPED)
        self.down_tr256 = DownTransition(8 * width, 2, _DROPPED)
        self.up_tr256 = UpTransition(16 * width, 16 * width, 2, _DROPPED)
        self.up_tr128 = UpTransition(16 * width, 8 * width, 2, _DROPPED)
        self.up_tr64 = UpTransition(8 * width, 4 * width, 1)
        self.up_tr32 = UpTransition(4 * width, 2 * width, 1)
        self.out_tr = OutputTransition(2 * width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, D, H, W) -> (N, out_channels, D, H, W) logits; sides are multiples of 16."""
        out16 = self.in_tr(x)
        out32 = self.down_tr32(out16)
        out64 = self.down_tr64(out32)
        out128 = self.down_tr128(out64)
        x = self.up_tr256(self.down_tr256(out128), out128)
        x = self.up_tr128(x, out64)
        x = self.up_tr64(x, out32)
        x = self.up_tr32(x, out16)
        return self.out_tr(x)


def vnet(*, in_channels: int = 1, out_channels: int = 1, width: int = 16) -> VNet:
    """V-Net for volumes of one channel: foreground or background."""
    return VNet(in_channels, out_channels, width)
