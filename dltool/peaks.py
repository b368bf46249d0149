"""Peak rates, derived: units x operations per clock per unit x clock. No datasheet figure enters but where a product is cut.

A datasheet's peak differs from this by the clock it was quoted at; `catalog/published.csv` keeps those figures for checking.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dltool import tables
from dltool.catalog import PEAK_KEYS, Architecture, Board, Peak, architecture_of
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.machine import Cpu, Gpu

_NO_SPARSITY = {"fp64_tensor", "int1_tensor"}


def check_clock(clock_mhz: float) -> None:
    """Refuse what no GPU runs at.

    Raises:
        UsageError: not between 1 MHz and 10 GHz.
    """
    if not 1 <= clock_mhz <= 10_000:  # not a number either
        raise UsageError(f"{clock_mhz:g} MHz is no clock of a GPU", remedy="Give it in MHz: 1830")


def with_peaks(board: Board, *, clock_mhz: float | None = None) -> Board:
    """The board with its peaks at boost clock, or at `clock_mhz` for every unit."""
    return replace(board, peaks=gpu_peaks(board, clock_mhz=clock_mhz))


def gpu_peaks(board: Board, *, clock_mhz: float | None = None) -> dict[str, Peak]:
    """Every peak of a GPU board by its key.

    Args:
        board: a row of the catalogue.
        clock_mhz: use this clock in place of the board's boost clocks (then no published figure applies).
    """
    architecture = architecture_of(board.compute_capability or "", board.chip)
    if architecture is None or board.sms is None:
        return {}
    published = _published(board.name)
    peaks = {}
    for key in PEAK_KEYS:
        quoted = _quoted_clock(board, key)
        if key in architecture.ops:
            peak = _derive(board, architecture, key, clock_mhz or quoted)
            peaks[key] = _with_published(peak, published.get(key), at_quoted=clock_mhz is None, quoted_mhz=quoted)
    return peaks


def live_board(gpu: Gpu, known: Board | None, *, clock_mhz: float | None = None) -> Board | None:
    """The board of a GPU in this machine, with peaks at its boost clock and at the clock that it reports now.

    What the catalogue lacks of it is taken from the driver and the peaks are marked unverified, because the driver does not
    tell whether the product's tensor rates are halved.
    """
    complete = known is not None and known.sms is not None and _quoted_clock(known, "fp32") is not None
    board = known if complete else _from_driver(gpu, known)
    if board is None:
        return known
    now = gpu_peaks(board, clock_mhz=gpu.sm_mhz) if gpu.sm_mhz else {}
    board = replace(with_peaks(board, clock_mhz=clock_mhz), index=gpu.index, peaks_now=now)
    return board if complete else _unverified(board)


def _unverified(board: Board) -> Board:
    """The board with a mark on every peak."""
    marked = (
        {key: replace(peak, basis="unverified") for key, peak in peaks.items()} for peaks in (board.peaks, board.peaks_now)
    )
    return replace(board, peaks=next(marked), peaks_now=next(marked))


def part_of(board: Board, sms: int) -> Board:
    """A slice of a GPU (MIG), which has `sms` of its multiprocessors and an unknown share of its memory bandwidth."""
    part = replace(board, sms=sms, memory_gb_per_s=None, note="a part of the GPU: memory bandwidth not known")
    return _unverified(with_peaks(part))


def cpu_board(cpu: Cpu) -> Board:
    """The CPU as a board: physical cores that may be used, times operations per clock, times clock."""
    rates = _cpu_rates(cpu)
    cores = _usable_cores(cpu)
    clock = cpu.mhz_measured or cpu.mhz_max
    how = "measured" if cpu.mhz_measured else "as the kernel says"
    peaks = {}
    for key, row in rates.items():
        if not cores or not clock:
            break
        ops = float(row["ops_per_clock_per_core"])
        peaks[key] = Peak(
            dense=cores * ops * clock / 1e6,
            unit=_unit(key),
            clock_mhz=clock,
            basis="derived" if row["microarchitecture"] and cpu.mhz_measured else "unverified",
            formula=f"{cores:g} cores x {ops:g} op/clock/core ({row['requires']}) x {clock:.0f} MHz {how}",
            source=row["source"],
        )
    name = next((row["microarchitecture"] for row in rates.values() if row["microarchitecture"]), None)
    return Board(name=cpu.model or "CPU", architecture=name, segment="cpu", sms=cpu.cores, boost_mhz=cpu.mhz_max, peaks=peaks)


def _derive(board: Board, architecture: Architecture, key: str, clock: float | None) -> Peak:
    unit = _unit(key)
    unverified = key in architecture.unverified or board.confidence == "C"
    basis = "unverified" if unverified else "derived"
    if clock is None or board.sms is None:
        return Peak(dense=None, unit=unit, basis="unverified", formula="clock unknown", source=architecture.source)
    ops, rate = _ops_per_clock(board, architecture, key)
    dense = board.sms * ops * clock / 1e6
    sparsity = None
    if key.endswith(("_tensor", "_acc32")):
        sparsity = (architecture.fp4_sparsity if key == "fp4_tensor" else None) or architecture.sparsity
    return Peak(
        dense=dense,
        sparse=dense * sparsity if sparsity and key not in _NO_SPARSITY else None,
        unit=unit,
        clock_mhz=clock,
        basis=basis,
        formula=f"{board.sms} SMs x {ops:g} op/clock/SM{rate} x {clock:g} MHz",
        source=architecture.source,
    )


def _ops_per_clock(board: Board, architecture: Architecture, key: str) -> tuple[float, str]:
    """Operations per clock per SM of this product, and a word where they are below the architecture's."""
    if key == "fp64" and board.fp64_per_clock_sm is not None:
        return board.fp64_per_clock_sm, " (cut on this board)"
    factor = _rate_factors().get((board.rate_class or "full", key), 1.0)
    ops = architecture.ops[key] * factor
    return ops, f" ({architecture.ops[key]:g} x {factor:g}, rate class {board.rate_class})" if factor != 1 else ""


def _quoted_clock(board: Board, key: str) -> float | None:
    """Tensor peaks have a clock of their own on Hopper and data-centre Blackwell; FP64 tensor peaks follow the vector units."""
    if "_tensor" in key and key != "fp64_tensor" and board.tensor_boost_mhz:
        return board.tensor_boost_mhz
    return board.shader_mhz or board.boost_mhz or board.base_mhz


def _with_published(peak: Peak, row: tables.Row | None, *, at_quoted: bool, quoted_mhz: float | None) -> Peak:
    """The peak beside its datasheet figure, which rules where the product is cut below what its parts could do.

    A cut holds at any clock: at a lower one than that of the datasheet it falls with the clock, at a higher it does not rise.
    """
    if row is None:
        return peak
    dense = tables.number(row["dense"])
    if row["rule"] != "cap" or dense is None:
        return replace(peak, published=dense) if at_quoted else peak
    share = 1.0 if at_quoted or not quoted_mhz or not peak.clock_mhz else min(1.0, peak.clock_mhz / quoted_mhz)
    sparse = tables.number(row["sparse"])
    scaled = "" if share == 1.0 else f" x {share:.3g} for the clock"
    parts = f"{peak.dense:.4g} ({peak.formula})" if peak.dense is not None else peak.formula
    return replace(
        peak,
        dense=dense * share,
        sparse=None if sparse is None else sparse * share,
        basis="published",
        formula=f"published{scaled}; the parts alone would give {parts}",
        published=dense if at_quoted else None,
        source=row["source"],
    )


@cache
def _published(name: str) -> Mapping[str, tables.Row]:
    return {row["key"]: row for row in tables.rows("published") if row["board"] == name}


@cache
def _rate_factors() -> Mapping[tuple[str, str], float]:
    return {(row["rate_class"], row["key"]): float(row["factor"]) for row in tables.rows("rate_classes") if row["key"]}


def _unit(key: str) -> str:
    return "TOP/s" if key.startswith("int") else "TFLOP/s"


def _from_driver(gpu: Gpu, known: Board | None) -> Board | None:
    """A board as the driver reports it, completing what the catalogue has; None where the driver tells too little."""
    architecture = architecture_of(gpu.compute_capability or "", known.chip if known else None)
    if architecture is None or not gpu.cuda_cores:
        return None
    read = Board(
        name=gpu.name or f"GPU {gpu.index}",
        architecture=architecture.name,
        compute_capability=gpu.compute_capability,
        sms=gpu.cuda_cores // architecture.cuda_cores_per_sm,
        cuda_cores=gpu.cuda_cores,
        boost_mhz=gpu.sm_mhz_max,
        memory_gb=round(gpu.memory_total_bytes / 1e9, 1) if gpu.memory_total_bytes else None,
        memory_bus_bits=gpu.memory_bus_bits,
        rate_class="half" if "geforce" in (gpu.name or "").casefold() else "full",
        note="not in the catalogue: read from the driver, rate class assumed from the name",
    )
    if known is None:
        return read
    missing = {name: getattr(read, name) for name in ("sms", "cuda_cores", "boost_mhz") if getattr(known, name) is None}
    return replace(known, **missing, note="what the catalogue lacks was read from the driver")


def _usable_cores(cpu: Cpu) -> float | None:
    """Physical cores this process can keep busy: a second thread on a core adds no arithmetic units."""
    if cpu.cores is None:
        return None
    usable = float(cpu.cores)
    if cpu.usable_threads and cpu.threads:
        usable = min(usable, cpu.usable_threads)
    return min(usable, cpu.quota_cpus) if cpu.quota_cpus else usable


def _cpu_rates(cpu: Cpu) -> dict[str, tables.Row]:
    """The best row for each kind of arithmetic whose instructions this CPU shows; its own design before generic rows."""
    best: dict[str, tables.Row] = {}
    for row in tables.rows("cpu_rates"):
        own = bool(row["microarchitecture"])
        if (own and not _same_design(row, cpu)) or not set(row["requires"].split()) <= set(cpu.simd):
            continue
        held = best.get(row["key"])
        if held is None or _rank(row) > _rank(held):
            best[row["key"]] = row
    if any(row["microarchitecture"] for row in best.values()):
        best = {key: row for key, row in best.items() if row["microarchitecture"]}
    return {key: best[key] for key in PEAK_KEYS if key in best}


def _rank(row: tables.Row) -> tuple[bool, float]:
    return bool(row["microarchitecture"]), float(row["ops_per_clock_per_core"])


def _same_design(row: tables.Row, cpu: Cpu) -> bool:
    if row["vendor"] != cpu.vendor or row["family"] != str(cpu.family) or cpu.model_number is None:
        return False
    spans = (re.fullmatch(r"(\d+)(?:-(\d+))?", span) for span in row["models"].split())
    return any(span and int(span[1]) <= cpu.model_number <= int(span[2] or span[1]) for span in spans)
