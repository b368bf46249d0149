"""One dtype from the first trial to a measurement: journal, strategy, confirmation, and the winner measured afresh."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from dltool.bench import harness
from dltool.bench.devices import Device, settings
from dltool.bench.search import confirmation, trier
from dltool.bench.search.journal import Head, Journal, file_name
from dltool.bench.search.space import Shape, Space, tiles
from dltool.bench.search.strategy import State, search
from dltool.errors import UsageError
from dltool.results import Measurement
from dltool.shape_results import Finalist, Search

LEAST_BUDGET_S = 2.0
"""Of one dtype: below this not even the finalists can be confirmed."""
_SEARCHING = 0.8
"""Share of the budget for the search; the rest is for measuring the winner afresh."""
_AGREE = 0.05
_LIMITS = {"cpu": (128, 4096), "cuda": (512, 16384)}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is asked of the search for one dtype."""

    budget_s: float
    lowest: int | None = None
    highest: int | None = None
    folder: Path | None = None
    """Where the journal is kept; None: nowhere."""
    resume: bool = False
    bandwidth: float | None = None


@dataclass(frozen=True)
class Found:
    """What came of it."""

    search: Search
    measurement: Measurement | None


def hunt(
    device: Device,
    dtype: str,
    options: Options,
    *,
    tell: Callable[[str, State], None] = lambda _stage, _state: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Found:
    """Search the best shape of a dtype and measure it; Ctrl-C ends it early with what there is.

    Raises:
        UsageError: no shape is within the limits, or the journal is of another search.
        CannotRun: the journal cannot be written.
    """
    space = _space(device, dtype, options)
    live = trier.DeviceTrier(device, dtype, clock=clock)
    journal = _journal(device, dtype, space, options)
    state = State(space, journal.through(live) if journal else live, options.budget_s * _SEARCHING, tell)
    measured = None
    try:
        confirmation.confirm(state, search(state))
        live.release()
        winner = _winner(state)
        if winner:
            measured = trier.measure(winner, dtype, device, options.budget_s * (1 - _SEARCHING), clock=clock)
    except harness.Interrupted as stop:
        measured, state.ended = stop.partial, "interrupted"
    except KeyboardInterrupt:
        state.ended = "interrupted"
    finally:
        live.release()
        if journal:
            journal.close()
    found = _result(device, dtype, space, state, journal)
    said = disagreement(found.finalists[0], measured) if found.finalists else []
    return Found(replace(found, notes=(*found.notes, *said)), measured)


def _space(device: Device, dtype: str, options: Options) -> Space:
    lowest, highest = _LIMITS[device.kind if device.kind in _LIMITS else "cpu"]
    low = options.lowest or min(lowest, options.highest or lowest)
    high = options.highest or max(highest, low)
    if low > high:
        raise UsageError(f"--min {low} is above --max {high}", remedy="For example: --min 512 --max 8192")
    space = Space(
        lowest=low,
        highest=high,
        tiles=tiles(device.kind),
        sms=(device.board.sms or 0) if device.kind == "cuda" else 0,
        bytes_of=lambda shape: trier.workload(shape, dtype).work().bytes,
        free_bytes=device.free_bytes // 2,
        cache_bytes=device.llc_bytes,
        bandwidth=options.bandwidth,
    )
    if not space.sides:
        raise UsageError(
            f"no multiple of {max(space.unit)} lies between {low} and {high}", remedy="For example: --min 512 --max 8192"
        )
    return space


def _journal(device: Device, dtype: str, space: Space, options: Options) -> Journal | None:
    if options.folder is None:
        return None
    name = f"{device.name} {device.board.name}"
    head = Head(
        device=name, dtype=dtype, lowest=space.lowest, highest=space.highest,
        settings={**settings(device), "harness": harness.HARNESS_VERSION},
    )  # fmt: skip
    journal = Journal(options.folder / file_name(name, dtype), head)
    journal.open(resume=options.resume)
    return journal


def _winner(state: State) -> Shape | None:
    ranked = confirmation.ranking(state.trials)
    return Shape(ranked[0].m, ranked[0].n, ranked[0].k) if ranked else None


def _result(device: Device, dtype: str, space: Space, state: State, journal: Journal | None) -> Search:
    ranked = confirmation.ranking(state.trials)
    failed = next(iter(state.failed.values()), None)
    return Search(
        dtype=dtype,
        device=f"{device.name} {device.board.name}",
        rate_unit=trier.workload(Shape(1, 1, 1), dtype).rate_unit,
        lowest=space.lowest,
        highest=space.highest,
        tried=state.tried,
        candidates=state.candidates,
        pruned=dict(state.pruned),
        spent_s=state.spent_s,
        resumed_s=journal.resumed_s if journal else 0.0,
        ended=state.ended if state.tried or state.ended == "interrupted" else "failed",
        finalists=ranked,
        trials=tuple(state.trials),
        notes=tuple(_notes(space, state, ranked)),
        journal=journal.path.name if journal else None,
        failed=failed if not state.tried else None,
    )


def disagreement(best: Finalist, measured: Measurement | None) -> list[str]:
    """Where the fresh measurement is not the confirmed rate, the device is not as fast as it was: which of them to believe."""
    if measured is None or measured.rate is None:
        return []
    change = measured.rate / best.rate - 1
    low, high = best.ci95_s or (best.median_s, best.median_s)
    if abs(change) <= max(_AGREE, high / best.median_s - 1, 1 - low / best.median_s):
        return []
    way = "below" if change < 0 else "above"
    return [
        f"measured afresh it is {abs(change) * 100:.0f} % {way} the confirmed rate: the device or its load changed meanwhile; "
        "search again on a quiet machine"
    ]


def _notes(space: Space, state: State, ranked: object) -> list[str]:
    found = []
    if space.bandwidth is None:
        found.append("the bandwidth of memory is not known: nothing was left out by the roofline")
    if state.failed and state.tried:
        shape, why = next(iter(state.failed.items()))
        found.append(f"{len(state.failed)} shapes could not be run, {shape} first: {why}")
    if state.tried and not ranked:
        found.append("interrupted before the confirmation: the best so far may be a lucky sample")
    return found
