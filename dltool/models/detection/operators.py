"""Non-maximum suppression and RoIAlign: torchvision's compiled kernels where they load, otherwise plain torch.

Plain torch gives the same numbers. A torchvision that is missing, or built for another PyTorch, is no error.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from dltool.models.detection.boxes import iou

_OPERATORS = ("nms", "roi_align")
_READ_AT_ONCE = 2**25
"""RoIs are aligned in chunks that read about so many numbers, so that memory stays bounded."""
_SETTLED_AT_ONCE = 512
_TOGETHER = {"cpu": 1000}
_TOGETHER_ELSEWHERE = 25_000
"""Up to so many boxes are suppressed in one go, groups moved apart; more, group by group."""


def which(device: str = "cpu") -> dict[str, str]:
    """For each operator, what computes it on a kind of device: "torchvision" or "torch"."""
    return {name: "torchvision" if _compiled(name, device) else "torch" for name in _OPERATORS}


@cache
def _compiled(name: str, device: str) -> bool:
    """Whether torchvision's library brings a kernel for a kind of device."""
    return _loads() and torch._C._dispatch_has_kernel_for_dispatch_key(f"torchvision::{name}", device.upper())


@cache
def _loads() -> bool:
    """Load torchvision's shared library alone: its Python part is not run, and may be broken.

    What others declared under its name, without the library, does not count.
    """
    try:
        spec = find_spec("torchvision")
    except (ImportError, ValueError):
        return False
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("_C*")):
            try:
                torch.ops.load_library(path)
            except (OSError, RuntimeError):
                continue  # built for another PyTorch
            return all(hasattr(torch.ops.torchvision, name) for name in _OPERATORS)
    return False


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes that no better box overlaps by more than a threshold, the best first.

    Args:
        boxes: (n, 4).
        scores: (n).
        iou_threshold: overlap, as intersection over union, above which the worse box goes.
    """
    if _compiled("nms", boxes.device.type):
        return torch.ops.torchvision.nms(boxes, scores, iou_threshold)
    return plain_nms(boxes, scores, iou_threshold)


def plain_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """See `nms`. The best boxes settle among themselves, and those that stay clear the rest; then the best of the rest."""
    left = scores.argsort(descending=True, stable=True)
    kept = [left[:0]]
    while len(left):
        best, left = left[:_SETTLED_AT_ONCE], left[_SETTLED_AT_ONCE:]
        best = best[_settled(iou(boxes[best], boxes[best]) > iou_threshold)]
        kept.append(best)
        left = left[~(iou(boxes[best], boxes[left]) > iou_threshold).any(0)]
    return torch.cat(kept)


def _settled(overlaps: Tensor) -> Tensor:
    """Which of n boxes, the best first, stay: (n, n) -> (n).

    A box stays unless a better box that stays overlaps it. Assumed of all boxes at first and applied to its own outcome, the
    rule settles: after k rounds every box whose fate hangs on a chain of less than k others is right.
    """
    overlaps = overlaps.triu(1).T.contiguous()  # [worse, better]
    kept = torch.ones(len(overlaps), dtype=torch.bool, device=overlaps.device)
    while True:
        settled = ~(overlaps & kept).any(1)
        if torch.equal(settled, kept):
            return kept
        kept = settled


def suppressed(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Indices that non-maximum suppression within each group leaves, the best first.

    Args:
        boxes: (n, 4).
        scores: (n).
        groups: (n), whole numbers: boxes of different groups do not suppress one another.
        iou_threshold: see `nms`.
    """
    if not len(boxes):
        return torch.zeros(0, dtype=torch.long, device=boxes.device)
    if len(boxes) <= _TOGETHER.get(boxes.device.type, _TOGETHER_ELSEWHERE):
        apart = groups.to(boxes.dtype) * (boxes.max() + 1)
        return nms(boxes + apart[:, None], scores, iou_threshold)
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for group in groups.unique():
        members = torch.where(groups == group)[0]
        kept[members[nms(boxes[members], scores[members], iou_threshold)]] = True
    found = torch.where(kept)[0]
    return found[scores[found].argsort(descending=True, stable=True)]


def roi_align(features: Tensor, rois: Tensor, side: int, scale: float, samples: int) -> Tensor:
    """The features under boxes, resampled to side x side cells: (N, c, H, W) -> (K, c, side, side).

    Source: He et al. 2017 Mask R-CNN, section 3; without the half-pixel shift that later versions add.

    Args:
        features: (N, c, H, W); half formats are aligned in float32.
        rois: (K, 5): which of the N, then the box in pixels of the picture.
        side: cells on each side.
        scale: pixels of the features for one of the picture.
        samples: points on each side of a cell, whose mean it is; 1 or more.
    """
    dtype = features.dtype
    wide = torch.promote_types(dtype, torch.float32)
    features, rois = features.to(wide), rois.to(wide)
    if _compiled("roi_align", features.device.type):
        return torch.ops.torchvision.roi_align(features, rois, scale, side, side, samples, False).to(dtype)
    return plain_roi_align(features, rois, side, scale, samples).to(dtype)


def plain_roi_align(features: Tensor, rois: Tensor, side: int, scale: float, samples: int) -> Tensor:
    """See `roi_align`. Each cell is a weighted sum of pixels, four for each point: a bag of an embedding of pixels."""
    n, channels, height, width = features.shape
    pixels = features.permute(0, 2, 3, 1).reshape(n * height * width, channels)
    per_bag = 4 * samples**2
    chunk = max(1, _READ_AT_ONCE // (per_bag * side**2 * channels))
    found = [torch.zeros(0, channels, dtype=features.dtype, device=features.device)]
    for part in rois.split(chunk):
        start, end = part[:, 1:3] * scale, part[:, 3:5] * scale
        cell = (end - start).clamp(min=1) / side  # a box below one pixel counts as one
        (x, x_weight), (y, y_weight) = (
            points(start[:, axis], cell[:, axis], side, cell.new_full((len(part),), samples), samples, size)
            for axis, size in ((0, width), (1, height))
        )
        index = part[:, 0].long().view(-1, 1, 1, 1, 1) * height + y[:, :, None, :, None]
        index = index * width + x[:, None, :, None, :]  # (K, side y, side x, 2 samples, 2 samples)
        weight = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
        found.append(
            functional.embedding_bag(
                index.reshape(-1, per_bag), pixels, per_sample_weights=weight.reshape(-1, per_bag), mode="sum"
            )
        )
    return torch.cat(found).view(len(rois), side, side, channels).permute(0, 3, 1, 2)


def points(start: Tensor, cell: Tensor, side: int, samples: Tensor, most: int, size: int) -> tuple[Tensor, Tensor]:
    """Along one axis, which pixels each cell of each box reads and by how much.

    Bilinear interpolation: a point reads the pixels below and above it. Points up to one pixel outside read the border, those
    beyond read nothing.

    Args:
        start: (K), where boxes begin.
        cell: (K), how long their cells are.
        side: how many cells a box has.
        samples: (K), how many points each cell has.
        most: the largest of them.
        size: how many pixels there are.

    Returns:
        Pixels and their weights, both (K, side, 2 most).
    """
    number = torch.arange(most, device=start.device, dtype=start.dtype)
    cells = torch.arange(side, device=start.device, dtype=start.dtype)[:, None]
    samples = samples[:, None, None]
    at = start[:, None, None] + (cells + (number + 0.5) / samples) * cell[:, None, None]  # (K, side, most)
    counts = (number < samples) & (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.floor()
    above = at - low
    pixel = torch.cat((low, (low + 1).clamp(max=size - 1)), -1).long()
    weight = torch.cat((1 - above, above), -1) / samples
    return pixel, weight * torch.cat((counts, counts), -1)
