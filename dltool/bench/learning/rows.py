"""Courses as measurements: each in a child process, and whatever becomes of it is a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dltool.bench.devices import Device, import_torch, settings
from dltool.bench.isolation import memory
from dltool.bench.isolation.workers import Died, Interrupted, Workers
from dltool.bench.learning import exam
from dltool.bench.learning.trials import Trial
from dltool.bench.learning.ways import Way
from dltool.errors import DltoolError
from dltool.learning_results import Learning
from dltool.results import Measurement, Scalar

PRELOAD = ("torch", "numpy", "dltool.bench.learning.preload", "dltool.bench.learning.rows")
_ADDED_S = 60.0
"""For imports, reading data and the last epoch, beyond the limit of a course."""
_REFERENCE_SHARE = 0.5
"""Of a trial's time: it has three courses."""
Tell = Callable[[str], None]


def run(
    trials: Sequence[Trial],
    ways: Sequence[Way],
    device: Device,
    folder: Path | None,
    budget_s: float,
    workers: Workers,
    *,
    tell: Tell = lambda _text: None,
) -> Iterator[Measurement]:
    """Every trial in every way, after its reference."""
    for trial in trials:
        share = budget_s / len(trials)
        tell(f"{trial.name} fp32 on the CPU, {len(exam.REFERENCE_SEEDS)} seeds")
        limit = share * _REFERENCE_SHARE
        reference = _called(workers, refer_here, trial, folder, limit, limit_s=limit)
        for way in ways:
            if isinstance(reference, str):
                yield row(trial, way, device, not_run=reference)
                continue
            tell(f"{trial.name} {way.name}")
            limit = share * (1 - _REFERENCE_SHARE) / len(ways)
            found = _called(workers, examine_here, trial, folder, way, device, reference, limit, limit_s=limit)
            if isinstance(found, str):
                yield row(trial, way, device, not_run=found)
            else:
                yield row(trial, way, device, *found)


def row(
    trial: Trial,
    way: Way,
    device: Device,
    learning: Learning | None = None,
    determined: Mapping[str, Scalar] | None = None,
    *,
    not_run: str | None = None,
) -> Measurement:
    """One course."""
    return Measurement(
        workload="learn",
        params={
            "trial": trial.name,
            "model": trial.model,
            "data": trial.data,
            "optimizer": trial.optimizer,
            "rate": trial.rate,
            "batch": trial.batch,
            "epochs": trial.epochs,
            "seed": exam.REFERENCE_SEEDS[0],
        },
        device=f"{device.name} {device.board.name}",
        dtype=way.name,
        label=f"{trial.name} {way.name}",
        settings=determined or {},
        not_run=not_run,
        learning=learning,
    )


def refer_here(trial: Trial, folder: Path | None, limit_s: float) -> Any:
    """What the child of a reference does."""
    _bounded()
    return _tried(lambda: exam.refer(trial, folder, limit_s))


def examine_here(trial: Trial, folder: Path | None, way: Way, device: Device, reference: Any, limit_s: float) -> Any:
    """What the child of a course does: the result, and the settings that it rests on; or why there is none."""
    if device.kind == "cpu":
        _bounded()
    return _tried(lambda: (exam.examine(trial, folder, way, device, reference, limit_s), _determined(way, device)))


def _determined(way: Way, device: Device) -> dict[str, Scalar]:
    """The switches of a course, as they are while it runs."""
    torch = import_torch()
    with way.arithmetic():
        return {
            **settings(device),
            "threads": torch.get_num_threads(),
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "cudnn_deterministic": bool(torch.backends.cudnn.deterministic),
            "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
            "cudnn_allow_tf32": bool(torch.backends.cudnn.allow_tf32),
        }


def _tried(make: Callable[[], Any]) -> Any:
    """What it makes, or in words why it could not."""
    from dltool.bench import harness

    try:
        return make()
    except harness.CANNOT as error:
        return harness.why(error)


def _called(workers: Workers, function: Callable[..., Any], *arguments: Any, limit_s: float) -> Any:
    most = memory.limit(memory.available_bytes())
    try:
        return workers.call(function, *arguments, timeout_s=limit_s + _ADDED_S, memory_bytes=most)
    except Died as death:
        return f"the process of this case {death}"
    except Interrupted:
        raise KeyboardInterrupt from None
    except DltoolError as error:
        return str(error)


def _bounded() -> None:
    most = memory.limit(memory.available_bytes())
    if most is not None:
        memory.refuse_beyond(most)
