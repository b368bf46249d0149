"""How a model computes: what its weights are kept in, what its products take, and what that asks of torch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from dltool.errors import unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """One way to compute."""

    dtype: str
    """A row of catalog/dtypes.csv: what the products take, and so whose peak is the ceiling."""
    weights: str = "float32"
    """The torch dtype of parameters, buffers and inputs."""
    autocast: str = ""
    """The torch dtype that autocast lowers products to; empty: no autocast."""
    scaled: bool = False
    """Whether training scales the loss, so that small gradients do not vanish."""
    quantised: bool = False
    """Whether linear layers are replaced by ones with eight-bit operands: inference alone."""
    tolerance: float = 1e-3
    """Relative error of outputs, against fp32, beyond which they are called wrong; deep networks amplify the format's own."""


PRECISIONS: Mapping[str, Precision] = {
    "fp32": Precision(dtype="fp32"),
    "tf32": Precision(dtype="tf32", tolerance=0.05),
    "amp-fp16": Precision(dtype="fp16", autocast="float16", scaled=True, tolerance=0.05),
    "amp-bf16": Precision(dtype="bf16", autocast="bfloat16", tolerance=0.2),
    "bf16": Precision(dtype="bf16", weights="bfloat16", tolerance=0.2),
    "fp16": Precision(dtype="fp16", weights="float16", tolerance=0.05),
    "fp8": Precision(dtype="fp8_e4m3", quantised=True, tolerance=0.5),
    "int8": Precision(dtype="int8", quantised=True, tolerance=0.5),
}
"""By the name that `--dtype` takes."""


def find(name: str) -> Precision:
    """The precision of this name.

    Raises:
        UsageError: unknown; the nearest names are suggested.
    """
    if name not in PRECISIONS:
        raise unknown_name("dtype", name, PRECISIONS)
    return PRECISIONS[name]


def autocast(torch: Any, precision: Precision, kind: str) -> AbstractContextManager[Any]:
    """The context in which a forward and its loss are made on a device of this kind."""
    if not precision.autocast:
        return nullcontext()
    context: AbstractContextManager[Any] = torch.autocast(kind, dtype=getattr(torch, precision.autocast))
    return context
