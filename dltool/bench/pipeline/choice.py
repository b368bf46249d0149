"""Which parts of the pipeline a run measures."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from dltool.bench.devices import Device
from dltool.bench.pipeline import stages
from dltool.bench.pipeline.augmentations import parse
from dltool.bench.pipeline.folder import Images
from dltool.bench.workloads.data import Data

_LISTS = ("workers", "show")


def chosen(source: Images, device: Device, axes: Mapping[str, Sequence[str]]) -> list[tuple[str, Data]]:
    """The loader at every number of workers, then the stages, then variants of the loader; with a model not those, but its
    step by itself and together with the loader.

    What takes longest per sample comes first: what it takes beyond its share of a budget is shared by those after it.

    Args:
        source: the images.
        device: where the model learns.
        axes: texts of the fields of `Data`; of "workers" several; "show": augmentations to time besides those of the loader.
    """
    given = {name: values[0] for name, values in axes.items() if name not in _LISTS}
    fixed: dict[str, Any] = {name: int(text) if text.isdecimal() else text for name, text in given.items()}
    on_gpu = device.kind == "cuda"
    model = str(fixed.pop("model", ""))
    make = functools.partial(_case, source, {**fixed, "pin": "yes" if on_gpu else "no"})
    workers = [int(text) for text in axes["workers"]]
    most = max(workers)
    cases = [make(stage="loader", workers=count) for count in workers]
    if model:
        cases += [make(stage="step", model=model)]
        cases += [make(stage="together", model=model, workers=count) for count in workers]
        cases += [make(stage="together", model=model, workers=most, where="device")] * on_gpu
    cases += [make(pin="no", **stage) for stage in _stages(fixed["augment"].split(","), axes.get("show", ()), on_gpu=on_gpu)]
    cases += [make(stage="copy", pin=pin) for pin in ("yes", "no") if on_gpu]
    cases += [make(stage="loader", workers=most, **other) for other in _variants(most, on_gpu=on_gpu) if not model]
    return [("data", case) for case in cases]


def _case(source: Images, fixed: Mapping[str, Any], **fields: Any) -> Data:
    return Data(**{**fixed, **fields}).of(source)


def _stages(augment: Sequence[str], show: Sequence[str], *, on_gpu: bool) -> list[dict[str, str]]:
    names = parse([*augment, *show])
    found = [{"stage": stage} for stage in (*stages.BEFORE, *names, *stages.AFTER)]
    return [*found, *({"stage": stage, "where": "device"} for stage in (*names, "floats") if on_gpu)]


def _variants(workers: int, *, on_gpu: bool) -> list[dict[str, Any]]:
    """What may make as many workers faster, or slower."""
    others: list[dict[str, Any]] = [{"prefetch": 1}, {"prefetch": 4}, {"persistent": "no"}] if workers else []
    return [*others, *([{"pin": "no"}, {"where": "device"}] if on_gpu else [])]


def sweep(cpus: int) -> list[int]:
    """Workers worth a row: 0, then in doublings up to the processors that may be used."""
    doublings = itertools.takewhile(lambda count: count < cpus, (2**power for power in itertools.count()))
    return [0, *doublings, cpus]
