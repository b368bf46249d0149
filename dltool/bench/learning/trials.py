"""What is trained, on what, how long and how well it must become: rows of `catalog/learning.csv`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from msgspec import Struct

from dltool import tables
from dltool.errors import UsageError, unknown_name
from dltool.zoo.entries import entries


class Trial(Struct, frozen=True, kw_only=True):
    """A model of the zoo, data, and how it is trained."""

    name: str
    model: str
    options: Mapping[str, str]
    """Of the model, as texts."""
    data: str
    """A function of `packaged.py`, or of `folders.py`, which wants a folder."""
    shape: str
    """Of a sample, where the data can be brought into several: "1x28x28"."""
    folder: bool
    """Whether the data is the user's own."""
    optimizer: str
    """"sgd" (momentum 0.9) or "adam"."""
    rate: float
    batch: int
    epochs: int
    metric: str
    """What is to reach the target, a function of `metrics.py`."""
    target: float | None
    """None: nobody measured one; the loss is compared with that of fp32 all the same."""
    floor: float
    """How far a loss may be from that of fp32 at least, as a share of the loss at the start."""
    gradients: float
    """How far a gradient may be from that of fp32, in spacings (epsilon) of the format."""
    suite: str
    """"quick" or "full": the first that holds it."""
    source: str


@cache
def trials() -> tuple[Trial, ...]:
    """All of them, in the order of the table."""
    return tuple(_trial(row) for row in tables.rows("learning"))


def chosen(names: Iterable[str], *, folder: bool) -> list[Trial]:
    """The trials of these names or models; without names the quick ones, or with a folder those that take one.

    Raises:
        UsageError: no such trial or model, a model that no trial trains, or one that wants a folder and has none.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return [trial for trial in trials() if (trial.folder if folder else trial.suite == "quick")]
    found = [trial for name in wanted for trial in _named(name, folder=folder)]
    return [trial for place, trial in enumerate(found) if trial not in found[:place]]


def _named(name: str, *, folder: bool) -> list[Trial]:
    exact = [trial for trial in trials() if trial.name == name]
    if exact and exact[0].folder and not folder:
        raise UsageError(f"{name} is trained on data of your own", remedy="Say where it is: --folder DIR")
    found = exact or [trial for trial in trials() if trial.model == name and trial.folder == folder]
    if found:
        return found
    trained = sorted({trial.model for trial in trials()})
    if any(entry.name == name for entry in entries()):
        raise UsageError(f"nothing is known of how {name} learns", remedy=f"Those that are trained: {', '.join(trained)}")
    raise unknown_name("model", name, [*trained, *(trial.name for trial in trials())])


def _trial(row: tables.Row) -> Trial:
    return Trial(
        name=row["name"],
        model=row["model"],
        options=dict(part.strip().split("=", 1) for part in row["options"].split(";") if part.strip()),
        data=row["data"],
        shape=row["shape"],
        folder=row["folder"] == "yes",
        optimizer=row["optimizer"],
        rate=float(row["rate"]),
        batch=int(row["batch"]),
        epochs=int(row["epochs"]),
        metric=row["metric"],
        target=float(row["target"]) if row["target"] else None,
        floor=float(row["floor"]),
        gradients=float(row["gradients"]),
        suite=row["suite"],
        source=row["source"],
    )
