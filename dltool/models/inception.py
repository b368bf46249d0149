"""Inception-v3: large convolutions factorised into small and into one-sided ones, with an auxiliary classifier while training.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2015, Rethinking the Inception Architecture for Computer Vision. Layer names are those
of the first public weights, which torchvision took over.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.googlenet import ConvNorm, renormalised


class InceptionOutputs(NamedTuple):
    """What a network in training gives: the logits and those of its auxiliary head, each (N, num_classes)."""

    logits: Tensor
    aux_logits: Tensor


def averaged(x: Tensor) -> Tensor:
    """The mean of each pixel's neighbourhood: (N, c, H, W) -> (N, c, H, W)."""
    return functional.avg_pool2d(x, 3, stride=1, padding=1)


def halved(x: Tensor) -> Tensor:
    """The largest of every other neighbourhood: (N, c, H, W) -> (N, c, (H - 1) / 2, (W - 1) / 2)."""
    return functional.max_pool2d(x, 3, stride=2)


class InceptionA(nn.Module):
    """1x1, 5x5, two 3x3 and an average (paper: figure 5)."""

    def __init__(self, c_in: int, pool_features: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(c_in, 64, 1)
        self.branch5x5_1 = ConvNorm(c_in, 48, 1)
        self.branch5x5_2 = ConvNorm(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = ConvNorm(c_in, 64, 1)
        self.branch3x3dbl_2 = ConvNorm(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvNorm(96, 96, 3, padding=1)
        self.branch_pool = ConvNorm(c_in, pool_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 224 + pool_features, H, W)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch1x1(x), five, double, self.branch_pool(averaged(x))), 1)


class InceptionB(nn.Module):
    """From 35x35 to 17x17: 3x3, two 3x3 and a maximum, all with stride 2 (paper: figure 10)."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.branch3x3 = ConvNorm(c_in, 384, 3, stride=2)
        self.branch3x3dbl_1 = ConvNorm(c_in, 64, 1)
        self.branch3x3dbl_2 = ConvNorm(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvNorm(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 480 + c_in, (H - 1) / 2, (W - 1) / 2)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), double, halved(x)), 1)


class InceptionC(nn.Module):
    """1x1, 7x7 once and twice, each as 1x7 and 7x1, and an average (paper: figure 6 with n = 7)."""

    def __init__(self, c_in: int, channels_7x7: int) -> None:
        super().__init__()
        inner = channels_7x7
        self.branch1x1 = ConvNorm(c_in, 192, 1)
        self.branch7x7_1 = ConvNorm(c_in, inner, 1)
        self.branch7x7_2 = ConvNorm(inner, inner, (1, 7), padding=(0, 3))
        self.branch7x7_3 = ConvNorm(inner, 192, (7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = ConvNorm(c_in, inner, 1)
        self.branch7x7dbl_2 = ConvNorm(inner, inner, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = ConvNorm(inner, inner, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = ConvNorm(inner, inner, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = ConvNorm(inner, 192, (1, 7), padding=(0, 3))
        self.branch_pool = ConvNorm(c_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 768, H, W)."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat((self.branch1x1(x), seven, double, self.branch_pool(averaged(x))), 1)


class InceptionD(nn.Module):
    """From 17x17 to 8x8: 3x3, 7x7 then 3x3, and a maximum, all with stride 2."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.branch3x3_1 = ConvNorm(c_in, 192, 1)
        self.branch3x3_2 = ConvNorm(192, 320, 3, stride=2)
        self.branch7x7x3_1 = ConvNorm(c_in, 192, 1)
        self.branch7x7x3_2 = ConvNorm(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = ConvNorm(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = ConvNorm(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 512 + c_in, (H - 1) / 2, (W - 1) / 2)."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat((three, seven, halved(x)), 1)


class InceptionE(nn.Module):
    """1x1, 3x3 once and twice, their last step 1x3 beside 3x1, and an average (paper: figure 7)."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(c_in, 320, 1)
        self.branch3x3_1 = ConvNorm(c_in, 384, 1)
        self.branch3x3_2a = ConvNorm(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = ConvNorm(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = ConvNorm(c_in, 448, 1)
        self.branch3x3dbl_2 = ConvNorm(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = ConvNorm(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = ConvNorm(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = ConvNorm(c_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 2048, H, W)."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        wide = (self.branch3x3_2a(three), self.branch3x3_2b(three))
        wider = (self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double))
        return torch.cat((self.branch1x1(x), *wide, *wider, self.branch_pool(averaged(x))), 1)


class Auxiliary(nn.Module):
    """A classifier on the last 17x17 map (paper: figure 8)."""

    def __init__(self, c_in: int, num_classes: int) -> None:
        super().__init__()
        self.conv0 = ConvNorm(c_in, 128, 1)
        self.conv1 = ConvNorm(128, 768, 5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W), 17 or more on each side -> (N, num_classes)."""
        x = self.conv1(self.conv0(functional.avg_pool2d(x, 5, stride=3)))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Inception3(nn.Module):
    """Stem, eleven Inception blocks, global average, classifier.

    Args:
        num_classes: of every classifier.
        aux_logits: with the auxiliary head, which is used in train mode only.
        transform_input: take images normalised by ImageNet's means and deviations, see `renormalised`.
    """

    def __init__(self, *, num_classes: int, aux_logits: bool, transform_input: bool) -> None:
        super().__init__()
        self.transform_input = transform_input
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3)
        self.Mixed_5b = InceptionA(192, 32)
        self.Mixed_5c = InceptionA(256, 64)
        self.Mixed_5d = InceptionA(288, 64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, 128)
        self.Mixed_6c = InceptionC(768, 160)
        self.Mixed_6d = InceptionC(768, 160)
        self.Mixed_6e = InceptionC(768, 192)
        self.AuxLogits = Auxiliary(768, num_classes) if aux_logits else None
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, num_classes)
        self._initialise()

    def forward(self, x: Tensor) -> Tensor | InceptionOutputs:
        """(N, 3, H, W), 299 on each side -> (N, num_classes); in train mode with an auxiliary head both logits."""
        if self.transform_input:
            x = renormalised(x)
        x = halved(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))  # (N, 64, 73, 73)
        x = halved(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))  # (N, 192, 35, 35)
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))  # (N, 768, 17, 17)
        middle = x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (N, 2048, 8, 8)
        logits = self.fc(self.dropout(self.avgpool(x)).flatten(1))
        if not self.training or self.AuxLogits is None:
            return logits
        return InceptionOutputs(logits, self.AuxLogits(middle))

    def _initialise(self) -> None:
        """Normal of 0.1, smaller in the auxiliary head."""
        special = {"AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}
        for name, module in self.named_modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(module.weight, std=special.get(name, 0.1))


def inception_v3(*, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False) -> Inception3:
    """Inception-v3."""
    return Inception3(num_classes=num_classes, aux_logits=aux_logits, transform_input=transform_input)
