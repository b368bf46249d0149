"""What every format says alike of trainings."""

from __future__ import annotations

from collections.abc import Sequence

from dltool.learning_results import Learning
from dltool.results import Measurement, Report
from dltool.units import seconds, significant

_BARS = "▁▂▃▄▅▆▇█"
HEAD = ("trial", "dtype", "metric", "reached", "target", "time to target", "loss", "verdict")


def rows(report: Report) -> list[Measurement]:
    """Trainings, those too that could not be made."""
    return [case for case in report.measurements if case.workload == "learn"]


def others(report: Report) -> list[Measurement]:
    """All other measurements."""
    return [case for case in report.measurements if case.workload != "learn"]


def row(case: Measurement) -> tuple[str, ...]:
    """A line of the table."""
    found = case.learning
    name = str(case.params.get("trial", ""))
    if found is None:
        return (name, case.dtype, "", "", "", "", "", "not run")
    return (
        name,
        case.dtype,
        found.metric.replace("_", " "),
        "no number" if found.value is None else f"{found.value:.3f}",
        "" if found.target is None else f"{found.target:g}",
        _reached(found),
        curve(found.loss),
        found.verdict,
    )


def curve(losses: Sequence[float | None]) -> str:
    """A loss as a line of bars from 0 to its greatest; x: no number."""
    most = max((loss for loss in losses if loss is not None), default=0.0)
    if most <= 0:
        return "x" * len(losses)
    return "".join("x" if loss is None else _BARS[min(7, max(0, int(8 * loss / most)))] for loss in losses)


def reasons(case: Measurement) -> list[str]:
    """Why a training is not as it should be, or was not made; what else is to be known of it."""
    if case.not_run:
        return [f"not run: {case.not_run}"]
    found = case.learning
    if found is None:
        return []
    left = [f"{found.steps_left_out} of {found.steps} steps left out, as their scaled gradients overflowed"]
    return [*found.reasons, *(left if found.steps_left_out else []), *case.warnings]


def facts(found: Learning) -> list[str]:
    """What it was and how it went, for those who ask for more."""
    told = [
        f"{name.replace('_', ' ')} {'no number' if value is None else significant(value)}"
        for name, value in found.metrics.items()
    ]
    lines = [
        f"{found.model} on {found.data}, {found.epochs} epochs, {found.steps} steps in {seconds(found.train_s)}, "
        f"seed {found.seed}",
        ", ".join(told),
        f"loss band: {found.rule}",
    ]
    if found.gradient_tolerance is not None:
        error = "no number" if found.gradient_error is None else f"{found.gradient_error:.2g}"
        lines.append(f"worst gradient ({found.gradient_of}) {error} off fp32's, {found.gradient_tolerance:.2g} allowed")
    return lines


def determinism(case: Measurement) -> str:
    """The switches that a course rests on, in one line."""
    wanted = ("torch", "cuda", "cudnn", "threads", "deterministic_algorithms", "cudnn_deterministic", "cudnn_benchmark")
    told = (f"{key.replace('_', ' ')} {case.settings[key]}" for key in wanted if case.settings.get(key) is not None)
    return ", ".join(told)


def _reached(found: Learning) -> str:
    if found.target is None:
        return ""
    if found.reached_s is None:
        return "never"
    return f"{seconds(found.reached_s)}, epoch {found.reached_epoch}"
