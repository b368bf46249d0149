"""`dltool bench ab`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.bench.against import FailIfSlower, check_limit
from dltool.cli.bench.running import Budget, DeviceName, Dtypes, Settings, axes_of
from dltool.cli.common import Output, finish, guarded, names, report
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.machine import Machine
    from dltool.results import Measurement

_LEAST_ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What is A and what is B."""

    a_python: Annotated[str | None, typer.Option("--a-python", help="Python of environment A.", metavar="PATH")] = None
    b_python: Annotated[str | None, typer.Option("--b-python", help="Python of environment B.", metavar="PATH")] = None
    a: Annotated[list[str] | None, typer.Option("--a", help="What A has other than B.", metavar="KEY=VALUE")] = None
    b: Annotated[list[str] | None, typer.Option("--b", help="What B has other than A.", metavar="KEY=VALUE")] = None

    def check(self) -> None:
        """Refuse a comparison of nothing.

        Raises:
            UsageError: A and B are the same.
        """
        if (self.a_python, self.a) == (self.b_python, self.b):
            raise UsageError(
                "A and B are the same", remedy="Say what differs: --a dtype=bf16 --b dtype=fp16, or --a-python and --b-python."
            )

    @property
    def in_children(self) -> bool:
        """Whether other interpreters are asked for."""
        return bool(self.a_python or self.b_python)


@guarded
def ab(
    out: Output,
    sides: Sides,
    workload: Annotated[list[str] | None, typer.Argument(help="Workloads: gemm by default.", metavar="WORKLOAD ...")] = None,
    dtype: Dtypes = None,
    set_: Settings = None,
    device: DeviceName = None,
    budget: Budget = "2min",
    rounds: Annotated[int, typer.Option("--rounds", help="Blocks of each side: 8 or more.", metavar="N")] = _LEAST_ROUNDS,
    fail_if_slower: FailIfSlower = None,
) -> None:
    """Compare two environments, or two settings, in blocks that take turns: A B, B A, A B ...

    Example: dltool bench ab gemm --a dtype=bf16 --b dtype=fp32
    """
    from dltool import probe, redact, units
    from dltool.bench import gates, turns
    from dltool.render.progress import progress

    sides.check()
    check_limit(fail_if_slower)
    if rounds < _LEAST_ROUNDS:
        raise UsageError(f"{rounds} rounds do not bear a verdict at 99 %", remedy=f"Let there be {_LEAST_ROUNDS} or more.")
    budget_s = units.parse_seconds(budget)
    gc.enable()
    machine = probe.read(measure_clock=True)
    common = axes_of(dtype, set_)
    measures = [
        _measure(machine, names(workload) or ["gemm"], {**common, **axes_of(None, own)}, python, device, sides.in_children)
        for python, own in ((sides.a_python, sides.a), (sides.b_python, sides.b))
    ]
    with progress(2 * rounds + 2, quiet=out.quiet) as tell:
        a_blocks, b_blocks = turns.run(measures[0], measures[1], rounds, budget_s, progress=tell)
    rows = tuple(gates.in_turn(a, b, gates.bar(fail_if_slower)) for a, b in zip(a_blocks, b_blocks, strict=True))
    shown = redact.redact(machine, probe.redactor(machine))
    measured = tuple(gates.joined(blocks) for blocks in (*a_blocks, *b_blocks))
    result = report(
        "bench ab", machine=shown, measurements=measured, comparisons=rows, findings=gates.sides(a_blocks, b_blocks)
    )
    finish(result, out, keep=result)


def _measure(
    machine: Machine,
    workloads: Sequence[str],
    axes: dict[str, list[str]],
    python: str | None,
    device: str | None,
    in_child: bool,
) -> Callable[[float], Sequence[Measurement]]:
    """What measures all cases of one side once, for so many seconds each."""
    from dltool.bench import devices, elsewhere, harness

    wanted = [(name, axes) for name in workloads]
    if in_child:
        return lambda case_s: elsewhere.measure(python or sys.executable, wanted, machine, device, case_s)
    where = devices.find(device, machine)
    chosen = elsewhere.cases_of(wanted, where)
    return lambda case_s: tuple(harness.run(chosen, where, elsewhere.block_plan(case_s)))
