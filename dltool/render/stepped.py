"""What the formats for people say of a step of a model: its figures as text."""

from __future__ import annotations

from dltool.results import Measurement
from dltool.step_results import ModelStep, StepMemory
from dltool.units import gib, percent, seconds, significant

_EXACT = 1e-4
"""Relative errors below this are those of sums in another order."""


def throughput(case: Measurement) -> str:
    """ "2312 images/s", or why there is none."""
    step = case.model
    if step is None or not step.throughput:
        return ""
    return f"{_grouped(step.throughput)} {step.unit}s/s"


def _grouped(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else significant(value)


def latency(case: Measurement, percent_: float) -> str:
    """A percentile of the seconds of a step; empty where the samples do not bear it."""
    found = [one for one in (case.model.latencies if case.model else ()) if one.percent == percent_]
    return seconds(found[0].seconds) if found else ""


def mamfu(case: Measurement) -> str:
    """Of the best product of the same run."""
    return percent(case.model.mamfu) if case.model is not None and case.model.mamfu is not None else ""


def memory(case: Measurement) -> str:
    """The most that was held."""
    held = _peak(case.model.memory) if case.model is not None else None
    return gib(held) if held else ""


def _peak(held: StepMemory | None) -> int | None:
    return None if held is None else held.allocated or held.process


def details(case: Measurement) -> list[str]:
    """Where the time goes, what the percentiles are worth, how the utilisation follows, and what was held."""
    step = case.model
    if step is None or not step.throughput:
        return []
    return [line for line in (_parts(step), _latencies(step), _memory(step), step.formula, _start(step), _energy(step)) if line]


def always(case: Measurement) -> list[str]:
    """What belongs to the figure whether or not somebody asked for details."""
    step = case.model
    if step is None:
        return []
    told = [_parts(step)] if len(step.parts) > 1 else []
    if step.launch_share is not None and step.launch_share > 0.05:
        told.append(f"the GPU waited for launches {percent(step.launch_share)} of the time")
    return [*filter(None, [*told, _accuracy(step)]), *(note for note in step.notes if note not in case.explained)]


def _accuracy(step: ModelStep) -> str:
    """ "outputs 1.7 % off eager fp32, the same best class for 98 % of the samples"; nothing where fp32 is what ran."""
    found = step.accuracy
    if found is None or found.relative_error < _EXACT:
        return ""
    same = "" if found.agreeing is None else f", the same best class for {percent(found.agreeing)} of the samples"
    return f"outputs {percent(found.relative_error)} off {found.against}{same}"


def _parts(step: ModelStep) -> str:
    """ "forward 31 %, loss 1 %, backward 60 %, optimizer 8 %; data 0.4 ms besides"."""
    inside = [part for part in step.parts if part.inside]
    total = sum(part.seconds for part in inside)
    told = ", ".join(f"{part.name} {percent(part.seconds / total)}" for part in inside) if total else ""
    besides = ", ".join(f"{part.name} {seconds(part.seconds)}" for part in step.parts if not part.inside)
    return "; ".join(filter(None, [told, f"{besides} besides" if besides else ""]))


def _latencies(step: ModelStep) -> str:
    told = [
        f"p{one.percent:g} {seconds(one.seconds)} ({seconds(one.low_s)} to {seconds(one.high_s)})" for one in step.latencies
    ]
    return f"latency of single steps: {', '.join(told)}, each with its 95 % interval" if told else ""


def _memory(step: ModelStep) -> str:
    held = step.memory
    if held is None:
        return ""
    named = (("tensors", held.allocated), ("reserved", held.reserved), ("process", held.process), ("foreseen", held.foreseen))
    told = [f"{name} {gib(size)}" for name, size in named if size]
    return f"memory at most: {', '.join(told)}" if told else ""


def _start(step: ModelStep) -> str:
    named = (("made in", step.build_s), ("first step", step.first_step_s))
    return ", ".join(f"{name} {seconds(taken)}" for name, taken in named if taken)


def _energy(step: ModelStep) -> str:
    if not step.joules_per_unit:
        return ""
    each = significant(step.joules_per_unit)
    return f"{each} J for each {step.unit}, {significant(1 / step.joules_per_unit)} {step.unit}s for each joule"
