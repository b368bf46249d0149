"""Boxes (n, 4) as x1, y1, x2, y2: overlap, clipping, coding as offsets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_LARGEST = math.log(1000 / 16)
"""A coded width or height is cut off here before its exponential: no box grows by more than 62.5."""

Size = tuple[int, int]
"""Height and width."""


def area(boxes: Tensor) -> Tensor:
    """(n)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each with each: (n, 4), (m, 4) -> (n, m)."""
    sides = []
    for axis in (0, 1):
        low = torch.maximum(first[:, None, axis], second[:, axis])
        sides.append((torch.minimum(first[:, None, axis + 2], second[:, axis + 2]) - low).clamp_(min=0))
    common = sides[0] * sides[1]
    return common / (area(first)[:, None] + area(second) - common)


def clipped(boxes: Tensor, size: Size) -> Tensor:
    """(..., 4), cut at the borders of a picture."""
    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack((x, y), -1).flatten(-2)


def large(boxes: Tensor, least: float) -> Tensor:
    """Indices of the boxes with sides of at least so many pixels."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return torch.where((sides >= least).all(1))[0]


def resized(boxes: Tensor, before: Size, after: Size) -> Tensor:
    """Boxes of a picture in the picture's new size."""
    y, x = (new / old for old, new in zip(before, after, strict=True))
    return boxes * boxes.new_tensor((x, y, x, y), dtype=torch.float32)


def encoded(boxes: Tensor, anchors: Tensor, weights: Sequence[float]) -> Tensor:
    """Boxes as offsets from anchors, both (n, 4): shifts by the anchor's sides, logarithms of ratios of sides.

    Source: Girshick et al. 2014 R-CNN, appendix C; `weights` multiply the four so that they vary alike.
    """
    centre, sides = _centred(anchors)
    to_centre, to_sides = _centred(boxes)
    return torch.cat(((to_centre - centre) / sides, (to_sides / sides).log()), -1) * boxes.new_tensor(weights)


def decoded(offsets: Tensor, anchors: Tensor, weights: Sequence[float]) -> Tensor:
    """The boxes that offsets (n, ..., 4) from anchors (n, 4) mean; see `encoded`."""
    offsets = offsets.to(anchors.dtype) / anchors.new_tensor(weights)
    centre, sides = (part.view(len(anchors), *[1] * (offsets.ndim - 2), 2) for part in _centred(anchors))
    centre = centre + offsets[..., :2] * sides
    half = offsets[..., 2:].clamp(max=_LARGEST).exp() * sides / 2
    return torch.cat((centre - half, centre + half), -1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sides, (n, 2) each."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + sides / 2, sides
