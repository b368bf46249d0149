"""A model as a graph that others can run: by torch.export, and from there to ONNX."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.bench.networks.backends.parts import Request, failing_as, package, quiet
from dltool.zoo.recorder import tensors_in

if TYPE_CHECKING:
    from torch import Tensor, nn

_REMEDY = "Measure it in eager torch; a model whose way depends on its numbers (a choice of boxes) is no graph."
_FLOATING = {"fp16": "float16", "bf16": "bfloat16"}


def flat(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model as one that takes tensors and gives a tuple of tensors, and its inputs as such.

    Dictionaries and lists are taken apart, on the way in and on the way out; arguments that are no tensors become part of it.
    """
    import torch
    from torch.utils import _pytree as trees

    leaves, form = trees.tree_flatten(inputs)
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    constants = [None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]

    class Flat(torch.nn.Module):  # type: ignore[misc]  # torch is not looked into
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            filled = list(constants)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            return tuple(tensors_in(self.model(*trees.tree_unflatten(filled, form))))

    return Flat().eval(), tuple(leaves[place] for place in places)


def as_asked(request: Request, device: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The flat model and its inputs on a device, in fp16 or bf16 where that is the precision; a copy where it must be one."""
    import torch

    dtype = getattr(torch, _FLOATING.get(request.precision, "float32"))
    model, inputs = flat(request.model, request.inputs)
    there = torch.device(device)
    if any(tensor.device != there or (tensor.is_floating_point() and tensor.dtype != dtype) for tensor in _held(model)):
        with failing_as("the model cannot be copied", _REMEDY):
            model = copy.deepcopy(model).to(there, dtype)
    return model, tuple(tensor.detach().to(there, dtype if tensor.is_floating_point() else None) for tensor in inputs)


def _held(model: nn.Module) -> list[Any]:
    return [*model.parameters(), *model.buffers()]


def program(model: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """What torch.export makes of it.

    Raises:
        CannotRun: torch refuses; its reason in one line.
    """
    import torch

    with quiet(), failing_as("torch cannot export this model", _REMEDY), torch.no_grad():
        return torch.export.export(model, inputs, strict=False)


def onnx_file(request: Request, room: Path) -> tuple[Path, tuple[Tensor, ...]]:
    """The model as an ONNX file, and the tensors to bind to its inputs, in order.

    Args:
        request: what is asked.
        room: a directory for it; weights of more than 2 GB lie in a file beside it.

    Raises:
        CannotRun: a package is missing, or torch refuses; its reason in one line.
    """
    import torch

    for name in ("onnx", "onnxscript"):
        package(name, request.name)
    model, inputs = as_asked(request, "cpu")
    found = program(model, inputs)
    path = room / "model.onnx"
    with quiet(), failing_as("torch cannot translate this model to ONNX", _REMEDY):
        made = torch.onnx.export(found, (), dynamo=True, verbose=False)
        assert made is not None  # None is what the exporter before dynamo gives
        made.save(path)
    return path, inputs
