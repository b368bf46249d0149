"""Real images are told from enlarged ones: the discriminator's half of training SRGAN.

Ledig et al. 2017, Photo-Realistic Single Image Super-Resolution, section 2: the two halves take turns.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task

_SCALE = 4


def targets(_model: nn.Module, inputs: Inputs, _chance: Generator) -> Tensor:
    """In the place of the generator's images: the real ones shrunk four times and enlarged again, bicubic."""
    (real,) = inputs
    small = functional.avg_pool2d(real.float(), _SCALE)
    return functional.interpolate(small, scale_factor=float(_SCALE), mode="bicubic").to(real)


def loss(model: nn.Module, inputs: Inputs, made: Tensor) -> Tensor:
    """Binary cross-entropy over the real images, each 1, and over the made ones, each 0."""
    (real,) = inputs
    yes, no = model(real), model(made)
    with torch.autocast(real.device.type, enabled=False):
        return cross_entropy(yes, torch.ones_like(yes)) + cross_entropy(no, torch.zeros_like(no))


def cross_entropy(probability: Tensor, truth: Tensor) -> Tensor:
    """Of probabilities, in float32."""
    return functional.binary_cross_entropy(probability.float(), truth.float())


TASK = Task(unit="image", targets=targets, loss=loss)
