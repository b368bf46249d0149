"""Boxes of YOLOX: where its predictions stand, how they overlap, and which of them are kept.

A box is (centre x, centre y, width, height) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cells(sizes: Sequence[tuple[int, int]], strides: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """The places of all maps, row by row, (A, 2) in steps of x and y, and the pixels of a step, (A, 1).

    Args:
        sizes: height and width of each map.
        strides: pixels of a step in each map.
        like: gives device and dtype.
    """
    places, steps = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y, x = torch.meshgrid(torch.arange(height, device=like.device), torch.arange(width, device=like.device), indexing="ij")
        places.append(torch.stack((x, y), -1).flatten(0, 1))
        steps.append(torch.full((height * width, 1), stride, device=like.device))
    return torch.cat(places).to(like.dtype), torch.cat(steps).to(like.dtype)


def decoded(raw: Tensor, places: Tensor, steps: Tensor) -> Tensor:
    """Boxes from a head's raw numbers (..., A, 4): centres relative to their cell, sizes as logarithms, both in steps."""
    return torch.cat(((raw[..., :2] + places) * steps, raw[..., 2:].exp() * steps), -1)


def corners(boxes: Tensor) -> Tensor:
    """(..., 4) as (left, top, right, bottom)."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), -1)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4), element by element; 0 where both are empty."""
    a, b = corners(one), corners(other)
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    union = one[..., 2] * one[..., 3] + other[..., 2] * other[..., 3] - shared
    return shared / (union + 1e-16)


def postprocess(
    prediction: Tensor, num_classes: int, conf_thre: float = 0.7, nms_thre: float = 0.45, class_agnostic: bool = False
) -> list[Tensor | None]:
    """What was seen in each image, the surest first.

    Args:
        prediction: a network's output in eval mode, (N, A, 5 + num_classes).
        num_classes: that it tells apart.
        conf_thre: least objectness times class probability.
        nms_thre: of two boxes that overlap by more, the less sure one is dropped.
        class_agnostic: whether that holds between boxes of different classes too.

    Returns:
        for each image (M, 7): left, top, right, bottom, objectness, class probability, class; None where nothing was seen.
    """
    found: list[Tensor | None] = []
    for image in prediction:
        sure, kind = image[:, 5 : 5 + num_classes].max(1)
        score = image[:, 4] * sure
        order = score.argsort(descending=True, stable=True)
        order = order[score[order] >= conf_thre]
        kept = order[suppressed(image[order, :4], torch.zeros_like(kind[order]) if class_agnostic else kind[order], nms_thre)]
        seen = torch.cat((corners(image[kept, :4]), image[kept, 4:5], sure[kept, None], kind[kept, None].to(image.dtype)), 1)
        found.append(seen if len(kept) else None)
    return found


def suppressed(boxes: Tensor, kinds: Tensor, most: float) -> Tensor:
    """Greedy non-maximum suppression: indices of the boxes (M, 4), sorted from the surest, that no better one covers.

    Args:
        boxes, kinds: the boxes and their classes, (M); boxes of different classes do not compete.
        most: overlap above which the less sure one goes.
    """
    left, kept = torch.arange(len(boxes), device=boxes.device), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        covered = (overlap(boxes[best], boxes[left]) > most) & (kinds[left] == kinds[best])
        left = left[~covered]
    return torch.stack(kept) if kept else left
