"""SSD: one stage, boxes from six maps of a VGG-16 that is made longer.

Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg 2016, SSD: Single Shot MultiBox Detector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models import vgg
from dltool.models.detection.anchors import DefaultBoxes, by_place
from dltool.models.detection.boxes import clipped, decoded, encoded
from dltool.models.detection.images import Batch, Detection, Detector, Preparation, Target
from dltool.models.detection.matching import claimed
from dltool.models.detection.operators import suppressed

_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_NEGATIVES = 3
"""Anchors of the background that are learnt from, for each in the foreground: those that look least like it."""
_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
_SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
_STEPS = (8, 16, 32, 64, 100, 300)


class Features(nn.Module):
    """VGG-16 up to conv4_3 and conv5_3, its first linear layers as convolutions, four more pairs of convolutions.

    Args:
        width: channels of the first stage, 64 in the paper.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = vgg.features(vgg.DEPTHS_16, width)
        pools = [number for number, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        layers[pools[2]].ceil_mode = True  # 75 becomes 38
        self.channels = [8 * width, 16 * width, 8 * width, 4 * width, 4 * width, 4 * width]
        self.scale_weight = nn.Parameter(torch.full((8 * width,), 20.0))
        self.features = layers[: pools[3]]
        dense = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(8 * width, 16 * width, 3, padding=6, dilation=6),
            nn.ReLU(inplace=True),
            nn.Conv2d(16 * width, 16 * width, 1),
            nn.ReLU(inplace=True),
        )
        longer = [
            _pair(16 * width, 8 * width, stride=2, padding=1),
            _pair(8 * width, 4 * width, stride=2, padding=1),
            _pair(4 * width, 4 * width),
            _pair(4 * width, 4 * width),
        ]
        for made in (dense, *longer):
            made.apply(_initialise)
        self.extra = nn.ModuleList([nn.Sequential(*layers[pools[3] : -1], dense), *longer])

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, 300, 300) -> maps of 38, 19, 10, 5, 3 and 1 places on each side."""
        x = self.features(x)
        maps = [self.scale_weight.view(-1, 1, 1) * functional.normalize(x)]  # conv4_3 has larger values than the rest
        for block in self.extra:
            x = block(x)
            maps.append(x)
        return maps


def _pair(c_in: int, c_out: int, *, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """1x1 to half of the output's channels, then 3x3."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out // 2, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(c_out // 2, c_out, 3, stride, padding),
        nn.ReLU(inplace=True),
    )


class Head(nn.Module):
    """One 3x3 convolution for each map.

    Args:
        channels: of the maps.
        anchors: at each place of the maps.
        numbers: predicted for each anchor.
    """

    def __init__(self, channels: Sequence[int], anchors: Sequence[int], numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.module_list = nn.ModuleList(
            nn.Conv2d(c_in, numbers * boxes, 3, padding=1) for c_in, boxes in zip(channels, anchors, strict=True)
        )
        self.apply(_initialise)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of (N, c, h, w) -> (N, anchors of all maps, numbers)."""
        return torch.cat([by_place(layer(x), self.numbers) for layer, x in zip(self.module_list, maps, strict=True)], 1)


class Heads(nn.Module):
    """Logits and offsets of each anchor."""

    def __init__(self, channels: Sequence[int], anchors: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.classification_head = Head(channels, anchors, num_classes)
        self.regression_head = Head(channels, anchors, 4)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps -> (N, n, num_classes) and (N, n, 4)."""
        return self.classification_head(maps), self.regression_head(maps)


def _initialise(module: nn.Module) -> None:
    """Source: Glorot, Bengio 2010."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class SSD(Detector):
    """Six maps, two heads; pictures are resized to 300x300 whatever their shape.

    Args:
        width: of the backbone.
        num_classes: with the background.
        score_thresh, nms_thresh, detections_per_img: which detections are given: probability, overlap, number.
        topk_candidates: of each class that are looked at.
    """

    def __init__(
        self,
        *,
        width: int,
        num_classes: int,
        score_thresh: float,
        nms_thresh: float,
        detections_per_img: int,
        topk_candidates: int,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = backbone = Features(width)
        self.anchor_generator = DefaultBoxes(_RATIOS, _SCALES, _STEPS)
        self.head = Heads(backbone.channels, self.anchor_generator.per_place, num_classes)
        mean, deviation = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)  # the backbone was trained on bytes
        self.transform = Preparation(300, 300, mean=mean, deviation=deviation, multiple=1, fixed=(300, 300))
        self.score_thresh, self.nms_thresh = score_thresh, nms_thresh
        self.detections_per_img, self.topk_candidates = detections_per_img, topk_candidates

    def losses(self, batch: Batch, features: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Smooth L1 of the foreground's offsets, cross-entropy of the foreground and of the hardest background."""
        logits, offsets = self.head(features)
        anchors = self.anchor_generator(batch.tensors, features)
        classes = torch.zeros(logits.shape[:2], dtype=torch.long, device=logits.device)
        boxes, count = anchors.new_zeros(()), 0
        for number, target in enumerate(targets):
            match = claimed(target["boxes"], anchors, 0.5)
            near = torch.where(match >= 0)[0]
            classes[number, near] = target["labels"][match[near]]
            wanted = encoded(target["boxes"].to(anchors.dtype)[match[near]], anchors[near], _WEIGHTS)
            boxes = boxes + functional.smooth_l1_loss(offsets[number, near].to(wanted.dtype), wanted, reduction="sum")
            count += len(near)
        entropy = functional.cross_entropy(logits.to(anchors.dtype).flatten(0, 1), classes.flatten(), reduction="none")
        learnt = self._learnt(entropy.view_as(classes), classes > 0)
        count = max(1, count)
        return {"bbox_regression": boxes / count, "classification": entropy[learnt.flatten()].sum() / count}

    @staticmethod
    def _learnt(entropy: Tensor, foreground: Tensor) -> Tensor:
        """The foreground, and the background of which the network is least sure: (N, n)."""
        number = _NEGATIVES * foreground.sum(1, keepdim=True)
        place = entropy.masked_fill(foreground, -torch.inf).argsort(1, descending=True).argsort(1)
        return foreground | (place < number)

    def detections(self, batch: Batch, features: list[Tensor]) -> list[Detection]:
        """See `Detector.detections`."""
        logits, offsets = self.head(features)
        anchors = self.anchor_generator(batch.tensors, features)
        scores = logits.to(anchors.dtype).softmax(-1)
        return [
            self._best(clipped(decoded(offset, anchors, _WEIGHTS), size), score)
            for offset, score, size in zip(offsets, scores, batch.sizes, strict=True)
        ]

    def _best(self, boxes: Tensor, scores: Tensor) -> Detection:
        """Of one picture: the best anchors (n, 4) of each class, scores (n, num_classes), without what better ones overlap."""
        values, index = scores[:, 1:].topk(min(self.topk_candidates, len(boxes)), 0)  # (k, num_classes - 1)
        place, label = torch.where(values > self.score_thresh)
        boxes, values, label = boxes[index[place, label]], values[place, label], label + 1
        kept = suppressed(boxes, values, label, self.nms_thresh)[: self.detections_per_img]
        return {"boxes": boxes[kept], "scores": values[kept], "labels": label[kept]}


def ssd300_vgg16(
    *,
    num_classes: int = 91,
    score_thresh: float = 0.01,
    nms_thresh: float = 0.45,
    detections_per_img: int = 200,
    topk_candidates: int = 400,
    width: int = 64,
) -> SSD:
    """SSD300, VGG-16."""
    return SSD(
        width=width,
        num_classes=num_classes,
        score_thresh=score_thresh,
        nms_thresh=nms_thresh,
        detections_per_img=detections_per_img,
        topk_candidates=topk_candidates,
    )
