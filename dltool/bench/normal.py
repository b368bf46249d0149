"""Is this normal? A rate beside what others published of the same board, dtype and workload."""

from __future__ import annotations

from collections.abc import Sequence

from dltool import catalog, reference
from dltool.bench.normal_models import normal_model
from dltool.catalog import Board
from dltool.reference import Figure
from dltool.results import Measurement, Normal
from dltool.units import percent, rate

_TOLERANCE = 0.05
"""Beyond the range by no more than this is still normal: shapes, software and cooling differ."""
_RATES = ("rate", "best-rate", "sustained-rate")


def normal(measurement: Measurement, board: Board) -> Normal:
    """The published range and the verdict; "unknown" where nothing comparable is published."""
    what = f"{board.name}, {_workload(measurement)}"
    if is_part(board):
        return Normal(verdict="unknown", text=f"a part of a {board.name}: what is published is of the whole GPU")
    if measurement.workload == "model":
        return normal_model(measurement, board)
    found = comparable(measurement, board)
    if not found or measurement.rate is None:
        return Normal(verdict="unknown", text=f"no figure is published for {what}")
    values = [figure.value for figure in found]
    low, high = min(values), max(values)
    verdict, judged = _verdict(measurement, found, low, high)
    count = f"{len(found)} figures" if len(found) > 1 else "1 figure"
    return Normal(
        verdict=verdict,
        text=f"{_range(low, high, measurement.rate_unit)} published for {what} ({count}); {judged}",
        low=low,
        high=high,
        figures=len(found),
        sources=tuple(sorted({figure.source for figure in found})),
    )


def comparable(measurement: Measurement, board: Board) -> tuple[Figure, ...]:
    """Figures of one such board, at shapes that are no smaller than a sixteenth of this one: small ones reach less."""
    kernel = measurement.params.get("kernel")
    dtype = None if measurement.rate_unit == "B/s" else measurement.dtype  # bytes are bytes
    return tuple(
        figure
        for figure in reference.select(board=board.name, dtype=dtype, workload=_kind(measurement))
        if figure.comparable
        and figure.metric in _RATES
        and figure.devices == 1
        and figure.unit == measurement.rate_unit
        and figure.case.get("kernel") == kernel
        and (figure.metric != "rate" or figure.ops is None or 16 * figure.ops >= measurement.work.ops)
    )


def is_part(board: Board) -> bool:
    """Whether it is a slice of its board (MIG): fewer multiprocessors than the catalogue has."""
    whole = catalog.board(board.name).sms if board.name in catalog.board_names() else None
    return whole is not None and board.sms is not None and board.sms < whole


def _kind(measurement: Measurement) -> str:
    """Kernels that are nothing but multiply-adds in registers compare with the tools that measure just these."""
    in_registers = measurement.workload == "gemm" and measurement.dtype.endswith(("_vector", "_mma"))
    return "instructions" if in_registers else measurement.workload


def _workload(measurement: Measurement) -> str:
    """ "bf16 gemm", "memory read"."""
    if measurement.rate_unit != "B/s":
        return f"{measurement.dtype} {measurement.workload}"
    return " ".join(filter(None, (measurement.workload, str(measurement.params.get("kernel") or ""))))


def _verdict(measurement: Measurement, found: Sequence[Figure], low: float, high: float) -> tuple[str, str]:
    """The word, and the sentence that gives the reason."""
    assert measurement.rate is not None
    mine = rate(measurement.rate, measurement.rate_unit)
    if measurement.rate > high * (1 + _TOLERANCE):
        return "high", f"yours, {mine}, is {percent(measurement.rate / high - 1)} above the highest"
    if measurement.rate >= low * (1 - _TOLERANCE):
        return "normal", f"yours, {mine}, {'is one of them' if low <= measurement.rate <= high else 'is close to that'}"
    below = f"{percent(1 - measurement.rate / low)} below the lowest"
    shapes = [figure.ops for figure in found if figure.ops]
    if shapes and 2 * measurement.work.ops < min(shapes):
        return "unknown", f"yours, {mine}, is {below}, at a smaller shape than any of them"
    return "low", f"yours, {mine}, is {below}"


def _range(low: float, high: float, unit: str) -> str:
    """ "794 to 821 TFLOP/s"; the unit once where both have the same."""
    first, second = rate(low, unit), rate(high, unit)
    if first == second:
        return first
    number, _, prefixed = first.partition(" ")
    return f"{number if second.endswith(' ' + prefixed) else first} to {second}"
