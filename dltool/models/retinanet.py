"""RetinaNet: one stage, every anchor classified; the focal loss keeps the many easy ones from drowning the few others.

Lin, Goyal, Girshick, He, Dollár 2017, Focal Loss for Dense Object Detection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.detection.anchors import Anchors, by_place
from dltool.models.detection.boxes import Size, clipped, decoded, encoded
from dltool.models.detection.images import Batch, Detection, Detector, Preparation, Target, mean_of
from dltool.models.detection.loading import accept_old_keys
from dltool.models.detection.matching import BETWEEN, matched
from dltool.models.detection.operators import suppressed
from dltool.models.detection.pyramid import Backbone

_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
_PRIOR = 0.01
"""Probability of an object with which training starts. Source: section 4.1."""
_ALPHA, _GAMMA = 0.25, 2
"""Of the focal loss. Source: section 5.1."""
_SIZES = tuple((size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3))) for size in (32, 64, 128, 256, 512))


def tower(channels: int) -> nn.Sequential:
    """Four 3x3 convolutions: (N, channels, h, w) -> the same."""
    layers = (nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)) for _ in range(4))
    made = nn.Sequential(*layers)
    accept_old_keys(made, *((str(2 * number), f"{number}.0") for number in range(4)))
    return made


class ClassificationHead(nn.Module):
    """Logits of each class for each anchor."""

    def __init__(self, channels: int, anchors: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = tower(channels)
        self.cls_logits = nn.Conv2d(channels, anchors * num_classes, 3, padding=1)
        self.apply(_initialise)
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - _PRIOR) / _PRIOR))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of (N, channels, h, w) -> for each (N, h w anchors, num_classes)."""
        return [by_place(self.cls_logits(self.conv(map_)), self.num_classes) for map_ in maps]


class RegressionHead(nn.Module):
    """Offsets of each anchor."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.conv = tower(channels)
        self.bbox_reg = nn.Conv2d(channels, anchors * 4, 3, padding=1)
        self.apply(_initialise)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of (N, channels, h, w) -> for each (N, h w anchors, 4)."""
        return [by_place(self.bbox_reg(self.conv(map_)), 4) for map_ in maps]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


class Head(nn.Module):
    """Both heads, each the same for all maps."""

    def __init__(self, channels: int, anchors: int, num_classes: int) -> None:
        super().__init__()
        self.classification_head = ClassificationHead(channels, anchors, num_classes)
        self.regression_head = RegressionHead(channels, anchors)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits and offsets for each map."""
        return self.classification_head(maps), self.regression_head(maps)


class RetinaNet(Detector):
    """Backbone with maps at 1/8 to 1/128 of the pictures, and two heads.

    Args:
        backbone: see there.
        transform: prepares pictures.
        channels: of the backbone's maps.
        num_classes: with the background, which no box of the truth has: what is nothing has all probabilities low.
        score_thresh, nms_thresh, detections_per_img: which detections are given: probability, overlap, number.
        topk_candidates: of each map that are looked at.
    """

    def __init__(
        self,
        backbone: Backbone,
        transform: Preparation,
        *,
        num_classes: int,
        channels: int,
        score_thresh: float,
        nms_thresh: float,
        detections_per_img: int,
        topk_candidates: int,
    ) -> None:
        super().__init__()
        self.transform, self.backbone, self.num_classes = transform, backbone, num_classes
        self.anchor_generator = Anchors(_SIZES)
        self.head = Head(channels, self.anchor_generator.per_place, num_classes)
        self.score_thresh, self.nms_thresh = score_thresh, nms_thresh
        self.detections_per_img, self.topk_candidates = detections_per_img, topk_candidates

    def losses(self, batch: Batch, features: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Focal loss of all anchors but those between, L1 of the offsets of those in the foreground; by foreground anchors."""
        logits, offsets = (torch.cat(found, 1) for found in self.head(features))
        anchors = self.anchor_generator(batch.tensors, features)
        classes, boxes = [], []
        for target, scores, shifts in zip(targets, logits.to(anchors.dtype), offsets.to(anchors.dtype), strict=True):
            match = matched(target["boxes"], anchors, 0.5, 0.4, nearest=True)
            near = torch.where(match >= 0)[0]
            true = torch.zeros_like(scores)
            true[near, target["labels"][match[near]]] = 1
            learnt, count = match != BETWEEN, max(1, len(near))
            classes.append(focal(scores[learnt], true[learnt]).sum() / count)
            wanted = encoded(target["boxes"].to(anchors.dtype)[match[near]], anchors[near], _WEIGHTS)
            boxes.append(functional.l1_loss(shifts[near], wanted, reduction="sum") / count)
        return {"classification": mean_of(classes), "bbox_regression": mean_of(boxes)}

    def detections(self, batch: Batch, features: list[Tensor]) -> list[Detection]:
        """See `Detector.detections`."""
        logits, offsets = self.head(features)
        anchors = self.anchor_generator(batch.tensors, features).split([level.shape[1] for level in logits])
        return [
            self._best([level[number] for level in logits], [level[number] for level in offsets], anchors, size)
            for number, size in enumerate(batch.sizes)
        ]

    def _best(self, logits: Sequence[Tensor], offsets: Sequence[Tensor], anchors: Sequence[Tensor], size: Size) -> Detection:
        """Of one picture: the best anchors and classes of each map, without what better ones of the class overlap."""
        levels = [self._best_of_map(*given) for given in zip(logits, offsets, anchors, strict=True)]
        boxes, scores, labels = (torch.cat(part) for part in zip(*levels, strict=True))
        boxes = clipped(boxes, size)
        kept = suppressed(boxes, scores, labels, self.nms_thresh)[: self.detections_per_img]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}

    def _best_of_map(self, logits: Tensor, offsets: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = logits.to(anchors.dtype).sigmoid().flatten()
        index = torch.where(scores > self.score_thresh)[0]
        scores, best = scores[index].topk(min(self.topk_candidates, len(index)))
        index = index[best]
        anchor = index // self.num_classes
        return decoded(offsets[anchor], anchors[anchor], _WEIGHTS), scores, index % self.num_classes


def focal(logits: Tensor, true: Tensor) -> Tensor:
    """Cross-entropy that fades where the network is right anyway, of each number apart. Source: equation 5."""
    probability = logits.sigmoid()
    right = probability * true + (1 - probability) * (1 - true)
    weight = _ALPHA * true + (1 - _ALPHA) * (1 - true)
    entropy = functional.binary_cross_entropy_with_logits(logits, true, reduction="none")
    return weight * (1 - right) ** _GAMMA * entropy


def retinanet_resnet50_fpn(
    *,
    num_classes: int = 91,
    frozen_bn: bool = False,
    trainable_backbone_layers: int | None = None,
    min_size: int = 800,
    max_size: int = 1333,
    score_thresh: float = 0.05,
    nms_thresh: float = 0.5,
    detections_per_img: int = 300,
    topk_candidates: int = 1000,
    channels: int = 256,
    layers: tuple[int, ...] = (3, 4, 6, 3),
) -> RetinaNet:
    """RetinaNet, ResNet-50-FPN; frozen_bn as the published weights have it."""
    return RetinaNet(
        Backbone(
            layers,
            stages=(1, 2, 3),
            channels=channels,
            beyond=True,
            frozen_bn=frozen_bn,
            trainable=trainable_backbone_layers,
        ),
        Preparation(min_size, max_size),
        num_classes=num_classes,
        channels=channels,
        score_thresh=score_thresh,
        nms_thresh=nms_thresh,
        detections_per_img=detections_per_img,
        topk_candidates=topk_candidates,
    )
