"""What follows from the times of a step: throughput, percentiles, utilisation. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dltool.bench.percentiles import percentile
from dltool.model_results import Flops
from dltool.step_results import Latency
from dltool.units import percent, rate, seconds

_PERCENTS = (50.0, 90.0, 99.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilisation:
    """Operations per second of a step over the peak; see `ModelStep`."""

    mfu: float | None = None
    hfu: float | None = None
    formula: str = ""


def latencies(samples: Sequence[float]) -> tuple[Latency, ...]:
    """The percentiles that so many samples bear: a p99 needs 368, a p90 36, a median 6."""
    found = [(asked, percentile(samples, asked)) for asked in _PERCENTS]
    return tuple(
        Latency(percent=asked, seconds=one.value, low_s=one.low, high_s=one.high) for asked, one in found if one is not None
    )


def utilisation(flops: Flops, step_s: float, peak: tuple[float, str] | None) -> Utilisation:
    """Model and hardware FLOPs utilisation of a step that takes so long.

    The operations are those of products and convolutions, a multiply-add as two, causal attention as the full square; HFU adds
    what is computed again in the backward pass. Source: Chowdhery et al. 2022 PaLM, appendix B, for the two names.
    """
    if peak is None or not flops.ops:
        return Utilisation(formula="" if flops.ops else "no operations were counted")
    most, basis = peak
    mfu = flops.ops / step_s / most
    hfu = (flops.ops + flops.ops_again) / step_s / most
    work = rate(flops.ops, "FLOP").strip()
    text = f"MFU {percent(mfu)} = {work} a step / {seconds(step_s)} / {rate(most, 'FLOP/s')} ({basis})"
    if flops.ops_causal_halved != flops.ops:
        half = flops.ops_causal_halved / step_s / most
        text += f"; {percent(half)} with the half of attention that the mask leaves"
    if flops.ops_again:
        text += f"; HFU {percent(hfu)} counts what the backward computes again"
    return Utilisation(mfu=mfu, hfu=hfu, formula=text)
