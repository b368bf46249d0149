"""The board of a GPU in this machine: what the catalogue knows of it, completed by and compared with what the driver says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dltool import names
from dltool.catalog import Board, architecture_of
from dltool.peaks import gpu_peaks, quoted_clock, with_peaks

if TYPE_CHECKING:
    from dltool.machine import Gpu

_MIB = 2**20
_MEMORY_SHARE = 0.88
"""Of the marketed size: ECC in GDDR takes a sixteenth, the driver some hundred MiB, and GB may be 1e9 bytes."""
_CLOCK_SHARE = 0.95
_POWER_SHARE = 0.85
"""The driver's limit is that of the graphics part; some datasheets give the whole board, with USB-C and the like."""


def board_of(gpu: Gpu) -> Board | None:
    """The board that a GPU is, without peaks; None where the catalogue does not know it."""
    return names.identify(
        name=gpu.name,
        device_id=gpu.pci_device_id,
        memory_bytes=gpu.memory_total_bytes,
        power_limit_w=gpu.power_limit_default_w,
    )


def live_board(gpu: Gpu, known: Board | None, *, clock_mhz: float | None = None) -> Board | None:
    """The board of a GPU in this machine, with peaks at its boost clock and at the clock that it reports now.

    What the catalogue lacks of it is taken from the driver and the peaks are marked unverified, because the driver does not
    tell whether the product's tensor rates are halved.
    """
    complete = known is not None and known.sms is not None and quoted_clock(known, "fp32") is not None
    board = known if complete else _from_driver(gpu, known)
    if board is None:
        return known
    now = gpu_peaks(board, clock_mhz=gpu.sm_mhz) if gpu.sm_mhz else {}
    board = replace(
        with_peaks(board, clock_mhz=clock_mhz), index=gpu.index, peaks_now=now, differences=tuple(differences(gpu, board))
    )
    return board if complete else _unverified(board)


def differences(gpu: Gpu, board: Board) -> Iterator[str]:
    """What of a GPU is not as its board's row says, one sentence each. What neither tells is left out."""
    power, limit, default = board.tdp_w, gpu.power_limit_w, gpu.power_limit_default_w
    laptop = board.segment in ("laptop", "mobile-workstation")
    if limit and default and limit < 0.98 * default:
        yield f"power limit {limit:g} W, below the default of {default:g} W: the clock falls under load"
    if power and default and default < _POWER_SHARE * power:
        told = "the laptop's maker chose" if laptop else "the board is set to"
        yield f"{told} {default:g} W, where up to {power:g} W are published: peaks at boost clock are not held"
    architecture = architecture_of(board.compute_capability or "", board.chip)
    if board.sms and gpu.cuda_cores and architecture and not gpu.mig_enabled:
        here = gpu.cuda_cores // architecture.cuda_cores_per_sm
        if here != board.sms:
            yield f"{here} SMs, where the board has {board.sms}"
    if board.memory_gb and gpu.memory_total_bytes and gpu.memory_total_bytes < _MEMORY_SHARE * board.memory_gb * 1e9:
        yield f"{gpu.memory_total_bytes / 2**30:.1f} GiB of memory, where {board.memory_gb:g} GB are published"
    boost = board.boost_mhz
    if boost and gpu.sm_mhz_max and gpu.sm_mhz_max < _CLOCK_SHARE * boost:
        yield f"at most {gpu.sm_mhz_max} MHz, where {boost:g} MHz are published"
    if board.memory_bus_bits and gpu.memory_bus_bits and gpu.memory_bus_bits < board.memory_bus_bits:
        yield f"memory bus of {gpu.memory_bus_bits} bit, where {board.memory_bus_bits} are published"
    bar, memory = gpu.bar1_total_bytes, gpu.memory_total_bytes
    if bar and memory and 2 * bar < memory:
        yield f"BAR1 of {bar // _MIB} MiB shows a part of the memory only: large BAR (resizable BAR) is off or not there"
    yield from _narrow_link(gpu, board)


def _narrow_link(gpu: Gpu, board: Board) -> Iterator[str]:
    """The slot, not the present state of the link: that one sleeps when idle."""
    generation, _, lanes = (board.pcie or "").partition(" x")
    if lanes.isdigit() and gpu.pcie_width_max and gpu.pcie_width_max < int(lanes):
        yield f"PCIe x{gpu.pcie_width_max}, where the board has x{lanes}"
    newest = generation.partition(".")[0]
    if newest.isdigit() and gpu.pcie_generation_max and gpu.pcie_generation_max < int(newest):
        yield f"PCIe generation {gpu.pcie_generation_max} at most, where the board has {newest}"


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
