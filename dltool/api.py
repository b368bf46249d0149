"""The Python face of dltool: the same steps as the commands, the same objects as their reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dltool import catalog, peaks, sheets
from dltool.machine import Machine
from dltool.results import Compatibility, Finding, Measurement


def machine(*, python: str | None = None, measure_clock: bool = False) -> Machine:
    """This machine's facts, unredacted; see `dltool.probe.read`."""
    from dltool import probe

    return probe.read(python=python, measure_clock=measure_clock)


def doctor(of: Machine | None = None, *, only: str | Iterable[str] = (), skip: str | Iterable[str] = ()) -> tuple[Finding, ...]:
    """What is wrong with `of`, by default with this machine.

    Raises:
        UsageError: a check named in `only` or `skip` is unknown.
    """
    from dltool import checks

    names = [(given,) if isinstance(given, str) else given for given in (only, skip)]
    return checks.run(of if of is not None else machine(), only=names[0], skip=names[1])


def gpu(name: str, *, clock_mhz: float | None = None) -> catalog.Board:
    """A board of the catalogue with its derived peaks, at boost clock or at `clock_mhz`.

    Raises:
        UsageError: unknown (the nearest names are suggested), several boards (they are named), or never sold.
    """
    if clock_mhz is not None:
        peaks.check_clock(clock_mhz)
    return sheets.one(name, clock_mhz=clock_mhz)


def compat(**given: Any) -> Compatibility:
    """Whether the given versions go together, by which rules, and the newest published build that suits all of them.

    Args:
        given: any of driver, gpu, cc, cuda, cudnn, torch, python, os, arch, glibc, kernel_module, compat_package, gcc,
            extension_ptx as text, and `with_`, a list of packages; see `dltool.compat.ask`. Nothing is this machine.

    Raises:
        UsageError: a value is none, says too little, or contradicts another.
    """
    from dltool import compat as rules
    from dltool.compat.ask import ask
    from dltool.compat.question import of_machine

    question = ask(**given).question if given else of_machine(machine())
    return rules.answer(question)


def bench(
    workload: str, *, device: str | None = None, budget_s: float = 30.0, **axes: str | int | Sequence[str | int]
) -> tuple[Measurement, ...]:
    """Measure a workload at every combination of the given parameters: `bench("gemm", dtype=["fp32", "bf16"], m=2048)`.

    Raises:
        UsageError: an unknown workload, parameter or value.
        CannotRun: torch or the device is missing.
    """
    from dltool.bench import WORKLOADS, cases, devices, harness

    texts = {
        name: [str(value) for value in ([values] if isinstance(values, (str, int)) else values)]
        for name, values in axes.items()
    }
    chosen = [(workload, case) for case in cases(WORKLOADS.get(workload), texts)]
    where = devices.find(device, machine(measure_clock=True))
    return tuple(harness.run(chosen, where, harness.Plan.for_budget(budget_s, len(chosen))))
