"""How far the outputs of a backend or a low precision are from eager fp32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dltool.errors import CannotRun
from dltool.step_results import Accuracy

if TYPE_CHECKING:
    from torch import Tensor


def accuracy(found: Sequence[Tensor], reference: Sequence[Tensor], *, against: str) -> Accuracy:
    """The relative error over all outputs together, and how often the best class is the same.

    Args:
        found: the outputs that are judged.
        reference: those of eager fp32 on the same inputs, in the same order.
        against: what the reference is, in words.

    Raises:
        CannotRun: they cannot be compared: other shapes, or no numbers (NaN, infinity) where the reference has some.
    """
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (found, reference)]
    if shapes[0] != shapes[1]:
        told = f"the outputs have the shapes {shapes[0]}, {against} has {shapes[1]}"
        raise CannotRun(told, remedy="The export of this model is wrong: measure it in eager torch.")
    pairs = [(a.detach().cpu().double(), b.detach().cpu().double()) for a, b in _compared(found, reference)]
    if any(bool((a.isfinite() != b.isfinite()).any()) for a, b in pairs):
        told = f"the outputs hold NaN or infinity where {against} has none"
        raise CannotRun(told, remedy="Numbers overflow in this precision: bf16 has the range of fp32.")
    return Accuracy(against=against, relative_error=_relative_error(pairs), agreeing=_agreeing(pairs))


def _compared(found: Sequence[Tensor], reference: Sequence[Tensor]) -> list[tuple[Any, Any]]:
    """The outputs in floating point; all of them where there is none, such as numbers of classes."""
    pairs = list(zip(found, reference, strict=True))
    return [pair for pair in pairs if pair[1].is_floating_point()] or pairs


def _relative_error(pairs: Sequence[tuple[Any, Any]]) -> float:
    """Frobenius norm of the difference over that of the reference, over all outputs; what is infinite in both is left out."""
    wrong = sum(float((a - b).nan_to_num(0, 0, 0).square().sum()) for a, b in pairs)
    right = sum(float(b.nan_to_num(0, 0, 0).square().sum()) for _, b in pairs)
    return float((wrong / right) ** 0.5) if right else float(wrong**0.5)


def _agreeing(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """The share of samples with the same largest output; None unless the first output is (samples, classes)."""
    if not pairs:
        return None
    a, b = pairs[0]
    if b.dim() != 2 or b.shape[1] < 2 or not len(b):
        return None
    return float((a.argmax(1) == b.argmax(1)).double().mean())
