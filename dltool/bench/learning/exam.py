"""What a child process does: the courses in fp32 on the CPU that others are held against, or one course and its verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dltool.bench.devices import Device
from dltool.bench.learning import band, metrics
from dltool.bench.learning.lessons import Lesson, lesson
from dltool.bench.learning.training import Course, train
from dltool.bench.learning.trials import Trial
from dltool.bench.learning.ways import WAYS, Way
from dltool.errors import CannotRun
from dltool.learning_results import Learning

REFERENCE_SEEDS = (0, 1, 2)
LEARNS, DIFFERS, MISSES = "learns", "does not learn as fp32 does", "misses its target"
_LARGEST_TOLERANCE = 0.4
"""Of a gradient: one that is zero, or half as large again, is off by more in any format."""


@dataclass(frozen=True)
class Reference:
    """Courses in fp32 on the CPU, one per seed."""

    courses: tuple[Course, ...]

    @property
    def start(self) -> float:
        """The loss before anything was learnt."""
        return self.courses[0].losses[0]


def refer(trial: Trial, folder: Path | None, limit_s: float) -> Reference:
    """Train in fp32 on the CPU from each seed.

    Raises:
        CannotRun: a package is missing, or the time is too short.
    """
    data = _ready(trial, folder)
    end = time.monotonic() + limit_s
    courses = tuple(train(trial, data, WAYS["fp32"], "cpu", seed, deadline=end) for seed in REFERENCE_SEEDS)
    _finished(trial, courses, limit_s, "fp32 on the CPU, three seeds")
    return Reference(courses)


def examine(trial: Trial, folder: Path | None, way: Way, device: Device, reference: Reference, limit_s: float) -> Learning:
    """Train in one way, from the first seed of the reference, and judge it; the reference itself where that is the way.

    Raises:
        CannotRun: the device lacks the format, a package is missing, or the time is too short.
    """
    way.check(device)
    if way.name == "fp32" and device.kind == "cpu":
        return judged(trial, way, reference.courses[0], reference, itself=True)
    data = _ready(trial, folder)
    end = time.monotonic() + limit_s
    course = train(trial, data, way, device.name, REFERENCE_SEEDS[0], deadline=end)
    _finished(trial, [course], limit_s, f"{way.name} on {device.name}")
    return judged(trial, way, course, reference)


def _ready(trial: Trial, folder: Path | None) -> Lesson:
    """The data, with the metrics imported: neither is training."""
    metrics.functional()
    return lesson(trial, folder)


def judged(trial: Trial, way: Way, course: Course, reference: Reference, *, itself: bool = False) -> Learning:
    """A course with its verdict."""
    curves = [band.smoothed(one.losses) for one in reference.courses]
    curve, center = band.smoothed(course.losses), curves[0]
    allowed = band.widths(curves, trial.floor * reference.start)
    tolerance = gradient_tolerance(trial, way)
    worst = max(course.off, key=lambda name: _nan_last(course.off[name]), default="")
    error = course.off.get(worst, 0.0)
    differs = [] if itself else [*_curve(course, curve, center, allowed), *_gradient(worst, error, tolerance)]
    value = course.metrics[trial.metric]
    missed = _target(trial, value)
    first = next((score for score in course.scores if trial.target and _reached(trial, score[2])), None)
    return Learning(
        model=f"{trial.model}({', '.join(f'{key}={text}' for key, text in trial.options.items())})",
        data=trial.data,
        metric=trial.metric,
        target=trial.target,
        value=band.finite(value),
        reached_s=first[1] if first else None,
        reached_epoch=course.scores.index(first) + 1 if first else None,
        epochs=course.epochs,
        steps=len(course.losses),
        train_s=course.seconds,
        scores=tuple(band.finite(score[2]) for score in course.scores),
        metrics={name: band.finite(found) for name, found in course.metrics.items()},
        loss=tuple(map(band.finite, curve)),
        reference=tuple(map(band.finite, center)),
        band=allowed,
        rule=f"{band.SPREADS:g} standard deviations between {len(curves)} seeds of fp32 on the CPU, "
        f"at least {trial.floor:g} of the loss at the start",
        seed=course.seed,
        seeds=len(curves),
        gradient_error=None if itself else band.finite(error),
        gradient_of="" if itself else worst,
        gradient_tolerance=None if itself else tolerance,
        steps_left_out=course.left_out,
        ok=not differs and not missed,
        verdict=DIFFERS if differs else MISSES if missed else LEARNS,
        reasons=(*differs, *missed),
    )


def gradient_tolerance(trial: Trial, way: Way) -> float:
    """How far a gradient may be off in this way."""
    return min(_LARGEST_TOLERANCE, max(band.LEAST_GRADIENT, trial.gradients * way.epsilon))


def _curve(course: Course, curve: Sequence[float], center: Sequence[float], allowed: Sequence[float]) -> list[str]:
    bad = band.first_bad(course.losses)
    if bad is not None:
        return [f"the loss of step {bad} is no number"]
    place = band.strays(curve, center, allowed)
    if place is None:
        return []
    step = round(len(course.losses) * (place + 0.5) / len(curve))
    return [f"loss {curve[place]:.3g} about step {step}, where fp32 has {center[place]:.3g} ± {allowed[place]:.2g}"]


def _gradient(name: str, error: float, tolerance: float) -> list[str]:
    if error <= tolerance:
        return []
    how_far = "no number" if error != error or error == float("inf") else f"{error:.2g} off that of fp32 (of its norm)"
    return [f"the gradient of {name} is {how_far}, {tolerance:.2g} is allowed"]


def _target(trial: Trial, value: float) -> list[str]:
    if trial.target is None or _reached(trial, value):
        return []
    return [f"{trial.metric} {value:.3g} at the end, {trial.target:g} is the target"]


def _reached(trial: Trial, value: float) -> bool:
    return trial.target is not None and metrics.reached(trial.metric, value, trial.target)


def _finished(trial: Trial, courses: Sequence[Course], limit_s: float, what: str) -> None:
    done = sum(course.epochs for course in courses)
    wanted = trial.epochs * len(courses)
    if done < wanted:
        more = "a larger --budget lets it finish"
        raise CannotRun(f"{what}: {done} of {wanted} epochs in {limit_s:.0f} s; {more}", remedy=more)


def _nan_last(value: float) -> float:
    return float("inf") if value != value else value
