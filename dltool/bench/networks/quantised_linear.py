"""A linear layer that multiplies in int8 or fp8: its weight quantised once, activations at each call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

FEWEST_ROWS = 17
"""torch._int_mm on a GPU refuses fewer."""
_E4M3_LARGEST = 448.0
_TINY = 1e-12
"""The least scale: rows of zeros have none."""


def _int8(weight: Any) -> tuple[Any, Any]:
    import torch

    scale = weight.abs().amax(1).clamp_min(_TINY) / 127
    return (weight / scale[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def _fp8(weight: Any) -> tuple[Any, Any]:
    import torch

    scale = weight.abs().amax().clamp_min(_TINY) / _E4M3_LARGEST
    return (weight / scale).clamp(-_E4M3_LARGEST, _E4M3_LARGEST).to(torch.float8_e4m3fn), scale


def _int8_product(rows: Any, weight: Any, scale: Any) -> Any:
    """rows (M, K) by weight (N, K): (M, N) in fp32."""
    import torch

    narrow, each = _int8(rows.float())
    short = FEWEST_ROWS - len(rows)
    if rows.is_cuda and short > 0:
        narrow = torch.nn.functional.pad(narrow, (0, 0, 0, short))
    return torch._int_mm(narrow, weight.t())[: len(rows)].float() * each[:, None] * scale


def _fp8_product(rows: Any, weight: Any, scale: Any) -> Any:
    """rows (M, K) by weight (N, K): (M, N) in fp32."""
    import torch

    narrow, one = _fp8(rows.float())
    return torch._scaled_mm(
        narrow, weight.t(), scale_a=one, scale_b=scale, out_dtype=torch.float32, use_fast_accum=rows.is_cuda
    )


_WAYS: dict[str, tuple[Callable[[Any], tuple[Any, Any]], Callable[[Any, Any, Any], Any]]] = {
    "int8": (_int8, _int8_product),
    "fp8": (_fp8, _fp8_product),
}


@functools.cache
def layer() -> Any:
    """The class of such layers, `layer()(linear, "int8")`: it can be written only when torch is there."""
    import torch

    class Quantised(torch.nn.Module):  # type: ignore[misc]  # torch is not looked into
        """A linear layer; its weight is read by others, for its dtype mostly, in the format that it had."""

        def __init__(self, linear: Any, precision: str) -> None:
            super().__init__()
            narrow, self._product = _WAYS[precision]
            self.in_features, self.out_features, self._dtype = linear.in_features, linear.out_features, linear.weight.dtype
            numbers, scale = narrow(linear.weight.detach().float())
            self.register_buffer("numbers", numbers)
            self.register_buffer("scale", scale)
            self.bias = linear.bias

        @property
        def weight(self) -> Any:
            scale = self.scale[:, None] if self.scale.dim() else self.scale
            return (self.numbers.float() * scale).to(self._dtype)

        def forward(self, x: Any) -> Any:
            out = self._product(x.reshape(-1, self.in_features), self.numbers, self.scale)
            if self.bias is not None:
                out = out + self.bias
            return out.to(x.dtype).reshape(*x.shape[:-1], self.out_features)

    return Quantised
