"""A run on its roofline: each product at its intensity and rate, measured bandwidths, the peaks at the clock that was held."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from dltool.catalog import Board
from dltool.errors import CannotRun
from dltool.machine import Machine
from dltool.results import Measurement, Report
from dltool.roofline import Roof, roofs

_OTHER = 0.02
"""A clock whose peak is closer than this to one that is drawn needs no line of its own."""
_MOST_CLOCKS = 3


class Point(Struct, frozen=True, kw_only=True):
    """One measured case."""

    label: str
    intensity: float
    """Operations for each byte that cannot be avoided."""
    rate: float
    """Operations per second."""
    unit: str = "FLOP/s"
    peak: float | None = None
    share: float | None = None
    """Of the datasheet's peak."""


class Level(Struct, frozen=True, kw_only=True):
    """A bandwidth that was measured: of memory, or of the cache that held the data."""

    name: str
    bandwidth: float
    """Bytes per second, of the best kernel."""
    by: str
    """The kernel."""


class MeasuredRoofline(Struct, frozen=True, kw_only=True):
    """All that is drawn of a report."""

    roofs: tuple[Roof, ...]
    held: tuple[Roof, ...] = ()
    """The roofs at the clock that was held."""
    points: tuple[Point, ...] = ()
    levels: tuple[Level, ...] = ()

    @property
    def span(self) -> tuple[float, float]:
        """The intensities to draw from and to: all points and bends, and some room."""
        bends = [roof.ridge for roof in self.roofs if roof.ridge > 0]
        known = [*bends, *(point.intensity for point in self.points)]
        return min(known) / 8, max(known) * 8


def of_report(report: Report) -> MeasuredRoofline:
    """The roofline of a report's measurements on its board.

    Where the catalogue has no bandwidth (a CPU), the roof leans on the one that was measured; without one it is flat.

    Raises:
        CannotRun: nothing was measured whose operations, bytes and peak are known.
    """
    cases = [case for case in report.measurements if _counts(case)]
    points = tuple(_point(case) for case in cases if case.rate_unit != "B/s" and case.work.ops and case.work.bytes)
    if not points or not report.boards:
        raise CannotRun("no roofline: no arithmetic was measured", remedy="Measure some: dltool bench quick --plot FILE")
    board = report.boards[0]
    found = levels(cases, board, report.machine)
    memory = next((level for level in found if level.name == "memory"), None)
    if board.memory_gb_per_s is None:
        board = replace(board, memory_gb_per_s=memory.bandwidth / 1e9 if memory else math.inf)
    keys = list(dict.fromkeys(_key(case) for case in cases if _key(case) in board.peaks))
    drawn = roofs([board], keys or ("fp32",))
    return MeasuredRoofline(roofs=drawn, held=tuple(_held(cases, drawn)), points=points, levels=found)


def levels(cases: Iterable[Measurement], board: Board, machine: Machine | None) -> tuple[Level, ...]:
    """The best bandwidth of each level whose data was moved; transfers between devices are none of them."""
    best: dict[str, Level] = {}
    for case in cases:
        if case.rate_unit != "B/s" or case.rate is None or case.params.get("kernel") not in _ON_DEVICE:
            continue
        name = _level(case, board, machine)
        if name not in best or case.rate > best[name].bandwidth:
            best[name] = Level(name=name, bandwidth=case.rate, by=str(case.params["kernel"]))
    return tuple(sorted(best.values(), key=lambda level: -level.bandwidth))


_ON_DEVICE = ("read", "write", "copy", "scale", "add", "triad")


def _level(case: Measurement, board: Board, machine: Machine | None) -> str:
    """The smallest cache that holds all arrays, else memory."""
    cpu = machine.cpu if machine is not None and board.segment == "cpu" else None
    sizes = [("L2", board.l2_mib * 2**20)] if board.l2_mib else []
    if cpu is not None:
        sizes = [(name, float(size)) for name, size in (("L2", cpu.l2_bytes), ("L3", cpu.l3_bytes)) if size]
    return next((name for name, size in sizes if case.work.bytes <= size), "memory")


def _counts(case: Measurement) -> bool:
    return case.rate is not None and (case.verified is None or case.verified.ok)


def _key(case: Measurement) -> str:
    return (case.peak_basis or "").partition(" ")[0]


def _point(case: Measurement) -> Point:
    assert case.rate is not None
    told = case.shares.datasheet if case.shares is not None else None
    sides = [str(case.params[side]) for side in "mnk" if side in case.params]
    size = f"{sides[0]}³" if len(sides) == 3 and len(set(sides)) == 1 else "x".join(sides)
    name = str(case.dtype if case.workload == "gemm" else f"{case.workload} {case.dtype}")
    return Point(
        label=f"{name} {size}".strip(),
        intensity=case.work.ops / case.work.bytes,
        rate=case.rate,
        unit=case.rate_unit,
        peak=case.peak,
        share=case.share_of_peak if told is None else told,
    )


def _held(cases: Sequence[Measurement], drawn: Sequence[Roof]) -> Iterable[Roof]:
    """Roofs at the clocks that cases held, each kind of arithmetic for itself; clocks that are nearly the same are one."""
    for roof in drawn:
        heights = [roof.peak]
        for case in cases:
            held = case.shares.held_clock if case.shares is not None else None
            if case.peak is None or not held or not case.rate or abs(case.peak / roof.peak - 1) > _OTHER:
                continue
            peak = case.rate / held
            if len(heights) <= _MOST_CLOCKS and all(abs(peak / height - 1) > _OTHER for height in heights):
                heights.append(peak)
                clock = case.conditions.sm_mhz.median if case.conditions.sm_mhz is not None else case.conditions.cpu_mhz
                yield replace(roof, peak=peak, at_mhz=clock)
