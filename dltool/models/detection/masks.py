"""The mask of each region: He et al. 2017, Mask R-CNN, section 3."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.detection.boxes import Size
from dltool.models.detection.loading import accept_old_keys
from dltool.models.detection.operators import points

_CHUNK = 16
"""Masks of the size of a picture that are handled at once."""


class MaskHead(nn.Sequential):
    """Four 3x3 convolutions: (K, channels, 14, 14) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__(*(nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)) for _ in range(4)))
        self.apply(_initialise)
        accept_old_keys(self, *((f"mask_fcn{number + 1}", f"{number}.0") for number in range(4)))


class MaskPredictor(nn.Sequential):
    """Twice as large, one mask for each class: (K, channels, 14, 14) -> (K, num_classes, 28, 28)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv5_mask = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.relu = nn.ReLU(inplace=True)
        self.mask_fcn_logits = nn.Conv2d(channels, num_classes, 1)
        self.apply(_initialise)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def mask_loss(
    logits: Tensor, regions: Sequence[Tensor], masks: list[Tensor], labels: list[Tensor], matches: Sequence[Tensor]
) -> Tensor:
    """Binary cross-entropy with the true mask, of each region's true class alone.

    Args:
        logits: (K, num_classes, M, M), of the regions of all pictures.
        regions: for each picture (k, 4), foreground only.
        masks: for each picture (m, H, W).
        labels: for each picture (m).
        matches: for each picture (k), which of the m each region stands for.
    """
    if not len(logits):
        return logits.sum() * 0
    side = logits.shape[-1]
    true = torch.cat([cropped(*given, side) for given in zip(masks, regions, matches, strict=True)])
    classes = torch.cat([label[match] for label, match in zip(labels, matches, strict=True)])
    mine = logits[torch.arange(len(logits), device=logits.device), classes]
    return functional.binary_cross_entropy_with_logits(mine.to(true.dtype), true)


def cropped(masks: Tensor, boxes: Tensor, which: Tensor, side: int) -> Tensor:
    """The parts of masks that lie in boxes, in side x side cells: RoIAlign with a point for each pixel.

    Interpolation is a sum over rows and one over columns, so each crop is a product of three matrices.

    Args:
        masks: (m, H, W).
        boxes: (k, 4).
        which: (k), of the m masks.
        side: cells on each side.
    """
    if not len(boxes):
        return boxes.new_zeros(0, side, side)
    height, width = masks.shape[-2:]
    found = []
    for some, chosen in zip(boxes.split(_CHUNK), which.split(_CHUNK), strict=True):
        rows, columns = (_resampling(some[:, axis], some[:, axis + 2], side, size) for axis, size in ((1, height), (0, width)))
        found.append(rows @ masks[chosen].to(boxes.dtype) @ columns.mT)
    return torch.cat(found)


def _resampling(start: Tensor, end: Tensor, side: int, size: int) -> Tensor:
    """How much of each of `size` pixels each cell of each box holds: (k, side, size)."""
    cell = (end - start).clamp(min=1) / side
    samples = cell.ceil()
    pixel, weight = points(start, cell, side, samples, int(samples.max()), size)
    return torch.zeros(len(start), side, size, dtype=start.dtype, device=start.device).scatter_add_(2, pixel, weight)


def pasted(masks: Tensor, boxes: Tensor, size: Size) -> Tensor:
    """Masks of boxes, drawn where the boxes are: (k, 1, M, M), (k, 4) -> (k, 1, H, W).

    A border of zeros is added and the box enlarged with it, so that masks do not end abruptly.
    """
    height, width = size
    masks = functional.pad(masks, (1, 1, 1, 1))
    grown = masks.shape[-1] / (masks.shape[-1] - 2)
    centre, half = (boxes[:, 2:] + boxes[:, :2]) * 0.5, (boxes[:, 2:] - boxes[:, :2]) * 0.5 * grown
    low, high = (centre - half).long(), (centre + half).long()
    rows, columns = (
        _stretched(low[:, axis], high[:, axis], masks.shape[-1], pixels, boxes.dtype)
        for axis, pixels in ((1, height), (0, width))
    )
    drawn = [
        a @ mask[:, 0].to(boxes.dtype) @ b.mT
        for a, mask, b in zip(rows.split(_CHUNK), masks.split(_CHUNK), columns.split(_CHUNK), strict=True)
    ]
    return torch.cat([boxes.new_zeros(0, height, width), *drawn])[:, None].to(masks.dtype)


def _stretched(low: Tensor, high: Tensor, cells: int, size: int, dtype: torch.dtype) -> Tensor:
    """How much of each cell each pixel between two pixels holds, bilinearly: (k, size, cells)."""
    length = (high - low + 1).clamp(min=1)[:, None]
    at = torch.arange(size, device=low.device) - low[:, None]
    inside = (at >= 0) & (at < length)
    place = ((at.to(dtype) + 0.5) * (cells / length.to(dtype)) - 0.5).clamp(0, cells - 1)
    near = (1 - (place[:, :, None] - torch.arange(cells, device=low.device)).abs()).clamp(min=0)
    return near * inside[:, :, None]
