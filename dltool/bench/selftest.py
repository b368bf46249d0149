"""The same against the same: how much unchanged cases differ on this machine, and how often a verdict would cry wolf."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from dltool.bench import WORKLOADS, Workload, cases, suites, turns
from dltool.bench.devices import Device
from dltool.bench.noise import Pair
from dltool.errors import CannotRun, UsageError
from dltool.results import Measurement

ROUNDS = 8
"""Each a process of its own, as two runs that a gate compares are. The least that bears a verdict at 99 %."""
BLOCKS = 2
"""Of each case in a row, in each round."""

Measure = Callable[[float], Sequence[Measurement]]
"""One round in a new process: seconds of a block to all blocks, those of a case one after the other."""


def suite(device: Device, axes: suites.Axes) -> suites.Cases:
    """What stands for the rest: arithmetic in two dtypes, memory in two ways, and a product so small that the call is the work.

    Raises:
        UsageError: parameters are given; a selftest has none.
    """
    if axes:
        raise UsageError("a selftest takes no parameters", remedy="Leave them out.")
    side = None if device.kind == "cuda" else "1024"
    found: list[tuple[str, Workload]] = []
    for dtype in ("fp32", "bf16"):
        found += suites.gemm(device, {"dtype": [dtype], **({name: [side] for name in "mnk"} if side else {})})
    found += suites.memory(device, {"kernel": ["copy", "triad"]})
    small = {"dtype": ["fp32"], **{name: ["64"] for name in "mnk"}}
    return [*found, *(("gemm", case) for case in cases(WORKLOADS.get("gemm"), small))]


def run(
    measure: Measure,
    budget_s: float,
    *,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[str], None] = lambda _text: None,
) -> list[list[Pair]]:
    """Measure all cases in `rounds` processes within the budget; for each case, the pair of blocks of each round.

    Raises:
        UsageError: the budget is too small; says what is needed.
        CannotRun: a case cannot run here.
    """

    def trial() -> int:
        progress("trial: what starting costs")
        return len(measure(turns.TRIAL_S))

    count, block_s = turns.block_seconds(trial, budget_s, per_trial=1, blocks=rounds, clock=clock)
    found: list[list[Pair]] = [[] for _ in range(count // BLOCKS)]
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        blocks = list(measure(block_s))
        for place, pairs in enumerate(found):
            pairs.append(_pair(blocks[BLOCKS * place : BLOCKS * (place + 1)]))
    return found


def _pair(blocks: Sequence[Measurement]) -> Pair:
    first, second = blocks
    for block in blocks:
        if block.not_run:
            what = f"{block.workload} {block.dtype}"
            raise CannotRun(f"{what} does not run here: {block.not_run}", remedy="dltool doctor tells why.")
    return Pair(a=first, b=second)


_KINDS = {
    "other programs ran": "other programs took processors",
    "used this GPU": "other programs used the GPU",
    "the hypervisor gave": "the hypervisor gave processors to others",
    "noisy": "samples were noisy",
    "drifting": "time per step drifted",
    "not steady": "not steady after warm-up",
    "throttled": "the device was throttled",
}
"""A word of a warning of the harness -> what it comes to."""


def notes(cases_: Sequence[Sequence[Pair]]) -> tuple[str, ...]:
    """What was wrong with the machine while it was measured, each once, the most frequent first."""
    blocks = [block for pairs in cases_ for pair in pairs for block in (pair.a, pair.b)]
    seen = Counter(kind for block in blocks for word, kind in _KINDS.items() if any(word in said for said in block.warnings))
    return tuple(f"{kind} in {count} of {len(blocks)} blocks" for kind, count in seen.most_common())
