"""What all benchmark commands share: their options, and the way from cases to a report."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltool.cli.bench.against import Against
from dltool.cli.common import Output, finish, names, report
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.bench import suites
    from dltool.results import Measurement

Dtypes = Annotated[list[str] | None, typer.Option("--dtype", help="Number formats: fp32,bf16.", metavar="NAME,..")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Parameters; several values are all measured.", metavar="KEY=VALUE,..")
]
DeviceName = Annotated[str | None, typer.Option("--device", help="cpu, cuda:0 ...; the first GPU by default.", metavar="NAME")]
Budget = Annotated[str, typer.Option("--budget", help="Time for all cases together: 60s, 2min.", metavar="TIME")]


def axes_of(dtypes: list[str] | None, settings: list[str] | None) -> dict[str, list[str]]:
    """The texts after --dtype and --set by parameter.

    Raises:
        UsageError: a setting is not KEY=VALUE.
    """
    axes: dict[str, list[str]] = {}
    for setting in settings or ():
        key, sign, values = setting.partition("=")
        if not sign or not key.strip() or not names([values]):
            raise UsageError(f"--set {setting}: not KEY=VALUE", remedy="For example: --set m=1024,4096")
        axes.setdefault(key.strip(), []).extend(names([values]))
    if dtypes is not None:
        axes["dtype"] = names(dtypes)
        if not axes["dtype"]:
            raise UsageError("--dtype names nothing", remedy="For example: --dtype fp32,bf16")
    return axes


def run(
    command: str,
    suite: Callable[[Any, suites.Axes], suites.Cases],
    axes: suites.Axes,
    device: str | None,
    budget: str,
    out: Output,
    against: Against | None = None,
) -> None:
    """Measure a suite, compare it with a baseline where one is given; on Ctrl-C, show and keep what there is."""
    from dltool import probe, redact, units
    from dltool.bench import devices, harness
    from dltool.render.progress import progress

    for terminates in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(terminates, signal.default_int_handler)  # a batch system's end of time loses no more than Ctrl-C
    against = against or Against()
    baseline = against.load()
    gc.enable()  # off since the start of the command, see dltool.cli
    budget_s = units.parse_seconds(budget)
    devices.import_torch()
    machine = probe.read(measure_clock=True)
    where = devices.find(device, machine)
    chosen = suite(where, axes)
    plan = harness.Plan.for_budget(budget_s, len(chosen))
    measured: list[Measurement] = []
    interrupted = False
    try:
        with progress(len(chosen), quiet=out.quiet) as tell:
            for measurement in harness.run(chosen, where, plan, progress=tell):
                measured.append(measurement)
    except harness.Interrupted as stop:
        measured.append(stop.partial)
        interrupted = True
    except KeyboardInterrupt:
        interrupted = True
    shown = redact.redact(machine, probe.redactor(machine))
    result = report(command, machine=shown, boards=(where.board,), measurements=tuple(measured), interrupted=interrupted)
    result = against.judge(result, baseline)
    finish(result, out, keep=result)
