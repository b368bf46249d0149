"""Augmentations that move pixels: of a batch (N, C, H, W), each image in its own way, on whatever device it is.

All are drawn on the CPU, so that a device sees the same as a CPU of the same seed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from dltool.bench.pipeline.labels import Labels

MARGIN = 8
"""An image that will be cropped is larger by an eighth of its side: of 252 pixels 224 are left."""
_DEGREES = 15.0
_SCALES = (0.9, 1.1)


def flip(images: Tensor, labels: Labels, chance: Generator) -> tuple[Tensor, Labels]:
    """Every second image, on average, left to right."""
    import torch

    return flipped(images, (torch.rand(len(images), generator=chance) < 0.5).to(images.device)), labels


def flipped(images: Tensor, which_N: Tensor) -> Tensor:
    """Those images left to right."""
    import torch

    return torch.where(which_N[:, None, None, None], images.flip(-1), images)


def larger(side: int) -> int:
    """The side of an image before a crop to `side`."""
    return side + max(1, side // MARGIN)


def crop(images: Tensor, labels: Labels, chance: Generator) -> tuple[Tensor, Labels]:
    """A window anywhere in each image, as much smaller as `larger` made it larger."""
    side = images.shape[-1]
    kept = next(size for size in range(side - 1, 0, -1) if larger(size) <= side)
    tops, lefts = corners(len(images), side - kept, chance)
    return windows(images, tops.to(images.device), lefts.to(images.device), kept), labels


def corners(count: int, most: int, chance: Generator) -> tuple[Tensor, Tensor]:
    """Upper left corners from 0 to `most`, that one with them."""
    import torch

    tops, lefts = torch.randint(most + 1, (2, count), generator=chance)
    return tops, lefts


def windows(images: Tensor, tops_N: Tensor, lefts_N: Tensor, side: int) -> Tensor:
    """A square of each image from its own corner on."""
    import torch

    along = torch.arange(side, device=images.device)
    rows, columns = tops_N[:, None] + along, lefts_N[:, None] + along
    tall = images.gather(2, rows[:, None, :, None].expand(-1, images.shape[1], -1, images.shape[3]))
    return tall.gather(3, columns[:, None, None, :].expand(-1, images.shape[1], side, -1))


def rotate(images: Tensor, labels: Labels, chance: Generator) -> tuple[Tensor, Labels]:
    """Turned by up to 15 degrees either way and scaled by 0.9 to 1.1 about the middle; what comes from outside is black."""
    import torch

    angles = (2 * torch.rand(len(images), generator=chance) - 1) * math.radians(_DEGREES)
    low, high = _SCALES
    scales = low + (high - low) * torch.rand(len(images), generator=chance)
    return turned(images, angles, scales), labels


def turned(images: Tensor, angles_N: Tensor, scales_N: Tensor) -> Tensor:
    """Each image of floats turned by its angle (radians, anticlockwise) and scaled, bilinear."""
    import torch
    from torch.nn import functional

    cosine, sine, none = angles_N.cos() / scales_N, angles_N.sin() / scales_N, torch.zeros_like(angles_N)
    maps = torch.stack([torch.stack([cosine, -sine, none], 1), torch.stack([sine, cosine, none], 1)], 1)
    grid = functional.affine_grid(maps.to(images.device, images.dtype), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def cutout(images: Tensor, labels: Labels, chance: Generator) -> tuple[Tensor, Labels]:
    """A black square of a quarter of the side, wholly inside each image."""
    height, width = images.shape[-2:]
    hole = max(1, min(height, width) // 4)
    tops, lefts = corners(len(images), min(height, width) - hole, chance)
    return without(images, tops.to(images.device), lefts.to(images.device), hole), labels


def without(images: Tensor, tops_N: Tensor, lefts_N: Tensor, side: int) -> Tensor:
    """A square of each image black, from its own corner on."""
    import torch

    rows = torch.arange(images.shape[-2], device=images.device)[None] - tops_N[:, None]
    columns = torch.arange(images.shape[-1], device=images.device)[None] - lefts_N[:, None]
    inside = ((rows >= 0) & (rows < side))[:, None, :, None] & ((columns >= 0) & (columns < side))[:, None, None, :]
    return images.masked_fill(inside, 0)
