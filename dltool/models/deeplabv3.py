"""DeepLabV3: looks at each pixel's surroundings at several distances through dilated ("atrous") convolutions.

Chen, Papandreou, Schroff, Adam 2017, Rethinking Atrous Convolution for Semantic Image Segmentation. Output stride 8.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dltool.models.fcn import FCNHead, SegmentationNetwork, dilated_resnet, enlarged

_RATES = (12, 24, 36)
"""Dilations at output stride 8. Source: section 3.3 of the paper: twice those at output stride 16."""


class ImagePooling(nn.Sequential):
    """The mean over the image, as a feature of every pixel."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *_convolution(c_in, c_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) -> (N, c_out, h, w)."""
        return enlarged(super().forward(x), x.shape[-2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1, three dilated 3x3 and the image's mean, side by side, then joined."""

    def __init__(self, c_in: int, c_out: int = 256) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                _convolution(c_in, c_out, 1),
                *(_convolution(c_in, c_out, 3, rate) for rate in _RATES),
                ImagePooling(c_in, c_out),
            ]
        )
        self.project = nn.Sequential(*_convolution(len(self.convs) * c_out, c_out, 1), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) -> (N, c_out, h, w)."""
        return self.project(torch.cat([branch(x) for branch in self.convs], dim=1))


def _convolution(c_in: int, c_out: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(c_in, c_out, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out), nn.ReLU())


def _deeplabv3(layers: tuple[int, ...], num_classes: int, aux_loss: bool) -> SegmentationNetwork:
    head = nn.Sequential(ASPP(2048), *_convolution(256, 256, 3), nn.Conv2d(256, num_classes, 1))
    return SegmentationNetwork(dilated_resnet(layers), head, FCNHead(1024, num_classes) if aux_loss else None)


def deeplabv3_resnet50(
    *, num_classes: int = 21, aux_loss: bool = True, layers: tuple[int, ...] = (3, 4, 6, 3)
) -> SegmentationNetwork:
    """DeepLabV3 on a dilated ResNet-50."""
    return _deeplabv3(layers, num_classes, aux_loss)


def deeplabv3_resnet101(
    *, num_classes: int = 21, aux_loss: bool = True, layers: tuple[int, ...] = (3, 4, 23, 3)
) -> SegmentationNetwork:
    """DeepLabV3 on a dilated ResNet-101."""
    return _deeplabv3(layers, num_classes, aux_loss)
