"""Which of the finalists is the best: timed in turn, so that drift meets them alike, judged by these samples alone. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from dltool.bench import stats
from dltool.bench.search.space import Shape
from dltool.bench.search.strategy import State
from dltool.shape_results import Finalist, Trial

LEAST_ROUNDS = stats.FEW
"""Fewer samples of each have no 95 % confidence interval."""
_CHALLENGERS = 4
_MOST_ROUNDS = 60
"""More tell little: the interval narrows with the root of their number."""


def confirm(state: State, finalists: Sequence[Shape]) -> None:
    """One sample of each finalist after the other, round by round, each round beginning with another one.

    Takes what is left of the budget, and so many rounds in any case that there is a confidence interval. Finalists that were
    merely lucky before fall back here: where one that stayed outside now looks better than all of them, it takes the place of
    the last.
    """
    inside, outside = list(finalists), state.best(len(finalists) + _CHALLENGERS)[len(finalists) :]
    rounds = 0
    while inside and (rounds < LEAST_ROUNDS or (rounds < _MOST_ROUNDS and state.time_left("confirm"))):
        for place in range(len(inside)):
            if state.run(inside[(place + rounds) % len(inside)], "confirm", 1).error is not None:
                return
        rounds += 1
        if rounds % LEAST_ROUNDS == 0 and outside and _could_beat(state, outside[0], inside):
            inside = [*inside[:-1], outside.pop(0)]
            rounds = 0


def _could_beat(state: State, outsider: Shape, inside: list[Shape]) -> bool:
    """Whether there is time for it, and its samples are better than the confirmed ones of all finalists; sorts these."""
    confirmed = {Shape(found.m, found.n, found.k): found.rate for found in ranking(state.trials)}
    inside.sort(key=lambda shape: -confirmed[shape])
    # Each entry takes as long again as the rounds so far, so only the first half of the stage has room for one.
    return state.early("confirm") and state.rate(outsider) > confirmed[inside[0]]


def ranking(trials: Sequence[Trial]) -> tuple[Finalist, ...]:
    """The finalists by their confirmed medians, the fastest first; those that had to give up their place are not among them."""
    rounds = _rounds(trials)
    shapes = {shape for around in rounds[-2:] for shape in around}
    seconds = {shape: [around[shape] for around in rounds if shape in around] for shape in shapes}
    order = sorted(shapes, key=lambda shape: (-_rate(shape, seconds[shape]), shape))
    return tuple(_finalist(shape, order[0], rounds) for shape in order)


def _rounds(trials: Sequence[Trial]) -> list[dict[Shape, float]]:
    """The samples of the confirmation round by round: a shape that comes again begins the next."""
    rounds: list[dict[Shape, float]] = []
    for trial in trials:
        shape = Shape(trial.m, trial.n, trial.k)
        if trial.stage == "confirm" and trial.seconds:
            if not rounds or shape in rounds[-1]:
                rounds.append({})
            rounds[-1][shape] = trial.seconds[0]
    return rounds


def _rate(shape: Shape, seconds: Sequence[float]) -> float:
    return shape.ops / statistics.median(seconds)


def _finalist(shape: Shape, winner: Shape, rounds: Sequence[dict[Shape, float]]) -> Finalist:
    seconds = [around[shape] for around in rounds if shape in around]
    # Samples of one round are neighbours in time: their ratio is free of what drifts more slowly than a round.
    pairs = [
        shape.ops * around[winner] / (winner.ops * around[shape]) for around in rounds if shape in around and winner in around
    ]
    return Finalist(
        m=shape.m,
        n=shape.n,
        k=shape.k,
        rate=_rate(shape, seconds),
        median_s=statistics.median(seconds),
        ci95_s=stats.median_ci95(seconds),
        samples=len(seconds),
        behind=None if shape == winner or not pairs else statistics.median(pairs),
        behind_ci95=None if shape == winner else stats.median_ci95(pairs),
    )
