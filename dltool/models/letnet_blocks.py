"""The blocks of LETNet: see `letnet.py`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPS = 1e-3


class BNPReLU(nn.Module):
    """Batch norm and an activation with a slope per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=_EPS)
        self.acti = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) -> the same."""
        return self.acti(self.bn(x))


class Conv(nn.Module):
    """A convolution that keeps the size (but for its stride), with norm and activation where wanted."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: tuple[int, int],
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        # a dilation along the side of length 1 changes nothing
        padding = tuple(dilation * (side // 2) for side in kernel)
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=padding, dilation=dilation, groups=groups, bias=False)
        self.bn_prelu = BNPReLU(c_out) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) -> (N, c_out, h / stride, w / stride), rounded up."""
        return self.bn_prelu(self.conv(x))


class ChannelAttention(nn.Module):
    """Weighs channels by their means and those of their neighbours (Wang et al. 2020, ECA-Net)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) -> the same."""
        means = x.mean((2, 3)).unsqueeze(1)  # (N, 1, c)
        return x * self.conv(means).sigmoid().transpose(1, 2).unsqueeze(-1)


class DABModule(nn.Module):
    """Lightweight dilated bottleneck: half the channels, a 3x1 and 1x3, a near and a far depthwise branch, and a shuffle."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        half = channels // 2
        self.bn_relu_1 = BNPReLU(channels)
        self.conv1x1_in = Conv(channels, half, (1, 1), active=False)
        self.conv3x1 = Conv(half, half, (3, 1))
        self.conv1x3 = Conv(half, half, (1, 3))
        self.dconv3x1 = Conv(half, half, (3, 1), groups=half)
        self.dconv1x3 = Conv(half, half, (1, 3), groups=half)
        self.ca11 = ChannelAttention()
        self.ddconv3x1 = Conv(half, half, (3, 1), groups=half, dilation=dilation)
        self.ddconv1x3 = Conv(half, half, (1, 3), groups=half, dilation=dilation)
        self.ca22 = ChannelAttention()
        self.bn_relu_2 = BNPReLU(half)
        self.conv1x1 = Conv(half, channels, (1, 1), active=False)
        self.shuffle = nn.ChannelShuffle(half)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) -> the same."""
        inner = self.conv1x3(self.conv3x1(self.conv1x1_in(self.bn_relu_1(x))))
        near = self.ca11(self.dconv1x3(self.dconv3x1(inner)))
        far = self.ca22(self.ddconv1x3(self.ddconv3x1(inner)))
        return self.shuffle(x + self.conv1x1(self.bn_relu_2(near + far + inner)))


class DownSamplingBlock(nn.Module):
    """Half the resolution by a convolution, beside the maxima of the input where channels become more."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.keeps = c_in < c_out
        self.conv3x3 = Conv(c_in, c_out - c_in if self.keeps else c_out, (3, 3), stride=2, active=False)
        self.bn_prelu = BNPReLU(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) -> (N, c_out, h / 2, w / 2)."""
        halved = self.conv3x3(x)
        if self.keeps:
            halved = torch.cat([halved, functional.max_pool2d(x, 2)], dim=1)
        return self.bn_prelu(halved)


class UpsampleingBlock(nn.Module):
    """Twice the resolution by a transposed convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=1, output_padding=1)
        self.bn = nn.BatchNorm2d(c_out, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) -> (N, c_out, 2h, 2w)."""
        return functional.relu6(self.bn(self.conv(x)))


class PixelAttention(nn.Module):
    """Weighs every value by what a 1x1 convolution sees at its pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) -> the same."""
        return x * self.conv(x).sigmoid()


class LongConnection(nn.Module):
    """Carries a map of the encoder to the decoder."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.dconv3x1 = nn.Conv2d(c_in, c_in // 2, (3, 1), padding=(1, 0))
        self.dconv1x3 = nn.Conv2d(c_in // 2, c_out, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) -> (N, c_out, h, w)."""
        return self.dconv1x3(self.dconv3x1(x))


class EffAttention(nn.Module):
    """Attention at half the width, within each quarter of the tokens alone."""

    def __init__(self, dim: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5  # of the whole width, as the authors have it
        self.reduce = nn.Linear(dim, dim // 2, bias=False)
        self.qkv = nn.Linear(dim // 2, dim // 2 * 3, bias=False)
        self.proj = nn.Linear(dim // 2, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, dim) -> the same; tokens are 4 or more, what is left of a division by 4 is a fifth part."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(self.reduce(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        parts = qkv.split(tokens // 4, dim=-2)
        mixed = [functional.scaled_dot_product_attention(q, k, v, scale=self.scale) for q, k, v in parts]
        return self.proj(torch.cat(mixed, dim=-2).transpose(1, 2).reshape(batch, tokens, -1))


class Mlp(nn.Module):
    """Two linear layers, a quarter of the width between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, dim // 4)
        self.fc2 = nn.Linear(dim // 4, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, dim) -> the same."""
        return self.fc2(functional.relu(self.fc1(x)))


class TransBlock(nn.Module):
    """Efficient transformer: each pixel's 3x3 surroundings are a token; the tokens are summed back where they overlap."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        dim = 9 * channels
        self.atten = EffAttention(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) -> the same."""
        size = x.shape[-2:]
        tokens = functional.unfold(x, 3, padding=1).transpose(1, 2)  # (N, h w, 9 c)
        tokens = tokens + self.atten(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return functional.fold(tokens.transpose(1, 2), size, 3, padding=1)
