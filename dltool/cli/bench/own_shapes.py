"""`dltool bench gemm --shapes FILE` and `--from-model NAME`: what the user's own shapes reach."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.bench.against import Against
from dltool.cli.bench.running import How
from dltool.cli.bench.search import hunt_all, prepare
from dltool.cli.common import DrawnOutput, finish, report
from dltool.cli.drawing import draw
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.bench.devices import Device
    from dltool.bench.shapes.measure import Asked
    from dltool.bench.shapes.own import Own
    from dltool.results import Measurement
    from dltool.shape_results import OwnShape

Shapes = Annotated[
    Path | None,
    typer.Option("--shapes", help="Your shapes: CSV, JSON, or lines of m n k [dtype] [count] [name].", metavar="FILE"),
]
FromModel = Annotated[
    str | None, typer.Option("--from-model", help="Shapes of your model: package.module:factory.", metavar="NAME")
]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", help="Shape of an input of the model: 8x3x224x224, 8x128:int64.", metavar="SHAPE")
]
_CEILING = 0.35
"""Share of the budget for finding the ceiling."""


def run(
    shapes: Path | None,
    model: str | None,
    inputs: list[str] | None,
    dtypes: list[str],
    device: str | None,
    budget: str,
    out: DrawnOutput,
    how: How,
    against: Against,
) -> None:
    """Find the ceiling of each dtype, measure every shape, and say where the time would go.

    Raises:
        UsageError: both a file and a model, inputs without a model, a budget that is too short, or a way of measuring that is
            not for shapes of one's own.
    """
    from dltool import probe, redact, units
    from dltool.bench.shapes import verdict

    _check(shapes, model, inputs)
    if how != How():
        raise UsageError(
            "--resume, --precision and --all-gpus are not for shapes of your own", remedy="Leave them out, or --shapes."
        )
    baseline = against.load("bench gemm")
    budget_s = units.parse_seconds(budget)
    asked, notes = _asked(shapes, model, inputs or [], dtypes)
    names = sorted({dtype for _, dtype in asked})
    _check_budget(budget, budget_s, len(names))
    machine, where = prepare(device)
    founds = hunt_all(where, names, budget_s * _CEILING / len(names), quiet=out.quiet, keep=False)
    interrupted = not founds or founds[-1].search.ended == "interrupted"
    rows: list[OwnShape] = []
    cases: list[Measurement] = []
    if not interrupted:
        interrupted = _measure(asked, where, budget_s * (1 - _CEILING), rows, cases, quiet=out.quiet)
    winners = [found.measurement for found in founds if found.measurement]
    tops = verdict.ceilings([found.search for found in founds], [*winners, *cases])
    result = report(
        "bench gemm",
        machine=redact.redact(machine, probe.redactor(machine)),
        boards=(where.board,),
        measurements=(*winners, *cases),
        searches=tuple(found.search for found in founds),
        own_shapes=verdict.table(str(shapes or model), rows, tops, notes),
        interrupted=interrupted,
    )
    result = against.judge(result, baseline)
    draw(result, out)
    finish(result, out, keep=result)


def _check(shapes: Path | None, model: str | None, inputs: list[str] | None) -> None:
    if shapes is not None and model is not None:
        raise UsageError("--shapes and --from-model together", remedy="Give one of them.")
    if inputs and model is None:
        raise UsageError("--input without --from-model", remedy="Name the model whose input it is.")


def _asked(shapes: Path | None, model: str | None, inputs: list[str], dtypes: list[str]) -> tuple[list[Asked], list[str]]:
    """The products with the dtypes that they are measured in. A file's own dtypes rule; a model's give way to --dtype."""
    from dltool.bench import dtype_row

    wanted = [dtype_row(name)["name"] for name in dtypes]
    if shapes is not None:
        from dltool.bench.shapes import files

        return [(own, name) for own in files.read(shapes) for name in ([own.dtype] if own.dtype else wanted or ["bf16"])], []
    from dltool.bench.shapes import model as models

    found = models.read(model or "", inputs)
    notes = ["convolutions are measured as the products that they are mathematically (implicit GEMM), not by their own kernels"]
    return [(own, name) for own in found for name in wanted or [own.dtype or "fp32"]], notes if _has(
        found, "convolution"
    ) else []


def _has(found: tuple[Own, ...], kind: str) -> bool:
    return any(own.kind == kind and own.batch == 1 for own in found)


def _check_budget(budget: str, budget_s: float, count: int) -> None:
    from dltool.bench.search.hunt import LEAST_BUDGET_S

    need_s = LEAST_BUDGET_S * count / _CEILING
    if budget_s < need_s:
        raise UsageError(
            f"--budget {budget} is too short to find the ceiling of {count} dtypes",
            remedy=f"Give at least --budget {need_s:.0f}s.",
        )


def _measure(
    asked: list[Asked], where: Device, budget_s: float, rows: list[OwnShape], cases: list[Measurement], *, quiet: bool
) -> bool:
    """Fill the rows; whether it was interrupted."""
    from dltool.bench.shapes import measure
    from dltool.render.progress import progress

    try:
        with progress(len(asked), quiet=quiet) as tell:
            for row, case in measure.measured(asked, where, budget_s, tell=tell):
                rows.append(row)
                if case is not None:
                    cases.append(case)
    except KeyboardInterrupt:
        return True
    return False
