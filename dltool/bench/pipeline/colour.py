"""Augmentations that change the values of pixels, floats from 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from dltool.bench.pipeline.labels import Labels

_MOST = 0.4
"""Brightness and contrast from 0.6 to 1.4: the usual colour jitter of ImageNet."""
_NOISE = 0.02
"""Standard deviation."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, as everybody takes them."""


def light(images: Tensor, labels: Labels, chance: Generator) -> tuple[Tensor, Labels]:
    """Brighter or darker, then more or less contrast about the mean of the image."""
    import torch

    factors = 1 + _MOST * (2 * torch.rand(2, len(images), generator=chance) - 1)
    brightness, contrast = factors.to(images.device, images.dtype)
    return lit(images, brightness, contrast), labels


def lit(images: Tensor, brightness_N: Tensor, contrast_N: Tensor) -> Tensor:
    """Times its brightness, then apart from its mean by its contrast; what leaves 0 to 1 is cut off."""
    bright = (images * brightness_N[:, None, None, None]).clamp_(0, 1)
    mean = bright.mean((1, 2, 3), keepdim=True)
    return ((bright - mean).mul_(contrast_N[:, None, None, None]) + mean).clamp_(0, 1)


def noise(images: Tensor, labels: Labels, chance: Generator) -> tuple[Tensor, Labels]:
    """Normal noise on every pixel: the one thing that a device draws itself, from a seed."""
    import torch

    seed = int(torch.randint(2**31, (), generator=chance))
    drawn = torch.Generator(images.device).manual_seed(seed)
    added = torch.randn(images.shape, generator=drawn, device=images.device, dtype=images.dtype)
    return added.mul_(_NOISE).add_(images).clamp_(0, 1), labels


def as_floats(images: Tensor) -> Tensor:
    """From 0 to 1."""
    import torch

    return images.to(torch.float32).div_(255)


def normalised(images: Tensor) -> Tensor:
    """Channels of mean 0 and deviation 1, by those of ImageNet; one channel by their average. In place."""
    import torch

    mean, deviation = (torch.tensor(values, device=images.device)[:, None, None] for values in (_MEAN, _DEVIATION))
    if images.shape[1] != len(_MEAN):
        mean, deviation = mean.mean(), deviation.mean()
    return images.sub_(mean).div_(deviation)
