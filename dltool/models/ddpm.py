"""The U-Net of denoising diffusion: it tells the noise in an image, given how many steps of noise were added.

Ho, Jain, Abbeel 2020, Denoising Diffusion Probabilistic Models, appendix B: residual blocks with group norm that are told the
step, four resolutions, self-attention at the second and in the middle. What is done with it is in `dltool.zoo.diffusion`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPS = 1e-6
_ATTENDS = 1
"""The level with attention: 16x16 of a 32x32 image."""


def sinusoids(steps: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of wavelengths from 2 pi to 20000 pi: (N) -> (N, width), in float32.

    Source: Vaswani et al. 2017 Attention Is All You Need, section 3.5.
    """
    half = width // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=steps.device) / (half - 1))
    angles = steps[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(nn.Module):
    """What the residual blocks are told of the step."""

    def __init__(self, width: int, c_time: int) -> None:
        super().__init__()
        self.width = width
        self.linear_1 = nn.Linear(width, c_time)
        self.linear_2 = nn.Linear(c_time, c_time)

    def forward(self, steps: Tensor, dtype: torch.dtype) -> Tensor:
        """(N) -> (N, c_time)."""
        waves = sinusoids(steps, self.width).to(dtype)
        return self.linear_2(functional.silu(self.linear_1(waves)))


class ResnetBlock(nn.Module):
    """Norm, SiLU, 3x3, twice, with the step added between them, and the shortcut round them."""

    def __init__(self, c_in: int, c_out: int, *, c_time: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in, eps=_EPS)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(c_time, c_out)
        self.norm2 = nn.GroupNorm(groups, c_out, eps=_EPS)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(N, c_in, H, W) and (N, c_time), through SiLU already -> (N, c_out, H, W)."""
        out = self.conv1(functional.silu(self.norm1(x)))
        out = out + self.time_emb_proj(time)[:, :, None, None]
        out = self.conv2(functional.silu(self.norm2(out)))
        return self.conv_shortcut(x) + out


class Attention(nn.Module):
    """One head of self-attention over all places of a map, and the shortcut round it."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=_EPS)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same."""
        places = self.group_norm(x).flatten(2).transpose(1, 2)  # (N, H W, channels)
        query, key, value = (to(places)[:, None] for to in (self.to_q, self.to_k, self.to_v))  # one head
        out = functional.scaled_dot_product_attention(query, key, value)[:, 0]
        return self.to_out[0](out).transpose(1, 2).reshape(x.shape) + x


class Downsample(nn.Module):
    """Half the resolution by a 3x3 with stride 2, padded on the right and below."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, channels, H / 2, W / 2)."""
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the resolution: every pixel repeated, then a 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, channels, 2 H, 2 W)."""
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class DownBlock(nn.Module):
    """A level on the way down; what it leaves for the way up is every map it made."""

    def __init__(self, c_in: int, c_out: int, *, layers: int, attends: bool, shrinks: bool, c_time: int, groups: int) -> None:
        super().__init__()
        block = partial(ResnetBlock, c_time=c_time, groups=groups)
        self.resnets = nn.ModuleList(block(c_in if number == 0 else c_out, c_out) for number in range(layers))
        self.attentions = nn.ModuleList(Attention(c_out, groups) if attends else nn.Identity() for _ in range(layers))
        self.downsamplers = nn.ModuleList([Downsample(c_out)] if shrinks else [])

    def forward(self, x: Tensor, time: Tensor) -> list[Tensor]:
        """(N, c_in, H, W) -> its maps, the last of which goes on: (N, c_out, H, W), at the end (N, c_out, H / 2, W / 2)."""
        maps = []
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            x = attention(resnet(x, time))
            maps.append(x)
        for downsampler in self.downsamplers:
            maps.append(downsampler(x))
        return maps


class MidBlock(nn.Module):
    """The lowest resolution: a residual block, attention, a residual block."""

    def __init__(self, channels: int, *, c_time: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([Attention(channels, groups)])
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, c_time=c_time, groups=groups) for _ in range(2))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x, time)), time)


class UpBlock(nn.Module):
    """A level on the way up; each residual block takes one map of the way down along.

    Args:
        c_in, c_out: of the level.
        skips: channels of the maps that it takes along, in the order of their use.
        attends, grows: whether it has attention, whether it ends at twice the resolution.
        c_time, groups: of the residual blocks.
    """

    def __init__(
        self, c_in: int, c_out: int, skips: Sequence[int], *, attends: bool, grows: bool, c_time: int, groups: int
    ) -> None:
        super().__init__()
        block = partial(ResnetBlock, c_time=c_time, groups=groups)
        self.resnets = nn.ModuleList(block((c_in if n == 0 else c_out) + skip, c_out) for n, skip in enumerate(skips))
        self.attentions = nn.ModuleList(Attention(c_out, groups) if attends else nn.Identity() for _ in skips)
        self.upsamplers = nn.ModuleList([Upsample(c_out)] if grows else [])

    def forward(self, x: Tensor, maps: list[Tensor], time: Tensor) -> Tensor:
        """(N, c_in, H, W) and the maps of the way down, the last of which are used up -> (N, c_out, H, W) or twice that."""
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            x = attention(resnet(torch.cat([x, maps.pop()], dim=1), time))
        for upsampler in self.upsamplers:
            x = upsampler(x)
        return x


class UNet(nn.Module):
    """Down through the levels, the middle, up again with the maps of the way down.

    Args:
        channels: of each level, from the full resolution down.
        layers: residual blocks of a level on the way down; one more on the way up.
        groups: of the group norms.
        colours: channels of the image.
    """

    def __init__(self, channels: Sequence[int], *, layers: int, groups: int, colours: int) -> None:
        super().__init__()
        first, last, c_time = channels[0], len(channels) - 1, 4 * channels[0]
        shared = {"c_time": c_time, "groups": groups}
        self.conv_in = nn.Conv2d(colours, first, 3, padding=1)
        self.time_embedding = TimeEmbedding(first, c_time)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        skips, c_in = [first], first
        for level, c_out in enumerate(channels):
            self.down_blocks.append(
                DownBlock(c_in, c_out, layers=layers, attends=level == _ATTENDS, shrinks=level < last, **shared)
            )
            skips += [c_out] * (layers + (level < last))
            c_in = c_out
        self.mid_block = MidBlock(c_in, **shared)
        for level, c_out in reversed(list(enumerate(channels))):
            taken = [skips.pop() for _ in range(layers + 1)]
            self.up_blocks.append(UpBlock(c_in, c_out, taken, attends=level == _ATTENDS, grows=level > 0, **shared))
            c_in = c_out
        self.conv_norm_out = nn.GroupNorm(groups, first, eps=_EPS)
        self.conv_out = nn.Conv2d(first, colours, 3, padding=1)

    def forward(self, sample: Tensor, timestep: Tensor | float) -> Tensor:
        """(N, colours, H, W), H and W multiples of 8, and steps (N), (1) or one number -> the noise (N, colours, H, W)."""
        steps = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        time = functional.silu(self.time_embedding(steps, sample.dtype))
        maps = [self.conv_in(sample)]
        for down in self.down_blocks:
            maps += down(maps[-1], time)
        x = self.mid_block(maps[-1], time)
        for up in self.up_blocks:
            x = up(x, maps, time)
        return self.conv_out(functional.silu(self.conv_norm_out(x)))


def ddpm_unet(
    *,
    in_channels: int = 3,
    block_out_channels: tuple[int, ...] = (128, 256, 256, 256),
    layers_per_block: int = 2,
    norm_num_groups: int = 32,
) -> UNet:
    """The noise predictor of DDPM for CIFAR-10, 32x32."""
    return UNet(block_out_channels, layers=layers_per_block, groups=norm_num_groups, colours=in_channels)
