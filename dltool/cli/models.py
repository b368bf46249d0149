"""`dltool models`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.common import Output, finish, guarded, report
from dltool.errors import CannotRun, UsageError

if TYPE_CHECKING:
    from dltool.catalog import Board
    from dltool.model_results import Model


@guarded
def models(
    out: Output,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models: resnet50, timm:NAME, hf:CONFIG, package.module:callable ...; the zoo in a list by default.",
            metavar="[NAME]...",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="List only models of this task.", metavar="TASK")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show every layer: output, parameters, multiply-adds.")] = False,
    fits: Annotated[
        str | None, typer.Option("--fits", help='Say the largest batch on this GPU: "RTX 3060 12GB".', metavar="GPU")
    ] = None,
    predict: Annotated[
        str | None, typer.Option("--predict", help='Predict the rates on this GPU: "H100 SXM".', metavar="GPU")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Options of the model: num_classes=10.", metavar="OPTION=VALUE")
    ] = None,
    input_: Annotated[
        str | None, typer.Option("--input", help="What the model takes: float:N,3,224,224; N is the batch.", metavar="SHAPE")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Samples of a step.", metavar="N", min=1)] = 1,
    optimizer: Annotated[
        str, typer.Option("--optimizer", help="Optimizer of a training step: sgd, momentum, adam or adamw.", metavar="NAME")
    ] = "adamw",
    dtype: Annotated[
        str,
        typer.Option("--dtype", help="Precision: fp32, tf32, mixed, amp-bf16, amp-fp16, bf16 or fp16.", metavar="NAME"),
    ] = "fp32",
) -> None:
    """List the zoo's models, or describe some: parameters, operations, memory, layers, and the largest batch on a GPU.

    Everything is found without computing: on shapes alone. Example: dltool models resnet50 --batch 64 --fits "RTX 3060 12GB"
    """
    if not names:
        _refuse(layers=layers, fits=fits is not None, predict=predict is not None, options=bool(set_), input=input_ is not None)
        from dltool.zoo.listing import listed

        found = listed(task)
    else:
        if task is not None:
            raise UsageError("--task is for the list", remedy="Leave the names out: dltool models --task " + task)
        one = partial(
            _described,
            options=_options(set_),
            given=input_,
            batch=batch,
            optimizer=optimizer,
            dtype=dtype,
            board=_board(fits),
            other=_board(predict),
            table=layers,
        )
        found = tuple(one(name) for name in dict.fromkeys(names))
    result = report("models", models=found)
    finish(result, out, keep=None, looks={"layout": "sheet" if names else "list"})


def _refuse(**given: bool) -> None:
    """Refuse options that need a model.

    Raises:
        UsageError: one is given.
    """
    for name, is_there in given.items():
        if is_there:
            option = "--set" if name == "options" else f"--{name}"
            raise UsageError(f"{option} is for named models", remedy=f"Name one: dltool models resnet50 {option} ...")


def _options(texts: list[str] | None) -> dict[str, str]:
    """`num_classes=10` taken apart.

    Raises:
        UsageError: it has no name or no value.
    """
    options = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"`--set {text}` sets nothing", remedy="Write --set OPTION=VALUE: --set num_classes=10")
        options[name.strip()] = value.strip()
    return options


def _board(name: str | None) -> Board | None:
    from dltool import names

    return None if name is None else names.find(name)


def _described(
    name: str,
    *,
    options: dict[str, str],
    given: str | None,
    batch: int,
    optimizer: str,
    dtype: str,
    board: Board | None,
    other: Board | None,
    table: bool,
) -> Model:
    """One model in full; where torch is missing and nothing is asked for that needs it, its row."""
    from msgspec.structs import replace

    from dltool.bench.networks.predicting import foreseen, memory_dtype
    from dltool.zoo import describing, entry, listing, memory, providers

    held = memory_dtype(dtype)
    memory.check(held, optimizer)
    known = listing.row(entry(name)) if providers.in_zoo(name) else None
    try:
        told, subject = describing.named(name, options, given)
    except CannotRun as error:
        if options or given or board or other or table or known is None:
            raise
        return replace(known, notes=(f"operations, memory and options are found with PyTorch: {error.remedy}",))
    found = describing.examined(told, subject, batch=batch, dtype=held, optimizer=optimizer, board=board, table=table)
    if other is None:
        return found
    return replace(found, predictions=foreseen(subject, other, batch=batch, precision=dtype, optimizer=optimizer))
