"""Matrix multiplication by the library that torch calls: the ceiling of every linear layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dltool import tables, units
from dltool.bench import WORKLOADS, Prepared, Workload, cases, dtype_row, dtypes, verified
from dltool.bench.devices import Device, Step, import_torch
from dltool.bench.support import Support, case_of, decide, keys_here
from dltool.bench.workloads.operands import Maker
from dltool.bench.workloads.operations import OPERATIONS, Problem, Product, set_switches
from dltool.errors import CannotRun, UsageError, unknown_name
from dltool.numerics import product_tolerance
from dltool.results import Verified, Work

LAYOUTS = ("nn", "nt", "tn", "tt")
DATA = ("random", "zeros")
_CHECKED_ROWS = 64
"""Rows of the result that are recomputed in float64: every column and all of k takes part in each."""


@WORKLOADS.register("gemm")
@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """C = A @ B with A (m, k), B (k, n), C (m, n); inputs are random, because zeros draw less power and run faster.

    `layout` says for A and B whether it is a transposed view, as torch sees it: nn is a @ b, nt is a @ b.t() as in a linear
    layer, where both lie along k. cuBLAS, which counts from the other side of the matrix, calls nt TN in its kernel names.
    """

    m: int = 4096
    n: int = 4096
    k: int = 4096
    dtype: str = "fp32"
    layout: str = ""
    """Empty: the usual one of the dtype."""
    data: str = "random"

    def __post_init__(self) -> None:
        row = dtype_row(self.dtype)
        if not self.layout:
            object.__setattr__(self, "layout", row["layout"])
        if row["layout"] and self.layout not in LAYOUTS:
            raise unknown_name("layout", self.layout, LAYOUTS)
        if self.data not in DATA:
            raise unknown_name("data", self.data, DATA)

    @property
    def rate_unit(self) -> str:
        """Operations on integers are no floating-point operations."""
        return "OP/s" if self.dtype.startswith("int") else "FLOP/s"

    def work(self) -> Work:
        """A multiply and an add count as two: 1.4e11 operations at 4096 cubed. Of a sparse product half of them are skipped."""
        row = dtype_row(self.dtype)
        ops = 2 * self.m * self.n * self.k
        sparse = bool(row["pruned"])
        kept = 0.5 + 0.125 / float(row["bytes"]) if sparse else 1.0  # half, and its places: two bits for each number kept
        read = self.m * self.k * float(row["bytes"]) * kept + self.k * self.n * float(row["bytes_b"])
        return Work(
            ops=ops, bytes=round(read + self.m * self.n * float(row["bytes_out"])), skipped_ops=ops // 2 if sparse else 0
        )

    def sizes(self) -> Iterator[Gemm]:
        """Each side doubled from about a sixty-fourth up to itself: a step of eight in work."""
        tried = 0
        least = [max(64, step) for step in _multiples(dtype_row(self.dtype), "cuda")]
        for factor in (64, 32, 16, 8, 4, 2):
            sides = [_shrink(side, factor, step) for side, step in zip((self.m, self.n, self.k), least, strict=True)]
            small = replace(self, m=sides[0], n=sides[1], k=sides[2])
            if tried < small.work().ops < self.work().ops:
                tried = small.work().ops
                yield small
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """The derived peak of the units that this dtype runs on; with 2:4 sparsity where the product has it."""
        row = dtype_row(self.dtype)
        for key in keys_here(row, device):
            peak = device.board.peaks[key]
            rate = peak.sparse if row["pruned"] else peak.dense
            if rate is not None:
                return rate * 1e12, f"{key} {'2:4 sparse ' if row['pruned'] else ''}{peak.basis}"
        return None

    def support(self, device: Device, kernel: str | None = None, error: str | None = None) -> Support:
        """Native, emulated, library-missing or unsupported, by the architecture and by what ran."""
        return decide(case_of(dtype_row(self.dtype), device, kernel, error))

    def implementation(self, device: Device) -> str:
        """By the architecture or instruction set alone, as long as nothing ran."""
        return str(self.support(device))

    def doubts(self, device: Device) -> list[str]:
        """Zeros in place of numbers, and weights alone in the format."""
        found = []
        if self.data == "zeros":
            found.append("zeros: less power is drawn than with real data, so this is no figure to expect")
        if dtype_row(self.dtype)["operation"].startswith("weight"):
            found.append("weights only: they are widened, the arithmetic is bf16")
        return found

    def prepare(self, device: Device) -> Prepared:
        """Operands on the device, and the step that multiplies them."""
        row = dtype_row(self.dtype)
        self._check(row, device)
        torch = import_torch()
        set_switches(torch, row["operation"])
        maker = Maker(torch, device.name, zeros=self.data == "zeros")
        problem = Problem(torch, maker, row, self.m, self.n, self.k, self.layout)
        product = OPERATIONS[row["operation"]](problem)
        step, result = _keeping(product.multiply)
        return Prepared(step, lambda: self._verify(torch, product, result()))

    def _check(self, row: tables.Row, device: Device) -> None:
        """Refuse what the operation does not take, saying what it would.

        Raises:
            UsageError: another device, operation, layout or shape is needed.
            CannotRun: the matrices do not fit into memory.
        """
        if row["operation"].startswith("kernel"):
            raise UsageError(f"{self.dtype} has no library product", remedy="It is measured as `instruction`.")
        if row["needs_cuda"] and device.kind != "cuda":
            raise UsageError("this exists on CUDA devices only", remedy="Leave it out of --dtype.")
        if self.layout not in row["layouts"].split():
            remedy = f"Take layout={row['layouts'].replace(' ', ' or ')}."
            raise UsageError(f"{self.dtype} is stored for layout {row['layouts']}, not {self.layout}", remedy=remedy)
        _check_shape(self, row, device)
        needed = self.work().bytes + 8 * self.k * self.n  # the reference is float64
        if device.free_bytes and needed > device.free_bytes:
            free = units.gib(device.free_bytes)
            raise CannotRun(f"the matrices take {units.gib(needed)}, and {free} are free", remedy="Take a smaller m, n or k.")

    def _verify(self, torch: Any, product: Product, c_MN: Any) -> Verified:
        """Compare rows of what the timed steps left in C with the same product in float64.

        The error is the Frobenius norm of the difference over that of the reference.
        """
        rows = torch.linspace(0, self.m - 1, min(_CHECKED_ROWS, self.m), device=product.a.exact.device).long()
        name = f"float64 product of {len(rows)} rows"
        tolerance = product_tolerance(dtype_row(self.dtype), self.k)
        if c_MN is None:
            return verified(name, float("nan"), tolerance)
        reference = product.a.wide(torch, rows) @ product.b.wide(torch)
        difference = (c_MN[rows].to(torch.float64) - reference).norm()
        norm = reference.norm()
        return verified(name, difference / norm if norm else difference, tolerance)


def default_side(device: Device) -> int:
    """A square that is large enough for the ceiling and small enough for many samples."""
    return 8192 if device.kind == "cuda" else 2048


def chosen(device: Device, axes: Mapping[str, Sequence[str]], suite: str) -> list[tuple[str, Workload]]:
    """The products of a suite at a size that suits the device, as far as `axes` do not say.

    The full suite has every layout; all but the quick one add a row of zeros, which draw less power than random numbers.
    """
    side = [str(default_side(device))]
    filled = {"m": side, "n": side, "k": side, **axes}
    found: list[Any] = []
    for row in dtypes.rows(device, axes, suite, kernels=False):
        layouts = {"layout": row["layouts"].split()} if suite == "full" else {}
        found += cases(Gemm, {**layouts, **filled, "dtype": [row["name"]]})
    if suite != "quick" and not {"dtype", "data"} & set(axes):
        found += cases(Gemm, {**filled, "dtype": ["bf16"], "data": ["zeros"]})
    return [("gemm", case) for case in found]


def default_cases(device: Device, suite: str) -> list[tuple[str, Workload]]:
    """Every dtype of the suite that a library multiplies."""
    return chosen(device, {}, suite)


def _keeping(multiply: Callable[[], Any]) -> tuple[Step, Callable[[], Any]]:
    """A step that keeps the product of its last run, and what tells it."""
    kept: list[Any] = [None]

    def step() -> None:
        kept[0] = multiply()

    def result() -> Any:
        return kept[0][0] if isinstance(kept[0], tuple) else kept[0]  # PyTorch 2.4 adds the largest entry of fp8

    return step, result


def _multiples(row: tables.Row, kind: str) -> tuple[int, ...]:
    """Of what m, n and k must be multiples: how the format is stored, and on CUDA what the library takes besides."""
    parts = [row["align"], row["cuda_align"] if kind == "cuda" else ""]
    steps = [tuple(int(step) for step in part.split()) if part else (1, 1, 1) for part in parts]
    return tuple(max(pair) for pair in zip(*steps, strict=True))


def _check_shape(workload: Gemm, row: tables.Row, device: Device) -> None:
    """Raises UsageError with the nearest side that would do."""
    for name, step in zip("mnk", _multiples(row, device.kind), strict=True):
        side = getattr(workload, name)
        if side % step:
            fits = max(step, round(side / step) * step)
            message = f"{row['name']} takes {name} in multiples of {step}: {fits} instead of {side}"
            raise UsageError(message, remedy=f"--set {name}={fits}")
    least = int(row["cuda_least_m"] or 1) if device.kind == "cuda" else 1
    if workload.m < least:
        raise UsageError(f"{row['name']} takes m from {least} on, not {workload.m}", remedy=f"--set m={least}")


def _shrink(side: int, factor: int, step: int) -> int:
    return max(step, side // factor // step * step) if side > step else side
