"""Region proposal network: where objects may be. Ren et al. 2015, Faster R-CNN, section 3.1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.detection.anchors import Anchors, by_place
from dltool.models.detection.boxes import Size, clipped, decoded, encoded, large
from dltool.models.detection.images import Batch, Target
from dltool.models.detection.loading import accept_old_keys
from dltool.models.detection.matching import BETWEEN, matched, sampled
from dltool.models.detection.operators import suppressed

_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
_LEAST_SIDE = 1e-3


class ProposalHead(nn.Module):
    """At each place of each map, is there an object in each anchor, and how is it shifted."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)))
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, 4 * anchors, 1)
        self.apply(_initialise)
        accept_old_keys(self, ("conv", "conv.0.0"))

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of (N, channels, h, w) -> for each the logits (N, h w anchors) and offsets (N, h w anchors, 4)."""
        hidden = [self.conv(map_) for map_ in maps]
        return [by_place(self.cls_logits(x), 1).squeeze(2) for x in hidden], [by_place(self.bbox_pred(x), 4) for x in hidden]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


class ProposalNetwork(nn.Module):
    """Proposals of each picture, and in train mode the network's losses.

    Args:
        channels: of the feature maps.
        anchors: of all maps.
        best_of_map: (training, testing), how many of each map's anchors are looked at.
        kept: (training, testing), how many of all are proposed.
        nms_thresh: overlap above which of two proposals of one map the worse goes.
        score_thresh: proposals below this probability go.
        learnt: anchors of each picture that a training step learns from, half of them foreground at most.
    """

    def __init__(
        self,
        channels: int,
        anchors: Anchors,
        *,
        best_of_map: tuple[int, int] = (2000, 1000),
        kept: tuple[int, int] = (2000, 1000),
        nms_thresh: float = 0.7,
        score_thresh: float = 0.0,
        learnt: int = 256,
    ) -> None:
        super().__init__()
        self.anchor_generator = anchors
        self.head = ProposalHead(channels, anchors.per_place)
        self.best_of_map, self.kept, self.learnt = best_of_map, kept, learnt
        self.nms_thresh, self.score_thresh = nms_thresh, score_thresh

    def forward(
        self, batch: Batch, maps: Sequence[Tensor], targets: Sequence[Target] | None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Boxes (k, 4) of each picture of a batch, and losses by name (none without targets)."""
        logits, offsets = self.head(maps)
        anchors = self.anchor_generator(batch.tensors, maps)
        boxes = [decoded(offset, anchors, _WEIGHTS) for offset in torch.cat(offsets, 1).detach()]
        found = [
            self._best(box, [level[number].detach() for level in logits], size)
            for number, (box, size) in enumerate(zip(boxes, batch.sizes, strict=True))
        ]
        losses = {} if targets is None else self._losses(torch.cat(logits, 1), torch.cat(offsets, 1), anchors, targets)
        return found, losses

    def _best(self, boxes: Tensor, logits: Sequence[Tensor], size: Size) -> Tensor:
        """Of one picture: the best of each map, without those that a better one of the map overlaps."""
        phase = 0 if self.training else 1
        chosen, levels, before = [], [], 0
        for level, values in enumerate(logits):
            best = values.topk(min(self.best_of_map[phase], len(values))).indices
            chosen.append(best + before)
            levels.append(torch.full_like(best, level))
            before += len(values)
        index, level_of = torch.cat(chosen), torch.cat(levels)
        boxes, scores = clipped(boxes[index], size), torch.cat(list(logits))[index].to(boxes.dtype).sigmoid()
        fit = large(boxes, _LEAST_SIDE)
        fit = fit[scores[fit] >= self.score_thresh]
        boxes, scores, level_of = boxes[fit], scores[fit], level_of[fit]
        return boxes[suppressed(boxes, scores, level_of, self.nms_thresh)[: self.kept[phase]]]

    def _losses(self, logits: Tensor, offsets: Tensor, anchors: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Cross-entropy of sampled anchors, smooth L1 of those in the foreground."""
        learnt, positive, labels, wanted = [], [], [], []
        for number, target in enumerate(targets):
            match = matched(target["boxes"], anchors, 0.7, 0.3, nearest=True)
            chosen, others = sampled(torch.where(match == BETWEEN, -1, (match >= 0).long()), self.learnt, 0.5)
            both = torch.cat((chosen, others))
            learnt.append(logits[number, both])
            labels.append((match[both] >= 0).to(anchors.dtype))
            positive.append(offsets[number, chosen])
            wanted.append(encoded(target["boxes"].to(anchors.dtype)[match[chosen]], anchors[chosen], _WEIGHTS))
        classes, shifts = torch.cat(labels), torch.cat(wanted)
        near = functional.smooth_l1_loss(torch.cat(positive).to(shifts.dtype), shifts, beta=1 / 9, reduction="sum")
        return {
            "loss_objectness": functional.binary_cross_entropy_with_logits(torch.cat(learnt).to(classes.dtype), classes),
            "loss_rpn_box_reg": near / len(classes),
        }
