#!/usr/bin/env python3
"""False alarms of `dltool bench learn` on a sound processor, and the figures that catalog/learning.csv rests on.

python benchmarks/learning.py [SEEDS [TRIAL ...]]

Each trial is trained in fp32, amp-bf16 and bf16 from every seed. Every course is judged against the fp32 courses of its own
seed and the two after it; a verdict other than "learns" is a false alarm.
"""

from __future__ import annotations

import sys

from dltool.bench.learning import band, exam, metrics
from dltool.bench.learning.lessons import lesson
from dltool.bench.learning.training import Course, train
from dltool.bench.learning.trials import Trial, trials
from dltool.bench.learning.ways import WAYS

DTYPES = ("amp-bf16", "bf16")
LIMIT = 0
"""False alarms at most."""


def measure(trial: Trial, seeds: int) -> int:
    """The false alarms of a trial; prints what was seen."""
    data = lesson(trial)
    plain = [train(trial, data, WAYS["fp32"], "cpu", seed) for seed in range(seeds)]
    values = [course.metrics[trial.metric] for course in plain]
    missed = sum(not metrics.reached(trial.metric, value, trial.target or 0) for value in values)
    print(f"{trial.name}: fp32 {trial.metric} {min(values):.3f} to {max(values):.3f}, target {trial.target}, missed {missed}")
    alarms = 0
    for dtype in DTYPES:
        courses = [train(trial, data, WAYS[dtype], "cpu", seed) for seed in range(seeds)]
        alarms += _judge(trial, dtype, courses, plain)
    return alarms + missed


def _judge(trial: Trial, dtype: str, courses: list[Course], plain: list[Course]) -> int:
    alarms, stray, worst, values = 0, 0.0, 0.0, []
    for seed, course in enumerate(courses):
        reference = exam.Reference(tuple(plain[(seed + ahead) % len(plain)] for ahead in range(3)))
        found = exam.judged(trial, WAYS[dtype], course, reference)
        alarms += not found.ok
        worst = max(worst, *course.off.values())
        pairs = zip(band.smoothed(course.losses), band.smoothed(plain[seed].losses), strict=True)
        stray = max(stray, *(abs(here - there) / reference.start for here, there in pairs))
        values.append(course.metrics[trial.metric])
        for reason in found.reasons:
            print(f"    seed {seed}: {reason}")
    print(
        f"  {dtype}: {trial.metric} {min(values):.3f} to {max(values):.3f}, loss off by {stray:.4f} of its start, "
        f"gradients by {worst:.3g} ({worst / WAYS[dtype].epsilon:.1f} epsilon), {alarms} of {len(courses)} false alarms",
        flush=True,
    )
    return alarms


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    chosen = [trial for trial in trials() if not trial.folder and trial.name in (sys.argv[2:] or [trial.name])]
    alarms = sum(measure(trial, seeds) for trial in chosen)
    print(f"{alarms} false alarms, at most {LIMIT}")
    sys.exit(alarms > LIMIT)


if __name__ == "__main__":
    main()
