"""Blocks that several families share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

Norm = Callable[[int], nn.Module]
Activation = Callable[..., nn.Module]


class ConvNormActivation(nn.Sequential):
    """A convolution without bias that keeps H and W at stride 1, its norm and, where one is given, its activation."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        norm: Norm = nn.BatchNorm2d,
        activation: Activation | None = nn.ReLU,
    ) -> None:
        parts = [nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False), norm(c_out)]
        super().__init__(*parts, *([] if activation is None else [activation(inplace=True)]))


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what the whole map says of it.

    Source: Hu et al. 2017 Squeeze-and-Excitation Networks.

    Args:
        channels: of the map.
        squeezed: between the two layers.
        activation: between the two layers.
        gate: makes weights from 0 to 1.
    """

    def __init__(
        self, channels: int, squeezed: int, *, activation: Activation = nn.ReLU, gate: Activation = nn.Sigmoid
    ) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation(inplace=True)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same shape."""
        weights = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.fc2(self.activation(self.fc1(weights))))


class StochasticDepth(nn.Module):
    """In training, leaves a branch out for some samples and scales it up for the others; its mean stays.

    Source: Huang et al. 2016 Deep Networks with Stochastic Depth.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> the same shape; each sample is zero with probability p."""
        if not self.training or self.p == 0:
            return x
        kept = 1 - self.p
        return x * x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(kept).div_(kept)


class Mlp(nn.Sequential):
    """Two layers with GELU between them, for each position on its own: (..., width) -> (..., width)."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )


class Permute(nn.Module):
    """Puts the sides of a tensor in another order; a place in a Sequential."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """A view of x."""
        return x.permute(self.order)


def divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of the divisor, but never more than a tenth below. Source: Sandler et al. 2018, published code."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


def rename(state: MutableMapping[str, Any], prefix: str, names: Mapping[str, str]) -> None:
    """Give entries of a checkpoint, those below a prefix, the names of today: published files keep those of their day."""
    for key in [key for key in state if key.startswith(prefix)]:
        for old, new in names.items():
            if key.startswith(prefix + old):
                state[prefix + new + key.removeprefix(prefix + old)] = state.pop(key)
