"""The operations of a step of a model and the bytes each moves, recorded on the meta device, where nothing is computed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from msgspec.structs import replace

from dltool.bench.networks.recording import operations_of
from dltool.bench.traffic import Operation, Traffic
from dltool.errors import unknown_name
from dltool.zoo import memory
from dltool.zoo.autocast import meta_autocast
from dltool.zoo.subject import Subject, anywhere, forward_of, nominal, step_of, stepping

PRECISIONS = {
    "fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16", "amp-bf16": "bfloat16", "amp-fp16": "float16",
}  # fmt: skip
"""Name -> torch dtype of the products; the weights of those that begin with "amp" are float32."""
MODES = ("train", "infer")


def traffic_of(
    subject: Subject,
    batch: int,
    precision: str,
    mode: str,
    *,
    optimizer: str | Callable[[list[Any]], Any] = "momentum",
    fused: bool = False,
) -> Traffic:
    """What a step of a model asks of a device.

    Args:
        subject: the model.
        batch: samples.
        precision: one of `PRECISIONS`.
        mode: "train" or "infer".
        optimizer: of a training step: one of `memory.OPTIMIZERS`, or what makes one from parameters.
        fused: chains of element-wise operations are one kernel.

    Raises:
        UsageError: an unknown precision, mode or optimizer.
    """
    check(precision, mode)
    if mode == "infer":
        found, where = anywhere(lambda device: _forward(subject, batch, precision, device, fused))
    else:
        if isinstance(optimizer, str):
            memory.check("fp32", optimizer)
        found, where = stepping(
            subject, batch, lambda device, plain: _step(subject, batch, precision, device, plain, fused, optimizer)
        )
    return Traffic(mode=mode, precision=precision, batch=batch, operations=found, fused=fused, found_on=where)


def check(precision: str, mode: str) -> None:
    """Refuse what is unknown.

    Raises:
        UsageError: no such precision or mode.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if mode not in MODES:
        raise unknown_name("mode", mode, MODES)


def _forward(subject: Subject, batch: int, precision: str, device: str, fused: bool) -> tuple[Operation, ...]:
    import torch

    model, inputs = forward_of(subject, batch, device, _stored(precision, device))

    def run() -> None:
        with torch.no_grad(), _cast(precision, device):
            nominal(model)(*inputs)

    return _named(operations_of(run, fused=fused), precision, device)


def _step(
    subject: Subject,
    batch: int,
    precision: str,
    device: str,
    plain: bool,
    fused: bool,
    optimizer: str | Callable[[list[Any]], Any],
) -> tuple[Operation, ...]:
    step = step_of(subject, batch, device, _stored(precision, device), plain=plain)
    parameters = [parameter for parameter in step.model.parameters() if parameter.requires_grad]
    descent = _of_name(optimizer, parameters) if isinstance(optimizer, str) else optimizer(parameters)
    _begin(descent, parameters)

    def run() -> None:
        with _cast(precision, device):
            loss = step.loss()
        loss.backward()
        descent.step()

    return _named(operations_of(run, fused=fused), precision, device)


def _of_name(name: str, parameters: list[Any]) -> Any:
    """All parameters in one call each, as torch does it on a GPU."""
    import torch

    kind, arguments = memory.OPTIMIZERS[name]
    return getattr(torch.optim, kind)(parameters, foreach=True, **arguments)


def _begin(descent: Any, parameters: list[Any]) -> None:
    """A first step that makes the optimizer's state: later ones are alike."""
    import torch

    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    descent.step()
    descent.zero_grad(set_to_none=True)


def _stored(precision: str, device: str) -> Any:
    """The torch dtype of parameters and inputs. CPUs are slow with float16: bfloat16 is as wide."""
    import torch

    if precision.startswith("amp"):
        return torch.float32
    return getattr(torch, _on(device, PRECISIONS[precision]))


def _on(device: str, kind: str) -> str:
    return "bfloat16" if device == "cpu" and kind == "float16" else kind


def _cast(precision: str, device: str) -> AbstractContextManager[Any]:
    if not precision.startswith("amp"):
        return nullcontext()
    import torch

    if device == "meta":
        cast: AbstractContextManager[Any] = meta_autocast(getattr(torch, PRECISIONS[precision]))
    else:
        cast = torch.autocast(device, torch.bfloat16)
    return cast


def _named(found: tuple[Operation, ...], precision: str, device: str) -> tuple[Operation, ...]:
    """With the dtype that was asked for: float16 where a CPU took bfloat16 in its place, TF32 in place of float32."""
    other = {"fp32": "tf32"} if precision == "tf32" else {"bf16": "fp16"} if device == "cpu" and "fp16" in precision else {}
    return tuple(replace(one, dtype=other.get(one.dtype or "", one.dtype)) for one in found)
