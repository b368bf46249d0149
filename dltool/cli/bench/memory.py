"""`dltool bench memory`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.bench.against import Against
from dltool.cli.bench.running import Budget, DeviceName, How, Settings, axes_of, run
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import guarded

if TYPE_CHECKING:
    from dltool.bench.devices import Device
    from dltool.bench.suites import Axes, Cases

Sweep = Annotated[bool, typer.Option("--sweep", help="Sizes from half of the first cache to eight times the last.")]


@guarded
def memory(
    out: Output,
    how: How,
    against: Against,
    sweep: Sweep = False,
    set_: Settings = None,
    device: DeviceName = None,
    budget: Budget = "20s",
) -> None:
    """Measure memory bandwidth by STREAM's rules, transfers to, from and between GPUs, and the cost of a launch.

    Example: dltool bench memory --set kernel=copy,triad --set bytes=256MiB
    """

    def cases(where: Device, axes: Axes) -> Cases:
        from dltool.bench.workloads import launch, p2p
        from dltool.bench.workloads import memory as workload

        moved = workload.sweep(where, axes) if sweep else workload.chosen(where, axes)
        return moved if "kernel" in axes else [*moved, *p2p.chosen(where, axes), *launch.chosen(where)]

    run("bench memory", cases, axes_of(None, set_), device, budget, out, how, against)
