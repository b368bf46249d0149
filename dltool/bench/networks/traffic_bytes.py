"""The bytes that an operation of torch moves: operands read, results written, each once unless its kernels need more passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dltool.zoo.recorder import tensors_in

_NOTHING = frozenset(
    {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "sym_size", "_local_scalar_dense"}
)
"""Memory is taken, and nothing is moved."""
_WRITE = frozenset({
    "zero_", "fill_", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "rand_like", "randn_like",
    "bernoulli_", "normal_", "uniform_", "copy_",
})  # fmt: skip
"""Their first operand tells a shape, or is overwritten: it is not read."""
_LOOK_UP = frozenset({"embedding", "index", "index_select", "gather"})
"""Of their first operand they read what they return."""
_PUT = frozenset({"index_put_", "scatter_", "scatter_add_", "index_add_", "index_copy_"})
"""Of their first operand they change as much as they are given."""
_TWO_PASSES = {
    "native_batch_norm": (0,),
    "_native_batch_norm_legit": (0,),
    "cudnn_batch_norm": (0,),
    "native_batch_norm_backward": (0, 1),
    "cudnn_batch_norm_backward": (0, 1),
    "native_group_norm": (0,),
    "native_group_norm_backward": (0, 1),
    "native_layer_norm_backward": (0, 1),
}
"""Norms whose sums must be there before the first result is: these operands are read a second time.

Source: the kernels of torch, aten/src/ATen/native/cuda: Normalization.cuh, group_norm_kernel.cu, layer_norm_kernel.cu.
"""
_TRAINING_AT = {"native_batch_norm": 5, "_native_batch_norm_legit": 5, "cudnn_batch_norm": 5}
"""Where the flag stands that asks for new sums: without it one pass does."""


def size(tensor: Any) -> int:
    """Bytes of the numbers that a tensor holds; those that are repeated along a dimension count once."""
    elements = 1
    for side, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= side if stride or side == 0 else 1
    return int(elements * tensor.element_size())


def moved(name: str, args: Sequence[Any], kwargs: Any, result: Any) -> int:
    """Bytes that an operation reads and writes.

    Args:
        name: of torch's operation, without its overload.
        args: positional arguments.
        kwargs: the others.
        result: what it returned.
    """
    if name in _NOTHING:
        return 0
    given, written = _sum(tensors_in((args, kwargs or {}))), _sum(tensors_in(result))
    first = _sum(tensors_in(args[:1]))
    if name in _WRITE:
        return given - first + written
    if name in _LOOK_UP:
        return given - first + min(first, written) + written
    if name in _PUT:
        return 2 * (given - first)
    return given + written + again(name, args)


def of_gradients(args: Sequence[Any], result: Sequence[Any]) -> tuple[int, int, int]:
    """Bytes of the kernels of a convolution's backward: gradients of its input, weight and bias; 0 where none is asked for."""
    gradient, source, weight = (size(tensor) for tensor in args[:3])
    read = (gradient + weight, gradient + source, gradient)
    return tuple(0 if made is None else size(made) + rest for made, rest in zip(result, read, strict=True))  # type: ignore[return-value]


def again(name: str, args: Sequence[Any]) -> int:
    """Bytes of operands that are read a second time."""
    flag = _TRAINING_AT.get(name)
    if flag is not None and len(args) > flag and args[flag] is False:
        return 0
    return _sum(tensors_in([args[place] for place in _TWO_PASSES.get(name, ())]))


def _sum(tensors: Iterable[Any]) -> int:
    return sum(size(tensor) for tensor in tensors)
