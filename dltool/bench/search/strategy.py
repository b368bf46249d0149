"""Which shape to time next, and for how long. Pure: the same samples and costs give the same search.

Calibrate with cubes from small to large, until a step takes as long as the budget bears; go over a coarse grid with short
trials; time the better third again and again, halving it each time; walk from the three best along m, n and k with shrinking
steps; time the best in turn (`confirmation`). What memory, the roofline or the budget rules out is never timed.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dltool.bench.search.space import Shape, Space
from dltool.shape_results import Trial

Trier = Callable[[Shape, str, int], Trial]
"""Times a shape in a stage with so many samples."""

_ENDS = {"calibrate": 0.08, "coarse": 0.42, "halve": 0.56, "refine": 0.75, "confirm": 1.0}
"""Share of the budget at which each stage ends; what one leaves is the next one's."""
_SAMPLES = {"calibrate": 2, "coarse": 3, "halve": 5, "refine": 4}
_STEP_SHARE = 0.01
"""A step may take this share of the budget, so that at least some twenty shapes can be timed and confirmed."""
_STARTS = 3
_FINALISTS = 3
_FIRST_STEP = 1.5
_LAST_STEP = 1.04
TOO_SLOW = "too slow for the budget"
_GIVE_UP = 5
"""So many failures in a row, and nothing that ran, are the device's or the dtype's."""


@dataclass(slots=True)
class State:
    """A search as far as it has come; whoever interrupts it finds all there is in here."""

    space: Space
    trier: Trier
    budget_s: float
    tell: Callable[[str, State], None] = lambda _stage, _state: None
    trials: list[Trial] = field(default_factory=list)
    samples: defaultdict[Shape, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[Shape, str] = field(default_factory=dict)
    pruned: Counter[str] = field(default_factory=Counter)
    candidates: int = 0
    spent_s: float = 0.0
    largest_cube: Shape | None = None
    """That was calibrated with."""
    quickest: dict[Shape, float] = field(default_factory=dict)
    ended: str = "budget"

    @property
    def step_limit_s(self) -> float:
        """The longest step that the budget bears."""
        return self.budget_s * _STEP_SHARE

    def time_left(self, stage: str) -> bool:
        """Whether the stage may go on."""
        return self.spent_s < _ENDS[stage] * self.budget_s

    def early(self, stage: str) -> bool:
        """Whether the first half of the stage's time is not over yet, counted from the end of the one before."""
        stages = list(_ENDS)
        before = _ENDS[stages[stages.index(stage) - 1]]
        return self.spent_s < (before + _ENDS[stage]) / 2 * self.budget_s

    def run(self, shape: Shape, stage: str, samples: int) -> Trial:
        """Time a shape and keep what came of it."""
        trial = self.trier(shape, stage, samples)
        self.trials.append(trial)
        self.spent_s += trial.cost_s
        if trial.error is not None:
            self.failed[shape] = trial.error
        if trial.seconds:
            self.samples[shape].extend(trial.seconds)
            self.quickest[shape] = min(self.quickest.get(shape, math.inf), *trial.seconds)
        self.tell(stage, self)
        return trial

    @property
    def large_rate(self) -> float:
        """The rate by which the time of a large shape is foreseen: the best of those at least as large as the largest cube.

        Quickest samples are taken for it, because other programs make a step slower and never quicker.
        """
        if self.largest_cube is None:
            return 0.0
        return max(shape.ops / least_s for shape, least_s in self.quickest.items() if shape.ops >= self.largest_cube.ops)

    def rate(self, shape: Shape) -> float:
        """Operations per second at the median of all samples; 0 where there are none."""
        seconds = self.samples.get(shape)
        return shape.ops / statistics.median(seconds) if seconds else 0.0

    def best(self, count: int, among: Iterable[Shape] | None = None) -> list[Shape]:
        """The fastest so far, the fastest first; of equals the one that was tried first."""
        known = [shape for shape in (self.samples if among is None else among) if self.samples.get(shape)]
        return sorted(known, key=lambda shape: -self.rate(shape))[:count]

    @property
    def tried(self) -> int:
        """Different shapes that were timed."""
        return sum(bool(seconds) for seconds in self.samples.values())

    @property
    def hopeless(self) -> bool:
        """Whether nothing runs here at all."""
        return not self.tried and len(self.failed) >= min(_GIVE_UP, max(1, self.candidates))


def search(state: State) -> list[Shape]:
    """Everything up to the confirmation.

    Returns:
        The finalists, the most promising first; empty where nothing could be run.
    """
    candidates = state.space.candidates()
    state.candidates = len(candidates)
    _calibrate(state)
    _coarse(state, candidates)
    _halve(state)
    _refine(state)
    return state.best(_FINALISTS)


def why_not(state: State, shape: Shape) -> str | None:
    """Why a shape is not worth its time: it does not fit, cannot be the best, or is too large for the budget."""
    if not state.space.fits(shape):
        return "memory"
    best = state.best(1)
    if best and state.space.bound(shape) < state.rate(best[0]):
        return "roofline"
    if state.large_rate and shape.ops / state.large_rate > state.step_limit_s:
        return TOO_SLOW
    return None


def _calibrate(state: State) -> None:
    """Cubes from the smallest up while the next one's step is foreseen to be short enough, the last again until it is warm.

    A dtype that the device emulates a thousand times slower than others is found out here, at a tiny size.
    """
    last: Shape | None = None
    for side in state.space.sides:
        cube = Shape(side, side, side)
        while last and why_not(state, cube) == TOO_SLOW and _again(state, last):
            pass  # other programs may have been in the way: that the cube is slow is believed when it stays so
        if state.hopeless or (last and (why_not(state, cube) or not state.time_left("calibrate"))):
            break
        if state.run(cube, "calibrate", _SAMPLES["calibrate"]).error is None:
            last = state.largest_cube = cube
    while last and _again(state, last):
        pass


def _again(state: State, cube: Shape) -> bool:
    """Time it once more; False when there is no time for that."""
    return state.time_left("calibrate") and state.run(cube, "calibrate", _SAMPLES["calibrate"]).cost_s > 0


def _coarse(state: State, candidates: Iterable[Shape]) -> None:
    """Short trials in an order of which every beginning covers the space."""
    for shape in candidates:
        if not state.time_left("coarse") or state.hopeless:
            return
        if shape in state.samples or shape in state.failed:
            continue
        reason = why_not(state, shape)
        if reason:
            state.pruned[reason] += 1
        else:
            state.run(shape, "coarse", _SAMPLES["coarse"])


def _halve(state: State) -> None:
    """Successive halving: more samples for the better third, then for the better half of these, down to the finalists."""
    count = max(_STARTS, min(48, state.tried // 3))
    while count > _STARTS:
        for shape in state.best(count):
            if not state.time_left("halve"):
                return
            state.run(shape, "halve", _SAMPLES["halve"])
        count //= 2


def _refine(state: State) -> None:
    """Walk from the best shapes in turn, a step of each at a time, so that none takes the budget of the others."""
    walks = [_Walk(start) for start in state.best(_STARTS)]
    met: set[Shape] = set()
    while walks and state.time_left("refine"):
        walks = [walk for walk in walks if walk.step > _LAST_STEP and walk.go(state, met)]
    if not walks and state.tried:
        state.ended = "settled"


@dataclass(slots=True)
class _Walk:
    """A pattern search: look at all neighbours, move to the best if it is better, else take smaller steps."""

    place: Shape
    step: float = _FIRST_STEP

    def go(self, state: State, met: set[Shape]) -> bool:
        """One look around; False once another walk has been at this place with this reach."""
        around = state.space.neighbours(self.place, self.step)
        for shape in around:
            if not state.time_left("refine"):
                return True
            if shape not in state.samples and shape not in state.failed and not why_not(state, shape):
                state.run(shape, "refine", _SAMPLES["refine"])
        found = state.best(1, around)
        if found and state.rate(found[0]) > state.rate(self.place):
            self._take_a_second_look(state, found[0])
        if found and state.rate(found[0]) > state.rate(self.place):
            self.place = found[0]
            if self.place in met:
                return False
            met.add(self.place)
        else:
            self.step = math.sqrt(self.step)
        return True

    def _take_a_second_look(self, state: State, shape: Shape) -> None:
        """The best of many short trials is likely a lucky one: it and the place that it would replace are timed again."""
        for again in (shape, self.place):
            if state.time_left("refine") and len(state.samples[again]) < 4 * _SAMPLES["refine"]:
                state.run(again, "refine", _SAMPLES["refine"])
