"""Is what a step computes right? Its outputs or its first loss against the same model in a format that is beyond doubt."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

from dltool.bench import verified
from dltool.bench.networks.agreement import accuracy
from dltool.bench.networks.making import Network
from dltool.results import Verified
from dltool.step_results import Accuracy
from dltool.zoo.recorder import tensors_in

_SAMPLES = 2
"""Of the batch, for the comparison in float64."""
_LOSS_TOLERANCE = 0.25
"""A first loss may differ by its random numbers (dropout, proposals): kernels of another format draw them in another order."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What the step should give."""

    name: str
    outputs: tuple[Any, ...] = ()
    """Of inference, on the CPU; of the first samples alone where `samples` says how many."""
    loss: float | None = None
    """Of training."""
    samples: int | None = None


def reference(made: Network, *, training: bool) -> Reference:
    """Outputs or loss of the model before it is converted and compiled: in float64 where that is cheap, else in eager fp32."""
    torch = made.torch
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        torch.manual_seed(0)
        with torch.no_grad():
            if training and made.subject.task is None:  # a sum of outputs may be nearly nothing
                return Reference("a finite loss")
            if training:
                return Reference("the loss in eager fp32", loss=float(made.loss()))
            if made.precision.dtype == "fp32" and (found := _in_float64(made)) is not None:
                return found
            return Reference("eager fp32", outputs=_kept(made.model(*made.inputs)))
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def _in_float64(made: Network) -> Reference | None:
    """Of the first samples; None where memory is short, or the model takes no float64."""
    torch = made.torch
    weights = sum(one.nbytes for one in made.model.state_dict().values())
    batches = {one.shape[0] for one in tensors_in(made.inputs)}
    if 2 * weights > made.device.free_bytes / 8 or len(batches) != 1:
        return None
    few = [one[:_SAMPLES] for one in tensors_in(made.inputs)]
    if len(few) != len(made.inputs):
        return None
    try:
        model = copy.deepcopy(made.model).double()
        output = model(*(one.double() if one.is_floating_point() else one for one in few))
    except (RuntimeError, TypeError, ValueError):
        return None
    kept = tuple(one.detach().cpu() for one in tensors_in(output) if one.is_floating_point())
    return Reference("float64", outputs=kept, samples=_SAMPLES) if all(one.dtype == torch.float64 for one in kept) else None


def _kept(output: Any) -> tuple[Any, ...]:
    return tuple(one.detach().float().cpu() for one in tensors_in(output) if one.is_floating_point())


def of_loss(first: float, last: float, known: Reference) -> Verified:
    """The loss of the first step against that in fp32 by the same seed; and the last one, after all updates, is a number."""
    if not math.isfinite(last) or known.loss is None:
        return verified("a finite loss", 0.0 if math.isfinite(last) else last)
    return verified(known.name, abs(first - known.loss) / max(abs(known.loss), 1e-6), _LOSS_TOLERANCE)


def of_outputs(output: Any, known: Reference, tolerance: float) -> tuple[Verified, Accuracy | None]:
    """The outputs of the timed step against the reference; where their shapes differ, as what a detector finds does, finite."""
    found = _kept(output)
    if known.samples is not None:
        found = tuple(one[: known.samples] for one in found)
    if not found or [one.shape for one in found] != [one.shape for one in known.outputs]:
        finite = all(bool(one.isfinite().all()) for one in found)
        return verified("finite outputs", 0.0 if finite else math.nan), None
    if not all(_as_finite(one, right) for one, right in zip(found, known.outputs, strict=True)):
        return verified(known.name, math.nan, tolerance), None
    told = accuracy(found, known.outputs, against=known.name)
    return verified(known.name, told.relative_error, tolerance), told


def _as_finite(one: Any, right: Any) -> bool:
    """No NaN, and infinite (a masked score) only where the reference is."""
    return not bool(one.isnan().any()) and bool((one.isfinite() == right.isfinite()).all())
