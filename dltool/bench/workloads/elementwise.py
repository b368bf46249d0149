"""What memory bounds in a network: activations, norms, softmax, loss, reductions, look-ups and moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dltool.bench import WORKLOADS, Prepared, dtype_row
from dltool.bench.devices import Device, import_torch
from dltool.bench.workloads import elementwise_ops, kit
from dltool.bench.workloads.elementwise_ops import OPS
from dltool.bench.workloads.memory import Memory, array_bytes
from dltool.errors import UsageError
from dltool.results import Work
from dltool.units import gib

_COLUMNS = 4096
_DTYPES = ("fp64", "fp32", "bf16", "fp16")


@WORKLOADS.register("elementwise")
@dataclass(frozen=True, slots=True, kw_only=True)
class Elementwise:
    """One operation on a matrix (rows, columns) of standard normal numbers, along the columns where it reduces.

    `compile` runs it through torch.compile.
    """

    op: str = "add"
    rows: int = 16384
    columns: int = _COLUMNS
    compile: str = "no"
    dtype: str = "fp32"

    def __post_init__(self) -> None:
        kit.check_choice("op", self.op, OPS)
        kit.check_choice("compile", self.compile, ("no", "yes"))
        kit.check_floating("elementwise", self.dtype)
        if self.dtype not in _DTYPES:
            raise UsageError(f"{self.dtype} is a way to multiply, not to store", remedy=f"Choose among: {', '.join(_DTYPES)}.")

    @property
    def rate_unit(self) -> str:
        """Bytes that cannot be avoided, over time."""
        return "B/s"

    @property
    def label(self) -> str:
        """ "layer_norm", "layer_norm compiled"."""
        return f"{self.op} compiled" if self.compile == "yes" else self.op

    @property
    def size(self) -> str:
        """ "16384x4096 bf16"."""
        return f"{self.rows}x{self.columns} {self.dtype}"

    def work(self) -> Work:
        """Each input once, each output once, at the width of the format; what is stored in between is avoidable."""
        op, size = OPS[self.op], int(dtype_row(self.dtype)["bytes"])
        moved = (op.matrices * self.rows * self.columns + op.row_values * self.rows + op.column_values * self.columns) * size
        return Work(ops=op.ops * self.rows * self.columns, bytes=moved + op.index_bytes * self.rows)

    def sizes(self) -> Iterator[Elementwise]:
        """A sixteenth of the rows, then all; a compiled operation is compiled for one size only."""
        if self.rows >= 64 and self.compile == "no":
            yield replace(self, rows=self.rows // 16)
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """The board's memory bandwidth; on a host the run's own triad takes its place afterwards."""
        return kit.memory_peak(device)

    def implementation(self, device: Device) -> str:
        """Bytes are moved natively everywhere."""
        return "native"

    def doubts(self, device: Device) -> list[str]:
        """What a cache holds is not bound by memory; an output that is made anew costs a CPU page faults."""
        found = []
        if self.work().bytes < 4 * device.llc_bytes:
            found.append(f"all arrays are less than four times the last-level cache of {gib(device.llc_bytes)}: "
                         "this may be its bandwidth")  # fmt: skip
        if device.kind == "cpu" and OPS[self.op].allocates:
            found.append("torch has no form that writes into given memory: the page faults of new output are in the time")
        return found

    def prepare(self, device: Device) -> Prepared:
        """Inputs and, where torch lets one be given, the output."""
        torch = import_torch()
        kit.check_room(device, 3 * self.work().bytes, "choose less with --set rows=1024")
        return elementwise_ops.prepare(torch, self, device)


def chosen(device: Device, axes: Mapping[str, Sequence[str]]) -> kit.Cases:
    """Every operation on matrices that no cache holds, as far as `axes` do not say; before them the triad to compare with."""
    found: list[Any] = []
    for dtype in axes.get("dtype", ["bf16"] if device.kind == "cuda" else ["fp32"]):
        width = int(dtype_row(dtype)["bytes"])
        columns = [int(text) for text in axes.get("columns", ()) if text.isdecimal()]
        rows = max(1, array_bytes(device) // width // max([1, *columns] if columns else [_COLUMNS]))
        found += kit.chosen("elementwise", {**axes, "dtype": [dtype]}, {"op": list(OPS), "rows": [str(rows)]})
    return [("memory", Memory(kernel="triad", bytes=array_bytes(device))), *found]


_TYPICAL = ["gelu", "layer_norm", "softmax", "cross_entropy", "sum", "embedding", "transpose"]


def default_cases(device: Device, suite: str) -> kit.Cases:
    """The usual ones in the standard suite, whose memory part has a triad; all of them in the full one."""
    if suite == "quick":
        return []
    return chosen(device, {"op": _TYPICAL} if suite == "standard" else {})[1:]
