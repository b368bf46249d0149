"""What all benchmark commands share: their options, and the way from cases to a report."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltool.cli.bench.against import Against
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import finish, names, report, say
from dltool.cli.drawing import draw
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.bench import Workload, suites
    from dltool.bench.devices import Device
    from dltool.bench.isolation.workers import Workers
    from dltool.bench.journal import Journal
    from dltool.bench.networks.expanding import Batches
    from dltool.bench.plan import Plan
    from dltool.catalog import Board
    from dltool.machine import Machine
    from dltool.results import Measurement

Dtypes = Annotated[list[str] | None, typer.Option("--dtype", help="Number formats: fp32,bf16.", metavar="NAME,..")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Parameters; several values are all measured.", metavar="KEY=VALUE,..")
]
DeviceName = Annotated[str | None, typer.Option("--device", help="cpu, cuda:0 ...; the first GPU by default.", metavar="NAME")]
Budget = Annotated[str, typer.Option("--budget", help="Time for all cases together: 60s, 2min.", metavar="TIME")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the last run of the same command that was broken off, and keep what it has.")
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="A case ends early once its median is known this well: 0.5%. Its time goes to those that are noisier.",
        metavar="PERCENT",
    ),
]
AllGpus = Annotated[
    bool, typer.Option("--all-gpus", help="Every visible GPU one at a time, then all at once: spread, and who is behind.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a run goes, beside what it measures: the options of every command that takes a `how`."""

    resume: Resume = False
    precision: Precision = None
    all_gpus: AllGpus = False

    def check(self, device: str | None) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: --all-gpus with a device or with --resume; a precision that is none.
        """
        if self.all_gpus and (self.resume or device is not None):
            other = "--resume" if self.resume else "--device"
            raise UsageError(
                f"--all-gpus and {other} do not go together", remedy="CUDA_VISIBLE_DEVICES=0,1 chooses among GPUs."
            )
        _ = self.precision_share

    @property
    def precision_share(self) -> float | None:
        """As a share of the median.

        Raises:
            UsageError: not a percentage above 0 and below 100.
        """
        if self.precision is None:
            return None
        try:
            share = float(self.precision.strip().removesuffix("%")) / 100
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            raise UsageError(f"--precision {self.precision}: not a percentage", remedy="For example: --precision 0.5%")
        return share


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


def cases_of(workload: str) -> Callable[[Any, suites.Axes], suites.Cases]:
    """What a workload's own command measures: what its module chooses for a device. The module is loaded when that is asked."""

    def chosen(device: Device, axes: suites.Axes) -> suites.Cases:
        found: suites.Cases = import_module(f"dltool.bench.workloads.{workload}").chosen(device, axes)
        return found

    return chosen


def run(
    command: str,
    suite: Callable[[Any, suites.Axes], suites.Cases],
    axes: suites.Axes,
    device: str | None,
    budget: str,
    out: Output,
    how: How | None = None,
    against: Against | None = None,
    batches: Batches | None = None,
    preload: Sequence[str] = (),
) -> None:
    """Measure a suite, each case in a process of its own; on Ctrl-C, show and keep what there is.

    A baseline is read before anything is measured, and compared with at the end. `batches` finds those of models first, and
    `preload` names modules that every case would import besides.
    """
    from dltool import probe, redact, units
    from dltool.bench.isolation.workers import PRELOAD, Workers

    how, against = how or How(), against or Against()
    how.check(device)
    baseline = against.load(command)
    stop_as_on_ctrl_c()
    gc.enable()  # off since the start of the command, see dltool.cli
    budget_s = units.parse_seconds(budget)
    with Workers((*PRELOAD, *preload)) as workers:
        machine = probe.read(measure_clock=True)  # while torch is imported over there
        if how.all_gpus:
            found = _on_all_gpus(suite, axes, machine, budget_s, how, workers, out)
        else:
            where = find(device, machine, workers)
            found = _on_one(command, suite, axes, where, budget_s, how, workers, out, batches)
    shown = redact.redact(machine, probe.redactor(machine))
    result = report(command, machine=shown, boards=found.boards, interrupted=found.interrupted, measurements=found.rows)
    result = against.judge(result, baseline)
    draw(result, out)
    finish(result, out, keep=result)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a run came to."""

    rows: tuple[Measurement, ...]
    boards: tuple[Board, ...]
    interrupted: bool


def _on_one(
    command: str,
    suite: Callable[[Any, suites.Axes], suites.Cases],
    axes: suites.Axes,
    where: Device,
    budget_s: float,
    how: How,
    workers: Workers,
    out: Output,
    batches: Batches | None = None,
) -> _Found:
    from dltool.bench.conclusions import concluded
    from dltool.cli.bench.resuming import journal_of

    cases = suite(where, axes)
    if batches is not None:
        cases = batches.expand(cases, where, workers)
    chosen = {_key(*case): case for case in cases}  # a case that is named twice is one
    journal = journal_of(command, axes, where, len(chosen), resume=how.resume, quiet=out.quiet)
    left = {key: case for key, case in chosen.items() if key not in journal.done}
    share = budget_s * len(left) / max(1, len(chosen))
    measured, interrupted = _measure(left, where, _plan(share, len(left), how, out), workers, journal, out)
    journal.close(finished=not interrupted)
    if journal.trouble:
        say(f"warning: this run could not be kept while it went on: {journal.trouble}", quiet=out.quiet)
    rows = [row for key in chosen if (row := measured.get(key) or journal.done.get(key)) is not None]
    told = tuple(concluded(rows))
    return _Found(rows=told if batches is None else batches.conclude(told), boards=(where.board,), interrupted=interrupted)


def _on_all_gpus(
    suite: Callable[[Any, suites.Axes], suites.Cases],
    axes: suites.Axes,
    machine: Machine,
    budget_s: float,
    how: How,
    workers: Workers,
    out: Output,
) -> _Found:
    from dltool.bench import all_gpus, devices
    from dltool.render.progress import progress

    places: tuple[Device, ...] = _asked(workers, devices.visible_gpus, machine)
    chosen = suite(places[0], axes)
    parts = all_gpus.rounds(len(chosen), len(places))
    rows: list[Measurement] = []
    interrupted = False
    try:
        with progress(parts, quiet=out.quiet) as tell:
            rows.extend(all_gpus.run(chosen, places, _plan(budget_s, parts, how, out), workers, progress=tell))
    except KeyboardInterrupt:
        interrupted = True
    return _Found(rows=tuple(rows), boards=tuple(place.board for place in places), interrupted=interrupted)


def _plan(budget_s: float, cases: int, how: How, out: Output) -> Plan:
    """The plan for so many cases, with a warning where they cannot all be measured well in that time."""
    from dltool.bench import plan

    least = plan.least_budget(cases)
    if budget_s < least:
        say(f"warning: {budget_s:g} s are too little for {cases} cases: give --budget {least:.0f}s or more", quiet=out.quiet)
    return plan.Plan.for_budget(budget_s, cases, precision=how.precision_share)


def stop_as_on_ctrl_c() -> None:
    """A batch system's end of time, or a closed terminal, loses no more than Ctrl-C."""
    for terminates in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(terminates, signal.default_int_handler)


def find(device: str | None, machine: Machine, workers: Workers) -> Device:
    """The device called so, found by a child: a CUDA context stays out of this process.

    Raises:
        UsageError: no such device is known to torch.
        CannotRun: torch is missing or broken, or the device cannot be used.
    """
    from dltool.bench import devices

    found: Device = _asked(workers, devices.find, device, machine)
    return found


def _asked(workers: Workers, function: Callable[..., Any], *arguments: Any) -> Any:
    from dltool.bench.isolation.workers import Died
    from dltool.errors import CannotRun

    try:
        return workers.call(function, *arguments, timeout_s=180)
    except Died as death:
        raise CannotRun(f"looking for devices, torch {death}", remedy="dltool doctor tells what is wrong with it.") from None


def _measure(
    cases: Mapping[str, tuple[str, Workload]], where: Device, plan: Plan, workers: Workers, journal: Journal, out: Output
) -> tuple[Mapping[str, Measurement], bool]:
    """The measurements by case, and whether they were broken off."""
    from dltool.bench import harness
    from dltool.bench.isolation import runs
    from dltool.render.progress import progress

    measured: dict[str, Measurement] = {}
    keys = list(cases)
    try:
        with progress(len(cases), quiet=out.quiet) as tell:
            for key, measurement in zip(keys, runs.run(cases.values(), where, plan, workers, progress=tell), strict=False):
                measured[key] = measurement
                journal.add(key, measurement)
    except harness.Interrupted as stop:
        measured[keys[len(measured)]] = stop.partial
        return measured, True
    except KeyboardInterrupt:
        return measured, True
    return measured, False


def _key(name: str, workload: Workload) -> str:
    from dltool.bench import harness

    return harness.describe(name, workload)
