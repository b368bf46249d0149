"""Peak rates, derived: units x operations per clock per unit x clock. No datasheet figure enters but where a product is cut.

A datasheet's peak differs from this by the clock it was quoted at; `catalog/published.csv` keeps those figures for checking.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dltool import tables
from dltool.catalog import PEAK_KEYS, Architecture, Board, Peak, architecture_of
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.machine import Cpu

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
    if architecture is None:
        return {}
    published = _published(board.name)
    peaks = {}
    for key in PEAK_KEYS:
        quoted = quoted_clock(board, key)
        fused_off = board.tensor_cores == 0 and _on_tensor_cores(key)
        if board.sms is None and key not in published:
            continue  # nothing to say of it
        if key in architecture.ops and not fused_off:
            peak = _derive(board, architecture, key, clock_mhz or quoted)
            peaks[key] = _with_published(peak, published.get(key), at_quoted=clock_mhz is None, quoted_mhz=quoted)
    return peaks


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


class Narrower(Struct, frozen=True, kw_only=True):
    """What a CPU reaches with fewer or shorter instructions than those of its peak."""

    name: str
    """"AVX2"."""
    instead_of: str
    """"AVX-512"."""
    factor: float
    """Of the peak."""
    vendor: str
    """As /proc/cpuinfo writes it; empty where the design is not known."""


def narrower(board: Board, key: str) -> Narrower | None:
    """The AVX2 rate of a CPU whose peak is that of AVX-512; None where there is no such difference."""
    used, rows = _used_rate(board, key)
    if used is None or "avx512" not in used["requires"]:
        return None
    ops = float(used["ops_per_clock_per_core"])
    others = [row for row in rows if "avx2" in row["requires"] and float(row["ops_per_clock_per_core"]) < ops]
    if not others:
        return None
    widest = max(others, key=lambda row: float(row["ops_per_clock_per_core"]))
    factor = float(widest["ops_per_clock_per_core"]) / ops
    return Narrower(name="AVX2", instead_of="AVX-512", factor=factor, vendor=used["vendor"])


def cores_of(board: Board, key: str) -> float | None:
    """The cores that a CPU's peak counts: those that this process may use."""
    peak = board.peaks.get(key)
    used, _ = _used_rate(board, key)
    if peak is None or used is None or not peak.dense or not peak.clock_mhz:
        return None
    return round(peak.dense * 1e6 / (float(used["ops_per_clock_per_core"]) * peak.clock_mhz), 2)


def _used_rate(board: Board, key: str) -> tuple[tables.Row | None, list[tables.Row]]:
    """The row that a CPU's peak was derived from, and all rows of its design and this kind of arithmetic."""
    peak = board.peaks.get(key)
    rows = [
        row for row in tables.rows("cpu_rates") if row["key"] == key and row["microarchitecture"] == (board.architecture or "")
    ]
    used = [row for row in rows if peak is not None and f"({row['requires']})" in peak.formula]
    return (max(used, key=_rank) if used else None), rows


def label(key: str) -> str:
    """A peak key as people write it: "fp16_tensor_acc32" -> "FP16 tensor acc32"."""
    kind, _, rest = key.partition("_")
    words = {"": "", "tensor": " tensor", "tensor_acc32": " tensor acc32"}[rest]
    return kind.upper() + words


def per(board: Board, key: str, what: str) -> float | None:
    """A dense peak for what it costs.

    Args:
        board: with peaks.
        key: one of `PEAK_KEYS`.
        what: "watt": giga-operations per second for each watt of board power; "gb/s": operations for each byte that memory
            can deliver meanwhile, which is where the roofline bends.

    Returns:
        None where the peak, the power or the bandwidth is not known.
    """
    peak = board.peaks.get(key)
    cost = board.tdp_w if what == "watt" else board.memory_gb_per_s
    if peak is None or peak.dense is None or not cost:
        return None
    return peak.dense * 1000 / cost


def _derive(board: Board, architecture: Architecture, key: str, clock: float | None) -> Peak:
    unit = _unit(key)
    unverified = key in architecture.unverified or board.confidence == "C"
    basis = "unverified" if unverified else "derived"
    if clock is None or board.sms is None:
        missing = "number of SMs unknown" if board.sms is None else "clock unknown"
        return Peak(dense=None, unit=unit, basis="unverified", formula=missing, source=architecture.source)
    ops, rate = _ops_per_clock(board, architecture, key)
    if ops is None:
        return Peak(
            dense=None, unit=unit, basis="unverified", formula=f"cut by an unknown factor{rate}", source=architecture.source
        )
    dense = board.sms * ops * clock / 1e6
    sparsity = None
    if _on_tensor_cores(key):
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


def _on_tensor_cores(key: str) -> bool:
    return key.endswith(("_tensor", "_acc32"))


def _ops_per_clock(board: Board, architecture: Architecture, key: str) -> tuple[float | None, str]:
    """Operations per clock per SM of this product, and a word where they are below the architecture's; None: not known."""
    if key == "fp64" and board.fp64_per_clock_sm is not None:
        return board.fp64_per_clock_sm, " (cut on this board)"
    factor = _rate_factors().get((board.rate_class or "full", key), 1.0)
    if factor is None:
        return None, f", rate class {board.rate_class}"
    ops = architecture.ops[key] * factor
    return ops, f" ({architecture.ops[key]:g} x {factor:g}, rate class {board.rate_class})" if factor != 1 else ""


def quoted_clock(board: Board, key: str) -> float | None:
    """The clock at which a peak is published, MHz.

    Tensor peaks have one of their own on Hopper and data-centre Blackwell; FP64 tensor peaks follow the vector units.
    """
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
        return replace(peak, published=dense, difference=row["difference"]) if at_quoted else peak
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
    return {row["key"]: row for row in tables.table("published").named(name)}


@cache
def _rate_factors() -> Mapping[tuple[str, str], float | None]:
    """By rate class and key; None: cut, and by how much is not known."""
    return {(row["rate_class"], row["key"]): tables.number(row["factor"]) for row in tables.rows("rate_classes")}


def _unit(key: str) -> str:
    return "TOP/s" if key.startswith("int") else "TFLOP/s"


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
