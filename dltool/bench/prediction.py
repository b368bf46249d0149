"""What the roofline predicts of a step of a model on a board where it was not run. Pure; a prediction is no measurement.

Every operation takes as long as its arithmetic at the rate that products reach, or its bytes at the bandwidth that is reached,
whichever is more, and no less than a kernel takes to be launched. The sum is scaled: where the step was measured on another
GPU, by what it took there over what the roofline says of that GPU; else by the median of the same over published steps. How far
such predictions are from published figures stands in `catalog/prediction_errors.csv`, see `dltool.bench.known_pairs`.

Williams, Waterman, Patterson: Roofline: an insightful visual performance model, CACM 52 (2009).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from dltool import peaks, tables
from dltool.bench import published_shares
from dltool.bench.published_shares import peak_of
from dltool.bench.traffic import Operation, Traffic
from dltool.catalog import Board
from dltool.errors import CannotRun
from dltool.model_results import KnownError, Prediction
from dltool.results import Measurement
from dltool.units import percent, seconds, significant

_WAITS = ("compute", "memory", "launch")


class Here(Struct, frozen=True, kw_only=True):
    """A step that was measured."""

    board: Board
    seconds: float


class Times(Struct, frozen=True, kw_only=True):
    """Seconds of a step on a board by the roofline, by what its operations wait for."""

    compute: float = 0.0
    memory: float = 0.0
    launch: float = 0.0

    @property
    def total(self) -> float:
        """Of all."""
        return self.compute + self.memory + self.launch


def predict(
    traffic: Traffic, board: Board, *, here: Here | None = None, unit: str = "sample", units: int | None = None
) -> Prediction:
    """What a step takes on a board.

    Args:
        traffic: the operations of the step.
        board: of the catalogue.
        here: the same step measured; counts where it ran on a GPU whose peaks and bandwidth are known.
        unit: what is counted, "image".
        units: in a step; the batch by default.

    Raises:
        CannotRun: a peak or the bandwidth of the board is not known.
    """
    there, measured = times(traffic, board), _scale(traffic, here)
    error = known_error("transfer" if measured else traffic.mode)
    took = there.total * (measured or (1 / error.factor if error else 1.0))
    rate = (traffic.batch if units is None else units) / took
    return Prediction(
        board=board.name,
        mode=traffic.mode,
        precision=traffic.precision,
        batch=traffic.batch,
        seconds=took,
        throughput=rate,
        unit=unit,
        low=rate / (1 + error.p90) if error else None,
        high=rate * (1 + error.p90) if error else None,
        measured_on=here.board.name if measured and here is not None else "",
        bound_by={name: getattr(there, name) / there.total for name in _WAITS if getattr(there, name)},
        error=error,
        assumptions=(*_scaled(traffic, measured, here, error), *_assumptions(traffic, board)),
    )


def compared(measurement: Measurement, boards: Sequence[Board], traffic: Traffic, here: Board | None = None) -> Measurement:
    """The measurement of a model with what its step would do on other boards; one that was not run stays as it is.

    Args:
        measurement: of workload "model".
        boards: of the catalogue.
        traffic: the operations of its step.
        here: where it was measured.

    Raises:
        CannotRun: a peak or the bandwidth of a board is not known.
    """
    step = measurement.model
    if step is None or not measurement.median_s:
        return measurement
    ran = None if here is None else Here(board=here, seconds=measurement.median_s)
    found = tuple(predict(traffic, board, here=ran, unit=step.unit, units=step.units) for board in boards)
    return replace(measurement, model=replace(step, prediction=found))


def times(traffic: Traffic, board: Board) -> Times:
    """The roofline's seconds of a step.

    Raises:
        CannotRun: a peak or the bandwidth of the board is not known.
    """
    board = board if board.peaks else peaks.with_peaks(board)
    if not board.memory_gb_per_s:
        raise CannotRun(
            f"no prediction for {board.name}: its memory bandwidth is not known", remedy="See what is: dltool gpu-info --list"
        )
    bandwidth = board.memory_gb_per_s * 1e9 * published_shares.of_memory().value
    rates = {dtype: _rate(board, dtype) for dtype in {one.dtype or "fp32" for one in traffic.operations if one.ops}}
    floor = published_shares.launch_seconds().value
    waits: Counter[str] = Counter()
    for one in traffic.operations:
        for name, spent in zip(_WAITS, _seconds(one, rates, bandwidth, floor), strict=True):
            waits[name] += one.count * spent  # type: ignore[assignment]
    return Times(compute=waits["compute"], memory=waits["memory"], launch=waits["launch"])


def _seconds(one: Operation, rates: dict[str, float], bandwidth: float, floor: float) -> tuple[float, float, float]:
    """All its time is what it waits for: compute, memory or launch."""
    arithmetic = one.ops / rates[one.dtype or "fp32"] if one.ops else 0.0
    moving = one.bytes / bandwidth
    if max(arithmetic, moving) < floor:
        return 0.0, 0.0, floor
    return (arithmetic, 0.0, 0.0) if arithmetic > moving else (0.0, moving, 0.0)


def _rate(board: Board, dtype: str) -> float:
    peak = peak_of(board, dtype)
    if peak is None:
        raise CannotRun(
            f"no prediction for {board.name}: its {dtype} peak is not known", remedy="Choose another precision, such as fp32."
        )
    return peak * published_shares.of_products(dtype, board.name).value


def _scale(traffic: Traffic, here: Here | None) -> float | None:
    """Measured over predicted where it was measured; None: not on a GPU of which enough is known."""
    if here is None or here.board.segment == "cpu":
        return None
    try:
        return here.seconds / times(traffic, here.board).total
    except CannotRun:
        return None


def known_error(kind: str) -> KnownError | None:
    """How far predictions of a kind are from what was published, as the catalogue keeps it.

    Args:
        kind: "transfer" from a measured board to another; "train" or "infer" from the catalogue alone.
    """
    for row in tables.rows("prediction_errors"):
        if row["kind"] == kind:
            return KnownError(
                pairs=int(row["pairs"]),
                median=float(row["median"]),
                p90=float(row["p90"]),
                factor=float(row["factor"]),
                rests_on=row["rests_on"],
            )
    return None


def _scaled(traffic: Traffic, measured: float | None, here: Here | None, error: KnownError | None) -> Iterator[str]:
    """What the roofline's time was multiplied by, and why."""
    if measured and here is not None:
        yield f"on {here.board.name} the step took {significant(measured)} times what the roofline says, and so elsewhere"
        return
    if here is not None:
        yield f"nothing measured on {here.board.name} enters: it is no GPU whose peaks and bandwidth are known"
    if error is not None:
        took, steps = significant(1 / error.factor), f"{error.pairs} published steps ({traffic.mode})"
        yield f"the roofline's time {took}-fold, as is the median of {steps}"


def _assumptions(traffic: Traffic, board: Board) -> Iterator[str]:
    floor, bandwidth = published_shares.launch_seconds(), published_shares.of_memory()
    fused = "a chain of element-wise operations is one kernel" if traffic.fused else "each operation reads and writes memory"
    for dtype in sorted({one.dtype or "fp32" for one in traffic.operations if one.ops}):
        share = published_shares.of_products(dtype, board.name)
        whose = f"{share.figures} of {board.name}" if share.own else f"{share.figures} of other boards"
        yield f"products, convolutions and attention reach {percent(share.value)} of the {dtype} peak: median of {whose}"
    yield f"memory gives {percent(bandwidth.value)} of the datasheet's bandwidth: median of {bandwidth.figures}; {fused}"
    yield f"a kernel takes {seconds(floor.value)} at least; reading data and waiting for the host are not counted"
    if traffic.found_on not in ("meta", "cpu"):
        yield f"the step was recorded on {traffic.found_on}"
