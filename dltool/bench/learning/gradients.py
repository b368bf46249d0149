"""A step's gradients against those of fp32 on the CPU, for the same weights and the same batch.

A loss tells little of a result that is slightly wrong in one place, and Adam divides away a gradient that is too large; the
gradients themselves tell both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

_SMALL = 1.0
"""A slice whose gradient is smaller than this share of its parameter's usual one is held against that share."""
_SMALL_PARAMETER = 3e-2
"""The same of a parameter against all: the bias before a batch norm has a gradient of rounding alone."""


def of(model: nn.Module, loss: Callable[[nn.Module], Any], scale: float) -> dict[str, Tensor]:
    """The gradients of a model that has none yet, in fp32 on the CPU, divided by `scale`."""
    loss(model.train()).backward()
    named = ((name, parameter.grad) for name, parameter in model.named_parameters())
    return {name: grad.detach().float().cpu() / scale for name, grad in named if grad is not None}


def off(here: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> dict[str, float]:
    """The worst relative error of each parameter's gradient: of the whole, and of every row and column of a matrix.

    Frobenius norm of the difference over that of the reference. NaN where `here` is no number; 1 where it is missing or zero.
    """
    typical = max((_rms(grad) for grad in there.values()), default=0.0)
    found = {}
    for name, reference in there.items():
        other = here.get(name)
        least = typical * _SMALL_PARAMETER
        found[name] = 1.0 if other is None else max(_errors(other, reference, least), key=_nan_last)
    return found


def _errors(here: Tensor, there: Tensor, least: float) -> Iterator[float]:
    """Of the whole and of its slices; a vector has no slices, as single numbers may cancel out."""
    usual = max(_rms(there), least)
    difference = here - there
    if usual == 0:
        yield float(difference.abs().sum())
        return
    yield _rms(difference) / usual
    for axis in range(min(2, there.dim() if there.dim() > 1 else 0)):
        others = [other for other in range(there.dim()) if other != axis]
        size = there.square().mean(others).sqrt().clamp_min(_SMALL * usual)
        yield float((difference.square().mean(others).sqrt() / size).nan_to_num(nan=float("inf")).max())


def _rms(tensor: Tensor) -> float:
    return float(tensor.double().square().mean().sqrt())


def _nan_last(value: float) -> float:
    return float("inf") if value != value else value
