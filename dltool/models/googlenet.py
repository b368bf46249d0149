"""GoogLeNet: blocks of parallel convolutions of several sizes, with two auxiliary classifiers while training.

Szegedy et al. 2014, Going Deeper with Convolutions. With batch normalisation, and 3x3 in place of the 5x5 branch, as in
torchvision, whose public weights were trained so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class GoogLeNetOutputs(NamedTuple):
    """What a network in training gives: the logits and those of its auxiliary heads, each (N, num_classes)."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel_size: int | tuple[int, int], **convolution: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel_size, bias=False, **convolution)
        self.bn = nn.BatchNorm2d(c_out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, ...) by kernel, stride and padding."""
        return functional.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """1x1, 1x1 then 3x3, twice, and a pool then 1x1, side by side.

    Args:
        c_in: channels of the input.
        one: of the first branch.
        three: of the second, before and in its 3x3.
        five: of the third, before and in what the paper has as a 5x5.
        pooled: of the last.
    """

    def __init__(self, c_in: int, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> None:
        super().__init__()
        self.branch1 = ConvNorm(c_in, one, 1)
        self.branch2 = nn.Sequential(ConvNorm(c_in, three[0], 1), ConvNorm(*three, 3, padding=1))
        self.branch3 = nn.Sequential(ConvNorm(c_in, five[0], 1), ConvNorm(*five, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), ConvNorm(c_in, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, sum of the branches, H, W)."""
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class Auxiliary(nn.Module):
    """A classifier on a map in the middle of the network, so that gradients reach its lower half."""

    def __init__(self, c_in: int, num_classes: int) -> None:
        super().__init__()
        self.conv = ConvNorm(c_in, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, num_classes)."""
        x = self.conv(functional.adaptive_avg_pool2d(x, 4)).flatten(1)
        return self.fc2(self.dropout(functional.relu(self.fc1(x), inplace=True)))


class GoogLeNet(nn.Module):
    """Stem, nine Inception blocks, global average, classifier.

    Args:
        num_classes: of every classifier.
        aux_logits: with the auxiliary heads, which are used in train mode only.
        transform_input: take images normalised by ImageNet's means and deviations, see `renormalised`.
    """

    def __init__(self, *, num_classes: int, aux_logits: bool, transform_input: bool) -> None:
        super().__init__()
        self.transform_input = transform_input
        self.conv1 = ConvNorm(3, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = ConvNorm(64, 64, 1)
        self.conv3 = ConvNorm(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.aux1 = Auxiliary(512, num_classes) if aux_logits else None
        self.aux2 = Auxiliary(528, num_classes) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, num_classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        """(N, 3, H, W) -> (N, num_classes); in train mode with auxiliary heads all three logits."""
        if self.transform_input:
            x = renormalised(x)
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))  # (N, 192, H / 8, W / 8)
        x = self.maxpool3(self.inception3b(self.inception3a(x)))  # (N, 480, H / 16, W / 16)
        early = x = self.inception4a(x)
        late = x = self.inception4d(self.inception4c(self.inception4b(x)))
        x = self.maxpool4(self.inception4e(x))  # (N, 832, H / 32, W / 32)
        x = self.inception5b(self.inception5a(x))
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if not self.training or self.aux1 is None or self.aux2 is None:
            return logits
        return GoogLeNetOutputs(logits, self.aux2(late), self.aux1(early))


_IMAGENET = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
"""Mean and standard deviation of red, green, blue."""


def renormalised(x: Tensor) -> Tensor:
    """Images normalised by ImageNet's means and deviations -> between -1 and 1, as the public weights want them."""
    return torch.stack([x[:, c] * (spread / 0.5) + (mean - 0.5) / 0.5 for c, (mean, spread) in enumerate(_IMAGENET)], dim=1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.normal_(module.weight, std=0.01)


def googlenet(*, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False) -> GoogLeNet:
    """GoogLeNet with batch normalisation."""
    return GoogLeNet(num_classes=num_classes, aux_logits=aux_logits, transform_input=transform_input)
