"""GPU boards and architectures by name: rows of `catalog/gpus/` and `catalog/architectures.csv`.

A name is looked up exactly (case, punctuation and "NVIDIA" aside), then as a known alias, then without its brand word. It is
never searched for inside another: "L4" must not find the L40S.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from msgspec import Struct

from dltool import tables
from dltool.errors import UsageError, unknown_name

PEAK_KEYS = (
    "fp64", "fp64_tensor", "fp32", "fp16", "bf16", "tf32_tensor", "fp16_tensor", "fp16_tensor_acc32", "bf16_tensor",
    "fp8_tensor", "fp8_tensor_acc32", "fp6_tensor", "fp4_tensor", "int8", "int8_tensor", "int4_tensor", "int1_tensor",
)  # fmt: skip
"""Kinds of arithmetic, in the order of display. `_tensor` runs on tensor cores, `_acc32` accumulates in fp32."""

_BRANDS = {"geforce", "tesla", "quadro"}


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
    source: str = ""


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
    tdp_w: float | None = None
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
    unverified: frozenset[str]
    source: str


@cache
def architectures() -> tuple[Architecture, ...]:
    """All architectures, oldest first."""
    return tuple(_architecture(row) for row in tables.rows("architectures"))


@cache
def _rows() -> Mapping[str, tables.Row]:
    return {row["name"]: row for row in tables.folder("gpus")}


def boards() -> Mapping[str, Board]:
    """All boards by name, without peaks."""
    return {name: board(name) for name in _rows()}


@cache
def board(name: str) -> Board:
    """The board of exactly this name, without peaks."""
    return _board(_rows()[name])


def architecture_of(compute_capability: str, chip: str | None = None) -> Architecture | None:
    """The architecture of a compute capability.

    7.5 alone does not tell whether there are tensor cores; the chip decides, and without one the richer row is not assumed.
    """
    rows = [row for row in architectures() if row.compute_capability == compute_capability]
    if chip is not None and len(rows) > 1:
        rows = [row for row in rows if chip in row.chips] or rows
    return rows[0] if len(rows) == 1 else None


def find(name: str) -> Board:
    """The board that people call `name`.

    Raises:
        UsageError: unknown (the nearest names are suggested), or a name under which nothing ever shipped.
    """
    if name in _rows():
        return board(name)
    row = _as_spoken().get(name.casefold()) or _loosely(name)
    if row is None:
        raise unknown_name("GPU", name, _rows(), listing="dltool gpu-info --list")
    if row["kind"] == "never":
        meant = f"Ask for `{row['board']}`." if row["board"] else "See: dltool gpu-info --list"
        raise UsageError(f"no GPU called `{name}` ever shipped: {row['note']}", remedy=meant)
    return board(row["board"])


def identify(*, name: str | None, device_id: str | None, memory_bytes: int | None) -> Board | None:
    """The board behind what a driver reports: its name first, then its PCI device id; memory decides between variants.

    Some laptop GPUs report the name of the desktop card: no board of that name has the id, but one has that no driver names.

    Args:
        name: as NVML gives it, "NVIDIA H100 80GB HBM3".
        device_id: "10de:2330".
        memory_bytes: total device memory as NVML gives it (somewhat below the marketed size).
    """
    wanted = _normal(name or "")
    reported = [row for row in tables.rows("names") if row["kind"] == "nvml"]
    named = [row["board"] for row in reported if _normal(row["name"]) == wanted]
    named += [own for own in _rows() if _normal(own) == wanted]
    by_id = _by_device_id(device_id)
    unnamed = set(by_id) - {row["board"] for row in reported}
    both = [found for found in dict.fromkeys(named) if found in by_id]
    candidates = [board(found) for found in both or (named and sorted(unnamed)) or dict.fromkeys(named) or by_id]
    if len(candidates) > 1 and memory_bytes is not None:
        away = {own.name: abs((own.memory_gb or 0) * 1e9 - memory_bytes) for own in candidates}
        candidates = [own for own in candidates if away[own.name] == min(away.values())]
    return candidates[0] if len(candidates) == 1 else None


def _by_device_id(device_id: str | None) -> list[str]:
    vendor, _, device = (device_id or "").partition(":")
    if vendor != "10de":
        return []
    return [name for name, row in _rows().items() if device in row["pci_device_ids"].split()]


@cache
def _as_spoken() -> Mapping[str, tables.Row]:
    """What people write, letter by letter: quick, and enough for most."""
    return {row["name"].casefold(): row for row in tables.rows("names") if row["kind"] != "nvml"}


def _loosely(name: str) -> tables.Row | None:
    wanted = _normal(name)
    return _index().get(wanted) or _index().get(_without_brand(wanted))


@cache
def _index() -> Mapping[str, tables.Row]:
    """Every normalised name to its row in names.csv; a board's own name is one too and wins."""
    index: dict[str, tables.Row] = {}
    own = [{"board": name, "kind": "board", "note": "", "name": name} for name in _rows()]
    spoken_first = sorted(tables.rows("names"), key=lambda row: row["kind"] == "nvml")
    for row in [*own, *spoken_first]:
        index.setdefault(_normal(row["name"]), row)
    short = [(_without_brand(_normal(name)), row) for name, row in list(index.items())]
    for name, row in short:
        index.setdefault(name, row)
    return index


def _normal(name: str) -> str:
    words = re.findall(r"[a-z]+|\d+", name.casefold())  # "rtx4090" as "RTX 4090"
    return " ".join(words[1:] if words[:1] == ["nvidia"] else words)


def _without_brand(normal: str) -> str:
    words = [word for word in normal.split() if word not in _BRANDS]
    return " ".join(words)


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
        unverified=frozenset(row["unverified"].split()),
        source=row["source"],
    )


def _board(row: tables.Row) -> Board:
    architecture = architecture_of(row["compute_capability"], row["chip"])
    facts: dict[str, Any] = {key: row[key] or None for key in _TEXTS}
    facts |= {key: tables.integer(row[key]) for key in _WHOLE}
    facts |= {key: tables.number(row[key]) for key in _NUMBERS}
    return Board(name=row["name"], architecture=architecture.name if architecture else None, **facts)


_TEXTS = (
    "chip", "compute_capability", "segment", "rate_class", "memory_type", "pcie", "launch", "confidence", "note", "source",
)  # fmt: skip
_WHOLE = ("sms", "cuda_cores", "tensor_cores", "rt_cores", "memory_bus_bits")
_NUMBERS = (
    "base_mhz", "boost_mhz", "shader_mhz", "tensor_boost_mhz", "fp64_per_clock_sm", "memory_gb", "memory_gb_per_s",
    "tdp_w", "nvlink_gb_per_s",
)  # fmt: skip
