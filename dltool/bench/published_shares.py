"""What boards reach of their peaks, by the published figures of `catalog/reference.csv`: the roofline's efficiencies."""

from __future__ import annotations

import statistics
from functools import cache

from msgspec import Struct

from dltool import catalog, peaks, reference
from dltool.bench import dtype_row
from dltool.catalog import Board
from dltool.tables import rows

_LEAST_OPS = 10**10
_MEMORY = ("read", "write", "scale", "add", "triad", "copy")


class Share(Struct, frozen=True):
    """A median of published figures over the peaks of their boards."""

    value: float
    figures: int
    own: bool = False
    """Whether they are of the very board that is meant."""


def peak_of(board: Board, dtype: str) -> float | None:
    """Operations per second of the units that this dtype runs on; None where it is not known.

    Args:
        board: with peaks.
        dtype: a name of catalog/dtypes.csv.
    """
    for key in dtype_row(dtype)["cuda_peaks"].split():
        peak = board.peaks.get(key)
        if peak is not None and peak.dense:
            return peak.dense * 1e12
    return None


def of_products(dtype: str, board: str) -> Share:
    """Of the peak that matrix products of this dtype reach: on this board, else on any, else of any dtype.

    bf16 and fp16 are one here: tensor cores do both at one rate. Only products as large as a model's count.
    """
    found = [one for one in _products() if one[1] in (("bf16", "fp16") if dtype in ("bf16", "fp16") else (dtype,))]
    own = [share for name, _, share in found if name == board]
    if own:
        return _share(own, own=True)
    return _share([share for _, _, share in found] or [share for _, _, share in _products()])


@cache
def _products() -> tuple[tuple[str, str, float], ...]:
    """Board, dtype and share of the peak; none above 1, for boards that clock above their datasheet."""
    known = {row["name"] for row in rows("dtypes") if not row["pruned"]}
    return tuple(
        (board, dtype, min(figure.value / peak, 1.0))
        for figure in reference.select(workload="gemm")
        if figure.comparable and figure.devices == 1 and (figure.ops is None or figure.ops >= _LEAST_OPS)
        for dtype in figure.dtypes
        if dtype in known
        for board in figure.boards
        if (peak := peak_of(peaks.with_peaks(catalog.board(board)), dtype))
    )


@cache
def of_memory() -> Share:
    """Of the datasheet's bandwidth that kernels reach which read, write or do both."""
    return _share(
        [
            figure.value / (board.memory_gb_per_s * 1e9)
            for figure in reference.select(workload="memory")
            if figure.comparable and figure.devices == 1 and figure.case.get("kernel") in _MEMORY
            for board in map(catalog.board, figure.boards)
            if board.memory_gb_per_s
        ]
    )


@cache
def launch_seconds() -> Share:
    """The least time from one kernel to the next."""
    return _share([figure.value for figure in reference.select(workload="launch") if figure.comparable and figure.unit == "s"])


def _share(values: list[float], *, own: bool = False) -> Share:
    return Share(statistics.median(values), len(values), own)
