"""The samples of a part of the pipeline as the figures of a step."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from dltool.bench.percentiles import percentile
from dltool.step_results import Latency, ModelStep, Part

_PERCENTS = (50.0, 90.0, 99.0)


def step_of(
    seconds: Sequence[float],
    images: int,
    batch: int,
    *,
    started_s: float | None = None,
    waited_s: float | None = None,
    notes: tuple[str, ...] = (),
) -> ModelStep:
    """What samples of a step tell.

    Args:
        seconds: the samples.
        images: of a step.
        batch: of the loader.
        started_s: until the first batch came.
        waited_s: of a step, for data.
        notes: what else was found out.
    """
    return ModelStep(
        unit="image",
        units=images,
        samples=batch,
        throughput=images / statistics.median(seconds) if seconds else None,
        latencies=_latencies(seconds),
        parts=() if waited_s is None else (Part(name="data", seconds=waited_s),),
        first_step_s=started_s,
        notes=notes,
    )


def _latencies(seconds: Sequence[float]) -> tuple[Latency, ...]:
    """As many percentiles as the samples bear."""
    found = [(percent, percentile(seconds, percent)) for percent in _PERCENTS]
    return tuple(
        Latency(percent=percent, seconds=told.value, low_s=told.low, high_s=told.high) for percent, told in found if told
    )
