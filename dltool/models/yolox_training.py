"""How YOLOX learns: which predictions answer for which object (SimOTA), and the losses of both.

Ge et al. 2021, YOLOX, section 2.1; Ge et al. 2021, OTA: Optimal Transport Assignment for Object Detection. A is the number of
predictions of an image, G of its objects, C of classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dltool.models.yolox_boxes import decoded, overlap

_RADIUS = 1.5
"""Steps from an object's centre within which predictions may answer for it."""
_MOST = 10
"""Predictions that answer for one object."""
_OVERLAP_COST = 3.0
_FAR_COST = 1e6
_BOX_WEIGHT = 5.0


@dataclass(frozen=True)
class Assignment:
    """Which object each prediction answers for."""

    positive: Tensor
    """(N, A): whether it answers for any."""
    matched: Tensor
    """(N, A): the index of its object; 0 where there is none."""
    iou: Tensor
    """(N, A): how well its box overlaps that of its object."""


def losses(raw: Tensor, labels: Tensor, places: Tensor, steps: Tensor, *, use_l1: bool) -> dict[str, Tensor]:
    """The losses of a batch, each divided by the number of predictions that answer for an object.

    Args:
        raw: (N, A, 5 + C): box, objectness and class logits as the head gives them, float32 or finer.
        labels: (N, G, 5): class and box of each object; rows of zeros fill up.
        places, steps: see `yolox_boxes.cells`.
        use_l1: whether the raw numbers of the boxes are compared too, as in the last epochs of training.

    Returns:
        total_loss and its parts iou_loss (weighed), conf_loss, cls_loss, l1_loss; num_fg, answering predictions per object.
    """
    boxes = decoded(raw[..., :4], places, steps)
    with torch.no_grad():
        found = assign(boxes, raw[..., 4:], labels, (places + 0.5) * steps, steps)
    picked, count = found.positive, found.positive.sum()
    answers = count.clamp(min=1)
    wanted = _rows(labels, found.matched)[picked].to(raw.dtype)  # (P, 5)

    iou = _BOX_WEIGHT * (1 - overlap(boxes[picked], wanted[:, 1:]) ** 2).sum() / answers
    conf = _cross_entropy(raw[..., 4], picked.to(raw.dtype)) / answers
    classes = functional.one_hot(wanted[:, 0].long(), raw.shape[-1] - 5) * found.iou[picked, None]
    cls = _cross_entropy(raw[..., 5:][picked], classes) / answers
    l1 = _l1(raw[..., :4], wanted[:, 1:], picked, places, steps) / answers if use_l1 else torch.zeros_like(iou)
    objects = _present(labels).sum().clamp(min=1)
    return {
        "total_loss": iou + conf + cls + l1,
        "iou_loss": iou,
        "l1_loss": l1,
        "conf_loss": conf,
        "cls_loss": cls,
        "num_fg": count / objects,
    }


def assign(boxes: Tensor, logits: Tensor, labels: Tensor, centres: Tensor, steps: Tensor) -> Assignment:
    """SimOTA: each object takes the predictions that cost it least, as many as their overlaps add up to.

    Args:
        boxes: (N, A, 4), predicted.
        logits: (N, A, 1 + C): objectness and classes.
        labels: (N, G, 5), as in `losses`; every row of zeros takes nothing.
        centres, steps: (A, 2) and (A, 1): of the cells, in pixels.
    """
    if not labels.shape[1]:
        labels = labels.new_zeros(len(labels), 1, 5)
    objects, present = labels[..., 1:].to(boxes.dtype), _present(labels)[..., None]
    near = ((centres - objects[:, :, None, :2]).abs() < _RADIUS * steps).all(-1) & present  # (N, G, A)
    possible = near.any(1, keepdim=True) & present
    iou = overlap(objects[:, :, None], boxes[:, None]) * possible
    cost = _class_cost(logits, labels[..., 0]) - _OVERLAP_COST * (iou + 1e-8).log() + _FAR_COST * ~near
    matching = _matching(cost.masked_fill(~possible, torch.inf), iou)
    return Assignment(matching.any(1), matching.int().argmax(1), (matching * iou).sum(1))


def _present(labels: Tensor) -> Tensor:
    """(N, G): whether a row is an object; rows of zeros fill up."""
    return labels.sum(-1) > 0


def _class_cost(logits: Tensor, classes: Tensor) -> Tensor:
    """(N, G, A): cross-entropy of sqrt(objectness x class probability) against each object's class, summed over classes.

    Its terms are those of "none of the classes", but for the object's own: so no (N, G, A, C) is made.
    """
    chance = (logits[..., :1].sigmoid() * logits[..., 1:].sigmoid()).sqrt()
    absent, there = ((-chance).log1p().clamp(min=-100), chance.log().clamp(min=-100))  # (N, A, C)
    own = classes.long()[..., None].expand(-1, -1, logits.shape[1])
    return (absent - there).transpose(1, 2).gather(1, own) - absent.sum(-1)[:, None]


def _matching(cost: Tensor, iou: Tensor) -> Tensor:
    """(N, G, A): which predictions each object takes; one wanted by several goes to the object that it costs least."""
    most = min(_MOST, cost.shape[2])
    number = iou.topk(most, dim=2).values.sum(2, keepdim=True).int().clamp(min=1)
    best = cost.topk(most, dim=2, largest=False)
    taken = (torch.arange(most, device=cost.device) < number) & best.values.isfinite()
    matching = torch.zeros_like(cost, dtype=torch.bool).scatter_(2, best.indices, taken)
    cheapest = torch.zeros_like(matching).scatter_(1, cost.argmin(1, keepdim=True), True)
    return torch.where(matching.sum(1, keepdim=True) > 1, cheapest, matching)


def _rows(labels: Tensor, matched: Tensor) -> Tensor:
    """(N, A, 5): the label of each prediction's object."""
    if not labels.shape[1]:
        return labels.new_zeros(*matched.shape, 5)
    return labels.gather(1, matched[..., None].expand(-1, -1, 5))


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")


def _l1(raw: Tensor, boxes: Tensor, picked: Tensor, places: Tensor, steps: Tensor) -> Tensor:
    """Distance of raw numbers from those that would give the very boxes."""
    place, step = (x.expand(*picked.shape, -1)[picked] for x in (places, steps))
    wanted = torch.cat((boxes[:, :2] / step - place, (boxes[:, 2:] / step + 1e-8).log()), 1)
    return functional.l1_loss(raw[picked], wanted, reduction="sum")
