"""What became of the peak: fills the shares, losses, words and the published range of a measurement. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from dltool.bench.cpu_losses import cpu_losses
from dltool.bench.devices import Device
from dltool.bench.losses import gpu_losses
from dltool.bench.normal import normal
from dltool.bench.shares import TERA, ceilings
from dltool.results import Loss, Measurement
from dltool.units import percent, significant

_SAID = 0.01
"""Factors closer to 1 than this are kept among the losses, and left out of the sentence."""

_GOOD = 0.9


def explain(measurement: Measurement, device: Device) -> Measurement:
    """The measurement with what its rate means; one that was not run, or whose result was wrong, has no share to explain."""
    if measurement.verified is not None and not measurement.verified.ok:
        return replace(measurement, explained="wrong result: its rate means nothing")
    if measurement.rate is None:
        return measurement
    published = normal(measurement, device.board)
    peaks = ceilings(measurement, device)
    if peaks is None:
        return replace(measurement, explained=_without_peak(measurement, device), normal=published)
    found = (cpu_losses if device.kind == "cpu" and peaks.datasheet is None else gpu_losses)(measurement, device, peaks)
    return replace(
        measurement,
        shares=peaks.shares(measurement.rate),
        losses=found,
        explained=sentence(found, sampled=peaks.held_mhz is not None or measurement.rate_unit == "B/s"),
        normal=published,
    )


def total(losses: Sequence[Loss]) -> float:
    """The product of the factors: the share of the peak that they begin at."""
    product = 1.0
    for loss in losses:
        product *= loss.factor
    return product


def sentence(losses: Sequence[Loss], *, sampled: bool = True) -> str:
    """ "73 %: power cap held 1410 of 1980 MHz; at that clock the kernel reaches 97 %"."""
    if not losses:
        return ""
    *before, last = losses
    if not before and last.text.startswith(percent(last.factor)):
        return last.text  # a bandwidth
    boosted = any(loss.cause == "boost" and abs(1 - loss.factor) >= _SAID for loss in before)
    # The clock that was held is told together with both others, which says what a boost would.
    said = [
        loss
        for place, loss in enumerate(before)
        if loss.cause != "boost" and (abs(1 - loss.factor) >= _SAID or (boosted and before[place - 1].cause == "boost"))
    ]
    if sampled and not said and last.cause == "kernel" and last.factor < _GOOD and last.text.endswith("%"):
        return f"{percent(total(losses))}: nothing was seen to hold it back but the kernel itself"
    texts = [loss.text for loss in said] + [_last(last, said)]
    unknown = "" if sampled else " (the clock was not sampled: what power and heat took is not known)"
    return f"{percent(total(losses))}: {'; '.join(texts)}{unknown}"


def _last(last: Loss, said: Sequence[Loss]) -> str:
    """Without a clock before it, there is no "that clock"."""
    return last.text if said else last.text.removeprefix("at that clock ").removeprefix("of what that leaves ")


def _without_peak(measurement: Measurement, device: Device) -> str:
    """Why there is no share, and what the rate is of the device's fp32 peak, which shows a fallback for what it is."""
    how = measurement.implementation or ""
    if how.startswith("unknown"):
        return f"no peak is known; {how}"
    fp32 = device.board.peaks.get("fp32")
    if not how.startswith("emulated") or fp32 is None or not fp32.dense or measurement.rate_unit == "B/s":
        return ""
    assert measurement.rate is not None
    why = how.removeprefix("emulated: ")
    times = measurement.rate / (fp32.dense * TERA)
    reaches = f"is {significant(1 / times, 2)} times below" if times < 1 else f"reaches {significant(times, 2)} times"
    return f"no peak, emulated: {why}; the library's fallback {reaches} the fp32 peak"
