"""Augmentations that make an image of several of the batch, and their labels with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dltool.bench.pipeline.labels import Labels, chosen, mixed

if TYPE_CHECKING:
    from torch import Generator, Tensor

_ALPHA = 0.2
"""Of the beta distribution. Source: Zhang et al. 2018 mixup: Beyond Empirical Risk Minimization, section 3.1."""


def mixup(images: Tensor, labels: Labels, chance: Generator) -> tuple[Tensor, Labels]:
    """Each image with a share of another one."""
    import torch

    shares = _beta(len(images), chance)
    others = torch.randperm(len(images), generator=chance)
    return blended(images, labels, others.to(images.device), shares.to(images.device))


def _beta(count: int, chance: Generator) -> Tensor:
    """Numbers of Beta(alpha, alpha), alpha below 1, by Jöhnk's method: torch's own takes no generator."""
    import torch

    found = torch.empty(0)
    while len(found) < count:
        left, right = torch.rand(2, 4 * count + 16, dtype=torch.float64, generator=chance) ** (1 / _ALPHA)
        total = left + right
        kept = (total <= 1) & (total > 0)
        found = torch.cat([found, (left[kept] / total[kept]).float()])
    return found[:count]


def blended(images: Tensor, labels: Labels, others_N: Tensor, shares_N: Tensor) -> tuple[Tensor, Labels]:
    """The share of each image, and of another one the rest."""
    weight = shares_N[:, None, None, None].to(images.dtype)
    return images[others_N].lerp(images, weight), mixed([(labels, shares_N), (chosen(labels, others_N), 1 - shares_N)])


def mosaic(images: Tensor, labels: Labels, chance: Generator) -> tuple[Tensor, Labels]:
    """Four images about a point near the middle, each with one of its corners at it, as YOLO's mosaic has them.

    Source: Bochkovskiy et al. 2020 YOLOv4, section 3.3.
    """
    import torch

    count, (height, width) = len(images), images.shape[-2:]
    others = torch.stack([torch.arange(count), *(torch.randperm(count, generator=chance) for _ in range(3))])
    low, spread = torch.tensor([height // 4, width // 4]), torch.tensor([height // 2, width // 2])
    centres = low[:, None] + (torch.rand(2, count, generator=chance) * (spread[:, None] + 1)).long()
    return placed(images, labels, others.to(images.device), centres.to(images.device))


def placed(images: Tensor, labels: Labels, others_4N: Tensor, centres_2N: Tensor) -> tuple[Tensor, Labels]:
    """Upper left, upper right, lower left and lower right of an image from four, which meet at (row, column) of its centre."""
    import torch

    count, channels, height, width = images.shape
    rows, row_below = _around(centres_2N[0], height)
    columns, column_right = _around(centres_2N[1], width)
    quadrant = 2 * row_below[:, :, None].long() + column_right[:, None, :].long()
    source = others_4N.t().gather(1, quadrant.flatten(1)).view(count, height, width)
    pixels = images.permute(0, 2, 3, 1)[source, rows[:, :, None], columns[:, None, :]]
    upper, left = centres_2N[0] / height, centres_2N[1] / width
    shares = [upper * left, upper * (1 - left), (1 - upper) * left, (1 - upper) * (1 - left)]
    parts = [(chosen(labels, others), share) for others, share in zip(others_4N, shares, strict=True)]
    assert pixels.shape == torch.Size((count, height, width, channels))
    return pixels.permute(0, 3, 1, 2).contiguous(), mixed(parts)


def _around(centre_N: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """For each place along a side: where it is in its image, which ends or begins at the centre, and whether it begins."""
    import torch

    along = torch.arange(side, device=centre_N.device)[None]
    centre = centre_N[:, None]
    beyond = along >= centre
    return torch.where(beyond, along - centre, along + side - centre), beyond
