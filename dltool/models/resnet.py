"""Residual networks: blocks that learn what to add to their input.

He, Zhang, Ren, Sun 2015, Deep Residual Learning for Image Recognition (ResNet); Xie et al. 2016, Aggregated Residual
Transformations (ResNeXt). The bottleneck has its stride in the 3x3, not in the first 1x1 as in the paper ("v1.5").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut round them."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int, dilation: int, *, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = norm(width)
        self.downsample = shortcut(c_in, width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, width, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up to four times the width, and the shortcut round them."""

    expansion = 4

    def __init__(
        self, c_in: int, width: int, stride: int, dilation: int, *, norm: Norm, groups: int = 1, group_width: int = 64
    ) -> None:
        super().__init__()
        inner, c_out = width * group_width // 64 * groups, width * self.expansion
        self.conv1 = nn.Conv2d(c_in, inner, 1, bias=False)
        self.bn1 = norm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=dilation, dilation=dilation, groups=groups, bias=False)
        self.bn2 = norm(inner)
        self.conv3 = nn.Conv2d(inner, c_out, 1, bias=False)
        self.bn3 = norm(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(c_in, c_out, stride, norm)

    def branch(self, x: Tensor) -> Tensor:
        """What is added to the input: (N, c_in, H, W) -> (N, 4 width, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 4 width, H / stride, W / stride)."""
        return self.relu(self.branch(x) + (x if self.downsample is None else self.downsample(x)))


def shortcut(c_in: int, c_out: int, stride: int, norm: Norm) -> nn.Sequential | None:
    """A projection where the shapes differ; None where the input is added as it is."""
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), norm(c_out))


class ResNet(nn.Module):
    """Stem, four stages of blocks, global average, classifier.

    Args:
        block: makes one block.
        depths: blocks in each of the four stages.
        num_classes: of the classifier.
        dilated: for each of the last three stages, whether it keeps its resolution and dilates its 3x3 convolutions instead
            (segmentation: output stride 8 or 16 in place of 32).
        norm: of every convolution.
    """

    def __init__(
        self,
        block: Callable[..., BasicBlock | Bottleneck],
        depths: Sequence[int],
        *,
        num_classes: int = 1000,
        dilated: Sequence[bool] = (False, False, False),
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

        channels, dilation = 64, 1
        for place, (depth, wide) in enumerate(zip(depths, (64, 128, 256, 512), strict=True)):
            stride, before = (1 if place == 0 else 2), dilation
            if place > 0 and dilated[place - 1]:
                stride, dilation = 1, dilation * 2
            blocks: list[nn.Module] = []
            for number in range(depth):
                first = number == 0
                made = block(channels, wide, stride if first else 1, before if first else dilation, norm=norm)
                channels = wide * made.expansion
                blocks.append(made)
            setattr(self, f"layer{place + 1}", nn.Sequential(*blocks))

        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self.apply(_initialise)

    def features(self, x: Tensor) -> list[Tensor]:
        """The four stages' maps, at 1/4, 1/8, 1/16, 1/32 of (N, 3, H, W) where nothing is dilated."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        return self.fc(self.avgpool(self.features(x)[-1]).flatten(1))


def _initialise(module: nn.Module) -> None:
    """Source: He et al. 2015 Delving deep into rectifiers, for convolutions; the rest is torch's default."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def resnet18(*, num_classes: int = 1000) -> ResNet:
    """ResNet-18."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes=num_classes)


def resnet50(*, num_classes: int = 1000) -> ResNet:
    """ResNet-50 (v1.5)."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes=num_classes)


def resnext50_32x4d(*, num_classes: int = 1000) -> ResNet:
    """ResNeXt-50: 32 groups, each 4 channels wide in the first stage."""
    return ResNet(partial(Bottleneck, groups=32, group_width=4), (3, 4, 6, 3), num_classes=num_classes)
