"""Real images told from generated ones: the discriminator's half of adversarial training, against DCGAN's generator."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from dltool.zoo.building import build
from dltool.zoo.tasks import Inputs, Task

_NOISE = 100
_LEAST = 1e-12
"""Of a probability whose logarithm is taken."""


def targets(_model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """As many generated images as real ones come in; made outside the step, they carry no gradients to their generator."""
    (images,) = inputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(chance.initial_seed())
        forger = build("dcgan_generator", nz=_NOISE, nc=images.shape[1])
    noise = torch.randn(len(images), _NOISE, 1, 1, generator=chance)
    with torch.no_grad():
        return forger.to(images.device)(noise.to(images.device)).to(images.dtype)


def loss(model: nn.Module, inputs: Inputs, generated: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(generated)), in two passes: batch norm sees either kind by itself."""
    return surprise(model(*inputs)) + surprise(1 - model(generated).float())


def surprise(probability: Tensor) -> Tensor:
    """-log, on average; `binary_cross_entropy` says the same but is refused under autocast."""
    return -probability.float().clamp(min=_LEAST).log().mean()


TASK = Task(unit="image", targets=targets, loss=loss)
