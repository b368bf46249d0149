"""Predictions as rows of text, for every format that shows them: always marked as such, with how far known ones were off."""

from __future__ import annotations

from collections.abc import Sequence

from dltool.model_results import KnownError, Prediction
from dltool.units import percent, seconds, significant


def head(found: Sequence[Prediction]) -> tuple[str, str, str, str, str]:
    """The columns of `row`."""
    return "predicted, not measured", "a step", f"{found[0].unit}s/s", "between", "waits for"


def row(one: Prediction) -> tuple[str, str, str, str, str]:
    """Board and mode, seconds of a step, rate, the range that known errors span, and what the step waits for most."""
    between = f"{_number(one.low)} to {_number(one.high)}" if one.low and one.high else ""
    most = max(one.bound_by, key=lambda name: one.bound_by[name], default="")
    waits = f"{most}, {percent(one.bound_by[most])}" if most else ""
    return f"{one.board}, {one.mode}", seconds(one.seconds), _number(one.throughput), between, waits


def marks(found: Sequence[Prediction]) -> list[str]:
    """What must be said with the rows, each once: by what, from what, and how far known ones were off."""
    how = [f"a prediction by the roofline; {one.precision}, batch {one.batch}" for one in found]
    return list(dict.fromkeys([*how, *(f"{one.mode}: {_off(one)}" for one in found)]))


def _off(one: Prediction) -> str:
    told = within(one.error) if one.error is not None else "nothing known was predicted this way"
    return f"{told}, from {f'the step on {one.measured_on}' if one.measured_on else 'peaks and bandwidth alone'}"


def within(known: KnownError) -> str:
    """ "±42 % (9 of 10 of 318 published)"; half the rate and twice the rate are both 100 % off."""
    return f"±{percent(known.p90)} (9 of 10 of {known.pairs} published)"


def assumptions(found: Sequence[Prediction]) -> list[str]:
    """What all of them rest on, each once."""
    return list(dict.fromkeys(text for one in found for text in one.assumptions))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 1000 else significant(value)
