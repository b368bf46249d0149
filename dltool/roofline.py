"""The roofline of a board: what its memory lets a program reach at each arithmetic intensity, up to the peak.

Williams, Waterman, Patterson: Roofline: an insightful visual performance model, CACM 52 (2009).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from dltool.catalog import Board
from dltool.errors import CannotRun

_SHOWN = (
    "fp64_tensor",
    "fp64",
    "fp32",
    "tf32_tensor",
    "bf16_tensor",
    "fp16_tensor_acc32",
    "fp8_tensor_acc32",
    "fp4_tensor",
    "fp16",
)


class Roof(Struct, frozen=True, kw_only=True):
    """One kind of arithmetic of one board."""

    board: str
    key: str
    peak: float
    """Operations per second."""
    bandwidth: float
    """Bytes per second of device memory; infinite where it is not known: then the roof is flat."""
    at_mhz: float | None = None
    """The clock of the peak, where it is not that of the datasheet."""

    @property
    def ridge(self) -> float:
        """Operations per byte from which on arithmetic, not memory, is the limit."""
        return self.peak / self.bandwidth

    def at(self, intensity: float) -> float:
        """Operations per second that can be reached at `intensity` operations per byte."""
        return min(self.peak, intensity * self.bandwidth)


def roofs(boards: Sequence[Board], keys: Sequence[str] = ()) -> tuple[Roof, ...]:
    """The roofs worth drawing: of one board all kinds of arithmetic for training; of several the one that all have.

    Args:
        boards: with peaks.
        keys: draw these in place of the choice.

    Raises:
        CannotRun: no board has both a peak of these kinds and a known memory bandwidth.
    """
    wanted = keys or (_SHOWN if len(boards) == 1 else _common(boards))
    found: dict[tuple[str, float], Roof] = {}  # kinds of one peak are one line, under the first one's name
    for board in boards:
        for key in wanted:
            dense = board.peaks[key].dense if key in board.peaks else None
            if dense and board.memory_gb_per_s:
                roof = Roof(board=board.name, key=key, peak=dense * 1e12, bandwidth=board.memory_gb_per_s * 1e9)
                found.setdefault((board.name, dense), roof)
    if not found and any(board.segment == "cpu" for board in boards):
        raise CannotRun("no roofline: the bandwidth of a host is not known", remedy="Measure it: dltool bench quick --plot -")
    if not found:
        raise CannotRun("no roofline: peak or memory bandwidth is not known", remedy="See what is: dltool gpu-info NAME")
    return tuple(found.values())


def _common(boards: Sequence[Board]) -> tuple[str, ...]:
    """The kind of arithmetic that people train in and that every board has."""
    order = ("bf16_tensor", "fp16_tensor_acc32", "fp32")
    return tuple(key for key in order if all(key in board.peaks for board in boards))[:1] or ("fp32",)


def intensities(drawn: Sequence[Roof], *, points: int = 200) -> tuple[float, ...]:
    """Where to draw, in equal steps of the logarithm: a decade below the lowest ridge to a decade above the highest."""
    low, high = min(roof.ridge for roof in drawn) / 10, max(roof.ridge for roof in drawn) * 10
    steps = (low * (high / low) ** (number / (points - 1)) for number in range(points))
    return tuple(sorted({*steps, *(roof.ridge for roof in drawn)}))
