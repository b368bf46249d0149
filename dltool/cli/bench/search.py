"""`dltool bench search`: the shape at which this device multiplies matrices fastest."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltool.cli.bench.against import Against
from dltool.cli.bench.running import Budget, DeviceName, Dtypes, stop_as_on_ctrl_c
from dltool.cli.common import Output, deliver, finish, guarded, names, report, say, style
from dltool.errors import DltoolError, UsageError

if TYPE_CHECKING:
    from dltool.bench.devices import Device
    from dltool.bench.search.hunt import Found
    from dltool.bench.search.strategy import State
    from dltool.machine import Machine
    from dltool.results import Report

_DEFAULT = ("bf16", "fp32")


@guarded
def search(
    out: Output,
    against: Against,
    dtype: Dtypes = None,
    device: DeviceName = None,
    budget: Budget = "60s",
    low: Annotated[int | None, typer.Option("--min", help="Shortest side that is tried.", metavar="N")] = None,
    high: Annotated[int | None, typer.Option("--max", help="Longest side that is tried.", metavar="N")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that was interrupted.")] = False,
    plot: Annotated[str | None, typer.Option("--plot", help="Heat map: FILE.png, FILE.svg, or - here.", metavar="FILE")] = None,
) -> None:
    """Search the shape at which matrix products are fastest, per dtype, within a budget of time.

    Example: dltool bench search --dtype bf16,fp32 --budget 60s --plot shapes.png
    """
    _check(low, high, plot, out)
    baseline = against.load("bench search")
    machine, where = prepare(device)
    dtypes = names(dtype) or list(_DEFAULT)
    founds = hunt_all(where, dtypes, seconds_each(budget, len(dtypes)), (low, high), resume=resume, quiet=out.quiet)
    result = against.judge(_report(machine, where, founds), baseline)
    if plot:
        _draw(result, plot, out)
    finish(result, out, keep=result)


def _check(low: int | None, high: int | None, plot: str | None, out: Output) -> None:
    """Refuse what cannot be done before anything is measured."""
    for option, side in (("--min", low), ("--max", high)):
        if side is not None and not 0 < side < 2**20:
            raise UsageError(f"{option} {side}: a side from 1 to 2^20 is wanted", remedy=f"For example: {option} 4096")
    if plot == "-" and out.format_name != "text":
        raise UsageError("--plot - draws in the terminal, beside text only", remedy="Name a file: --plot shapes.png")
    if plot is not None:
        from dltool.render import plot as plots

        plots.check(plot)


def prepare(device: str | None) -> tuple[Machine, Device]:
    """The machine and the device, ready to be measured."""
    from dltool import probe
    from dltool.bench import devices

    stop_as_on_ctrl_c()
    gc.enable()  # off since the start of the command, see dltool.cli
    devices.import_torch()
    machine = probe.read(measure_clock=True)
    return machine, devices.find(device, machine)


def seconds_each(budget: str, count: int) -> float:
    """Each dtype's share of the budget.

    Raises:
        UsageError: it is too small for a search; says what is needed.
    """
    from dltool import units
    from dltool.bench.search.hunt import LEAST_BUDGET_S

    share = units.parse_seconds(budget) / count
    if share < LEAST_BUDGET_S:
        need = f"{LEAST_BUDGET_S * count:g}s"
        raise UsageError(f"--budget {budget} is too short to search {count} dtypes", remedy=f"Give at least --budget {need}.")
    return share


def hunt_all(
    where: Device,
    dtypes: list[str],
    share_s: float,
    limits: tuple[int | None, int | None] = (None, None),
    *,
    resume: bool = False,
    keep: bool = True,
    quiet: bool = False,
) -> list[Found]:
    """Search every dtype; after Ctrl-C, what there is of them. `keep`: record the trials, for --resume."""
    from dltool import store
    from dltool.bench import dtype_row
    from dltool.bench.search import hunt, trier
    from dltool.render.searching import searching

    for name in dtypes:
        dtype_row(name)
    founds: list[Found] = []
    try:
        bandwidth_s = min(1.0, 0.03 * share_s * len(dtypes))
        bandwidth = trier.bandwidth(where, bandwidth_s)
        share_s -= 0.0 if where.board.memory_gb_per_s else bandwidth_s / len(dtypes)
        for name in dtypes:
            options = hunt.Options(
                budget_s=share_s,
                lowest=limits[0],
                highest=limits[1],
                folder=store.searches() if keep else None,
                resume=resume,
                bandwidth=bandwidth,
            )
            with searching(name, share_s, quiet=quiet) as tell:
                founds.append(hunt.hunt(where, name, options, tell=_told(tell)))
            if founds[-1].search.ended == "interrupted":
                break
    except KeyboardInterrupt:
        say("interrupted", quiet=quiet)
    return founds


def _told(tell: Callable[[float, str], None]) -> Callable[[str, State], None]:
    """The state of a search as a line of progress."""
    from dltool import units

    def told(stage: str, state: Any) -> None:
        best = state.best(1)
        found = f", best {best[0]} {units.rate(state.rate(best[0]), 'op/s')}" if best else ""
        tell(state.spent_s, f"{stage}: {state.tried} shapes{found}")

    return told


def _report(machine: Machine, where: Device, founds: list[Found]) -> Report:
    from dltool import probe, redact

    shown = redact.redact(machine, probe.redactor(machine))
    return report(
        "bench search",
        machine=shown,
        boards=(where.board,),
        measurements=tuple(found.measurement for found in founds if found.measurement),
        searches=tuple(found.search for found in founds),
        interrupted=not founds or founds[-1].search.ended == "interrupted",
    )


def _draw(result: Report, path: str, out: Output) -> None:
    """The heat map into its file, or above the figures. What was measured is not lost to a picture that fails."""
    from dltool.render import heat

    found = [search for search in result.searches if search.tried]
    if not found:
        return
    looks = style(out)
    try:
        if path == "-":
            deliver(heat.text(found, width=looks.width, color=looks.color), Output())
            return
        Path(path).write_bytes(heat.picture(found, Path(path).suffix.lower().lstrip(".")))
        say(f"heat map written to {path}", quiet=out.quiet)
    except DltoolError as error:
        say(f"warning: no heat map: {error} ({error.remedy})", quiet=out.quiet)
    except OSError as error:
        say(f"warning: cannot write {path}: {error.strerror}", quiet=out.quiet)
