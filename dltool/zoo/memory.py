"""Memory of a model: one step is made on the meta device, and what would be allocated is followed from birth to end.

What a device holds besides (its context, workspaces of libraries, holes between blocks) is not in it: see `dltool.zoo.fits`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dltool.errors import unknown_name
from dltool.model_results import Memory
from dltool.zoo.recorder import tensors_in
from dltool.zoo.storages import Storages, following
from dltool.zoo.subject import Subject, anywhere, forward_of, step_of, stepping

if TYPE_CHECKING:
    from torch import nn

OPTIMIZERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.1}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "adagrad": ("Adagrad", {"lr": 1e-2}),
    "rmsprop": ("RMSprop", {"lr": 1e-3}),
    "adadelta": ("Adadelta", {"lr": 1.0}),
    "adam": ("Adam", {"lr": 1e-3}),
    "adamw": ("AdamW", {"lr": 1e-3}),
}
"""Name -> class of torch.optim and its arguments."""
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "mixed": "float32"}
"""Name -> torch dtype of parameters and inputs; "mixed" computes in bfloat16 where autocast does."""


@dataclass(frozen=True)
class Habits:
    """What of torch depends on the device."""

    block: int
    """Bytes to which its allocator rounds up."""
    foreach: bool
    """Optimizers update all parameters in one call each, and hold temporaries of all of them."""
    workspace: Callable[[str, Sequence[Any], Any], int]
    """Bytes that an operation holds while it runs."""


def _none(_name: str, _args: Sequence[Any], _result: Any) -> int:
    return 0


def _reordered(name: str, args: Sequence[Any], result: Any) -> int:
    """oneDNN turns the weight of a convolution into its own order, and its result back from it."""
    return args[1].nbytes + result.nbytes if name == "convolution" else 0


GPU = Habits(block=512, foreach=True, workspace=_none)
"""Source: kMinBlockSize of torch's CUDACachingAllocator; torch.optim, "foreach" is the default on CUDA."""
CPU = Habits(block=64, foreach=False, workspace=_reordered)
"""Source: gAlignment of c10/core/alignment.h; torch.optim, "for-loop" is the default on a CPU."""


def check(dtype: str, optimizer: str) -> None:
    """Refuse what is unknown.

    Raises:
        UsageError: no such dtype or optimizer.
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", optimizer, OPTIMIZERS)


def training(subject: Subject, batch: int, *, dtype: str = "fp32", optimizer: str = "adamw", habits: Habits = GPU) -> Memory:
    """What the second and every further training step holds.

    Args:
        subject: the model.
        batch: samples.
        dtype: one of `DTYPES`.
        optimizer: one of `OPTIMIZERS`.
        habits: of torch on the device that is meant.

    Raises:
        UsageError: an unknown dtype or optimizer.
    """
    check(dtype, optimizer)
    found, where = stepping(
        subject, batch, lambda device, plain: _training(subject, batch, dtype, optimizer, habits, device, plain)
    )
    return replace(found, found_on=where)


def inference(subject: Subject, batch: int, *, dtype: str = "fp32", habits: Habits = GPU) -> Memory:
    """What a forward in eval mode without gradients holds.

    Raises:
        UsageError: an unknown dtype.
    """
    check(dtype, "sgd")
    found, device = anywhere(lambda device: _inference(subject, batch, dtype, habits, device))
    return replace(found, found_on=device)


def _training(subject: Subject, batch: int, dtype: str, optimizer: str, habits: Habits, device: str, plain: bool) -> Memory:
    step = step_of(subject, batch, device, torch_dtype(dtype), plain=plain)
    storages = _started(step.model, (step.inputs, step.targets), habits)
    descent = _optimizer(step.model, optimizer, habits)
    handles = [
        parameter.register_post_accumulate_grad_hook(lambda one: storages.hold((one.grad,), "gradients"))
        for parameter in step.model.parameters()
        if parameter.requires_grad
    ]
    with following(storages, habits.workspace):
        _make_state(step.model, descent, storages)
        storages.forget_peak()
        storages.phase = "forward"
        with _precision(dtype, device):
            loss = step.loss()
        storages.rename("temporary", "activations")
        activations = storages.live["activations"]
        storages.phase = "backward"
        loss.backward()
        gradients = storages.live["gradients"]
        del loss
        storages.phase = "optimizer"
        descent.step()
    for handle in handles:
        handle.remove()
    held = _memory(storages, batch, dtype, optimizer)
    return replace(held, gradients=gradients, activations=activations)


def _inference(subject: Subject, batch: int, dtype: str, habits: Habits, device: str) -> Memory:
    import torch

    model, inputs = forward_of(subject, batch, device, torch_dtype(dtype))
    storages = _started(model, inputs, habits)
    storages.phase = "forward"
    with torch.no_grad(), following(storages, habits.workspace), _precision(dtype, device):
        model(*inputs)
    return _memory(storages, batch, dtype, None)


def torch_dtype(name: str) -> Any:
    """The torch dtype of parameters and inputs."""
    import torch

    return getattr(torch, DTYPES[name])


def _started(model: nn.Module, inputs: Any, habits: Habits) -> Storages:
    """With all that is there before the step begins."""
    storages = Storages(habits.block)
    storages.hold((*model.parameters(), *model.buffers()), "weights")
    storages.hold((tensor for tensor in tensors_in(inputs) if not storages.knows(tensor)), "inputs")
    return storages


def _optimizer(model: nn.Module, name: str, habits: Habits) -> Any:
    import torch

    kind, arguments = OPTIMIZERS[name]
    return getattr(torch.optim, kind)([p for p in model.parameters() if p.requires_grad], foreach=habits.foreach, **arguments)


def _make_state(model: nn.Module, descent: Any, storages: Storages) -> None:
    """A first step of the optimizer, whose gradients go again: its state stays."""
    import torch

    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    descent.step()
    descent.zero_grad(set_to_none=True)
    states = (tensor for state in descent.state.values() for tensor in tensors_in(state))
    storages.hold((tensor for tensor in states if tensor.dim()), "state")


def _precision(dtype: str, device: str) -> AbstractContextManager[Any]:
    """Autocast where it is mixed."""
    if dtype != "mixed":
        return nullcontext()
    import torch

    if device == "meta":
        from dltool.zoo.autocast import meta_autocast

        return meta_autocast(torch.bfloat16)
    return torch.autocast(device, torch.bfloat16)


def _memory(storages: Storages, batch: int, dtype: str, optimizer: str | None) -> Memory:
    return Memory(
        batch=batch,
        dtype=dtype,
        optimizer=optimizer,
        weights=storages.live["weights"],
        inputs=storages.live["inputs"],
        state=storages.live["state"],
        peak=storages.peak,
        peak_in=storages.peak_in,
        at_peak=storages.at_peak,
    )
