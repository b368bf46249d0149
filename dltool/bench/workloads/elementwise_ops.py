"""The operations that memory bounds: what each must move, how torch does it, and how a sample of its rows is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dltool.bench import Prepared, dtype_row, verified
from dltool.bench.devices import Device
from dltool.bench.workloads.kit import normal, relative_error
from dltool.numerics import product_tolerance
from dltool.results import Verified

if TYPE_CHECKING:
    from dltool.bench.workloads.elementwise import Elementwise

_CHECKED_ROWS = 64
Call = Callable[[Any, tuple[Any, ...]], Any]
"""Of the torch module and the inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation on a matrix X (rows, columns)."""

    run: Call
    into: Callable[[Any, tuple[Any, ...], Any], Any] | None = None
    """The same, writing into memory that is given; None: torch's public form makes new memory."""
    inputs: str = "x"
    """What it takes: x and y (matrices), i (a permutation), t (a class for each row), w and b (a value for each column)."""
    matrices: int = 2
    """Matrices that are read and written."""
    row_values: int = 0
    """Values read or written for each row."""
    column_values: int = 0
    index_bytes: int = 0
    """Bytes of indices for each row."""
    ops: int = 0
    """Arithmetic for each element, about: listed, not what is measured."""
    scalar: bool = False
    """One value comes out for all rows."""

    @property
    def allocates(self) -> bool:
        """Whether each step makes a new matrix."""
        return self.into is None and self.matrices > 1


def _functional(torch: Any) -> Any:
    return torch.nn.functional


def _rms_norm(torch: Any, inputs: tuple[Any, ...]) -> Any:
    x, w = inputs
    return _functional(torch).rms_norm(x, (x.shape[-1],), w, 1e-5)


def _layer_norm(torch: Any, inputs: tuple[Any, ...]) -> Any:
    x, w, b = inputs
    return _functional(torch).layer_norm(x, (x.shape[-1],), w, b)


OPS: dict[str, Op] = {
    "add": Op(inputs="x y", matrices=3, ops=1, run=lambda torch, a: torch.add(*a),
              into=lambda torch, a, out: torch.add(*a, out=out)),
    "gelu": Op(ops=8, run=lambda torch, a: _functional(torch).gelu(*a)),
    "layer_norm": Op(inputs="x w b", column_values=2, ops=8, run=_layer_norm),
    "rms_norm": Op(inputs="x w", column_values=1, ops=5, run=_rms_norm),
    "softmax": Op(ops=5, run=lambda torch, a: torch.softmax(a[0], -1),
                  into=lambda torch, a, out: torch.softmax(a[0], -1, out=out)),
    "cross_entropy": Op(inputs="x t", matrices=1, index_bytes=8, ops=5, scalar=True,
                        run=lambda torch, a: _functional(torch).cross_entropy(*a)),
    "sum": Op(matrices=1, row_values=1, ops=1, run=lambda torch, a: torch.sum(a[0], -1)),
    "mean": Op(matrices=1, row_values=1, ops=1, run=lambda torch, a: torch.mean(a[0], -1)),
    "amax": Op(matrices=1, row_values=1, ops=1, run=lambda torch, a: torch.amax(a[0], -1)),
    "embedding": Op(inputs="x i", index_bytes=8, run=lambda torch, a: torch.index_select(a[0], 0, a[1]),
                    into=lambda torch, a, out: torch.index_select(a[0], 0, a[1], out=out)),
    "transpose": Op(run=lambda _, a: a[0].t().contiguous(), into=lambda _, a, out: out.copy_(a[0].t())),
    "copy": Op(run=lambda _, a: a[0].clone(), into=lambda _, a, out: out.copy_(a[0])),
}  # fmt: skip


def prepare(torch: Any, case: Elementwise, device: Device) -> Prepared:
    """The inputs, the step, and the check of what its last run left."""
    op = OPS[case.op]
    inputs = tuple(_input(torch, kind, case, device) for kind in op.inputs.split())
    left: list[Any] = []
    if case.compile == "yes":
        run = torch.compile(lambda *arrays: op.run(torch, arrays), dynamic=False)

        def step() -> None:
            left[:] = [run(*inputs)]
    elif op.into is not None:
        write, out = op.into, torch.full_like(op.run(torch, inputs), float("nan"))  # what no operation leaves behind
        left.append(out)

        def step() -> None:
            write(torch, inputs, out)
    else:

        def step() -> None:
            left[:] = [op.run(torch, inputs)]

    return Prepared(step, lambda: _verify(torch, case, inputs, left))


def _input(torch: Any, kind: str, case: Elementwise, device: Device) -> Any:
    generator = torch.Generator(device=device.name).manual_seed(ord(kind))
    if kind == "i":
        return torch.randperm(case.rows, generator=generator, device=device.name)
    if kind == "t":
        return torch.randint(case.columns, (case.rows,), generator=generator, device=device.name)
    shape = (case.rows, case.columns) if kind in "xy" else (case.columns,)
    return normal(torch, shape, case.dtype, device, seed=ord(kind))


def _verify(torch: Any, case: Elementwise, inputs: tuple[Any, ...], left: list[Any]) -> Verified:
    """The same operation on some rows in float64; a loss over all rows, all of them a part at a time."""
    op, row = OPS[case.op], dtype_row(case.dtype)
    # three roundings to the format at most, and sums along a row; random signs make a sum small beside its terms
    tolerance = 4 * product_tolerance(row, case.columns)
    if not left:
        return verified("float64", float("nan"), tolerance)
    (found,) = left
    if op.scalar:
        parts = zip(*(array.split(256) for array in inputs), strict=True)
        mean = sum(float(op.run(torch, (x.double(), t))) * len(x) for x, t in parts) / case.rows
        return verified("float64 of all rows", abs(float(found) - mean) / max(abs(mean), 1e-3), tolerance)
    picked = torch.linspace(0, case.rows - 1, min(_CHECKED_ROWS, case.rows), device=found.device).long()
    kinds = op.inputs.split()
    wanted = op.run(torch, tuple(_rows_of(kind, array, picked, kinds) for kind, array in zip(kinds, inputs, strict=True)))
    measured = found[:, picked] if case.op == "transpose" else found[picked]
    return verified(f"float64 of {len(picked)} rows", relative_error(measured.double(), wanted.double()), tolerance)


def _rows_of(kind: str, array: Any, picked: Any, kinds: list[str]) -> Any:
    """The part of an input that the picked rows need: a table that is looked up in stays whole, and as it is."""
    if kind == "i":
        return array[picked]
    if "i" in kinds:
        return array
    return array.double() if kind in "wb" else array[picked].double()
