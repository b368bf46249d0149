"""A model as the list of its layers, in the order of the forward: shapes, parameters, multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dltool.model_results import Layer
from dltool.zoo.products import Product
from dltool.zoo.recorder import recording, tensors_in
from dltool.zoo.subject import Subject, anywhere, forward_of

if TYPE_CHECKING:
    from torch import nn


@dataclass
class _Seen:
    """What a module did in the forward."""

    macs: int = 0
    calls: int = 0
    output: tuple[tuple[int, ...], ...] = field(default=())


def of(subject: Subject, batch: int = 1) -> tuple[Layer, ...]:
    """The layers of a forward in eval mode: modules without modules in them, and those that hold or multiply by themselves."""
    return anywhere(lambda device: _of(*forward_of(subject, batch, device)))[0]


def _of(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Layer, ...]:
    import torch

    seen: dict[nn.Module, _Seen] = {}
    running = [model]
    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(lambda one, _inputs: _begin(one, running, seen)))
        handles.append(module.register_forward_hook(lambda one, _inputs, output: _end(one, output, running, seen)))

    def tell(product: Product) -> None:
        seen[running[-1]].macs += product.ops // 2

    with torch.no_grad(), recording(tell):
        model(*inputs)
    for handle in handles:
        handle.remove()
    names = {module: name for name, module in model.named_modules()}
    rows = (_row(names[module], module, told) for module, told in seen.items())
    return tuple(row for row in rows if row is not None)


def _begin(module: nn.Module, running: list[nn.Module], seen: dict[nn.Module, _Seen]) -> None:
    seen.setdefault(module, _Seen()).calls += 1
    running.append(module)


def _end(module: nn.Module, output: Any, running: list[nn.Module], seen: dict[nn.Module, _Seen]) -> None:
    told = seen[module]
    told.output = told.output or tuple(tuple(tensor.shape) for tensor in tensors_in(output))
    running.pop()


def _row(name: str, module: nn.Module, told: _Seen) -> Layer | None:
    params = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    if next(module.children(), None) is not None and not params and not told.macs:
        return None
    kind = type(module).__name__
    return Layer(name=name or kind, type=kind, output=told.output, params=params, macs=told.macs, calls=told.calls)
