"""`--batch max` and `--batch sweep`: from a case without a batch to cases with the batches that are worth measuring."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from dltool.bench.devices import Device
from dltool.bench.isolation.workers import Workers
from dltool.bench.networks.batches import largest
from dltool.bench.networks.curve import curve, sweep_batches
from dltool.bench.networks.trials import Tries
from dltool.results import Measurement
from dltool.step_results import BatchPoint, BatchSearch

Cases = list[tuple[str, Any]]
WAYS = ("max", "sweep")
_MOST = 2**16


@dataclasses.dataclass(slots=True)
class Batches:
    """The search for the batches of each case, and what the measured ones say together.

    Args:
        way: "max", the largest batch that fits alone; "sweep", powers of two up to it.
        longest_s: a step that takes longer ends the search.
        tell: hears which case is searched.
    """

    way: str
    longest_s: float
    tell: Callable[[str], None]
    searches: dict[str, BatchSearch] = dataclasses.field(default_factory=dict)
    """By what is the same of a case whatever its batch."""

    def expand(self, cases: Cases, device: Device, workers: Workers) -> Cases:
        """The cases with their batches; one of which not even a single sample runs stays with a batch of 1, and says why."""
        found: Cases = []
        for name, case in cases:
            if name != "model":
                found.append((name, case))
                continue
            self.tell(f"the largest batch of {case.label} {case.precision}")
            with Tries(workers, device, partial(_at, case), longest_s=self.longest_s) as tries:
                search = largest(tries, most=_MOST)
            self.searches[_apart_from_batch(dataclasses.asdict(case))] = search
            top = max(1, search.largest)
            batches = sweep_batches(top) if self.way == "sweep" else (top,)
            found += [(name, dataclasses.replace(case, batch=batch)) for batch in batches]
        return found

    def conclude(self, rows: Sequence[Measurement]) -> tuple[Measurement, ...]:
        """The rows, the last of each case with the search and the curve."""
        groups: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            if row.workload == "model":
                groups.setdefault(_apart_from_batch(row.params), []).append(place)
        found = list(rows)
        for key, places in groups.items():
            search, last = self.searches.get(key), places[-1]
            step = found[last].model
            if search is None or step is None:
                continue
            points = [point for place in places if (point := _point(rows[place])) is not None]
            training = rows[last].params.get("mode") == "train"
            kind = "cuda" if rows[last].device.startswith("cuda") else "cpu"
            drawn = (
                curve(points, unit=step.unit, limited_by=search.limited_by, device=kind, training=training)
                if points[1:]
                else None
            )
            found[last] = replace(found[last], model=replace(step, search=search, curve=drawn))
        return tuple(found)


def _at(case: Any, batch: int) -> Any:
    return dataclasses.replace(case, batch=batch)


def _apart_from_batch(parameters: Mapping[str, Any]) -> str:
    return repr(sorted((key, value) for key, value in parameters.items() if key != "batch"))


def _point(row: Measurement) -> BatchPoint | None:
    """What a row adds to the curve; nothing where it did not run."""
    step = row.model
    if step is None or not step.throughput or not row.median_s:
        return None
    low, high = (step.units / second for second in reversed(row.ci95_s)) if row.ci95_s else (None, None)
    held = step.memory
    peak = (held.allocated or held.process) if held is not None else None
    return BatchPoint(batch=step.samples, rate=step.throughput, low=low, high=high, latency_s=row.median_s, peak_bytes=peak)
