"""Which side starves, and how many workers suffice: what the rows of a run say together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from dltool.bench.pipeline.augmentations import AUGMENTATIONS
from dltool.results import Measurement
from dltool.units import percent, seconds, significant

_STARVES = 0.05
"""Of its time, from which a step that waits for data is said to starve: less is within the noise of short runs."""
_NEARLY = 0.95
"""Of the best rate: more workers for the rest are not worth their memory."""
_REMEDIES = {
    "read": "a faster disk, or files packed together",
    "decode": "smaller files (resized once beforehand), or a faster decoder",
    "resize": "images stored at the size that they are trained at",
}


@dataclass(frozen=True, slots=True)
class Run:
    """The rows of one run by what they are; those that have a rate."""

    stages: Mapping[str, float]
    """Seconds of an image in one thread, of the stages that the loader goes through."""
    loader: Mapping[int, float]
    """Images per second by number of workers."""
    fed: Mapping[int, tuple[float, float]]
    """The same of a training with its data, and the share of its time in which it waited."""
    alone: float | None
    """Images per second of the step by itself."""
    usual: Mapping[int, Measurement]
    """The rows of the sweep behind `loader`."""
    cpus: int
    on_gpu: bool
    few: bool
    """Whether a rate that the verdict rests on has too few samples for an interval."""

    @property
    def image_s(self) -> float:
        """Seconds of an image through all stages."""
        return sum(self.stages.values())


def concluded(rows: Sequence[Measurement]) -> list[Measurement]:
    """The rows of this workload with what they say; the others as they are."""
    run = read(rows)
    return [replace(row, explained=_explained(row, run)) if _counts(row) else row for row in rows]


def read(rows: Sequence[Measurement]) -> Run:
    """The rows taken apart. Variants (another prefetch, workers that are restarted) are not those of the sweep."""
    counted = [row for row in rows if _counts(row)]
    sweep = [row for row in counted if _plain(row)]
    alone = next((row.rate for row in counted if row.params["stage"] == "step"), None)
    on_gpu = any(not row.device.startswith("cpu") for row in counted)
    return Run(
        stages={str(row.params["stage"]): _image_s(row) for row in counted if _in_pipeline(row)},
        loader={_workers(row): row.rate or 0.0 for row in sweep if row.params["stage"] == "loader"},
        fed={
            _workers(row): (row.rate or 0.0, _waited(row, alone, on_gpu=on_gpu))
            for row in sweep
            if row.params["stage"] == "together"
        },
        alone=alone,
        usual={_workers(row): row for row in sweep if row.params["stage"] == "loader"},
        cpus=max((int(row.params["cpus"] or 0) for row in counted), default=0),
        on_gpu=on_gpu,
        few=any(row.ci95_s is None for row in sweep if row.params["stage"] in ("loader", "step", "together")),
    )


def _counts(row: Measurement) -> bool:
    return row.workload == "data" and row.rate is not None and row.model is not None


def _plain(row: Measurement) -> bool:
    usual_pin = "yes" if not row.device.startswith("cpu") else "no"
    wanted = {"prefetch": 2, "persistent": "yes", "where": "cpu", "pin": usual_pin}
    return all(row.params[name] == value for name, value in wanted.items())


def _workers(row: Measurement) -> int:
    return int(row.params["workers"] or 0)


def _image_s(row: Measurement) -> float:
    return 1 / (row.rate or float("inf"))


def _in_pipeline(row: Measurement) -> bool:
    """Whether a worker does this for each image."""
    stage, where = row.params["stage"], row.params["where"]
    if where == "device" or stage in ("copy", "loader", "step", "together"):
        return False
    return stage not in AUGMENTATIONS or stage in str(row.params["augment"]).split(",")


def _waited(row: Measurement, alone: float | None, *, on_gpu: bool) -> float:
    """The share of its time in which the step had no data.

    A GPU computes while its host waits: what it lost is what it did less than by itself. On a CPU workers and step take one
    another's processors, so there the waiting is what counts.
    """
    if on_gpu:
        return max(0.0, 1 - (row.rate or 0.0) / alone) if alone else 0.0
    assert row.model is not None
    waited = next((part.seconds for part in row.model.parts if part.name == "data"), 0.0)
    return min(1.0, waited / row.median_s) if row.median_s else 0.0


def _explained(row: Measurement, run: Run) -> str:
    stage = str(row.params["stage"])
    assert row.model is not None
    if stage == "step":
        return " ".join(with_model(run)) or row.explained
    if stage == "together":
        return _told_together(row, run)
    if stage == "loader":
        return _told_loader(row, run) if _plain(row) else told_variant(row, run.usual.get(_workers(row)))
    return ": ".join([_told_stage(row, run), *row.model.notes])


def _told_stage(row: Measurement, run: Run) -> str:
    """ "1.1 ms an image, 61 % of a worker's time"."""
    took = f"{seconds(_image_s(row))} an image"
    if _in_pipeline(row) and run.image_s:
        return f"{took}, {percent(_image_s(row) / run.image_s)} of a worker's time"
    if row.params["stage"] in AUGMENTATIONS and row.params["where"] == "cpu":
        return f"{took}; not in this pipeline"
    return took


def _told_loader(row: Measurement, run: Run) -> str:
    count, rate = _workers(row), row.rate or 0.0
    said = by_itself(run) if count == max(run.loader) and run.alone is None else []
    one = run.loader.get(1)
    if count == 0:
        said.append("in the process of the training: the step waits meanwhile")
    elif count > 1 and one:
        said.append(f"{significant(rate / one, 3)} times 1 worker")
    if count and row.model is not None and row.model.first_step_s is not None:
        said.append(f"the first batch came after {seconds(row.model.first_step_s)}")
    return "; ".join(said)


def told_variant(row: Measurement, usual: Measurement | None) -> str:
    """A loader with one thing changed beside the one without; runs whose intervals meet are not told apart."""
    found = []
    if row.params["persistent"] == "no" and row.model is not None:
        found.append(f"its workers are started anew for each epoch, of {row.model.units} images here")
    if usual is None or row.ci95_s is None or usual.ci95_s is None or not row.rate or not usual.rate:
        return "; ".join([*found, "too few samples to compare it with the row without: give a larger --budget"])
    image, other = ([end / case.model.units for end in case.ci95_s] for case in (row, usual) if case.model and case.ci95_s)
    if image[0] <= other[1] and other[0] <= image[1]:
        return "; ".join([*found, f"not told apart from {usual.label} by this run"])
    return "; ".join([*found, f"{significant(row.rate / usual.rate, 3)} times {usual.label}"])


def by_itself(run: Run) -> list[str]:
    """How many workers bring most of what there is to be had, and what an image's time goes to."""
    best = max(run.loader.values())
    enough = min(count for count, rate in run.loader.items() if rate >= _NEARLY * best)
    found = [f"{_deliver(enough)} {_rate(run.loader[enough])}, the most{_within(run)}"]
    return [*_doubtful(run), *found, *_dearest(run)]


def _told_together(row: Measurement, run: Run) -> str:
    waited = _waited(row, run.alone, on_gpu=run.on_gpu)
    said = [f"waited for data {percent(waited)} of the time"]
    if run.alone:
        said.append(f"{percent((row.rate or 0.0) / run.alone)} of the step alone")
    return ", ".join(said)


def with_model(run: Run) -> list[str]:
    """Whether the loader feeds the step, by sentences."""
    if run.alone is None or not run.fed:
        return []
    most = max(run.fed)
    enough = min((count for count, (_, waited) in run.fed.items() if waited < _STARVES), default=None)
    if enough is None:
        found = [
            f"the loader cannot feed this step{_within(run)}: {_deliver(most)} "
            f"{_rate(run.loader.get(most))} of {_rate(run.alone)}.",
            *(f"{text}." for text in _dearest(run)),
        ]
    else:
        found = [f"the step takes {_rate(run.alone)}; {_deliver(enough)} "
                 f"{_rate(run.loader.get(enough))}: enough{_starving(run, enough)}."]  # fmt: skip
    doubt = [f"{text}:" for text in _doubtful(run)]
    return [*doubt, *found, *_shared(run, enough if enough is not None else most)]


def _doubtful(run: Run) -> list[str]:
    """Few samples make no sure verdict."""
    return ["from too few samples to be sure (give a larger --budget)"] if run.few else []


def _starving(run: Run, enough: int) -> str:
    """ "; with 2 workers it starves (174 img/s)": the next smaller number."""
    fewer = max((count for count in run.fed if count < enough), default=None)
    if fewer is None:
        return ""
    rate, waited = run.fed[fewer]
    return f"; with {_people(fewer)} it starves ({_rate(rate)}, {percent(waited)} of the time without data)"


def _shared(run: Run, count: int) -> list[str]:
    """On a CPU: that the step and the workers take one another's processors."""
    rate = run.fed[count][0]
    if run.on_gpu or run.alone is None or rate > _NEARLY * run.alone:
        return []
    return [f"Together they reach {_rate(rate)}: step and workers share the same CPUs."]


def _dearest(run: Run) -> list[str]:
    """What most of an image's time goes to, and what to do about it."""
    if not run.stages:
        return []
    stage = max(run.stages, key=lambda name: run.stages[name])
    other = "augment on the device" if stage in AUGMENTATIONS and run.on_gpu else "fewer or cheaper augmentations"
    if stage == "floats":
        other = "hand over bytes, and make floats on the device"
    share = percent(run.stages[stage] / run.image_s)
    return [f"{stage} takes {share} of an image's time: {_REMEDIES.get(stage, other)} would help"]


def _people(count: int) -> str:
    return f"{count} worker" if count == 1 else f"{count} workers" if count else "the process itself"


def _deliver(count: int) -> str:
    return f"{_people(count)} deliver{'s' if count < 2 else ''}"


def _rate(rate: float | None) -> str:
    return "an unknown number of images" if rate is None else f"{significant(rate, 3)} img/s"


def _within(run: Run) -> str:
    return "" if not run.cpus else f" within {run.cpus} CPU{'' if run.cpus == 1 else 's'}"
