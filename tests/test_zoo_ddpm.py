"""The U-Net and the process of denoising diffusion against diffusers, and against the paper's formulas."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo_parity import close, same_keys, same_outputs
from zoo_references import diffusers, torchvision

from dltool import models
from dltool.zoo.diffusion import STEPS, add_noise, betas, sample, step_back

CIFAR10 = {
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": (128, 256, 256, 256),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "layers_per_block": 2,
    "norm_eps": 1e-6,
    "sample_size": 32,
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}
SMALL: dict[str, Any] = {"block_out_channels": (32, 64, 96, 64), "layers_per_block": 1, "norm_num_groups": 8}


def theirs(**options: Any) -> nn.Module:
    torchvision()  # which diffusers imports by way of transformers
    return diffusers().UNet2DModel(**{**CIFAR10, **options})


def test_has_the_keys_of_diffusers() -> None:
    with torch.device("meta"):
        same_keys(models.build("ddpm_unet"), theirs())


@pytest.mark.parametrize("steps", [torch.tensor([3, 997]), torch.tensor(500), 7], ids=["one each", "a tensor", "a number"])
def test_equals_diffusers(steps: Any) -> None:
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    ours = models.build("ddpm_unet", **SMALL)
    same_outputs(ours, theirs(**SMALL), (images, steps), ask=lambda model, inputs: model(*inputs).sample)


def scheduler() -> Any:
    """That of diffusers, but in float64."""
    torchvision()
    found = diffusers().DDPMScheduler(beta_schedule="linear", variance_type="fixed_large", clip_sample=True)
    torch.testing.assert_close(found.betas, betas().float())
    found.betas = torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)
    found.alphas = 1 - found.betas
    found.alphas_cumprod = found.alphas.cumprod(0)
    return found


def test_adds_noise_as_diffusers_does() -> None:
    images, noise = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64)
    steps = torch.tensor([0, 1, 500, STEPS - 1])
    close(add_noise(images, noise, steps), scheduler().add_noise(images, noise, steps))


@pytest.mark.parametrize("step", [STEPS - 1, 500, 1, 0])
def test_steps_back_as_diffusers_does(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image, predicted, fresh = torch.randn(3, 2, 3, 8, 8, dtype=torch.float64)
    theirs = scheduler()
    monkeypatch.setattr(sys.modules[type(theirs).__module__], "randn_tensor", lambda *_, **__: fresh)
    expected = theirs.step(predicted, step, image).prev_sample
    close(step_back(image, predicted, step, fresh if step else None), expected)


def test_adds_the_noise_of_the_paper() -> None:
    kept = (1 - betas()).cumprod(0)
    assert betas()[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])
    assert kept[-1] == pytest.approx(4.04e-5, rel=1e-2)  # section 4: hardly anything of the image is left
    images, noise = torch.randn(2, 1, 3, 8, 8, dtype=torch.float64)
    last = add_noise(images, noise, torch.tensor([STEPS - 1]))
    assert (last - noise).abs().max() < 0.05


def test_sampling_finds_the_image_that_a_perfect_predictor_knows() -> None:
    image = torch.rand(2, 3, 8, 8) * 2 - 1
    kept = (1 - betas()).cumprod(0)
    seen: list[int] = []

    def predictor(noisy: Tensor, steps: Tensor) -> Tensor:
        seen.append(int(steps[0]))
        left = kept[steps][:, None, None, None].float()
        return (noisy - left.sqrt() * image) / (1 - left).sqrt()

    found = sample(predictor, torch.randn(2, 3, 8, 8), steps=50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, image, atol=1e-3, rtol=0)
    assert seen == list(range(49, -1, -1))


def test_sampling_with_a_network_gives_images_and_repeats_with_its_seed() -> None:
    model = models.build("ddpm_unet", **SMALL).eval()
    noise = torch.randn(1, 3, 16, 16)
    first, again, other = (sample(model, noise, steps=5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == noise.shape
    assert first.abs().max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
