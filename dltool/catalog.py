"""GPU boards and architectures: rows of `catalog/gpus/` and `catalog/architectures.csv`, by their exact names.

`dltool.names` finds the board behind whatever people and drivers write.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from msgspec import Struct

from dltool import tables
from dltool.errors import UsageError

PEAK_KEYS = (
    "fp64", "fp64_tensor", "fp32", "fp16", "bf16", "tf32_tensor", "fp16_tensor", "fp16_tensor_acc32", "bf16_tensor",
    "fp8_tensor", "fp8_tensor_acc32", "fp6_tensor", "fp4_tensor", "int8", "int8_tensor", "int4_tensor", "int1_tensor",
)  # fmt: skip
"""Kinds of arithmetic, in the order of display. `_tensor` runs on tensor cores, `_acc32` accumulates in fp32."""


class Peak(Struct, frozen=True, kw_only=True):
    """The greatest rate that the hardware can reach for one kind of arithmetic, and how it follows."""

    dense: float | None
    """In `unit`; a multiply-add counts as two operations."""
    sparse: float | None = None
    """With 2:4 structured sparsity, counting the skipped operations, as datasheets do."""
    unit: str = "TFLOP/s"
    clock_mhz: float | None = None
    basis: str = "derived"
    """"derived", "published" (the product is cut below what its parts could do) or "unverified"."""
    formula: str = ""
    published: float | None = None
    """As the maker prints it, in the same unit."""
    difference: str = ""
    """Why the published figure is more than 2 % away, where it is."""
    source: str = ""


class Support(Struct, frozen=True, kw_only=True):
    """Which software still supports a GPU; None for the last of a kind: all up to now."""

    cuda_first: str | None = None
    cuda_last: str | None = None
    """Last CUDA toolkit that compiles for it."""
    driver_last: str | None = None
    """Last driver branch; None too where the driver comes with the system (Jetson)."""
    torch_last: str | None = None
    """Newest published PyTorch with machine code for it, on Linux x86-64 (on Jetson and Grace: aarch64)."""
    torch_build: str | None = None
    """The build of that release, "cu126"."""
    torch_newest: bool = False
    """Whether that is the newest release that there is."""


class Member(Struct, frozen=True, kw_only=True):
    """What a system is built from: so many boards of one name."""

    board: str
    count: int


class Board(Struct, frozen=True, kw_only=True):
    """A GPU board, or the CPU, and its peak rates. Clocks in MHz, GB = 1e9 bytes; unknown is None."""

    name: str
    architecture: str | None = None
    chip: str | None = None
    compute_capability: str | None = None
    segment: str | None = None
    sms: int | None = None
    """Streaming multiprocessors; physical cores where the board is a CPU."""
    cuda_cores: int | None = None
    tensor_cores: int | None = None
    rt_cores: int | None = None
    base_mhz: float | None = None
    boost_mhz: float | None = None
    memory_gb: float | None = None
    memory_type: str | None = None
    memory_bus_bits: int | None = None
    memory_gb_per_s: float | None = None
    l2_mib: float | None = None
    tdp_w: float | None = None
    form_factor: str | None = None
    pcie: str | None = None
    nvlink_gb_per_s: float | None = None
    launch: str | None = None
    source: str | None = None
    rate_class: str | None = None
    """"full"; "half": GeForce, tensor rates with fp32 accumulate halved; "half_all": every tensor rate halved."""
    tensor_boost_mhz: float | None = None
    """The clock at which tensor peaks are quoted, where it is not the boost clock."""
    shader_mhz: float | None = None
    """The clock of the cores on Fermi, twice that of the chip."""
    fp64_per_clock_sm: float | None = None
    """Where the board is cut below its architecture."""
    confidence: str | None = None
    note: str | None = None
    index: int | None = None
    """NVML index when the board is in this machine."""
    peaks: Mapping[str, Peak] = {}
    peaks_now: Mapping[str, Peak] = {}
    """The same at the clock that the GPU reports now."""
    pci_device_ids: tuple[str, ...] = ()
    """Lower-case hex, of vendor 10de."""
    support: Support | None = None
    asked: str | None = None
    """What was typed, where it is not the board's own name."""
    others: tuple[str, ...] = ()
    """Boards of the same name but for memory, form factor or chip."""
    shipped: bool = True
    """False: nothing of this name was ever sold; the note says what was meant."""
    members: tuple[Member, ...] = ()
    """Where it is a system: what it is built from. Its peaks and memory are those of all members together."""
    facts: Mapping[str, str] = {}
    """Of a system: processors, links, network, power, as they are to be read."""
    differences: tuple[str, ...] = ()
    """Where the board in this machine is not as its row says: power limit, SMs, memory."""


class Architecture(Struct, frozen=True, kw_only=True):
    """One compute capability: what a streaming multiprocessor (SM) holds and does per clock."""

    compute_capability: str
    name: str
    chips: tuple[str, ...]
    cuda_cores_per_sm: int
    ops: Mapping[str, float]
    """Operations per clock per SM at full rate, by peak key."""
    sparsity: float | None
    fp4_sparsity: float | None
    cuda_first: str
    cuda_last: str
    driver_last: str
    unverified: tuple[str, ...]
    """Names of columns that lack a second source."""
    source: str
    year: str = ""
    tensor_core_generation: str = ""
    tensor_cores_per_sm: str = ""
    rt_core_generation: str = ""
    rt_cores_per_sm: str = ""
    shared_kib_per_sm: str = ""
    max_threads_per_sm: str = ""
    trait: str = ""
    """What it brought, in one line."""
    note: str = ""


class NumberFormat(Struct, frozen=True, kw_only=True):
    """How a number is stored: bits, range, and what it is used for."""

    name: str
    bits: int
    exponent_bits: int | None
    mantissa_bits: int | None
    """Stored; the leading one is not counted."""
    largest: float | None
    smallest_normal: float | None
    epsilon: float | None
    block: str
    """Elements that share a scale, and its format; empty: each number stands alone."""
    peak_keys: tuple[str, ...]
    first_tensor_cc: str
    """First compute capability whose tensor cores take it; empty: none does."""
    use: str
    source: str


@cache
def number_formats() -> tuple[NumberFormat, ...]:
    """The formats of deep learning, widest first."""
    return tuple(
        NumberFormat(
            name=row["name"],
            bits=int(row["bits"]),
            exponent_bits=tables.integer(row["exponent_bits"]),
            mantissa_bits=tables.integer(row["mantissa_bits"]),
            largest=tables.number(row["largest"]),
            smallest_normal=tables.number(row["smallest_normal"]),
            epsilon=tables.number(row["epsilon"]),
            block=row["block"],
            peak_keys=tuple(row["peak_key"].split()),
            first_tensor_cc=row["first_tensor_cc"],
            use=row["use"],
            source=row["source"],
        )
        for row in tables.rows("formats")
    )


@cache
def architectures() -> tuple[Architecture, ...]:
    """All architectures, oldest first."""
    return tuple(_architecture(row) for row in tables.rows("architectures"))


@cache
def _places() -> Mapping[str, str]:
    """Which table holds each board, by the board's name."""
    places: dict[str, str] = {}
    for table in tables.in_folder("gpus"):
        for name in filter(None, table.first_cells()):
            if name in places:
                table.complain_of_name(name, f"a second board called {name}")
            places.setdefault(name, table.name)
    return places


@cache
def _rows_of(table: str) -> Mapping[str, tables.Row]:
    return {row["name"]: row for row in reversed(tables.rows(table))}  # of two of one name the first counts


def board_names() -> Collection[str]:
    """The names of all boards; none of their rows is taken apart for it."""
    return _places().keys()


def boards() -> Mapping[str, Board]:
    """All boards by name, without peaks; a malformed row is left out (see `tables.problems`)."""
    return {row["name"]: board(row["name"]) for row in tables.folder("gpus")}


@cache
def board(name: str) -> Board:
    """The board of exactly this name, without peaks.

    Raises:
        KeyError: there is none of this name.
        UsageError: its row is malformed.
    """
    table = _places()[name]
    row = _rows_of(table).get(name)
    if row is None:
        raise UsageError(f"the row of {name} is malformed: {'; '.join(tables.problems())}", remedy=f"Mend catalog/{table}.csv.")
    return _board(row)


def architecture_of(compute_capability: str, chip: str | None = None) -> Architecture | None:
    """The architecture of a compute capability.

    7.5 alone does not tell whether there are tensor cores; the chip decides, and without one the richer row is not assumed.
    """
    rows = [row for row in architectures() if row.compute_capability == compute_capability]
    if chip is not None and len(rows) > 1:
        rows = [row for row in rows if chip in row.chips] or rows
    return rows[0] if len(rows) == 1 else None


def _architecture(row: tables.Row) -> Architecture:
    return Architecture(
        compute_capability=row["compute_capability"],
        name=row["architecture"],
        chips=tuple(row["chips"].split()),
        cuda_cores_per_sm=int(row["cuda_cores_per_sm"]),
        ops={key: float(row[key]) for key in PEAK_KEYS if row[key]},
        sparsity=tables.number(row["sparsity"]),
        fp4_sparsity=tables.number(row["fp4_sparsity"]),
        cuda_first=row["cuda_first"],
        cuda_last=row["cuda_last"],
        driver_last=row["driver_last"],
        unverified=tuple(row["unverified"].split()),
        source=row["source"],
        **{name: row[name] for name in _TRAITS},
    )


def _board(row: tables.Row) -> Board:
    architecture = architecture_of(row["compute_capability"], row["chip"])
    facts: dict[str, Any] = {key: row[key] or None for key in _TEXTS}
    facts |= {key: tables.integer(row[key]) for key in _WHOLE}
    facts |= {key: tables.number(row[key]) for key in _NUMBERS}
    return Board(
        name=row["name"],
        architecture=architecture.name if architecture else None,
        pci_device_ids=tuple(row["pci_device_ids"].split()),
        **facts,
    )


_TRAITS = (
    "year", "tensor_core_generation", "tensor_cores_per_sm", "rt_core_generation", "rt_cores_per_sm", "shared_kib_per_sm",
    "max_threads_per_sm", "trait", "note",
)  # fmt: skip
_TEXTS = (
    "chip", "compute_capability", "segment", "rate_class", "memory_type", "pcie", "launch", "confidence", "note", "source",
    "form_factor",
)  # fmt: skip
_WHOLE = ("sms", "cuda_cores", "tensor_cores", "rt_cores", "memory_bus_bits")
_NUMBERS = (
    "base_mhz", "boost_mhz", "shader_mhz", "tensor_boost_mhz", "fp64_per_clock_sm", "memory_gb", "memory_gb_per_s", "l2_mib",
    "tdp_w", "nvlink_gb_per_s",
)  # fmt: skip
