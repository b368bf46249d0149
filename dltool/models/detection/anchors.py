"""Anchors: the boxes that stand at every place of every feature map, and that predictions are offsets from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Anchors(nn.Module):
    """Boxes of given sizes and ratios round the corner of each place.

    Ren et al. 2015, Faster R-CNN, section 3.1.1.

    Args:
        sizes: for each feature map, roots of areas in pixels.
        ratios: height to width, the same for all maps.
    """

    def __init__(self, sizes: Sequence[Sequence[int]], ratios: Sequence[float] = (0.5, 1.0, 2.0)) -> None:
        super().__init__()
        self.sizes, self.ratios = sizes, ratios
        self.per_place = len(sizes[0]) * len(ratios)

    def forward(self, picture: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """All anchors of a batch of pictures (N, 3, H, W): (places of all maps x per_place, 4), the same for each picture."""
        height, width = picture.shape[-2:]
        found = []
        for sizes, map_ in zip(self.sizes, maps, strict=True):
            rows, columns = map_.shape[-2:]
            corners = _grid(rows, columns, height // rows, width // columns, map_)
            found.append((corners.repeat(1, 2)[:, None] + self._at_origin(sizes, map_)).view(-1, 4))
        return torch.cat(found)

    def _at_origin(self, sizes: Sequence[int], like: Tensor) -> Tensor:
        """(per_place, 4), whole pixels."""
        heights = torch.tensor(self.ratios, device=like.device).sqrt()
        areas = torch.tensor(sizes, dtype=torch.float32, device=like.device)
        high, wide = ((side[:, None] * areas).view(-1) for side in (heights, 1 / heights))
        boxes = torch.stack((-wide, -high, wide, high), 1) / 2
        return boxes.round().to(wide_type(like))


class DefaultBoxes(nn.Module):
    """SSD's anchors: shares of the picture, round the centre of each place.

    Liu et al. 2016, SSD, section 2.2: each map has squares of its scale and of the mean with the next scale, and a lying and a
    standing box of each ratio.

    Args:
        ratios: for each map.
        scales: shares of the picture's sides, one more than maps.
        steps: pixels between places, for each map.
    """

    def __init__(self, ratios: Sequence[Sequence[int]], scales: Sequence[float], steps: Sequence[int]) -> None:
        super().__init__()
        self.steps = steps
        self.sides = [_sides(*given) for given in zip(ratios, scales, scales[1:], strict=False)]
        self.per_place = [len(sides) for sides in self.sides]

    def forward(self, picture: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """See `Anchors.forward`."""
        size = torch.tensor((picture.shape[-1], picture.shape[-2]), device=picture.device)
        found = []
        for given, step, map_ in zip(self.sides, self.steps, maps, strict=True):
            half = torch.tensor(given, device=picture.device).clamp(0, 1).to(wide_type(map_)) / 2
            rows, columns = map_.shape[-2:]
            centres = (_grid(rows, columns, 1, 1, map_, shift=0.5, dtype=torch.float32) / (size / step)).to(half.dtype)
            centres = centres[:, None].expand(-1, len(half), -1)
            found.append((torch.cat((centres - half, centres + half), -1) * size.repeat(2)).view(-1, 4))
        return torch.cat(found)


def _sides(ratios: Sequence[int], scale: float, after: float) -> list[tuple[float, float]]:
    """Widths and heights as shares of the picture."""
    between = math.sqrt(scale * after)
    sides = [(scale, scale), (between, between)]
    for ratio in ratios:
        long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        sides += [(long, short), (short, long)]
    return sides


def _grid(
    rows: int, columns: int, down: int, right: int, like: Tensor, *, shift: float = 0.0, dtype: torch.dtype | None = None
) -> Tensor:
    """x and y of the places of a map, row by row: (rows x columns, 2)."""
    dtype = dtype or wide_type(like)
    y = (torch.arange(rows, device=like.device, dtype=dtype) + shift) * down
    x = (torch.arange(columns, device=like.device, dtype=dtype) + shift) * right
    return torch.stack((x.repeat(rows), y.repeat_interleave(columns)), 1)


def wide_type(like: Tensor) -> torch.dtype:
    """What boxes are computed in: float32 beside half formats too."""
    return torch.promote_types(like.dtype, torch.float32)


def by_place(predicted: Tensor, numbers: int) -> Tensor:
    """Predictions in the order of anchors: (N, anchors x numbers, h, w) -> (N, h x w x anchors, numbers)."""
    n, _, height, width = predicted.shape
    predicted = predicted.view(n, -1, numbers, height, width).permute(0, 3, 4, 1, 2)
    return predicted.reshape(n, -1, numbers)
