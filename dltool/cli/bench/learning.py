"""`dltool bench learn`."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.bench.running import Budget, DeviceName, Dtypes, find, stop_as_on_ctrl_c
from dltool.cli.common import Output, finish, guarded, report
from dltool.cli.common import names as parted

if TYPE_CHECKING:
    from dltool.results import Measurement

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Images of your own: MNIST's idx files, cifar-10-batches-py, or a folder per class."),
]
Names = Annotated[list[str] | None, typer.Argument(help="Models or trials; a quick choice by default.", metavar="[NAME]...")]


@guarded
def learn(
    out: Output,
    names: Names = None,
    dtype: Dtypes = None,
    device: DeviceName = None,
    budget: Budget = "3min",
    folder: Folder = None,
) -> None:
    """Train small models on real data in every number format: time to a target, and whether they learn as in fp32 on the CPU.

    Example: dltool bench learn lenet5 mlp --dtype fp32,amp-bf16
    """
    run(names or (), parted(dtype) if dtype is not None else None, device, budget, out, folder=folder)


def run(
    names: Sequence[str],
    dtypes: Sequence[str] | None,
    device: str | None,
    budget: str,
    out: Output,
    *,
    folder: Path | None = None,
    command: str = "bench learn",
) -> None:
    """Train, judge, report, and leave with the exit code.

    Raises:
        UsageError: a name, dtype, device or budget that is none.
        CannotRun: torch is missing.
    """
    from dltool import probe, redact, units
    from dltool.bench.isolation.workers import Workers
    from dltool.bench.learning import rows, trials, ways
    from dltool.render.progress import progress

    chosen = trials.chosen(names, folder=folder is not None)
    asked = [ways.way(name) for name in dtypes] if dtypes is not None else None
    budget_s = units.parse_seconds(budget)
    stop_as_on_ctrl_c()
    gc.enable()  # off since the start of the command, see dltool.cli
    measured: list[Measurement] = []
    interrupted = False
    with Workers(rows.PRELOAD) as workers:
        machine = probe.read(measure_clock=True)
        where = find(device, machine, workers)
        used = asked or [ways.way(name) for name in ways.usual(where.kind)]
        try:
            with progress(len(chosen) * (1 + len(used)), quiet=out.quiet) as tell:
                measured.extend(rows.run(chosen, used, where, folder, budget_s, workers, tell=tell))
        except KeyboardInterrupt:
            interrupted = True
    shown = redact.redact(machine, probe.redactor(machine))
    result = report(command, machine=shown, boards=(where.board,), measurements=tuple(measured), interrupted=interrupted)
    finish(result, out, keep=result)
