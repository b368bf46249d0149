"""The products that a torch module makes, forward and backward: recorded below autograd, on the meta device where that works.

Convolutions and attention are listed as the products that they are mathematically (implicit GEMM), with these operations: a
convolution as (batch x output places) x (output channels) x (input channels x kernel), its two gradients likewise; attention as
Q K^T and P V for each head, in its backward once more Q K^T and the four gradients. A causal mask is not halved.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from dltool.bench.shapes.own import Own

_DTYPES = {"float64": "fp64", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "int8": "int8"}
_Rule = Callable[[Sequence[Any], Any], list[Own]]


def shapes_of(module: Any, inputs: Sequence[Any], *, backward: bool = True) -> tuple[Own, ...]:
    """Every product of one step of a torch module, those of one shape counted together, in the order of their first call.

    Args:
        module: what is called.
        inputs: its arguments, on the module's device; meta tensors cost neither time nor memory.
        backward: also the gradients, as a training step makes them.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[Own] = []

    class Recorder(TorchDispatchMode):  # type: ignore[misc]  # torch is not looked into
        def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            rule = _RULES.get(func.overloadpacket.__name__)
            if rule is not None:
                found.extend(own if own.name else replace(own, name=phase) for own in rule(args, result))
            return result

    phase = "forward"
    with Recorder():
        output = module(*inputs)
        phase = "backward"
        total = _sum(output) if backward else None
        if total is not None:
            total.backward()
    return _counted(found)


def _sum(output: Any) -> Any:
    """One number from whatever a module returns, for `backward`; None where nothing of it has a gradient."""
    total = None
    for tensor in _tensors(output):
        if tensor.requires_grad:
            part = tensor.float().sum()
            total = part if total is None else total + part
    return total


def _tensors(output: Any) -> Iterable[Any]:
    if hasattr(output, "requires_grad"):
        yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from _tensors(value)


def _counted(found: Sequence[Own]) -> tuple[Own, ...]:
    counts = Counter(found)
    return tuple(replace(own, count=count) for own, count in counts.items())


def _dtype(tensor: Any) -> str | None:
    return _DTYPES.get(str(tensor.dtype).removeprefix("torch."))


def _product(a: Any, b: Any) -> list[Own]:
    return [Own(m=a.shape[0], n=b.shape[1], k=a.shape[1], dtype=_dtype(a))]


def _bmm(a: Any, b: Any) -> list[Own]:
    batch, m, k = a.shape
    return [Own(m=m, n=b.shape[2], k=k, batch=batch, dtype=_dtype(a), kind="batched gemm" if batch > 1 else "gemm")]


def _convolution(args: Sequence[Any], output: Any) -> list[Own]:
    """Source: Chellapilla, Puri, Simard 2006, High performance convolutional neural networks for document processing."""
    source, weight, transposed, groups = args[0], args[1], args[6], args[8]
    places = _places(source if transposed else output)
    return [_conv(places, weight, groups, _dtype(source), "forward")]


def _convolution_backward(args: Sequence[Any], _output: Any) -> list[Own]:
    gradient, source, weight, transposed, groups = args[0], args[1], args[2], args[7], args[9]
    places = _places(source if transposed else gradient)
    forward = _conv(places, weight, groups, _dtype(source), "")
    source_wanted, weight_wanted = args[10][:2]
    by_source = replace(forward, n=forward.k, k=forward.n, name="convolution, gradient of its input")
    by_weight = replace(forward, m=forward.n, n=forward.k, k=forward.m, name="convolution, gradient of its weight")
    return [by_source] * bool(source_wanted) + [by_weight] * bool(weight_wanted)


def _places(tensor: Any) -> int:
    """Batch times spatial extent."""
    return int(tensor.shape[0] * math.prod(tensor.shape[2:]))


def _conv(places: int, weight: Any, groups: int, dtype: str | None, which: str) -> Own:
    """The weight is (output channels, input channels of a group, kernel...); transposed, the first two change places."""
    channels = weight.shape[0] // groups
    depth = int(math.prod(weight.shape[1:]))
    return Own(
        m=places, n=channels, k=depth, batch=groups, dtype=dtype, kind="convolution", name=f"convolution {which}".strip()
    )


def _attention(args: Sequence[Any], _output: Any) -> list[Own]:
    return [_scores(*args[:3]), _values(*args[:3])]


def _attention_backward(args: Sequence[Any], _output: Any) -> list[Own]:
    """Q K^T once more, then the gradients of V, P, Q and K."""
    _, query, key, value = args[:4]
    scores, values = _scores(query, key, value), _values(query, key, value)
    rows, columns, depth, wide = scores.m, scores.n, scores.k, values.n
    sides = (
        (rows, columns, depth),
        (columns, wide, rows),
        (rows, columns, wide),
        (rows, depth, columns),
        (columns, depth, rows),
    )
    return [replace(scores, m=m, n=n, k=k, name="attention backward") for m, n, k in sides]


def _scores(query: Any, key: Any, _value: Any) -> Own:
    heads = int(math.prod(query.shape[:-2]))
    return Own(
        m=query.shape[-2], n=key.shape[-2], k=query.shape[-1],
        batch=heads, dtype=_dtype(query), kind="attention", name="attention Q K^T",
    )  # fmt: skip


def _values(query: Any, key: Any, value: Any) -> Own:
    heads = int(math.prod(query.shape[:-2]))
    return Own(
        m=query.shape[-2], n=value.shape[-1], k=key.shape[-2],
        batch=heads, dtype=_dtype(query), kind="attention", name="attention P V",
    )  # fmt: skip


_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
_RULES: dict[str, _Rule] = {
    "mm": lambda args, _output: _product(args[0], args[1]),
    "addmm": lambda args, _output: _product(args[1], args[2]),
    "_addmm_activation": lambda args, _output: _product(args[1], args[2]),
    "_int_mm": lambda args, _output: _product(args[0], args[1]),
    "bmm": lambda args, _output: _bmm(args[0], args[1]),
    "baddbmm": lambda args, _output: _bmm(args[1], args[2]),
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    **dict.fromkeys(_ATTENTION, _attention),
    **{f"{name}_backward": _attention_backward for name in _ATTENTION},
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
}
