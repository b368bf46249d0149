"""Is this normal for a model? Its rate beside what others published of the same board, model, mode and dtype. Pure.

Publishers differ in batch, software, layout and more. Where some ran under the conditions of the measurement, theirs alone are
the range; what differs from all that are left is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from dltool import reference
from dltool.bench.published_conditions import Way, differing, nearest, precision_here, way_here, way_of
from dltool.bench.published_models import Counterpart, counterparts, options_of
from dltool.catalog import Board
from dltool.reference import Figure
from dltool.results import Measurement, Normal
from dltool.step_results import ModelStep
from dltool.units import percent, significant
from dltool.zoo.entries import entries

_TOLERANCE = 0.05
"""Beyond the range by no more than this is still normal, as for products."""
_HALVES = ("fp16", "bf16")


class Comparable(Struct, frozen=True):
    """A published figure of the same model."""

    model: Counterpart
    figure: Figure
    value: float
    """In the unit of the measurement per second."""

    @property
    def way(self) -> Way:
        """How it was run."""
        return way_of(self.figure, self.model)


def normal_model(measurement: Measurement, board: Board) -> Normal:
    """The published range of a model's throughput, in its unit per second, and the verdict; "unknown" where there is none."""
    step = measurement.model
    if step is None or step.throughput is None:
        return Normal(verdict="unknown", text="no throughput was measured")
    name, mode = str(measurement.params.get("model", "")), str(measurement.params.get("mode", ""))
    what = f"{board.name}, {name} {mode} in {precision_here(measurement)}"
    models = _models(measurement)
    found = [one for model in models if model.comparable for one in _of(model, board, measurement, step)]
    if not found:
        return Normal(verdict="unknown", text=f"no figure is published for {what}{_why(models)}")
    here = way_here(measurement)
    kept = nearest(found, lambda one: one.way, here)
    return _judged(step, kept, what, (*differing([one.way for one in kept], here), *_input(measurement, kept)))


def _why(models: Sequence[Counterpart]) -> str:
    """What publishers call by the same name and is another thing; nothing where something would be comparable."""
    if any(model.comparable for model in models):
        return ""
    return "".join(f"; {model.published}: {model.why}" for model in models)


def _models(measurement: Measurement) -> list[Counterpart]:
    """What publishers call this model; several where they publish it for sequences of several lengths."""
    name, options = _named(measurement)
    return [model for model in counterparts() if model.is_named(name, options)]


def _named(measurement: Measurement) -> tuple[str, Mapping[str, str]]:
    """Name and options: of parameters of these names, or written together: bert_base(head=pretraining)."""
    name, _, rest = str(measurement.params.get("model", "")).partition("(")
    given = str(measurement.params.get("options") or "") or rest.removesuffix(")")
    return name, options_of(given)


def _of(model: Counterpart, board: Board, measurement: Measurement, step: ModelStep) -> Iterator[Comparable]:
    """Figures of one such board, in the measurement's dtype; where there is none, fp16 for bf16 and the reverse."""
    dtype = precision_here(measurement).removeprefix("amp-")
    of_model = [
        figure
        for figure in reference.select(board=board.name)
        if figure.comparable and figure.metric == "rate" and figure.devices == 1 and model.is_of(figure)
        if model.mode_of(figure) == measurement.params.get("mode")
    ]
    same = [figure for figure in of_model if dtype in figure.dtypes]
    if not same and dtype in _HALVES:
        same = [figure for figure in of_model if set(_HALVES) & set(figure.dtypes)]
    for figure in same:
        factor = _factor(figure, model, measurement, step)
        if factor is not None:
            yield Comparable(model, figure, figure.value * factor)


def _factor(figure: Figure, model: Counterpart, measurement: Measurement, step: ModelStep) -> float | None:
    """Of the measurement's units in one of the figure's; None: cannot be compared, as for sequences of another length."""
    unit = figure.unit.removesuffix("/s").removesuffix("s")
    if unit != "sequence":
        return 1.0 if step.unit in (unit, "sample") else None
    here = step.units // step.samples if step.unit == "token" else _tokens(measurement)
    if model.tokens is None or here != model.tokens:
        return None
    return {"token": float(model.tokens), "sequence": 1.0, "sample": 1.0}.get(step.unit)


def _tokens(measurement: Measurement) -> int | None:
    match = re.match(r"int<\d+:N,(\d+)", _input_here(measurement))
    return int(match[1]) if match else None


def _input_here(measurement: Measurement) -> str:
    """As the measurement tells, else as the zoo's row does."""
    name, options = _named(measurement)
    rows = [row for row in entries() if row.name == name and row.options in (options, {})]
    return str(measurement.params.get("input") or max(rows, key=lambda row: len(row.options)).input if rows else "")


def _input(measurement: Measurement, found: Sequence[Comparable]) -> tuple[str, ...]:
    here, there = _input_here(measurement), {one.model.input for one in found if one.model.input}
    if not here or not there or here in there:
        return ()
    return (f"input {' or '.join(map(_sides, sorted(there)))} there, {_sides(here)} here",)


def _sides(description: str) -> str:
    """ "float:N,3,224,224" -> "3x224x224"."""
    return description.partition(":")[2].removeprefix("N,").replace(",", "x")


def _judged(step: ModelStep, found: Sequence[Comparable], what: str, differs: Sequence[str]) -> Normal:
    values = [one.value for one in found]
    low, high = min(values), max(values)
    verdict, judged = _verdict(step, low, high)
    span = _amount(low, step.unit) if low == high else f"{_amount(low)} to {_amount(high, step.unit)}"
    count = f"{len(found)} figures" if len(found) > 1 else "1 figure"
    other = f"; not alike: {'; '.join(differs)}" if differs else ""
    return Normal(
        verdict=verdict,
        text=f"{span} published for {what} ({count}); {judged}{other}",
        low=low,
        high=high,
        figures=len(found),
        sources=tuple(sorted({one.figure.source for one in found})),
    )


def _verdict(step: ModelStep, low: float, high: float) -> tuple[str, str]:
    """The word, and the sentence that gives the reason."""
    assert step.throughput is not None
    rate, mine = step.throughput, _amount(step.throughput, step.unit)
    if rate > high * (1 + _TOLERANCE):
        return "high", f"yours, {mine}, is {percent(rate / high - 1)} above the highest"
    if rate >= low * (1 - _TOLERANCE):
        return "normal", f"yours, {mine}, {'is one of them' if low <= rate <= high else 'is close to that'}"
    return "low", f"yours, {mine}, is {percent(1 - rate / low)} below the lowest"


def _amount(value: float, unit: str = "") -> str:
    """ "2470 images/s"."""
    number = f"{value:.0f}" if value >= 1000 else significant(value)
    return f"{number} {unit}s/s" if unit else number
