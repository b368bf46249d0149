"""Linear layers in int8 or fp8 in eager torch: weights quantised once, activations at each call."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dltool.bench.devices import Device
from dltool.bench.networks.backends.parts import failing_as
from dltool.bench.networks.quantised_linear import FEWEST_ROWS, layer
from dltool.errors import CannotRun, unknown_name

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("int8", "fp8")
_MULTIPLE = {"int8": 8, "fp8": 16}
"""What both sides of a weight must be a multiple of on a GPU: cuBLASLt's rule for matrices of bytes."""
_FIRST_WITH_FP8 = (8, 9)


@dataclass(slots=True)
class _Counts:
    """What became of the layers."""

    done: int = 0
    odd: int = 0
    """Linear, but of a size that the GPU's kernels refuse."""
    held: int = 0
    """Linear, but another module reads their weights past them: the output of nn.MultiheadAttention."""
    convolutions: int = 0
    others: int = 0
    formats: set[str] = field(default_factory=set)
    """Of what is left."""


def quantised(model: nn.Module, precision: str, device: Device) -> tuple[nn.Module, str]:
    """A copy whose linear layers multiply in int8 or fp8, and what was done to how many.

    Other layers are the same objects in both: parameters are shared, the model itself is not changed.

    int8: a scale for each row of the activations and for each output channel of the weight, sums in int32.
    fp8: e4m3, one scale for all activations of a call and one for the weight, sums as the GPU's fast accumulation makes them.

    Args:
        model: on the device, in any floating format; what comes out of a layer has the format of what went in.
        precision: one of `PRECISIONS`.
        device: where it runs.

    Raises:
        UsageError: no such precision.
        CannotRun: the device has no such arithmetic, or nothing in the model could be quantised; says why.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision of linear layers", precision, PRECISIONS)
    _device_has(precision, device)
    with failing_as("the model cannot be copied", "Measure it in fp32, fp16 or bf16."):
        found = copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})
    found, counts = _replaced(found, precision, device.kind)
    if not counts.done:
        raise CannotRun(f"nothing in this model can run in {precision}: {_why_nothing(counts)}", remedy=_instead(device))
    if precision == "int8" and device.kind == "cpu" and counts.convolutions > counts.done:
        told = f"eager torch has no int8 convolutions, and {counts.convolutions} are most of this model"
        raise CannotRun(told, remedy=_instead(device))
    _without_fast_paths(found)
    return found, _told(counts, precision, device.kind)


def _device_has(precision: str, device: Device) -> None:
    if precision != "fp8" or device.kind != "cuda":
        return
    import torch

    major, minor = torch.cuda.get_device_capability(device.name)
    if (major, minor) < _FIRST_WITH_FP8:
        told = f"{device.board.name} (compute capability {major}.{minor}) has no fp8 arithmetic; it came with 8.9"
        raise CannotRun(told, remedy="Measure it in int8, bf16 or fp16.")


def _replaced(model: nn.Module, precision: str, kind: str) -> tuple[nn.Module, _Counts]:
    """The model with quantised layers in place of linear ones; one that is used in two places stays one."""
    import torch

    counts = _Counts()
    made: dict[nn.Module, nn.Module] = {}
    held = {id(module.out_proj) for module in model.modules() if isinstance(module, torch.nn.MultiheadAttention)}
    for module in list(model.modules()):
        if _linear(module) and id(module) not in held and _suits(module, precision, kind):
            made[module] = layer()(module, precision)
            counts.done += 1
        else:
            _count(module, counts, is_held=id(module) in held)
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # `named_children` leaves out a layer that it has told before
            if child in made:
                setattr(parent, name, made[child])
    return made.get(model, model), counts


def _linear(module: Any) -> bool:
    """Whether it is nn.Linear, or a subclass that multiplies in the same way."""
    import torch

    return isinstance(module, torch.nn.Linear) and type(module).forward is torch.nn.Linear.forward


def _suits(module: Any, precision: str, kind: str) -> bool:
    return kind != "cuda" or not any(side % _MULTIPLE[precision] for side in module.weight.shape)


def _count(module: Any, counts: _Counts, *, is_held: bool) -> None:
    import torch

    weights = [tensor for tensor in module.parameters(recurse=False) if tensor.dim() > 1]
    if not weights or isinstance(module, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
        return
    counts.formats.add({"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}.get(str(weights[0].dtype)[6:], "others"))
    if is_held:
        counts.held += 1
    elif _linear(module):
        counts.odd += 1
    elif isinstance(module, torch.nn.modules.conv._ConvNd):
        counts.convolutions += 1
    else:
        counts.others += 1


def _why_nothing(counts: _Counts) -> str:
    if counts.odd:
        return f"the sides of its {_number(counts.odd, 'linear layer')} are no multiples that the GPU's kernels take"
    rest = ((counts.convolutions, "convolution"), (counts.others, "other layer"))
    return f"it has no linear layer, {' and '.join(_number(*pair) for pair in rest if pair[0]) or 'no layer with weights'}"


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count > 1)}"


def _instead(device: Device) -> str:
    backends = "onnxruntime or openvino" if device.kind == "cpu" else "onnxruntime-tensorrt"
    return f"For int8 take --backend {backends}, which quantise convolutions and recurrent layers too."


def _told(counts: _Counts, precision: str, kind: str) -> str:
    """ "12 of 14 linear layers in int8, 3 convolutions in fp32"."""
    total = counts.done + counts.odd + counts.held
    parts = [f"{counts.done} of {total} linear layers in {precision}"]
    left = ((counts.odd, "linear layer"), (counts.convolutions, "convolution"), (counts.others, "other layer"))
    rest = [_number(*pair) + " of odd sizes" * (pair[1] == "linear layer") for pair in left if pair[0]]
    if rest:
        parts.append(f"{', '.join(rest)} in {' and '.join(sorted(counts.formats))}")
    if kind == "cuda" and precision == "int8":
        parts.append(f"calls of fewer than {FEWEST_ROWS} rows are padded")
    if precision == "fp8":
        parts.append("fast accumulation" if kind == "cuda" else "emulated: a CPU has no fp8 arithmetic")
    return ", ".join(parts)


def _without_fast_paths(model: nn.Module) -> None:
    """torch's encoder layers hand all of their weights to one fused kernel in eval mode, past the layers that hold them."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        elif isinstance(module, torch.nn.TransformerEncoder):
            module.use_nested_tensor = False
