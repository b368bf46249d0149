"""Which steps of models a run holds: those that are named, or those of a suite in `catalog/model_suites.csv`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from dltool import tables
from dltool.bench import cases as combined
from dltool.bench.devices import Device
from dltool.bench.workloads import gemm
from dltool.bench.workloads.model import EAGER, Model
from dltool.errors import unknown_name

Cases = list[tuple[str, Any]]
_BATCH = {"cpu": 4, "cuda": 32}
"""Where neither the user nor a suite says: what is a fair step for a processor, and what fills a GPU."""

_FULL = 0.7
"""Of the free memory: what foretelling does not see, and holes between blocks, take the rest."""


def names() -> tuple[str, ...]:
    """The suites."""
    return tuple(dict.fromkeys(row["suite"] for row in tables.rows("model_suites") if not row["modes"]))


@cache
def _rows(suite: str) -> tuple[tables.Row, ...]:
    found = tuple(row for row in tables.rows("model_suites") if row["suite"] == suite and not row["modes"])
    if not found:
        raise unknown_name("suite", suite, names())
    return found


def chosen(device: Device, axes: Mapping[str, Sequence[str]], suite: str | None = None) -> Cases:
    """Every combination of what is asked for; before them the products whose best rate is the ceiling of each dtype.

    Args:
        device: where; says the batch and the precision where nobody does.
        axes: parameters of the workload "model" to their values.
        suite: in place of names.

    Raises:
        UsageError: an unknown suite, or a parameter that is none.
    """
    if suite is None:
        steps = [case for name in axes["model"] for case in _of(device, {**axes, "model": [name]}, _default(device))]
    else:
        rows = _rows(suite)
        given = {name: values for name, values in axes.items() if name != "model"}
        steps = [case for row in rows for case in _of(device, {**given, "model": [row["model"]]}, _batch(row, device))]
    return [*ceilings(device, (case.dtype for _, case in steps)), *steps]


def usual(device: Device, suite: str) -> Cases:
    """What `bench quick`, `standard` and `full` take of all: a few networks whose figures people know."""
    return [
        ("model", case)
        for row in tables.rows("model_suites")
        if row["suite"] == f"bench {suite}"
        for _, case in _of(device, {"model": [row["model"]], "mode": row["modes"].split()}, _batch(row, device))
    ]


def ceilings(device: Device, dtypes: Iterable[str]) -> Cases:
    """A product of each dtype that steps take."""
    wanted = list(dict.fromkeys(dtypes))
    return gemm.chosen(device, {"dtype": wanted}, "standard") if wanted else []


def _default(device: Device) -> str:
    return str(_BATCH.get(device.kind, 4))


def _batch(row: tables.Row, device: Device) -> str:
    """The suite's batch, halved until a training step in fp32 is foreseen to fit: half precision takes less."""
    batch = int(row["gpu_batch" if device.kind == "cuda" else "cpu_batch"])
    fixed, each = (float(row[name] or 0) * 2**20 for name in ("train_mib", "train_mib_per_sample"))
    while batch > 1 and fixed + batch * each > _FULL * device.free_bytes:
        batch //= 2
    return str(batch)


def _of(device: Device, axes: Mapping[str, Sequence[str]], batch: str) -> Cases:
    exported = any(backend != EAGER for backend in axes.get("backend", ()))
    defaults = {"mode": ["infer"], "precision": ["fp32" if exported else usual_precision(device)], "batch": [batch]}
    return [("model", case) for case in combined(Model, {**defaults, **axes}) if not _in_vain(case)]


def _in_vain(case: Model) -> bool:
    """Of several optimizers, inference needs none: it is measured once."""
    return not case.training and case.optimizer != Model.__dataclass_fields__["optimizer"].default


def usual_precision(device: Device) -> str:
    """What networks are trained and run in on such a device."""
    if device.kind != "cuda":
        return "fp32"
    capability = device.board.compute_capability or "8.0"
    return "amp-bf16" if tuple(int(part) for part in str(capability).split(".")) >= (8, 0) else "amp-fp16"
