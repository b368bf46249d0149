"""What a torch operation multiplies: the rules from the arguments of an operation to products. Pure.

Convolutions and attention are the products that they are mathematically (implicit GEMM): a convolution as (batch x output
places) x (output channels) x (input channels x kernel), its two gradients likewise; attention as Q K^T and P V for each head,
in its backward once more Q K^T and the four gradients, all as the full square: `causal` marks those that a mask halves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace


class Product(Struct, frozen=True, kw_only=True):
    """A product of matrices (m, k) x (k, n), as it occurs in a program."""

    m: int
    n: int
    k: int
    dtype: str | None = None
    """None: none of those that have a name here, or whichever is asked for."""
    count: int = 1
    """How often a step does it."""
    batch: int = 1
    """Products of this shape in one call."""
    name: str = ""
    kind: str = "gemm"
    """"gemm", "batched gemm", "convolution" or "attention"."""
    causal: bool = False
    """Attention behind a causal mask: half of it is not needed."""
    again: bool = False
    """Made a second time, in the backward, because nobody kept it: Q K^T of fused attention."""

    @property
    def ops(self) -> int:
        """Operations of all occurrences; a multiply and an add count as two, a mask saves none."""
        return 2 * self.m * self.n * self.k * self.count * self.batch


Rule = Callable[[Sequence[Any], Any], list[Product]]
"""From the arguments and the result of an operation."""
_DTYPES = {"float64": "fp64", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "int8": "int8"}


def _dtype(tensor: Any) -> str | None:
    return _DTYPES.get(str(tensor.dtype).removeprefix("torch."))


def _gemm(a: Any, b: Any) -> list[Product]:
    return [Product(m=a.shape[0], n=b.shape[1], k=a.shape[1], dtype=_dtype(a))]


def _times_vector(a: Any) -> list[Product]:
    return [Product(m=a.shape[0], n=1, k=a.shape[1], dtype=_dtype(a))]


def _bmm(a: Any, b: Any) -> list[Product]:
    batch, m, k = a.shape
    return [Product(m=m, n=b.shape[2], k=k, batch=batch, dtype=_dtype(a), kind="batched gemm" if batch > 1 else "gemm")]


def _convolution(args: Sequence[Any], output: Any) -> list[Product]:
    """Source: Chellapilla, Puri, Simard 2006, High performance convolutional neural networks for document processing."""
    source, weight, transposed, groups = args[0], args[1], args[6], args[8]
    places = _places(source if transposed else output)
    return [_conv(places, weight, groups, _dtype(source), "forward")]


def _convolution_backward(args: Sequence[Any], _output: Any) -> list[Product]:
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


def _conv(places: int, weight: Any, groups: int, dtype: str | None, which: str) -> Product:
    """The weight is (output channels, input channels of a group, kernel...); transposed, the first two change places."""
    channels = weight.shape[0] // groups
    depth = int(math.prod(weight.shape[1:]))
    return Product(
        m=places, n=channels, k=depth, batch=groups, dtype=dtype, kind="convolution", name=f"convolution {which}".strip()
    )


def _attention(causal_at: int, args: Sequence[Any], _output: Any) -> list[Product]:
    query, key, value = args[:3]
    causal = len(args) > causal_at and args[causal_at] is True
    return [_scores(query, key, causal), _values(query, key, value, causal)]


def _attention_backward(args: Sequence[Any], _output: Any) -> list[Product]:
    """Q K^T once more, then the gradients of V, P, Q and K. The causal mask is the one flag that is set among the arguments."""
    _, query, key, value = args[:4]
    scores = _scores(query, key, any(given is True for given in args[4:]))
    rows, columns, depth, wide = scores.m, scores.n, scores.k, value.shape[-1]
    sides = ((columns, wide, rows), (rows, columns, wide), (rows, depth, columns), (columns, depth, rows))
    gradients = [replace(scores, m=m, n=n, k=k, name="attention backward") for m, n, k in sides]
    return [replace(scores, name="attention Q K^T once more", again=True), *gradients]


def _scores(query: Any, key: Any, causal: bool) -> Product:
    heads = int(math.prod(query.shape[:-2]))
    return Product(
        m=query.shape[-2], n=key.shape[-2], k=query.shape[-1],
        batch=heads, dtype=_dtype(query), kind="attention", name="attention Q K^T", causal=causal,
    )  # fmt: skip


def _values(query: Any, key: Any, value: Any, causal: bool) -> Product:
    heads = int(math.prod(query.shape[:-2]))
    return Product(
        m=query.shape[-2], n=value.shape[-1], k=key.shape[-2],
        batch=heads, dtype=_dtype(query), kind="attention", name="attention P V", causal=causal,
    )  # fmt: skip


def _recurrent(args: Sequence[Any], _output: Any) -> list[Product]:
    """One direction of one layer on a CPU: (T, N, I) by the weights (gates x H, I) and (gates x H, H).

    All steps at once by the first; by the second one after the other, as each waits for the state before it.
    """
    source, by_input, by_hidden = args[:3]
    steps, batch = source.shape[0], source.shape[1]
    gates, hidden = by_hidden.shape
    dtype = _dtype(source)
    return [
        Product(m=steps * batch, n=gates, k=by_input.shape[1], dtype=dtype, name="recurrent, by its input"),
        *[Product(m=batch, n=gates, k=hidden, dtype=dtype, name="recurrent, by its state")] * steps,
    ]


def _recurrent_backward(args: Sequence[Any], output: Any) -> list[Product]:
    """For each product the gradients of both factors."""
    return [
        part
        for one in _recurrent(args, output)
        for part in (replace(one, n=one.k, k=one.n), replace(one, m=one.n, n=one.k, k=one.m))
    ]


_CAUSAL_AT: Mapping[str, int] = {
    "_scaled_dot_product_flash_attention": 4,
    "_scaled_dot_product_flash_attention_for_cpu": 4,
    "_scaled_dot_product_efficient_attention": 6,
    "_scaled_dot_product_cudnn_attention": 6,
    "_scaled_dot_product_fused_attention_overrideable": 5,
}
"""Fused attention, and the place of `is_causal` among its arguments."""


def _fused(causal_at: int) -> Rule:
    return lambda args, output: _attention(causal_at, args, output)


RULES: Mapping[str, Rule] = {
    "mm": lambda args, _output: _gemm(args[0], args[1]),
    "addmm": lambda args, _output: _gemm(args[1], args[2]),
    "_addmm_activation": lambda args, _output: _gemm(args[1], args[2]),
    "_int_mm": lambda args, _output: _gemm(args[0], args[1]),
    "_scaled_mm": lambda args, _output: _gemm(args[0], args[1]),
    "mv": lambda args, _output: _times_vector(args[0]),
    "addmv": lambda args, _output: _times_vector(args[1]),
    "bmm": lambda args, _output: _bmm(args[0], args[1]),
    "baddbmm": lambda args, _output: _bmm(args[1], args[2]),
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "mkldnn_rnn_layer": _recurrent,
    "mkldnn_rnn_layer_backward": _recurrent_backward,
    **{name: _fused(place) for name, place in _CAUSAL_AT.items()},
    **{f"{name}_backward": _attention_backward for name in _CAUSAL_AT},
}
"""By the name of an operation of torch's; what is not here (norms, activations, pooling, look-ups) counts nothing."""
