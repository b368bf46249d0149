"""A and B in turn, block by block, so that what drifts meets both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dltool.errors import UsageError
from dltool.results import Measurement

Measure = Callable[[float], Sequence[Measurement]]
"""Seconds for each case to a block of each case."""
TRIAL_S = 0.1
_LEAST_S = 0.15
"""Shortest block: less is warm-up only."""

Blocks = list[list[Measurement]]
"""For each case, its blocks in the order of the rounds."""


def run(
    a: Measure,
    b: Measure,
    rounds: int,
    budget_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[str], None] = lambda _text: None,
) -> tuple[Blocks, Blocks]:
    """A B, B A, A B ...: as many rounds as asked for, with blocks as long as the budget allows.

    One trial of each goes before: it shows what starting costs, and loads what a first run has to load.

    Raises:
        UsageError: A and B have different numbers of cases, or the budget is too small.
    """

    def trial() -> int:
        progress("trial of A and B")
        count, other = len(a(TRIAL_S)), len(b(TRIAL_S))
        if count != other:
            raise UsageError("A and B have different numbers of cases", remedy="Give both as many values.")
        return count

    count, case_s = block_seconds(trial, budget_s, per_trial=2, blocks=2 * rounds, clock=clock)
    sides: tuple[Blocks, Blocks] = ([[] for _ in range(count)], [[] for _ in range(count)])
    for number in range(rounds):
        order = ((a, 0), (b, 1)) if number % 2 == 0 else ((b, 1), (a, 0))
        for measure, side in order:
            progress(f"round {number + 1} of {rounds}: {'AB'[side]}")
            for cases, block in zip(sides[side], measure(case_s), strict=True):
                cases.append(block)
    return sides


def block_seconds(
    trial: Callable[[], int], budget_s: float, *, per_trial: int, blocks: int, clock: Callable[[], float]
) -> tuple[int, float]:
    """The number of cases, and how many seconds each of them may take in each block, by what a trial costs.

    A trial measures `per_trial` blocks of all cases for `TRIAL_S` each. Where it takes too long it is tried once more: the
    first one loads libraries and wakes threads, which no later one does.

    Raises:
        UsageError: too few to measure anything; says what is needed.
    """
    began = clock()
    for _ in range(2):
        before = clock()
        cases = trial()
        start_s = max(0.0, (clock() - before) / per_trial - TRIAL_S * cases)
        took_s = clock() - began
        case_s = ((budget_s - took_s) / blocks - start_s) / cases
        if case_s >= _LEAST_S:
            return cases, case_s
    needed = 1.2 * (took_s + blocks * (start_s + _LEAST_S * cases))
    raise UsageError(
        f"{budget_s:g} s are too few for {blocks} blocks, each of which loses {start_s:.1f} s on starting",
        remedy=f"Give it more: --budget {needed:.0f}s",
    )
