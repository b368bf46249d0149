"""Throughput over the batch: which batches to measure, where the curve bends, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dltool.bench.networks.batches import MEMORY, TIME
from dltool.step_results import BatchCurve, BatchPoint
from dltool.units import percent, significant

NEAR = 0.95
"""Of the best throughput: a batch that reaches this is as good as the best, in practice."""


def sweep_batches(largest: int, *, smallest: int = 1) -> tuple[int, ...]:
    """The batches to measure: doubling from the smallest, and the largest itself.

    >>> sweep_batches(100)
    (1, 2, 4, 8, 16, 32, 64, 100)
    """
    found = []
    batch = max(1, smallest)
    while batch < largest:
        found.append(batch)
        batch *= 2
    return (*found, largest) if largest >= max(1, smallest) else ()


def curve(
    points: Sequence[BatchPoint], *, unit: str = "sample", limited_by: str = "", device: str = "cuda", training: bool = True
) -> BatchCurve:
    """Where throughput stops to grow with the batch.

    The best is the batch whose confidence interval has the highest lower end: a single lucky sample wins nothing. The knee is
    the smallest batch whose median reaches 95 % of that lower end.

    Args:
        points: one or more, in any order, of different batches.
        unit: "image", "token" ...: of what the rates count.
        limited_by: why there is no larger batch: see `BatchSearch`; empty where a larger one was not asked for.
        device: "cpu" or "cuda".
        training: whether the steps train.

    Raises:
        ValueError: no point.
    """
    if not points:
        raise ValueError("a curve needs a point")
    ordered = tuple(sorted(points, key=lambda point: point.batch))
    best = max(ordered, key=lambda point: (_low(point), -point.batch))
    knee = next(point for point in ordered if point.rate >= NEAR * _low(best))
    shape = _shape(ordered, best, knee)
    return BatchCurve(
        unit=unit,
        points=ordered,
        best=best.batch,
        knee=knee.batch,
        shape=shape,
        limited_by=limited_by,
        advice=_advice(shape, ordered, best, knee, _Words(unit, limited_by, device, training)),
    )


def _low(point: BatchPoint) -> float:
    return point.rate if point.low is None else point.low


def _high(point: BatchPoint) -> float:
    return point.rate if point.high is None else point.high


def _shape(points: Sequence[BatchPoint], best: BatchPoint, knee: BatchPoint) -> str:
    last = points[-1]
    if len(points) == 1:
        return "point"
    if _high(last) < NEAR * _low(best):
        return "falling"
    if knee is last:
        return "climbing"
    return "flat" if knee is points[0] else "saturated"


class _Words:
    """The parts of an advice that depend on what was run."""

    def __init__(self, unit: str, limited_by: str, device: str, training: bool) -> None:
        self.unit, self.limited_by, self.device, self.training = unit, limited_by, device, training

    def limit(self) -> str:
        """What to do about a curve that would go on."""
        if self.limited_by == MEMORY:
            ways = "AMP, bf16 or activation checkpointing" if self.training else "bf16 or fp16"
            return f"the largest that fits. Memory is the limit: {ways} would let the batch grow."
        if self.limited_by == TIME:
            return "and a step of a larger one takes too long to try."
        return "the largest that was measured: try larger ones."

    def fall(self) -> str:
        """Why throughput falls, as far as one can know."""
        if self.device == "cpu":
            return "Its tensors no longer stay in the caches, most likely."
        return "Other kernels are chosen there, or memory is short: profile one step of each."


def _advice(shape: str, points: Sequence[BatchPoint], best: BatchPoint, knee: BatchPoint, words: _Words) -> str:
    last = points[-1]
    if shape == "point":
        return f"Only batch {last.batch} was measured: more batches show where throughput stops to grow."
    if shape == "climbing":
        gained = f", {percent(last.rate / points[-2].rate - 1)} above batch {points[-2].batch}"
        return f"Throughput still climbs at batch {last.batch}{gained}, {words.limit()}"
    if shape == "flat":
        text = f"Batch {knee.batch} does as well as any: a larger one only adds to latency{_and_memory(knee, last)}."
        return text if words.training else f"{text} Take it for inference."
    kept = f"Batch {knee.batch} gives {_of_best(knee, best)}{_instead(knee, last)}"
    if shape == "falling":
        lost = percent(1 - last.rate / best.rate)
        return f"{kept}. Throughput falls beyond {best.batch}, by {lost} at {last.batch}. {words.fall()}"
    return f"{kept}; beyond {knee.batch} little is gained."


def _of_best(knee: BatchPoint, best: BatchPoint) -> str:
    """A knee within the noise of the best may be a little above it."""
    share = knee.rate / best.rate
    return "the best rate" if share >= 0.995 else f"{percent(share)} of the best rate"


def _instead(knee: BatchPoint, last: BatchPoint) -> str:
    """What the knee saves against the largest batch."""
    parts = []
    if knee.peak_bytes and last.peak_bytes and knee.peak_bytes < 0.95 * last.peak_bytes:
        parts.append(f"{percent(knee.peak_bytes / last.peak_bytes)} of the memory")
    if knee.latency_s and last.latency_s and knee.latency_s < 0.95 * last.latency_s:
        parts.append(f"{_times(knee.latency_s / last.latency_s)} the latency")
    return f" at {' and '.join(parts)} of batch {last.batch}" if parts else ""


def _and_memory(knee: BatchPoint, last: BatchPoint) -> str:
    more = knee.peak_bytes and last.peak_bytes and last.peak_bytes > 1.05 * knee.peak_bytes
    return " and memory" if more else ""


def _times(share: float) -> str:
    return "half" if 0.45 <= share <= 0.55 else significant(share, 2) + " times"
