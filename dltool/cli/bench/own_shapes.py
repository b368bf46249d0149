"""`dltool bench gemm --shapes FILE` and `--from-model NAME`: what the user's own shapes reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    str | None,
    typer.Option(
        "--from-model", help="Shapes of a model: resnet50, timm:NAME, hf:CONFIG, package.module:factory ...", metavar="NAME"
    ),
]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", help="An input of the model: float:N,3,224,224, 8x128:int64.", metavar="SHAPE")
]
_CEILING = 0.35
"""Share of the budget for finding the ceiling."""


@dataclass(frozen=True)
class Wanted:
    """Whose products: a file's or a model's."""

    shapes: Path | None
    model: str | None
    inputs: tuple[str, ...]
    dtypes: tuple[str, ...]
    settings: Mapping[str, list[str]]
    """Of the model: its batch, and options of the function that makes it."""


def run(wanted: Wanted, device: str | None, budget: str, out: DrawnOutput, how: How, against: Against) -> None:
    """Find the ceiling of each dtype, measure every shape, and say where the time would go.

    Raises:
        UsageError: both a file and a model, inputs or settings without a model, a budget that is too short, or a way of
            measuring that is not for shapes of one's own.
    """
    from dltool import probe, redact, units
    from dltool.bench.shapes import verdict

    _check(wanted)
    if how != How():
        raise UsageError(
            "--resume, --precision and --all-gpus are not for shapes of your own", remedy="Leave them out, or --shapes."
        )
    baseline = against.load("bench gemm")
    budget_s = units.parse_seconds(budget)
    asked, notes = _asked(wanted)
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
        own_shapes=verdict.table(str(wanted.shapes or wanted.model), rows, tops, notes),
        interrupted=interrupted,
    )
    result = against.judge(result, baseline)
    draw(result, out)
    finish(result, out, keep=result)


def _check(wanted: Wanted) -> None:
    if wanted.shapes is not None and wanted.model is not None:
        raise UsageError("--shapes and --from-model together", remedy="Give one of them.")
    if wanted.model is None and (wanted.inputs or wanted.settings):
        given = "--input" if wanted.inputs else "--set"
        raise UsageError(f"{given} without --from-model", remedy="Name the model that it is of; a file has all its shapes.")
    several = [name for name, values in wanted.settings.items() if len(values) > 1]
    if several:
        raise UsageError(f"--set {several[0]} has several values", remedy="A model is taken apart once: give one.")


def _asked(wanted: Wanted) -> tuple[list[Asked], list[str]]:
    """The products with the dtypes that they are measured in. A file's own dtypes rule; a model's give way to --dtype."""
    from dltool.bench import dtype_row

    dtypes = [dtype_row(name)["name"] for name in wanted.dtypes]
    if wanted.shapes is not None:
        from dltool.bench.shapes import files

        found = files.read(wanted.shapes)
        return [(own, name) for own in found for name in ([own.dtype] if own.dtype else dtypes or ["bf16"])], []
    found = _of_model(wanted)
    notes = ["convolutions are measured as the products that they are mathematically (implicit GEMM), not by their own kernels"]
    return [(own, name) for own in found for name in dtypes or [own.dtype or "fp32"]], notes if _has(
        found, "convolution"
    ) else []


def _of_model(wanted: Wanted) -> tuple[Own, ...]:
    from dltool import units
    from dltool.bench.shapes import model

    options = {name: values[0] for name, values in wanted.settings.items()}
    batch = units.parse_count(options.pop("batch", str(model.BATCH)))
    return model.read(wanted.model or "", wanted.inputs, batch=batch, options=options)


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
