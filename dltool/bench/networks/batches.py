"""The largest batch that fits: a geometric search whose every answer was really tried. Pure: whoever tries is an argument.

Only "nice" batches are tried, so that what is found is what was tried and not a rounding of it. Up to 32 these are all numbers,
above it multiples of 8, above 1024 of 64. Products in half precision come to use tensor cores whole where their sides are
multiples of 8 (of 64 on newer ones); a batch of 1000 rather than 1003 costs a few samples and may double the rate.

Source: NVIDIA, "Deep Learning Performance: Matrix Multiplication Background User's Guide", section on tensor core requirements.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from dltool.step_results import BatchSearch, BatchTry

MEMORY, TIME, ERROR, MOST = "memory", "time", "error", "most"
_STEPS = ((1024, 64), (32, 8))
"""Above so many, multiples of."""
_PROBE = 8
"""Times `start`: a second small batch, so that two points tell how time grows before a large one is tried."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a batch.

    Args:
        fits: a step ran, soon enough.
        seconds: of a step.
        peak_bytes: what was held at most.
        why: of one that does not fit, in the words of whoever refused.
        stopped_by: "memory", "time" or "error".
    """

    fits: bool
    seconds: float | None = None
    peak_bytes: int | None = None
    why: str = ""
    stopped_by: str = MEMORY


def nice(batch: int) -> int:
    """The nearest nice batch that is not above it; 0 of what is below 1.

    >>> [nice(batch) for batch in (7, 33, 47, 1000, 1100)]
    [7, 32, 40, 1000, 1088]
    """
    for above, multiple in _STEPS:
        if batch > above:
            return batch // multiple * multiple
    return max(0, batch)


def next_nice(batch: int) -> int:
    """The smallest nice batch above a nice one."""
    return batch + next((multiple for above, multiple in _STEPS if batch >= above), 1)


@dataclass(slots=True)
class _State:
    """What is known so far."""

    tried: Callable[[int], Trial]
    tries: list[BatchTry] = field(default_factory=list)
    fits: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    """What stopped each batch that failed."""
    confirmed: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def ceiling(self) -> int | None:
        """The smallest batch that is known to fail."""
        return min(self.failed, default=None)

    def seen(self, batch: int) -> bool:
        return any(one.batch == batch for one in self.tries)

    def attempt(self, batch: int) -> bool:
        found = self.tried(batch)
        stopped = "" if found.fits else found.stopped_by
        self.tries.append(
            BatchTry(
                batch=batch, fits=found.fits, stopped_by=stopped,
                seconds=found.seconds, peak_bytes=found.peak_bytes, why=found.why,
            )
        )  # fmt: skip
        if found.fits:
            self.fits = max(self.fits, batch)
            self.failed.pop(batch, None)
        else:
            self.failed[batch] = stopped
        return found.fits

    def confirm(self, batch: int) -> None:
        """Try again what failed: a hole between blocks or another program may have been in the way."""
        self.confirmed.add(batch)
        if self.attempt(batch):
            self.notes.append(
                f"batch {batch} found no memory at first and fitted in a fresh process: memory was fragmented, "
                "or another program held some"
            )


def largest(
    tried: Callable[[int], Trial],
    *,
    start: int = 1,
    most: int = 2**20,
    precision: float = 1 / 16,
    foreseen: int | None = None,
) -> BatchSearch:
    """The largest batch that fits, within `precision` of the smallest that does not.

    It begins small, goes to what is foreseen, and from there in growing strides until one fits and one fails; then it halves
    (geometrically) what is between. Without a forecast it doubles. The failure that bounds the answer is tried a second time if
    it was for want of memory. Where a step takes too long the bound is known within a factor of two only: more would cost the
    longest steps of all. An error at the first batch may mean that one sample is too few, as for batch norm: so one more is
    tried.

    Args:
        tried: tries a batch; a second time in a fresh process.
        start: where to begin; 2 where a model cannot take one sample.
        most: never try beyond it.
        precision: the answer may be smaller than the true one by this share, or by less than a step between nice batches.
        foreseen: what a model of the memory foretells.
    """
    state, most = _State(tried), max(1, nice(most))
    _first(state, min(max(1, nice(start)), most))
    stride = 2.0
    for batch in _openings(start, foreseen, most):
        if state.fits and state.fits < batch < (state.ceiling() or batch + 1) and not state.seen(batch):
            state.attempt(batch)
            stride = 1 + precision if batch != nice(_PROBE * start) else stride
    while (wanted := _next(state, most, precision, stride)) is not None:
        if state.seen(wanted):
            state.confirm(wanted)
        else:
            state.attempt(wanted)
            stride = min(2.0, stride * stride)
    ceiling = state.ceiling()
    return BatchSearch(
        largest=state.fits,
        limited_by=MOST if ceiling is None else state.failed[ceiling],
        next_fails=ceiling,
        foreseen=foreseen,
        tries=tuple(state.tries),
        notes=tuple(state.notes),
    )


def _first(state: _State, start: int) -> None:
    """The first batch; one more sample if the model refuses it for another reason than memory or time."""
    if not state.attempt(start) and state.failed[start] == ERROR and state.attempt(next_nice(start)):
        del state.failed[start]
        state.notes.append(f"the model does not run with batch {start}: {state.tries[0].why.partition(chr(10))[0]}")


def _openings(start: int, foreseen: int | None, most: int) -> list[int]:
    """The batches that a forecast suggests: a probe on the way to a far one, and itself."""
    if foreseen is None:
        return []
    aim = min(nice(foreseen), most)
    probe = nice(_PROBE * start)
    return [probe, aim] if aim >= _PROBE * probe else [aim]


def _next(state: _State, most: int, precision: float, stride: float) -> int | None:
    """The batch to try: a new one, one that failed and should fail again, or None at the end."""
    low, high = state.fits, state.ceiling()
    if high is None:
        return None if low >= most else min(most, max(nice(int(low * stride)), next_nice(low)))
    if _settled(low, high, precision, state.failed[high]):
        return high if state.failed[high] == MEMORY and high not in state.confirmed else None
    if not low:
        return max(1, nice(int(high / stride)))
    middle = nice(max(math.isqrt(low * high), int(high / stride)))
    return middle if low < middle < high else next_nice(low)


def _settled(low: int, high: int, precision: float, stopped_by: str) -> bool:
    """Whether what is between is not worth a try."""
    enough = 2.0 if stopped_by == TIME else 1 + precision
    return next_nice(low) >= high or (low > 0 and high <= low * enough)
