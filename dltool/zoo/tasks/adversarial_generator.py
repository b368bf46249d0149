"""Images that a discriminator takes for real ones: the generator's half of adversarial training, by DCGAN's discriminator."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from dltool.zoo.building import build
from dltool.zoo.tasks import Inputs, Task
from dltool.zoo.tasks.adversarial_discriminator import surprise


def targets(model: nn.Module, inputs: Inputs, chance: Generator) -> nn.Module:
    """Whom to deceive: a discriminator that does not learn."""
    (noise,) = inputs
    training = model.training
    with torch.no_grad():
        channels = model.eval()(noise).shape[1]
    model.train(training)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(chance.initial_seed())
        judge = build("dcgan_discriminator", nc=channels)
    return judge.to(noise.device, noise.dtype).requires_grad_(False)


def loss(model: nn.Module, inputs: Inputs, judge: nn.Module) -> Tensor:
    """How surely the discriminator finds the images generated: -log D(G(z))."""
    return surprise(judge(model(*inputs)))


TASK = Task(unit="image", targets=targets, loss=loss)
