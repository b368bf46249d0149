"""Which true box each anchor or proposal stands for, and which of them a training step learns from."""

from __future__ import annotations

import torch
from torch import Tensor

from dltool.models.detection.boxes import iou

BACKGROUND = -1
BETWEEN = -2
"""Neither near a true box nor far from all: not learnt from."""


def matched(true: Tensor, boxes: Tensor, foreground: float, background: float, *, nearest: bool) -> Tensor:
    """For each of n boxes the index of its true box, BACKGROUND or BETWEEN.

    Source: Ren et al. 2015, Faster R-CNN, section 3.1.2.

    Args:
        true: (m, 4), may be empty.
        boxes: (n, 4).
        foreground: overlap from which a box stands for a true one.
        background: overlap below which it is background.
        nearest: the boxes that overlap a true one most of all stand for it however little that is, unless for another.
    """
    if not len(true):
        return torch.full((len(boxes),), BACKGROUND, device=boxes.device)
    overlaps = iou(true.to(boxes.dtype), boxes)
    best, found = overlaps.max(0)
    answer = found.masked_fill(best < foreground, BETWEEN).masked_fill(best < background, BACKGROUND)
    if nearest:
        rescued = (overlaps == overlaps.max(1, keepdim=True).values).any(0)
        answer = torch.where(rescued, found, answer)
    return answer


def claimed(true: Tensor, boxes: Tensor, foreground: float) -> Tensor:
    """As `matched`, but each true box claims the one box that overlaps it most. Source: Liu et al. 2016, SSD, section 2.2."""
    answer = matched(true, boxes, foreground, foreground, nearest=False)
    if len(true):
        answer[iou(true.to(boxes.dtype), boxes).argmax(1)] = torch.arange(len(true), device=true.device)
    return answer


def sampled(labels: Tensor, number: int, share: float) -> tuple[Tensor, Tensor]:
    """Indices of randomly chosen foreground and background.

    Args:
        labels: (n); above 0 foreground, 0 background, below 0 neither.
        number: how many in all, where there are so many.
        share: of foreground, at most.
    """
    positive, negative = (torch.where(chosen)[0] for chosen in (labels >= 1, labels == 0))
    positives = min(len(positive), int(number * share))
    negatives = min(len(negative), number - positives)
    chosen = torch.randperm(len(positive), device=labels.device)[:positives]
    others = torch.randperm(len(negative), device=labels.device)[:negatives]
    return positive[chosen], negative[others]
