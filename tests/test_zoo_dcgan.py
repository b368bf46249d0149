"""DCGAN layer by layer, as its paper and pytorch/examples have it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo_parity import shapes

from dltool import models
from dltool.zoo import entry
from dltool.zoo.inputs import tensors
from dltool.zoo.tasks import task

GENERATOR = {0: (100, 512), 3: (512, 256), 6: (256, 128), 9: (128, 64), 12: (64, 3)}
DISCRIMINATOR = {0: (64, 3), 2: (128, 64), 5: (256, 128), 8: (512, 256), 11: (1, 512)}


@pytest.mark.parametrize(
    ("name", "convolutions", "norms"),
    [
        ("dcgan_generator", GENERATOR, {1: 512, 4: 256, 7: 128, 10: 64}),
        ("dcgan_discriminator", DISCRIMINATOR, {3: 128, 6: 256, 9: 512}),
    ],
)
def test_checkpoints_of_the_example_fit(name: str, convolutions: dict[int, tuple[int, int]], norms: dict[int, int]) -> None:
    expected: dict[str, tuple[int, ...]] = {f"main.{place}.weight": (*c, 4, 4) for place, c in convolutions.items()}
    for place, width in norms.items():
        expected |= {f"main.{place}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
        expected[f"main.{place}.num_batches_tracked"] = ()
    assert shapes(models.build(name, device="meta")) == expected


def test_the_generator_draws_and_the_discriminator_judges() -> None:
    torch.manual_seed(0)
    generator, discriminator = models.build("dcgan_generator", ngf=8), models.build("dcgan_discriminator", ndf=8)
    images = generator(torch.randn(3, 100, 1, 1))
    assert images.shape == (3, 3, 64, 64)
    assert images.abs().max() < 1
    judged = discriminator(images)
    assert judged.shape == (3,)
    assert ((judged > 0) & (judged < 1)).all()


def test_weights_start_small_and_scales_about_one() -> None:
    torch.manual_seed(0)
    for module in models.build("dcgan_generator").modules():
        if isinstance(module, nn.ConvTranspose2d):
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        elif isinstance(module, nn.BatchNorm2d):
            assert float(module.weight.detach().mean()) == pytest.approx(1, abs=0.01)
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.3)
            assert (module.bias == 0).all()


def test_the_losses_are_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    chance = torch.Generator().manual_seed(0)
    for name, options in (("dcgan_generator", {"ngf": 8}), ("dcgan_discriminator", {"ndf": 8})):
        model, of = models.build(name, **options).train(), task(entry(name).task)
        inputs = tensors(entry(name).input, 4)
        other = of.targets(model, inputs, chance)
        found = of.loss(model, inputs, other)
        entropy, ones, zeros = nn.BCELoss(), torch.ones(4), torch.zeros(4)
        with torch.no_grad():
            if name == "dcgan_generator":
                expected = entropy(other(model(*inputs)), ones)
            else:
                expected = entropy(model(*inputs), ones) + entropy(model(other), zeros)
        torch.testing.assert_close(found.detach(), expected)


def test_a_step_of_the_generator_leaves_its_judge_as_it_is() -> None:
    torch.manual_seed(0)
    model, of = models.build("dcgan_generator", ngf=8), task("adversarial-generator")
    inputs = tensors("float:N,100,1,1", 2)
    judge = of.targets(model, inputs, torch.Generator().manual_seed(0))
    of.loss(model, inputs, judge).backward()
    assert all(parameter.grad is None for parameter in judge.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())
