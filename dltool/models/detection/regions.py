"""The second stage: the features of each proposal, its class and its box.

Girshick 2015, Fast R-CNN; He et al. 2017, Mask R-CNN (RoIAlign, masks); Lin et al. 2017, Feature Pyramid Networks (which map).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.detection.boxes import Size, area, clipped, decoded, encoded, large
from dltool.models.detection.images import Detection, Target
from dltool.models.detection.masks import MaskHead, MaskPredictor, mask_loss
from dltool.models.detection.matching import BETWEEN, matched, sampled
from dltool.models.detection.operators import roi_align, suppressed

_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_LEAST_SIDE = 1e-2


class Pool(nn.Module):
    """The features under each box by RoIAlign, from the map that suits the box's size.

    Args:
        side: cells on each side.
        samples: points on each side of a cell.
    """

    def __init__(self, side: int, samples: int = 2) -> None:
        super().__init__()
        self.side, self.samples = side, samples

    def forward(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Maps at 1/4, 1/8 ... of the pictures, boxes (k, 4) of each picture -> (K, c, side, side)."""
        rois = torch.cat([functional.pad(some, (1, 0), value=number) for number, some in enumerate(boxes)])
        level = (4 + (area(rois[:, 1:]).sqrt() / 224).log2() + 1e-6).floor().clamp(2, len(maps) + 1) - 2
        found = maps[0].new_zeros(len(rois), maps[0].shape[1], self.side, self.side)
        for number, map_ in enumerate(maps):
            here = torch.where(level == number)[0]
            found[here] = roi_align(map_, rois[here], self.side, 1 / 2 ** (number + 2), self.samples)
        return found


class BoxHead(nn.Module):
    """Two linear layers: (K, c, side, side) -> (K, width)."""

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(c_in, width)
        self.fc7 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return functional.relu(self.fc7(functional.relu(self.fc6(x.flatten(1)))))


class BoxPredictor(nn.Module):
    """(K, width) -> logits (K, num_classes) and, for each class, offsets (K, num_classes x 4)."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(width, num_classes)
        self.bbox_pred = nn.Linear(width, 4 * num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return self.cls_score(x), self.bbox_pred(x)


class RegionHeads(nn.Module):
    """Classes, boxes and, where wanted, masks of proposals.

    Args:
        pool: the features of a region.
        head: (K, c, side, side) -> (K, width).
        predictor: (K, width) -> logits and offsets.
        score_thresh, nms_thresh, detections_per_img: which detections are given: probability, overlap, number.
        learnt: proposals of each picture that a training step learns from, a quarter of them foreground at most.
    """

    def __init__(
        self,
        pool: nn.Module,
        head: nn.Module,
        predictor: nn.Module,
        *,
        score_thresh: float = 0.05,
        nms_thresh: float = 0.5,
        detections_per_img: int = 100,
        learnt: int = 512,
    ) -> None:
        super().__init__()
        self.box_roi_pool, self.box_head, self.box_predictor = pool, head, predictor
        self.score_thresh, self.nms_thresh, self.detections_per_img = score_thresh, nms_thresh, detections_per_img
        self.learnt = learnt
        self.mask_head: nn.Module | None = None

    def add_masks(self, channels: int, num_classes: int) -> None:
        """Predict masks too, from maps of so many channels."""
        self.mask_roi_pool = Pool(14)
        self.mask_head = MaskHead(channels)
        self.mask_predictor = MaskPredictor(channels, num_classes)

    def losses(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Cross-entropy of sampled regions' classes, smooth L1 of the offsets of those in the foreground, and of masks."""
        regions, labels, matches, wanted = zip(
            *(self._chosen(*given) for given in zip(proposals, targets, strict=True)), strict=True
        )
        classes = torch.cat(labels)
        logits, offsets = self._predicted(maps, regions)
        foreground = torch.where(classes > 0)[0]
        mine = offsets.view(len(classes), -1, 4)[foreground, classes[foreground]]
        shifts = torch.cat(wanted)[foreground]
        losses = {
            "loss_classifier": functional.cross_entropy(logits, classes),
            "loss_box_reg": functional.smooth_l1_loss(mine, shifts, beta=1 / 9, reduction="sum") / len(classes),
        }
        if self.mask_head is not None:
            positive = [torch.where(label > 0)[0] for label in labels]
            near = [box[index] for box, index in zip(regions, positive, strict=True)]
            matches = tuple(match[index] for match, index in zip(matches, positive, strict=True))
            true = [target["masks"] for target in targets], [target["labels"] for target in targets]
            losses["loss_mask"] = mask_loss(self._masks(maps, near), near, *true, matches)
        return losses

    def _chosen(self, proposals: Tensor, target: Target) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of one picture: the regions to learn from, their classes, which true boxes they stand for, and their offsets."""
        true = target["boxes"].to(proposals.dtype)
        proposals = torch.cat((proposals, true))  # of a poor network, the true boxes alone are good proposals
        match = matched(true, proposals, 0.5, 0.5, nearest=False)
        labels = torch.zeros_like(match)
        labels[match >= 0] = target["labels"][match[match >= 0]]
        labels[match == BETWEEN] = -1
        index = torch.cat(sampled(labels, self.learnt, 0.25)).sort().values
        regions, match = proposals[index], match[index].clamp(min=0)
        nearest = true[match] if len(true) else regions
        return regions, labels[index], match, encoded(nearest, regions, _WEIGHTS)

    def _predicted(self, maps: Sequence[Tensor], regions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and offsets, in the type of the boxes."""
        logits, offsets = self.box_predictor(self.box_head(self.box_roi_pool(maps, regions)))
        return logits.to(regions[0].dtype), offsets.to(regions[0].dtype)

    def _masks(self, maps: Sequence[Tensor], regions: Sequence[Tensor]) -> Tensor:
        assert self.mask_head is not None
        return self.mask_predictor(self.mask_head(self.mask_roi_pool(maps, regions)))

    def detections(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[Size]) -> list[Detection]:
        """Of each picture of a batch."""
        logits, offsets = self._predicted(maps, proposals)
        counts = [len(some) for some in proposals]
        found = [
            self._best(decoded(shift.view(len(boxes), -1, 4), boxes, _WEIGHTS), scores, size)
            for boxes, shift, scores, size in zip(
                proposals, offsets.split(counts), logits.softmax(-1).split(counts), sizes, strict=True
            )
        ]
        if self.mask_head is not None:
            masks = self._masks(maps, [detection["boxes"] for detection in found]).sigmoid()
            for detection, some in zip(found, masks.split([len(detection["boxes"]) for detection in found]), strict=True):
                index = torch.arange(len(some), device=some.device)
                detection["masks"] = some[index, detection["labels"]][:, None]
        return found

    def _best(self, boxes: Tensor, scores: Tensor, size: Size) -> Detection:
        """Of one picture: boxes (k, num_classes, 4) and probabilities (k, num_classes); class 0 is the background."""
        number, label = torch.where(scores[:, 1:] > self.score_thresh)
        label = label + 1
        boxes, scores = clipped(boxes[number, label], size), scores[number, label]
        fit = large(boxes, _LEAST_SIDE)
        boxes, scores, label = boxes[fit], scores[fit], label[fit]
        kept = suppressed(boxes, scores, label, self.nms_thresh)[: self.detections_per_img]
        return {"boxes": boxes[kept], "labels": label[kept], "scores": scores[kept]}
