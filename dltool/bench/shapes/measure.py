"""The user's shapes on a device: each by the harness, and in turn with its padded neighbour. Touches a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from dltool.bench import stats
from dltool.bench.devices import Device
from dltool.bench.search import trier
from dltool.bench.search.space import Shape
from dltool.bench.search.strategy import Trier
from dltool.bench.shapes import verdict
from dltool.bench.shapes.own import Own
from dltool.results import Measurement
from dltool.shape_results import OwnShape, Padding

_LEAST_S = 0.3
"""A shape's least share of the budget: where there are more shapes, those of the least work are listed only."""
_MOST_PAIRS = 60
_BATCHED = "many small products in one call: listed with its operations, not measured"
Asked = tuple[Own, str]
"""A product and the dtype that it is measured in."""


def measured(
    asked: Sequence[Asked],
    device: Device,
    budget_s: float,
    *,
    tell: Callable[[str], None] = lambda _text: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[tuple[OwnShape, Measurement | None]]:
    """Every shape, the one of most work first; those that cannot or need not be measured say why.

    Raises:
        harness.Interrupted: Ctrl-C; the shapes before it have been given.
    """
    order = sorted(asked, key=lambda pair: -pair[0].ops)
    wanted = {(own.shape, dtype) for own, dtype in order if own.batch == 1}
    room = max(1, int(budget_s / _LEAST_S))
    share_s = budget_s / max(1, min(len(wanted), room))
    known: dict[tuple[Shape, str], tuple[Measurement, Padding | None]] = {}
    for own, dtype in order:
        key = (own.shape, dtype)
        if own.batch > 1:
            yield verdict.row(own, dtype, None, None, _BATCHED), None
        elif key not in known and len(known) >= room:
            yield verdict.row(own, dtype, None, None, "no time left: give a larger --budget"), None
        else:
            new = key not in known
            if new:
                tell(f"{dtype} {own.shape} {own.name}".strip())
                known[key] = _one(own.shape, dtype, device, share_s, clock)
            case, pad = known[key]
            why = _why_not(case, own.shape)
            yield verdict.row(own, dtype, None if why else case, None if why else pad, why), case if new else None


def _one(
    shape: Shape, dtype: str, device: Device, share_s: float, clock: Callable[[], float]
) -> tuple[Measurement, Padding | None]:
    neighbour = verdict.padded(shape)
    case = trier.measure(shape, dtype, device, share_s / 2 if neighbour else share_s, clock=clock)
    if neighbour is None or _why_not(case, shape) is not None:
        return case, None
    return case, in_turn(shape, neighbour, trier.DeviceTrier(device, dtype, clock=clock), share_s / 2)


def in_turn(shape: Shape, neighbour: Shape, timer: Trier, budget_s: float) -> Padding | None:
    """A shape and its padded neighbour, sample by sample, now the one first and now the other; None where one cannot run."""
    seconds: dict[Shape, list[float]] = {shape: [], neighbour: []}
    spent = 0.0
    for number in range(_MOST_PAIRS):
        if number >= stats.FEW and spent >= budget_s:
            break
        for which in (shape, neighbour) if number % 2 else (neighbour, shape):
            trial = timer(which, "padding", 1)
            if trial.error is not None:
                return None
            seconds[which] += trial.seconds
            spent += trial.cost_s
    return verdict.padding(neighbour, seconds[shape], seconds[neighbour])


def _why_not(case: Measurement, shape: Shape) -> str | None:
    """Why this measurement is none of this shape."""
    if case.not_run:
        return case.not_run
    if tuple(case.params[side] for side in "mnk") != tuple(shape):
        return "one step takes longer than its share of the time: give a larger --budget"
    if case.verified is not None and not case.verified.ok:
        return "wrong result"
    return None
