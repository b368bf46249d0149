"""The noise in noisy images is told, given the steps after which they are that noisy; mean squared error.

Ho, Jain, Abbeel 2020, Denoising Diffusion Probabilistic Models, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.diffusion import add_noise
from dltool.zoo.tasks import Inputs, Task


def targets(_model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """Normal noise of the images' shape."""
    images, _ = inputs
    return torch.randn(images.shape, generator=chance).to(images)


def loss(model: nn.Module, inputs: Inputs, noise: Tensor) -> Tensor:
    """How far from the noise what the model sees in the noisy images is; inputs are the clean ones and their steps."""
    images, steps = inputs
    return functional.mse_loss(model(add_noise(images, noise, steps), steps).float(), noise.float())


TASK = Task(unit="image", targets=targets, loss=loss)
