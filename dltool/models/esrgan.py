"""Super-resolution four times over by residual blocks in residual blocks, densely connected and without norms.

Wang et al. 2018, ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks, figures 3 and 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_SHARE = 0.2
"""What a residual branch adds to its input. Source: Wang et al. 2018, section 3.1."""


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each of which sees the input and what all before it made."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(channels + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(channels + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(channels + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(channels + 4 * growth, channels, 3, padding=1)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same."""
        maps = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            maps.append(leaky(conv(torch.cat(maps, dim=1))))
        return self.conv5(torch.cat(maps, dim=1)) * _SHARE + x


class RRDB(nn.Module):
    """Three dense blocks and the shortcut round them."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.RDB1 = DenseBlock(channels, growth)
        self.RDB2 = DenseBlock(channels, growth)
        self.RDB3 = DenseBlock(channels, growth)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same."""
        return self.RDB3(self.RDB2(self.RDB1(x))) * _SHARE + x


class RRDBNet(nn.Module):
    """3x3, the trunk of blocks with a shortcut round it, two enlargements by two, two 3x3."""

    def __init__(self, c_in: int, c_out: int, *, channels: int, blocks: int, growth: int) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(c_in, channels, 3, padding=1)
        self.RRDB_trunk = nn.Sequential(*(RRDB(channels, growth) for _ in range(blocks)))
        self.trunk_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.upconv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.upconv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.HRconv = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, 4 H, 4 W)."""
        x = self.conv_first(x)
        x = x + self.trunk_conv(self.RRDB_trunk(x))
        for conv in (self.upconv1, self.upconv2):
            x = leaky(conv(functional.interpolate(x, scale_factor=2.0, mode="nearest")))
        return self.conv_last(leaky(self.HRconv(x)))


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU, in place."""
    return functional.leaky_relu(x, 0.2, inplace=True)


def _initialise(module: nn.Module) -> None:
    """Source: Wang et al. 2018, section 3.1: a tenth of He's weights."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        with torch.no_grad():
            module.weight.mul_(0.1)
        nn.init.zeros_(module.bias)


def esrgan_rrdbnet(*, in_nc: int = 3, out_nc: int = 3, nf: int = 64, nb: int = 23, gc: int = 32) -> RRDBNet:
    """The generator of ESRGAN: 23 residual-in-residual dense blocks."""
    return RRDBNet(in_nc, out_nc, channels=nf, blocks=nb, growth=gc)
