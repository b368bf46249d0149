"""Scaled dot-product attention by each backend of torch, forward and backward."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dltool import tables
from dltool.bench import WORKLOADS, Prepared, dtype_row
from dltool.bench.devices import Device, Step, import_torch
from dltool.bench.workloads import attention_reference as reference
from dltool.bench.workloads import kit
from dltool.errors import CannotRun, unknown_name
from dltool.results import Work

BACKENDS = {"flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION", "math": "MATH"}
_SIDES = ("batch", "heads", "seq", "head_dim")
DIRECTIONS = ("forward", "forward+backward")
_BACKWARD = 2.5
"""Products of the backward pass over those of the forward: five of one size against two, one of them recomputed.
Convention of Dao 2023, FlashAttention-2, section 4.1; the causal half is there too."""
_ARRAYS = {"forward": 4, "forward+backward": 12}
"""Arrays of the size of Q that must be moved: Q K V in, O out; then Q K V O dO in, dQ dK dV out."""


@WORKLOADS.register("attention")
@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """softmax(Q K^T / sqrt(head_dim)) V with Q, K, V (batch, heads, seq, head_dim), standard normal.

    What is not given is that of `model`, a row of catalog/attention_shapes.csv.
    """

    backend: str = "flash"
    model: str = "gpt2"
    causal: str = ""
    direction: str = "forward"
    batch: int = 0
    heads: int = 0
    seq: int = 0
    head_dim: int = 0
    dtype: str = "fp32"

    def __post_init__(self) -> None:
        kit.check_choice("backend", self.backend, BACKENDS)
        kit.check_choice("direction", self.direction, DIRECTIONS)
        kit.check_floating("attention", self.dtype)
        row = _shape(self.model)
        for name in _SIDES:
            object.__setattr__(self, name, getattr(self, name) or int(row[name]))  # frozen for all others
        object.__setattr__(self, "causal", self.causal or row["causal"])
        kit.check_choice("causal", self.causal, ("yes", "no"))

    @property
    def rate_unit(self) -> str:
        """Arithmetic."""
        return "FLOP/s"

    @property
    def label(self) -> str:
        """ "flash fwd+bwd"."""
        return f"{self.backend} {'fwd' if self.direction == 'forward' else 'fwd+bwd'}"

    @property
    def size(self) -> str:
        """ "gpt2 bf16", or the shape where it is not that of the model."""
        row = _shape(self.model)
        own = any(str(getattr(self, name)) != row[name] for name in (*_SIDES, "causal"))
        return f"{self.shape if own else self.model} {self.dtype}"

    @property
    def shape(self) -> str:
        """ "8x12x1024x64 causal": batch, heads, seq, head_dim."""
        sides = "x".join(str(getattr(self, name)) for name in _SIDES)
        return f"{sides} causal" if self.causal == "yes" else sides

    def work(self) -> Work:
        """Two products of 2 seq^2 head_dim for each head, halved where a mask hides half; softmax is not counted.

        Backward counts 2.5 times forward, by the convention of FlashAttention-2.
        """
        forward = 4 * self.batch * self.heads * self.seq**2 * self.head_dim
        passes = 1 if self.direction == "forward" else 1 + _BACKWARD
        moved = _ARRAYS[self.direction] * self._elements * int(dtype_row(self.dtype)["bytes"])
        return Work(ops=int(forward * passes / (2 if self.causal == "yes" else 1)), bytes=moved)

    @property
    def _elements(self) -> int:
        return self.batch * self.heads * self.seq * self.head_dim

    def sizes(self) -> Iterator[Attention]:
        """Sequence and heads from small to themselves: the arithmetic grows with the square of the one."""
        tried = 0
        for factor in (64, 16, 4):
            small = replace(self, batch=max(1, self.batch // factor), seq=max(min(self.seq, 64), self.seq // factor))
            if tried < small.work().ops < self.work().ops:
                tried = small.work().ops
                yield small
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """That of the products."""
        return kit.compute_peak(self.dtype, device)

    def implementation(self, device: Device) -> str:
        """That of the arithmetic; the backend is a parameter, and runs alone or not at all."""
        return kit.implementation(self.dtype, device)

    def doubts(self, device: Device) -> list[str]:
        """The math backend computes what the mask hides."""
        if self.backend == "math" and self.causal == "yes":
            return ["math computes the masked half too: only the other half is counted"]
        return []

    def prepare(self, device: Device) -> Prepared:
        """Q, K, V, and for the backward pass dO; one call decides whether the backend takes them."""
        torch = import_torch()
        kit.check_device(self.dtype, device)
        kit.check_room(device, self._room(), "choose less with --set batch=1 or --set seq=1024")
        kit.dispatch_precision(torch, self.dtype)
        shape = (self.batch, self.heads, self.seq, self.head_dim)
        backward = self.direction != "forward"
        qkv = [kit.normal(torch, shape, self.dtype, device, seed).requires_grad_(backward) for seed in range(3)]
        slope = kit.normal(torch, shape, self.dtype, device, 3) if backward else None
        self._refuse_unless_taken(torch, qkv)
        left: list[Any] = []
        return Prepared(self._step(torch, qkv, slope, left), lambda: reference.verify(torch, self, qkv, slope, left))

    def _room(self) -> int:
        """Bytes: the arrays, and for math the scores of all heads, several times."""
        size = int(dtype_row(self.dtype)["bytes"])
        scores = 4 * self.batch * self.heads * self.seq**2 * size if self.backend == "math" else 0
        return _ARRAYS[self.direction] * self._elements * size + scores

    def _refuse_unless_taken(self, torch: Any, qkv: Sequence[Any]) -> None:
        """Raise what torch says when this backend does not take these arrays, or is not built in."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                self._forward(torch, [array[:1, :1].contiguous() for array in qkv])  # what decides is not how many heads
            except RuntimeError as error:
                if "out of memory" in str(error):
                    raise
                reasons = [str(warning.message).partition(" (Triggered")[0].strip() for warning in said]
                what = f"{'causal ' if self.causal == 'yes' else ''}{self.dtype} with head_dim {self.head_dim}"
                raise CannotRun(f"{self.backend} refuses {what}: {short(reasons or [plain(error)])}",
                                remedy="Choose another backend: --set backend=math") from None  # fmt: skip

    def _forward(self, torch: Any, qkv: Sequence[Any]) -> Any:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with sdpa_kernel([getattr(SDPBackend, BACKENDS[self.backend])]):
            return torch.nn.functional.scaled_dot_product_attention(*qkv, is_causal=self.causal == "yes")

    def _step(self, torch: Any, qkv: Sequence[Any], slope: Any, left: list[Any]) -> Step:
        def step() -> None:
            output = self._forward(torch, qkv)
            gradients = torch.autograd.grad(output, qkv, slope) if slope is not None else ()
            left[:] = [output, *gradients]

        return step


def _shape(model: str) -> tables.Row:
    rows = {row["name"]: row for row in tables.rows("attention_shapes")}
    if model not in rows:
        raise unknown_name("model", model, rows)
    return rows[model]


def plain(error: RuntimeError) -> str:
    """What torch means: where a device has no such kernel at all, it supposes that somebody switched it off."""
    text = str(error)
    return "torch has none for this device" if text.startswith(("No viable backend", "No available kernel")) else text


def short(reasons: Sequence[str]) -> str:
    """Why a backend refuses, in a line."""
    return "; ".join(" ".join(reason.split())[:160] for reason in reasons[:2])


def chosen(device: Device, axes: Mapping[str, Sequence[str]]) -> kit.Cases:
    """Backends, directions, number formats and three models, as far as `axes` do not say."""
    return kit.chosen("attention", axes, {
        "model": ["gpt2", "llama-8b", "vit-b"] if device.kind == "cuda" else ["gpt2", "vit-b"],
        "dtype": [name for name in kit.dtypes(device) if name != "tf32"],
        "direction": DIRECTIONS,
        "backend": list(BACKENDS) if device.kind == "cuda" else ["flash", "math"],
    })  # fmt: skip


def default_cases(device: Device, suite: str) -> kit.Cases:
    """One model by the fastest backends in the standard suite; everything in the full one."""
    if suite == "standard":
        backends = ["flash", "cudnn"] if device.kind == "cuda" else ["flash"]
        return chosen(device, {"model": ["gpt2"], "backend": backends})
    return chosen(device, {}) if suite == "full" else []
