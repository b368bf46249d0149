"""How good are predictions? Published figures of one model, predicted from those of other boards and from peaks alone. Pure."""

from __future__ import annotations

import hashlib
import math
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations

from msgspec import Struct
from msgspec.structs import replace

from dltool import catalog, reference, tables
from dltool.bench.prediction import times
from dltool.bench.published_models import Counterpart, batch_of, counterpart_of
from dltool.bench.traffic import Traffic
from dltool.errors import CannotRun
from dltool.model_results import KnownError
from dltool.reference import Figure

TrafficOf = Callable[[Counterpart, str, str, int, bool], Traffic]
"""From a model, its mode, precision, batch and whether it is compiled to the operations of its step."""
_SAMPLES = ("images/s", "sequences/s")
"""Units of which a sample is one."""


class Known(Struct, frozen=True, kw_only=True):
    """A published figure and what it would have been by prediction."""

    model: str
    mode: str
    precision: str
    board: str
    measured_on: str = ""
    """The board whose figure was scaled; empty: from the catalogue alone."""
    published: float
    predicted: float
    """Samples per second, both."""

    @property
    def error(self) -> float:
        """The larger over the smaller, less 1."""
        return max(self.predicted / self.published, self.published / self.predicted) - 1


def known_pairs(traffic_of: TrafficOf) -> tuple[Known, ...]:
    """Every figure of a model that is published of two boards by one source and in one way, predicted from the other.

    A pair counts once: the larger over the smaller is the same both ways.
    """
    groups: dict[tuple[str, ...], list[tuple[Figure, float]]] = {}
    for figure, model in _figures():
        took = _roofline(figure, model, traffic_of)
        if took is not None:
            groups.setdefault(_way(figure, model), []).append((figure, took))
    return tuple(pair for same in groups.values() for pair in _pairs(same))


def known_figures(traffic_of: TrafficOf) -> tuple[Known, ...]:
    """Every published figure of a model, predicted from peaks and bandwidth of the catalogue alone."""
    found = ((figure, model, _roofline(figure, model, traffic_of)) for figure, model in _figures())
    return tuple(_known(figure, 1 / took) for figure, _, took in found if took is not None)


def error_of(known: Sequence[Known], rests_on: str = "", *, centred: bool = False) -> KnownError:
    """The statistic that is said with a prediction.

    Args:
        known: what was predicted.
        rests_on: from what.
        centred: after all predictions were multiplied by the median of published over predicted.
    """
    factor = statistics.median(one.published / one.predicted for one in known) if centred else 1.0
    errors = sorted(replace(one, predicted=one.predicted * factor).error for one in known)
    nine_of_ten = errors[math.ceil(0.9 * len(errors)) - 1]
    return KnownError(pairs=len(errors), median=statistics.median(errors), p90=nine_of_ten, factor=factor, rests_on=rests_on)


def errors(traffic_of: TrafficOf) -> dict[str, KnownError]:
    """The rows of `catalog/prediction_errors.csv` by their kind."""
    alone = known_figures(traffic_of)
    found = {"transfer": error_of(known_pairs(traffic_of), "the published figure of another board")}
    for mode in ("train", "infer"):
        same = [one for one in alone if one.mode == mode]
        found[mode] = error_of(same, "peaks, bandwidth and the median of what published steps make of them", centred=True)
    return found


def digest() -> str:
    """Of the tables that the errors follow from: another one, and they are to be found anew."""
    lines = (line for name in ("reference", "model_names") for line in tables.table(name).lines)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _figures() -> Iterator[tuple[Figure, Counterpart]]:
    """Of one GPU of the catalogue, and of a model that is in the zoo; what decodes token by token is no step of a model."""
    for figure in reference.figures():
        model = counterpart_of(figure)
        single = figure.comparable and figure.devices == 1 and figure.boards and figure.metric == "rate"
        if single and figure.unit in _SAMPLES and model is not None and model.comparable and model.mode != "decode":
            yield figure, model


def precision_of(figure: Figure) -> str:
    """ "amp-fp16", "tf32": how a step of a published figure computes."""
    mixed = "mixed precision" in figure.conditions
    return f"amp-{figure.dtypes[0]}" if mixed and figure.dtypes[0] in ("fp16", "bf16") else figure.dtypes[0]


def _roofline(figure: Figure, model: Counterpart, traffic_of: TrafficOf) -> float | None:
    """Seconds of a sample; None where the board lacks a peak of this precision, or the step cannot be recorded."""
    batch, compiled = batch_of(figure) or model.batch or 1, "torch.compile" in figure.conditions
    try:
        traffic = traffic_of(model, model.mode_of(figure), precision_of(figure), batch, compiled)
        return times(traffic, catalog.board(figure.boards[0])).total / batch
    except CannotRun:
        return None


def _way(figure: Figure, model: Counterpart) -> tuple[str, ...]:
    """What must be alike: publisher, model, mode, precision and conditions, but for a batch that differs a little."""
    conditions = re.sub(r"\bbs \d+\b", "", figure.conditions) + model.conditions
    publisher = figure.source.partition(",")[0]
    container = figure.software if " " in figure.software else ""  # the others' names hold the GPU
    return publisher, container, model.published, figure.workload, precision_of(figure), conditions


def _pairs(same: Iterable[tuple[Figure, float]]) -> Iterator[Known]:
    for (first, took), (second, takes) in combinations(same, 2):
        if first.boards != second.boards and _near(first, second):
            yield _known(second, first.value * took / takes, first.boards[0])


def _near(first: Figure, second: Figure) -> bool:
    """Whether their batches differ by no more than a factor of two: predictions are of the batch that was measured."""
    one, other = (batch_of(figure) or 1 for figure in (first, second))
    return max(one, other) <= 2 * min(one, other)


def _known(figure: Figure, predicted: float, measured_on: str = "") -> Known:
    return Known(
        model=figure.case["model"],
        mode=figure.workload,
        precision=precision_of(figure),
        board=figure.boards[0],
        measured_on=measured_on,
        published=figure.value,
        predicted=predicted,
    )
