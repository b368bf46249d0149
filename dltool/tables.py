"""The reference tables in `catalog/`: flat CSV files, one row a fact. `catalog/README.md` says what they mean.

A table is read as lines, and a line is taken apart only when its row is asked for: one look-up must not cost a whole catalogue.
A malformed row is left out and kept as a problem, with its file, line and column; the rest still serves.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from dltool.errors import CannotRun

Row = dict[str, str]

_NUMBERS = frozenset({
    "sms", "cuda_cores", "tensor_cores", "rt_cores", "base_mhz", "boost_mhz", "shader_mhz", "tensor_boost_mhz", "clock_mhz",
    "fp64_per_clock_sm", "memory_gb", "memory_bus_bits", "memory_gb_per_s", "l2_mib", "tdp_w", "nvlink_gb_per_s", "dense",
    "sparse", "factor", "gpus", "cpu_memory_gb", "gpu_memory_gb", "power_w", "cuda_cores_per_sm", "ops_per_clock_per_core",
    "epsilon", "epsilon_out", "epsilon_product", "epsilon_accumulate", "bits", "exponent_bits", "mantissa_bits", "largest",
    "smallest_normal", "sparsity", "fp4_sparsity", "devices", "value", "batch", "pairs", "median", "p90",
    # operations per clock per SM, by peak key
    "fp64", "fp64_tensor", "fp32", "fp16", "bf16", "tf32_tensor", "fp16_tensor", "fp16_tensor_acc32", "bf16_tensor",
    "fp8_tensor", "fp8_tensor_acc32", "fp6_tensor", "fp4_tensor", "int8", "int8_tensor", "int4_tensor", "int1_tensor",
})  # fmt: skip
"""Columns that hold a number or nothing, in whatever table they stand."""
_WHOLE = frozenset({
    "sms", "cuda_cores", "tensor_cores", "rt_cores", "memory_bus_bits", "cuda_cores_per_sm", "gpus", "bits", "devices",
    "batch", "pairs",
})  # fmt: skip

_VERSION = re.compile(r"\d+(\.\d+)*([a-z]+\d*|\.dev\d+)?")
_VERSIONS: Mapping[str, tuple[str, ...]] = {
    "compat/cuda": ("cuda", "driver_linux", "driver_windows", "minor_compat_linux", "minor_compat_windows", "min_cc", "max_cc"),
    "compat/torch_releases": ("torch", "python_min", "python_max", "glibc_min"),
    "compat/torch_archs": ("torch",),
    "compat/driver_branches": ("branch", "first_version", "max_cuda", "min_cc", "max_cc"),
    "compat/code_runs_on": ("device_from", "device_to", "lifted_from_cuda"),
    "compat/kernel_modules": ("min_cc", "max_cc"),
    "compat/cudnn": ("cudnn_from", "cudnn_to", "cuda_major", "min_cc", "max_cc", "driver_linux", "driver_windows"),
    "compat/companions": ("torch", "version"),
    "compat/host_compilers": ("cuda", "gcc_min", "gcc_max"),
    "compat/other_stack": ("min_cc", "cudnn_min"),
    "compat/triton": ("driver_cuda_min", "ptxas_cuda_max"),
    "compat/forward_compat": ("cuda",),
}
"""Columns of a table that hold one version or nothing."""
_REQUIRED = frozenset({"cuda_cores_per_sm", "ops_per_clock_per_core", "bits", "value", "pairs", "median", "p90"})

_problems: dict[str, None] = {}


def directory() -> Path:
    """Where the tables lie: inside an installed dltool, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "_catalog"
    return installed if installed.is_dir() else package.parent / "catalog"


def problems() -> tuple[str, ...]:
    """What was malformed in the tables read so far: file, line, column and why, one sentence each."""
    return tuple(_problems)


class Table:
    """One CSV file: its rows by number, each taken apart when it is asked for.

    Args:
        name: `"compat/cuda"` for catalog/compat/cuda.csv.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        path = directory() / f"{name}.csv"
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")  # splitlines would part cells at rarer signs too
        except (OSError, UnicodeDecodeError) as error:
            raise CannotRun(f"cannot read the table {path}: {error}", remedy="Install dltool anew.") from None
        self.columns: list[str] = next(csv.reader(lines[:1]), [])
        self.lines = [line.removesuffix("\r") for line in lines[1:]]
        while self.lines and not self.lines[-1]:
            self.lines.pop()
        self._versions = [at for at, column in enumerate(self.columns) if column in _VERSIONS.get(name, ())]
        self._checked = [(at, column) for at, column in enumerate(self.columns) if column in _NUMBERS]

    def first_cells(self) -> list[str]:
        """What stands in the first column, line by line (nothing for an empty line): cheap, no row is taken apart."""
        return [next(csv.reader((line,)))[0] if line.startswith('"') else line.partition(",")[0] for line in self.lines]

    def named(self, name: str) -> list[Row]:
        """The well-formed rows whose first cell is `name`; no other is taken apart."""
        found = (self.row(number) for number, first in enumerate(self.first_cells()) if first == name)
        return [row for row in found if row is not None]

    def row(self, number: int) -> Row | None:
        """The row behind the header, counted from 0; None if it is malformed."""
        try:
            cells = next(csv.reader((self.lines[number],), strict=True), [])
        except csv.Error as error:
            self._complain(number, str(error))
            return None
        return self._row(number, cells)

    def rows(self) -> tuple[Row, ...]:
        """All rows that are well formed."""
        try:
            parted = list(csv.reader(self.lines, strict=True)) if all(self.lines) else []
        except csv.Error:
            parted = []
        if len(parted) != len(self.lines):  # an open quote swallows the lines after it: find out which
            found = (self.row(number) for number, line in enumerate(self.lines) if line)
        else:
            found = (self._row(number, cells) for number, cells in enumerate(parted))
        return tuple(row for row in found if row is not None)

    def _row(self, number: int, cells: list[str]) -> Row | None:
        if len(cells) != len(self.columns):
            self._complain(number, f"{len(cells)} cells where the header has {len(self.columns)}")
            return None
        for at, column in self._checked:
            cell = cells[at]
            if not cell and column in _REQUIRED:
                self._complain(number, f"column {column} is empty")
                return None
            if cell and not _is_number(cell, whole=column in _WHOLE):
                self._complain(number, f"column {column}: `{cell}` is not a {'whole ' * (column in _WHOLE)}number")
                return None
        for at in self._versions:
            if cells[at] and not _VERSION.fullmatch(cells[at]):
                self._complain(number, f"column {self.columns[at]}: `{cells[at]}` is no version")
                return None
        return dict(zip(self.columns, cells, strict=True))

    def complain_of_name(self, name: str, what: str) -> None:
        """Keep a problem with the last row of a name."""
        self._complain(max(number for number, first in enumerate(self.first_cells()) if first == name), what)

    def _complain(self, number: int, what: str) -> None:
        _problems.setdefault(f"catalog/{self.name}.csv line {number + 2}, {what}; the row is left out")


def _is_number(cell: str, *, whole: bool) -> bool:
    try:
        value = int(cell) if whole else float(cell)
    except ValueError:
        return False
    return 0 <= value < float("inf")


@cache
def table(name: str) -> Table:
    """One table; it is read once."""
    return Table(name)


@cache
def rows(name: str) -> tuple[Row, ...]:
    """The rows of one table, `"compat/cuda"` for catalog/compat/cuda.csv. Cells are text; an empty one is unknown."""
    return table(name).rows()


@cache
def in_folder(name: str) -> tuple[Table, ...]:
    """All tables in one folder, in the order of the file names."""
    return tuple(table(f"{name}/{path.stem}") for path in sorted((directory() / name).glob("*.csv")))


@cache
def folder(name: str) -> tuple[Row, ...]:
    """The rows of all tables in one folder."""
    return tuple(row for part in in_folder(name) for row in rows(part.name))


def number(cell: str) -> float | None:
    """A cell as a number; an empty one is unknown."""
    return float(cell) if cell else None


def integer(cell: str) -> int | None:
    """A cell as a whole number; an empty one is unknown."""
    return int(cell) if cell else None
