"""Is a model of ours the very network of its reference? The same keys, shapes and, with the same weights, the same outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = 1e-5
"""Of the largest value of an output, in float64."""


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """What a checkpoint of a model holds."""
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def same_keys(ours: nn.Module, theirs: nn.Module) -> None:
    """A checkpoint of either fits the other, and both have as many parameters."""
    assert shapes(ours) == shapes(theirs)
    assert count(ours) == count(theirs)


def count(model: nn.Module) -> int:
    """Parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every constant tensor made random too: ones, zeros and tiny scales hide mistakes. Returns the model in float64."""
    chance = torch.Generator().manual_seed(seed)
    model.double()
    with torch.no_grad():
        for key, tensor in {**dict(model.named_parameters()), **dict(model.named_buffers())}.items():
            if not tensor.is_floating_point():
                continue
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=chance)
            elif tensor.numel() and bool((tensor == tensor.flatten()[0]).all()):
                tensor.copy_(tensor.flatten()[0] + 0.3 * torch.randn(tensor.shape, generator=chance, dtype=tensor.dtype))
    return model


def same_outputs(
    ours: nn.Module,
    theirs: nn.Module,
    inputs: tuple[Any, ...],
    *,
    ask: Callable[[nn.Module, tuple[Any, ...]], Any] = lambda model, inputs: model(*inputs),
) -> None:
    """With the reference's weights, all of them made random, both give the same in eval mode.

    Args:
        ours, theirs: both models; theirs is changed.
        inputs: tensors; normal numbers in float64.
        ask: gets the reference's outputs where it is called in its own way.
    """
    randomised(theirs).eval()
    ours.double().eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        found, expected = flat(ours(*inputs)), flat(ask(theirs, inputs))
        silent = flat(ours(*(torch.zeros_like(x) if isinstance(x, Tensor) else x for x in inputs)))
    assert len(found) == len(expected)
    for here, there in zip(found, expected, strict=True):
        close(here, there)
    assert hears(found, silent), "the input is hardly heard in the outputs: they would agree whatever the first layers did"


def hears(found: list[Tensor], silent: list[Tensor]) -> bool:
    """Whether an output is another than that of zeros, and far beyond the tolerance.

    With torch's own initial weights a signal shrinks in every layer of a deep network; `audible` redraws them.
    """
    pairs = [(a, b) for a, b in zip(found, silent, strict=False) if a.is_floating_point() and a.numel()]
    return any(a.shape != b.shape or (a - b).abs().max() > 1e3 * TOLERANCE * a.abs().max() for a, b in pairs)


def audible(model: nn.Module) -> nn.Module:
    """Weights so large that the input is heard at the other end of a network without shortcuts."""
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model


def close(here: Tensor, there: Tensor) -> None:
    """Equal up to the tolerance, and not all the same: a constant output would agree whatever the network did."""
    assert here.shape == there.shape
    assert there.isfinite().all()
    if there.is_floating_point() and there.numel() > 1:
        assert there.std() > 0, "the output is constant"
    largest = there.abs().max().clamp(min=1e-30) if there.numel() else 1.0
    assert ((here - there).abs().max() / largest if there.numel() else 0.0) <= TOLERANCE


def flat(output: Any) -> list[Tensor]:
    """The tensors of an output, in order; what is None is left out."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        return [tensor for value in output.values() for tensor in flat(value)]
    if isinstance(output, (tuple, list)):
        return [tensor for value in output for tensor in flat(value)]
    return []
