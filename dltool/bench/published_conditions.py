"""Under which conditions a model was run, by its publisher and here: what is alike, what differs, in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from dltool.bench.published_models import Counterpart, batch_of
from dltool.reference import Figure
from dltool.results import Measurement

T = TypeVar("T")
_NOT = ("", "no", "none", "off", "false", "eager", "0")
"""What `compile` says where nothing is compiled."""


class Way(Struct, frozen=True, kw_only=True):
    """How a step is made; None: not told."""

    dtype: str
    mixed: bool
    batch: int | None = None
    compiled: bool | None = None
    channels_last: bool | None = None
    optimizer: str | None = None
    software: str | None = None


def way_of(figure: Figure, model: Counterpart) -> Way:
    """As far as the publisher tells; a comparison of layouts or of compilers (timm's) tells by leaving a word out too."""
    words = figure.conditions
    tells = any(word in words for word in ("torch.compile", "eager"))
    return Way(
        dtype=figure.dtypes[0],
        mixed="mixed precision" in words,
        batch=batch_of(figure),
        compiled="torch.compile" in words if tells else None,
        channels_last="channels_last" in words if "channels_last" in words or "NCHW" in words else None,
        optimizer=model.optimizer or None if figure.workload == "train" else None,
        software=figure.software or None,
    )


def way_here(measurement: Measurement) -> Way:
    """Of a measurement, by its parameters and settings."""
    given, precision = measurement.params, precision_here(measurement)
    batch, optimizer = given.get("batch"), given.get("optimizer")
    return Way(
        dtype=precision.removeprefix("amp-"),
        mixed=precision.startswith("amp-"),
        batch=batch if isinstance(batch, int) else None,
        compiled=str(given.get("compile", "") or "").lower() not in _NOT or given.get("backend") == "inductor",
        channels_last=str(given.get("layout", "") or "").replace("-", "_") == "channels_last",
        optimizer=str(optimizer) if optimizer and given.get("mode") == "train" else None,
        software=f"torch {measurement.settings['torch']}" if measurement.settings.get("torch") else None,
    )


def precision_here(measurement: Measurement) -> str:
    """ "amp-fp16", "tf32"."""
    return str(measurement.params.get("precision") or measurement.dtype)


def nearest(found: Sequence[T], ways: Callable[[T], Way], here: Way) -> list[T]:
    """Those whose conditions are the nearest: condition after condition, those that agree, where any do."""
    kept = list(found)
    for condition in ("mixed", "compiled", "channels_last"):
        kept = [one for one in kept if getattr(ways(one), condition) == getattr(here, condition)] or kept
    gaps = {id(one): _gap(ways(one).batch, here.batch) for one in kept}
    least = min((gap for gap in gaps.values() if gap is not None), default=None)
    return [one for one in kept if gaps[id(one)] in (None, least)]


def _gap(there: int | None, here: int | None) -> float | None:
    return abs(math.log(there / here)) if there and here else None


def differing(ways: Sequence[Way], here: Way) -> tuple[str, ...]:
    """What differs from all figures that are left, or is not told of any, in words."""
    return tuple(filter(None, (
        _dtype(ways, here),
        _batch([way.batch for way in ways], here.batch),
        _either([way.compiled for way in ways], here.compiled, "compiled", "eager"),
        _either([way.channels_last for way in ways], here.channels_last, "channels_last", "NCHW"),
        _named("optimizer", [way.optimizer for way in ways], here.optimizer),
        _named("software", [way.software for way in ways], here.software),
    )))  # fmt: skip


def _dtype(ways: Sequence[Way], here: Way) -> str:
    there = _precision(ways[0])
    return "" if any(_precision(way) == _precision(here) for way in ways) else f"{there} there, {_precision(here)} here"


def _precision(way: Way) -> str:
    return f"{way.dtype} mixed with fp32" if way.mixed else f"{way.dtype} throughout"


def _batch(there: Sequence[int | None], here: int | None) -> str:
    told = sorted({batch for batch in there if batch is not None})
    if here is None or here in told:
        return ""
    if not told:
        return f"batch not told there, {here} here"
    span = f"{told[0]}" if len(told) == 1 else f"{told[0]} to {told[-1]}"
    return f"batch {span} there, {here} here"


def _either(there: Sequence[bool | None], here: bool | None, yes: str, no: str) -> str:
    if here is None or here in there:
        return ""
    mine = yes if here else no
    if all(one is None for one in there):
        return f"{mine} here, not told there" if here else ""
    return f"{no if here else yes} there, {mine} here"


def _named(what: str, there: Sequence[str | None], here: str | None) -> str:
    told = sorted({one for one in there if one})
    if here is None or here in told:
        return ""
    return f"{what} {' or '.join(told) or 'not told'} there, {here} here"
