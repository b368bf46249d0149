"""Boxes and superchips by what they are built from: rows of `catalog/systems.csv` as boards of many GPUs."""

from __future__ import annotations

from msgspec.structs import replace

from dltool import tables
from dltool.catalog import Board, Member, Peak, board, board_names
from dltool.errors import UsageError
from dltool.peaks import with_peaks

_FACTS = {
    "processors": "cpus",
    "CPU memory": "cpu_memory_gb",
    "links": "nvlink",
    "NVSwitches": "nvswitches",
    "CPU to GPU": "cpu_gpu_link",
    "network": "network",
    "the maker says": "published",
}
"""What a fact sheet calls a column that is to be read, not reckoned with."""


def is_system(name: str) -> bool:
    """Whether `name` is exactly that of a system."""
    return name not in board_names() and name in tables.table("systems").first_cells()


def members(name: str) -> tuple[str, ...]:
    """The board that a system of exactly this name is built from; empty where it is none or not known."""
    return tuple(row["board"] for row in tables.table("systems").named(name) if row["board"])


def system(name: str, *, clock_mhz: float | None = None) -> Board:
    """A system as a board: memory and peaks are those of all its GPUs together, so no program gets them without their links.

    Raises:
        KeyError: there is none of exactly this name.
        UsageError: its row is malformed.
    """
    row = next(iter(tables.table("systems").named(name)), None)
    if row is None and is_system(name):
        raise UsageError(f"the row of {name} is malformed: {'; '.join(tables.problems())}", remedy="Mend catalog/systems.csv.")
    if row is None:
        raise KeyError(name)
    member = with_peaks(board(row["board"]), clock_mhz=clock_mhz) if row["board"] in board_names() else None
    count = tables.integer(row["gpus"])
    return Board(
        name=name,
        architecture=member.architecture if member else None,
        compute_capability=member.compute_capability if member else None,
        segment=row["kind"],
        memory_gb=tables.number(row["gpu_memory_gb"]),
        memory_type=member.memory_type if member else None,
        memory_gb_per_s=_times(member.memory_gb_per_s if member else None, count),
        tdp_w=tables.number(row["power_w"]),
        launch=row["launch"] or None,
        members=(Member(board=row["board"], count=count),) if count and row["board"] else (),
        facts={
            label: f"{row[column]} GB" if column.endswith("_gb") else row[column]
            for label, column in _FACTS.items()
            if row[column]
        },
        peaks={key: _all_of(peak, count) for key, peak in member.peaks.items()} if member and count else {},
        note=row["note"] or None,
        source=row["source"],
    )


def _times(value: float | None, count: int | None) -> float | None:
    return value * count if value is not None and count is not None else None


def _all_of(peak: Peak, count: int) -> Peak:
    return replace(
        peak,
        dense=_times(peak.dense, count),
        sparse=_times(peak.sparse, count),
        published=None,
        difference="",
        formula=f"{count} GPUs x ({peak.formula})",
    )
