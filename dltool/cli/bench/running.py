"""What all benchmark commands share: their options, and the way from cases to a report."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltool.cli.common import Output, finish, names, report, say
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.bench import Workload, suites
    from dltool.bench.devices import Device
    from dltool.bench.isolation.workers import Workers
    from dltool.bench.journal import Journal
    from dltool.bench.plan import Plan
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


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a run goes, beside what it measures: the options of every command that takes a `how`."""

    resume: Resume = False
    precision: Precision = None

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


def run(
    command: str,
    suite: Callable[[Any, suites.Axes], suites.Cases],
    axes: suites.Axes,
    device: str | None,
    budget: str,
    out: Output,
    how: How | None = None,
) -> None:
    """Measure a suite, each case in a process of its own; on Ctrl-C, show and keep what there is."""
    from dltool import probe, redact, units
    from dltool.bench import plan
    from dltool.bench.isolation.workers import Workers

    how = how or How()
    precision = how.precision_share
    stop_as_on_ctrl_c()
    gc.enable()  # off since the start of the command, see dltool.cli
    budget_s = units.parse_seconds(budget)
    with Workers() as workers:
        machine = probe.read(measure_clock=True)  # while torch is imported over there
        where = find(device, machine, workers)
        chosen = list({_key(*case): case for case in suite(where, axes)}.values())  # a case that is named twice is one
        journal = _journal(command, axes, where, len(chosen), resume=how.resume, quiet=out.quiet)
        left = [case for case in chosen if _key(*case) not in journal.done]
        if budget_s < plan.least_budget(len(chosen)):
            say(f"warning: {budget_s:g} s are too little for {len(chosen)} cases: give --budget "
                f"{plan.least_budget(len(chosen)):.0f}s or more", quiet=out.quiet)  # fmt: skip
        share = budget_s * len(left) / max(1, len(chosen))
        measured, interrupted = _measure(
            left, where, plan.Plan.for_budget(share, len(left), precision=precision), workers, journal, out
        )
    rows = [measured.get(_key(*case)) or journal.done.get(_key(*case)) for case in chosen]
    shown = redact.redact(machine, probe.redactor(machine))
    result = report(command, machine=shown, boards=(where.board,), interrupted=interrupted,
                    measurements=tuple(row for row in rows if row is not None))  # fmt: skip
    journal.close(finished=not interrupted)
    if journal.trouble:
        say(f"warning: this run could not be kept while it went on: {journal.trouble}", quiet=out.quiet)
    finish(result, out, keep=result)


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
    from dltool.bench.isolation.workers import Died
    from dltool.errors import CannotRun

    try:
        found: Device = workers.call(devices.find, device, machine, timeout_s=180)
    except Died as death:
        raise CannotRun(f"looking for the device, torch {death}", remedy="dltool doctor tells what is wrong with it.") from None
    return found


def _measure(
    cases: suites.Cases, where: Device, plan: Plan, workers: Workers, journal: Journal, out: Output
) -> tuple[Mapping[str, Measurement], bool]:
    """The measurements by case, and whether they were broken off."""
    from dltool.bench import harness
    from dltool.bench.isolation import runs
    from dltool.render.progress import progress

    measured: dict[str, Measurement] = {}
    keys = [_key(*case) for case in cases]
    try:
        with progress(len(cases), quiet=out.quiet) as tell:
            for key, measurement in zip(keys, runs.run(cases, where, plan, workers, progress=tell), strict=False):
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


def _journal(command: str, axes: suites.Axes, where: Device, cases: int, *, resume: bool, quiet: bool) -> Journal:
    """The file of this run, or of the one that it continues, which is said."""
    import datetime

    from dltool import __version__, store
    from dltool.bench import harness
    from dltool.bench.journal import Head, Journal, take_over

    folder = store.directory() / "unfinished"
    key = {
        "command": command,
        "parameters": " ".join(f"{name}={','.join(values)}" for name, values in sorted(axes.items())),
        "device": f"{where.name} {where.board.name}",
        "threads": str(where.threads),
        "dltool": __version__,
        "harness": str(harness.HARNESS_VERSION),
        "python": sys.executable,
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES", "all"),
    }
    if resume:
        found = take_over(folder, key)
        if found is not None:
            done = len(found.done)
            say(f"continuing the run of {found.head.created}: {done} of {cases} cases are taken over", quiet=quiet)
            return found
        say("nothing to continue: no run of this command, device and settings was broken off", quiet=quiet)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return Journal(folder, Head(key=key, created=now, cases=cases))
