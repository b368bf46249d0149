"""Denoising diffusion: noise added step by step, and taken away again by a network that predicts it.

Ho, Jain, Abbeel 2020, Denoising Diffusion Probabilistic Models. After step t an image has become
sqrt(kept) image + sqrt(1 - kept) noise, where kept is the product of 1 - beta over the steps 0 to t, and beta grows linearly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Generator, Tensor

STEPS = 1000
_FIRST, _LAST = 1e-4, 0.02
"""Variance added in the first and in the last step. Source: Ho et al. 2020, section 4."""


def betas(device: Any = "cpu") -> Tensor:
    """The variance that each step adds: (STEPS), in float64: next to 1 the first ones would keep three digits in float32."""
    import torch

    return torch.linspace(_FIRST, _LAST, STEPS, dtype=torch.float64, device=device)


def add_noise(images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
    """What is left of images after some steps: (N, c, H, W), noise of the same shape, steps (N) -> (N, c, H, W)."""
    kept = (1 - betas(images.device)).cumprod(0)[steps][:, None, None, None]
    return kept.sqrt().to(images.dtype) * images + (1 - kept).sqrt().to(images.dtype) * noise


def sample(
    model: Callable[[Tensor, Tensor], Tensor], noise: Tensor, *, steps: int = STEPS, generator: Generator | None = None
) -> Tensor:
    """Images out of noise, by taking away what the network predicts, step by step (algorithm 2 of the paper).

    As in the authors' program the image that a step foresees is clipped to its range, and the fresh noise of a step has the
    variance beta.

    Args:
        model: gives the noise in an image at a step, such as `ddpm_unet`.
        noise: (N, c, H, W), normal.
        steps: the steps to go back from, the last of the schedule by default.
        generator: of the fresh noise, on the device of `noise`.

    Returns:
        Images between -1 and 1, (N, c, H, W).
    """
    import torch

    image = noise
    for step in reversed(range(steps)):
        with torch.no_grad():
            predicted = model(image, torch.full((len(image),), step, device=image.device))
        fresh = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype) if step else None
        image = step_back(image, predicted, step, fresh)
    return image


def step_back(image: Tensor, predicted: Tensor, step: int, fresh: Tensor | None) -> Tensor:
    """The image one step of noise earlier; fresh noise is added but for the last time."""
    beta = betas()[step].item()
    kept, before = _kept(step), _kept(step - 1)
    foreseen = ((image - (1 - kept) ** 0.5 * predicted) / kept**0.5).clamp(-1, 1)
    mean = before**0.5 * beta / (1 - kept) * foreseen + (1 - beta) ** 0.5 * (1 - before) / (1 - kept) * image
    return mean if fresh is None else mean + beta**0.5 * fresh


def _kept(step: int) -> float:
    """The share of an image's variance that is left after a step; all of it before the first."""
    return (1 - betas()[: step + 1]).prod().item()
