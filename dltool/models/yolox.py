"""YOLOX: one prediction per place of three maps, and one head for what, one for where.

Ge et al. 2021, YOLOX: Exceeding YOLO Series in 2021; Liu et al. 2018, Path Aggregation Network (the neck). Its loss is in
`yolox_training.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dltool.models.darknet import Activation, ConvBlock, CSPDarknet, CSPLayer, Darknet, Maps, leaky
from dltool.models.yolox_boxes import cells, decoded
from dltool.models.yolox_training import losses

_STRIDES = (8, 16, 32)
_PRIOR = 0.01
"""Probability that an untrained head gives to everything. Source: Lin et al. 2017 Focal Loss, section 4.1."""


class PAFPN(nn.Module):
    """CSPDarknet and its neck: from coarse to fine, and back again.

    Args:
        depth, width: see `CSPDarknet`.
    """

    def __init__(self, depth: float, width: float) -> None:
        super().__init__()
        self.backbone = CSPDarknet(depth, width)
        fine, middle, coarse = (int(c * width) for c in (256, 512, 1024))
        blocks = round(3 * depth)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral_conv0 = ConvBlock(coarse, middle, 1)
        self.C3_p4 = CSPLayer(2 * middle, middle, blocks, shortcut=False)
        self.reduce_conv1 = ConvBlock(middle, fine, 1)
        self.C3_p3 = CSPLayer(2 * fine, fine, blocks, shortcut=False)
        self.bu_conv2 = ConvBlock(fine, fine, 3, 2)
        self.C3_n3 = CSPLayer(2 * fine, middle, blocks, shortcut=False)
        self.bu_conv1 = ConvBlock(middle, middle, 3, 2)
        self.C3_n4 = CSPLayer(2 * middle, coarse, blocks, shortcut=False)

    def forward(self, x: Tensor) -> Maps:
        """(N, 3, H, W) -> maps at 1/8, 1/16, 1/32."""
        fine, middle, coarse = self.backbone(x)
        top = self.lateral_conv0(coarse)
        side = self.reduce_conv1(self.C3_p4(torch.cat((self.upsample(top), middle), 1)))
        fine = self.C3_p3(torch.cat((self.upsample(side), fine), 1))
        middle = self.C3_n3(torch.cat((self.bu_conv2(fine), side), 1))
        return fine, middle, self.C3_n4(torch.cat((self.bu_conv1(middle), top), 1))


class FPN(nn.Module):
    """Darknet-53 and YOLOv3's neck: from coarse to fine.

    Args:
        stem, blocks: see `Darknet`.
    """

    def __init__(self, stem: int, blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.backbone = Darknet(stem, blocks)
        self.out1_cbl = ConvBlock(16 * stem, 8 * stem, 1, act=leaky)
        self.out1 = _embedding(24 * stem, 8 * stem)
        self.out2_cbl = ConvBlock(8 * stem, 4 * stem, 1, act=leaky)
        self.out2 = _embedding(12 * stem, 4 * stem)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Maps:
        """(N, 3, H, W) -> maps at 1/8, 1/16, 1/32."""
        fine, middle, coarse = self.backbone(x)
        middle = self.out1(torch.cat((self.upsample(self.out1_cbl(coarse)), middle), 1))
        fine = self.out2(torch.cat((self.upsample(self.out2_cbl(middle)), fine), 1))
        return fine, middle, coarse


def _embedding(c_in: int, c_out: int) -> nn.Sequential:
    """1x1 and 3x3 in turn, five of them."""
    wide = 2 * c_out
    shapes = ((c_in, c_out, 1), (c_out, wide, 3), (wide, c_out, 1), (c_out, wide, 3), (wide, c_out, 1))
    return nn.Sequential(*(ConvBlock(*shape, act=leaky) for shape in shapes))


class Head(nn.Module):
    """The decoupled head: for each map two branches, one for classes, one for box and objectness.

    Args:
        num_classes: that it tells apart.
        channels: of the maps.
        width: of its branches.
        act: of its convolutions.
    """

    use_l1 = False
    """Whether the loss has its L1 part; the paper turns it on for the last 15 epochs."""

    def __init__(self, num_classes: int, channels: Sequence[int], width: int, *, act: Activation = nn.SiLU) -> None:
        super().__init__()
        self.num_classes = num_classes

        def branches() -> nn.ModuleList:
            pairs = ((ConvBlock(width, width, 3, act=act), ConvBlock(width, width, 3, act=act)) for _ in channels)
            return nn.ModuleList(nn.Sequential(*pair) for pair in pairs)

        def predictors(c_out: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(width, c_out, 1) for _ in channels)

        self.stems = nn.ModuleList(ConvBlock(c, width, 1, act=act) for c in channels)
        self.cls_convs, self.reg_convs = branches(), branches()
        self.cls_preds, self.reg_preds, self.obj_preds = predictors(num_classes), predictors(4), predictors(1)
        for predictor in (*self.cls_preds, *self.obj_preds):
            nn.init.constant_(predictor.bias, -math.log((1 - _PRIOR) / _PRIOR))

    def raw(self, level: int, x: Tensor) -> Tensor:
        """One map (N, c, H, W) -> (N, 5 + num_classes, H, W): box, objectness, classes, all before any function."""
        x = self.stems[level](x)
        where = self.reg_convs[level](x)
        what = self.cls_convs[level](x)
        return torch.cat((self.reg_preds[level](where), self.obj_preds[level](where), self.cls_preds[level](what)), 1)

    def forward(self, maps: Maps, labels: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        """Three maps -> (N, A, 5 + num_classes), or the losses against labels in train mode; see `YOLOX`."""
        levels = [self.raw(level, x) for level, x in enumerate(maps)]
        raw = torch.cat([level.flatten(2) for level in levels], 2).transpose(1, 2)
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))  # bfloat16 would place a box to within four pixels
        places, steps = cells([(level.shape[2], level.shape[3]) for level in levels], _STRIDES, raw)
        if self.training:
            if labels is None:
                raise ValueError("YOLOX in train mode needs labels (N, G, 5): class, x, y, width, height")
            return losses(raw, labels, places, steps, use_l1=self.use_l1)
        return torch.cat((decoded(raw[..., :4], places, steps), raw[..., 4:].sigmoid()), -1)


class YOLOX(nn.Module):
    """Backbone with neck, and head.

    Args:
        backbone: (N, 3, H, W) -> maps at 1/8, 1/16, 1/32.
        head: what they show.
    """

    def __init__(self, backbone: PAFPN | FPN, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        """Detections, or losses in train mode.

        Args:
            x: (N, 3, H, W), both sides multiples of 32.
            targets: (N, G, 5): class and box of each object, rows of zeros fill up; for train mode.

        Returns:
            in eval mode (N, A, 5 + num_classes): box, objectness and class probabilities of each place of each map, where A is
            HW/64 + HW/256 + HW/1024, in float32 or finer; in train mode the losses, see `yolox_training.losses`.
        """
        return self.head(self.backbone(x), targets)


def _yolox(num_classes: int, depth: float, width: float) -> YOLOX:
    channels = [int(c * width) for c in (256, 512, 1024)]
    return YOLOX(PAFPN(depth, width), Head(num_classes, channels, channels[0]))


def yolox_s(*, num_classes: int = 80, depth: float = 0.33, width: float = 0.5) -> YOLOX:
    """YOLOX-S."""
    return _yolox(num_classes, depth, width)


def yolox_x(*, num_classes: int = 80, depth: float = 1.33, width: float = 1.25) -> YOLOX:
    """YOLOX-X."""
    return _yolox(num_classes, depth, width)


def yolox_darknet53(*, num_classes: int = 80, stem: int = 32, blocks: tuple[int, ...] = (2, 8, 8, 4)) -> YOLOX:
    """YOLOX-Darknet53: YOLOv3's backbone and neck with YOLOX's head."""
    second, third, fourth, fifth = blocks
    head = Head(num_classes, (4 * stem, 8 * stem, 16 * stem), 8 * stem, act=leaky)
    return YOLOX(FPN(stem, (second, third, fourth, fifth)), head)
