"""Networks for phones: cheap depthwise convolutions between thin layers that are widened inside each block.

Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks, table 2; Howard et al. 2019, Searching for
MobileNetV3, table 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from dltool.models.layers import Activation, ConvNormActivation, Norm, SqueezeExcitation, StochasticDepth, divisible

_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repeats, stride of the first. Source: Sandler et al. 2018, table 2."""
_V3_LARGE = (
    (3, 16, 16, False, nn.ReLU, 1),
    (3, 64, 24, False, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 1),
    (5, 72, 40, True, nn.ReLU, 2),
    (5, 120, 40, True, nn.ReLU, 1),
    (5, 120, 40, True, nn.ReLU, 1),
    (3, 240, 80, False, nn.Hardswish, 2),
    (3, 200, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 480, 112, True, nn.Hardswish, 1),
    (3, 672, 112, True, nn.Hardswish, 1),
    (5, 672, 160, True, nn.Hardswish, 2),
    (5, 960, 160, True, nn.Hardswish, 1),
    (5, 960, 160, True, nn.Hardswish, 1),
)
"""Kernel, widened channels, channels, squeeze and excitation, activation, stride. Source: Howard et al. 2019, table 1."""


class LinearBottleneck(nn.Module):
    """MobileNetV2's block: widen, depthwise 3x3, narrow without activation; added to its input where the shapes agree."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = c_in * expansion
        layer = partial(ConvNormActivation, activation=nn.ReLU6)
        self.conv = nn.Sequential(
            *([layer(c_in, inner, 1)] if expansion != 1 else []),
            layer(inner, inner, 3, stride, groups=inner),
            nn.Conv2d(inner, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        return x + self.conv(x) if self.adds else self.conv(x)


class InvertedResidual(nn.Module):
    """The block of MobileNetV3 and EfficientNet: widen, depthwise, weigh the channels, narrow.

    Args:
        c_in, inner, c_out: channels before, inside, after; no widening layer where the first two agree.
        kernel, stride: of the depthwise convolution.
        norm, activation: of each convolution; the last has no activation.
        excite: makes the squeeze and excitation of `inner` channels; None for blocks without.
        drop: how often training leaves the branch out.
    """

    def __init__(
        self,
        c_in: int,
        inner: int,
        c_out: int,
        *,
        kernel: int,
        stride: int,
        norm: Norm,
        activation: Activation,
        excite: Callable[[int], nn.Module] | None,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        layer = partial(ConvNormActivation, norm=norm, activation=activation)
        self.block = nn.Sequential(
            *([layer(c_in, inner, 1)] if inner != c_in else []),
            layer(inner, inner, kernel, stride, groups=inner),
            *([] if excite is None else [excite(inner)]),
            ConvNormActivation(inner, c_out, 1, norm=norm, activation=None),
        )
        self.stochastic_depth = StochasticDepth(drop)
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        return x + self.stochastic_depth(self.block(x)) if self.adds else self.block(x)


class MobileNet(nn.Module):
    """Convolutions, global average, classifier."""

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        return self.classifier(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


def _initialise(module: nn.Module) -> None:
    """As the reference implementation does."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)


def mobilenet_v2(*, num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.2) -> nn.Module:
    """MobileNetV2."""
    channels, last = divisible(32 * width_mult), divisible(1280 * max(1.0, width_mult))
    parts: list[nn.Module] = [ConvNormActivation(3, channels, stride=2, activation=nn.ReLU6)]
    for expansion, wide, repeats, stride in _V2:
        c_out = divisible(wide * width_mult)
        for number in range(repeats):
            parts.append(LinearBottleneck(channels, c_out, stride if number == 0 else 1, expansion))
            channels = c_out
    parts.append(ConvNormActivation(channels, last, 1, activation=nn.ReLU6))
    return MobileNet(nn.Sequential(*parts), nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes)))


def mobilenet_v3_large(*, num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.2) -> nn.Module:
    """MobileNetV3-Large."""
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
    channels, hidden = divisible(16 * width_mult), divisible(1280 * width_mult)
    parts: list[nn.Module] = [ConvNormActivation(3, channels, stride=2, norm=norm, activation=nn.Hardswish)]
    for kernel, inner, c_out, excited, activation, stride in _V3_LARGE:
        inner, c_out = divisible(inner * width_mult), divisible(c_out * width_mult)
        excite = _excitation if excited else None
        parts.append(
            InvertedResidual(
                channels, inner, c_out, kernel=kernel, stride=stride, norm=norm, activation=activation, excite=excite
            )
        )
        channels = c_out
    last = 6 * channels
    parts.append(ConvNormActivation(channels, last, 1, norm=norm, activation=nn.Hardswish))
    classifier = (nn.Linear(last, hidden), nn.Hardswish(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, num_classes))
    return MobileNet(nn.Sequential(*parts), nn.Sequential(*classifier))


def _excitation(inner: int) -> SqueezeExcitation:
    """A quarter of the widened channels, a gate without exponentials. Source: Howard et al. 2019, sections 5.2 and 5.3."""
    return SqueezeExcitation(inner, divisible(inner // 4), gate=nn.Hardsigmoid)
