"""Matrix multiplication, the ceiling of every linear layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dltool.bench import WORKLOADS, Prepared, dtype_row, verified
from dltool.bench.devices import Device, Step, import_torch
from dltool.errors import UsageError
from dltool.numerics import product_tolerance
from dltool.results import Verified, Work

_CHECKED_ROWS = 64
"""Rows of the result that are recomputed in float64: every column and all of k takes part in each."""
_ALIGNED = 16
"""torch's low-precision operations want k and n to be multiples of this."""


@WORKLOADS.register("gemm")
@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """C = A @ B with A (m, k), B (k, n), C (m, n); inputs are random, because zeros draw less power and run faster."""

    m: int = 4096
    n: int = 4096
    k: int = 4096
    dtype: str = "fp32"

    @property
    def rate_unit(self) -> str:
        """Operations on integers are no floating-point operations."""
        return "OP/s" if self.dtype.startswith("int") else "FLOP/s"

    def work(self) -> Work:
        """A multiply and an add count as two: 1.4e11 operations at 4096 cubed."""
        row = dtype_row(self.dtype)
        read = (self.m * self.k + self.k * self.n) * int(row["bytes"])
        return Work(ops=2 * self.m * self.n * self.k, bytes=read + self.m * self.n * int(row["bytes_out"]))

    def sizes(self) -> Iterator[Gemm]:
        """Each side doubled from about a sixty-fourth up to itself: a step of eight in work."""
        tried = 0
        for factor in (64, 32, 16, 8, 4, 2):
            small = replace(self, m=_shrink(self.m, factor), n=_shrink(self.n, factor), k=_shrink(self.k, factor))
            if tried < small.work().ops < self.work().ops:
                tried = small.work().ops
                yield small
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """The derived peak of the units that this dtype runs on."""
        for key in self._peak_keys(device):
            peak = device.board.peaks.get(key)
            if peak is not None and peak.dense is not None:
                return peak.dense * 1e12, f"{key} {peak.basis}"
        return None

    def implementation(self, device: Device) -> str:
        """Native where the device has arithmetic for the dtype, by its architecture or instruction set."""
        if not device.board.peaks:
            return "unknown: the device is not in the catalogue"
        if any(key in device.board.peaks for key in self._peak_keys(device)):
            return "native"
        what = "CPU has no instructions" if device.kind == "cpu" else f"{device.board.architecture or 'GPU'} has no units"
        return f"emulated: this {what} for {self.dtype}"

    def doubts(self, device: Device) -> list[str]:
        """None: any product is one."""
        return []

    def _peak_keys(self, device: Device) -> list[str]:
        return dtype_row(self.dtype)[f"{device.kind}_peaks"].split()

    def prepare(self, device: Device) -> Prepared:
        """Random operands on the device, and the step that multiplies them."""
        torch = import_torch()
        row = dtype_row(self.dtype)
        if row["needs_cuda"] and device.kind != "cuda":
            raise UsageError(f"{self.dtype} exists on CUDA devices only", remedy="Leave it out of --dtype.")
        # In one process this switch decides whether fp32 is fp32; each case sets it anew.
        torch.set_float32_matmul_precision("high" if row["operation"] == "mm_tf32" else "highest")
        generator = torch.Generator(device=device.name).manual_seed(0)
        a_MK = _random(torch, (self.m, self.k), row["torch"], device.name, generator)
        b_NK = _random(torch, (self.n, self.k), row["torch_b"], device.name, generator)
        # Operands of 8 bits must lie along k on both sides; for the others B is laid out as itself.
        b_KN = b_NK.t() if row["operation"] in ("int_mm", "scaled_mm") else b_NK.t().contiguous()
        out_dtype = getattr(torch, row["torch_out"])
        c_MN = torch.empty((self.m, self.n), dtype=out_dtype, device=device.name)
        step = _OPERATIONS[row["operation"]](torch, a_MK, b_KN, c_MN)
        return Prepared(step, lambda: self._verify(torch, a_MK, b_KN, c_MN))

    def _verify(self, torch: Any, a_MK: Any, b_KN: Any, c_MN: Any) -> Verified:
        """Compare rows of what the timed steps left in C with the same product in float64.

        The error is the Frobenius norm of the difference over that of the reference.
        """
        row = dtype_row(self.dtype)
        rows = torch.linspace(0, self.m - 1, min(_CHECKED_ROWS, self.m), device=a_MK.device).long()
        wide = torch.float64
        reference = a_MK.to(torch.float32 if a_MK.element_size() == 1 else a_MK.dtype)[rows].to(wide) @ b_KN.to(wide)
        error = float((c_MN[rows].to(wide) - reference).norm() / reference.norm())
        return verified(f"float64 product of {len(rows)} rows", error, product_tolerance(row, self.k))


def default_side(device: Device) -> int:
    """A square that is large enough for the ceiling and small enough for many samples."""
    return 8192 if device.kind == "cuda" else 2048


def _shrink(side: int, factor: int) -> int:
    return max(_ALIGNED * 4, side // factor // _ALIGNED * _ALIGNED) if side > _ALIGNED * 4 else side


def _random(torch: Any, shape: tuple[int, int], dtype: str, device: str, generator: Any) -> Any:
    """Standard normal numbers, or all values of an integer type alike."""
    kind = getattr(torch, dtype)
    if not kind.is_floating_point:
        info = torch.iinfo(kind)
        return torch.randint(info.min, info.max + 1, shape, dtype=kind, device=device, generator=generator)
    wide = torch.float64 if dtype == "float64" else torch.float32
    return torch.randn(shape, dtype=wide, device=device, generator=generator).to(kind)


def _mm(torch: Any, a_MK: Any, b_KN: Any, c_MN: Any) -> Step:
    return lambda: torch.mm(a_MK, b_KN, out=c_MN)


def _int_mm(torch: Any, a_MK: Any, b_KN: Any, c_MN: Any) -> Step:
    return lambda: torch._int_mm(a_MK, b_KN, out=c_MN)


def _scaled_mm(torch: Any, a_MK: Any, b_KN: Any, c_MN: Any) -> Step:
    one = torch.ones((), dtype=torch.float32, device=a_MK.device)
    return lambda: torch._scaled_mm(a_MK, b_KN, scale_a=one, scale_b=one, out_dtype=c_MN.dtype, out=c_MN)


_OPERATIONS: dict[str, Callable[[Any, Any, Any, Any], Step]] = {
    "mm": _mm,
    "mm_tf32": _mm,
    "int_mm": _int_mm,
    "scaled_mm": _scaled_mm,
}
