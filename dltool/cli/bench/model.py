"""`dltool bench model`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltool.cli.bench import learning
from dltool.cli.bench.against import Against
from dltool.cli.bench.running import Budget, DeviceName, How, Settings, axes_of, run
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import guarded, names, say
from dltool.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dltool.bench.devices import Device
    from dltool.bench.networks.expanding import Batches
    from dltool.bench.suites import Axes, Cases

_OWN = (
    "model",
    "mode",
    "precision",
    "batch",
    "layout",
    "compile",
    "graph",
    "optimizer",
    "backend",
    "input",
    "weights",
    "compare",
)
"""Parameters of the workload, which have options of their own or are not options of the model."""
_PRELOAD = ("torch._dynamo", "dltool.zoo.subject", "dltool.bench.networks.preparing")
"""The first optimizer of a process imports torch's compiler, which takes seconds: once for all cases."""
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models as `dltool models` takes them.")]
Suite = Annotated[
    str | None,
    typer.Option(
        "--suite", metavar="NAME", help="classic, vision, detection, segmentation, generative, language, mlperf-like."
    ),
]
Modes = Annotated[str, typer.Option("--mode", metavar="NAME,..", help="infer, train or both.")]
Precisions = Annotated[
    list[str] | None,
    typer.Option("--dtype", metavar="NAME,..", help="fp32, tf32, amp-fp16, amp-bf16, bf16, fp16, fp8, int8."),
]
Samples = Annotated[
    str | None,
    typer.Option("--batch", metavar="N,..|sweep|max", help="Samples of a step; max: as many as fit; sweep: up to that."),
]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Images with their channels innermost.")]
Compiled = Annotated[
    str | None, typer.Option("--compile", metavar="MODE", help="torch.compile: default, reduce-overhead, max-autotune.")
]
Graph = Annotated[bool, typer.Option("--graph", help="Replay the step as one CUDA graph.")]
Optimizers = Annotated[
    list[str] | None,
    typer.Option("--optimizer", metavar="NAME,..", help="sgd, momentum, adagrad, rmsprop, adadelta, adam, adamw."),
]
Backends = Annotated[
    list[str] | None,
    typer.Option("--backend", metavar="NAME,..", help="eager, onnxruntime, openvino, onnxruntime-tensorrt, torch-tensorrt."),
]
GivenInput = Annotated[
    str | None, typer.Option("--input", metavar="KIND:SIDES", help="What the model takes: float:N,3,224,224.")
]
Compare = Annotated[
    list[str] | None, typer.Option("--compare", metavar="BOARD", help="Also predict the step on this board; may be repeated.")
]
Learns = Annotated[
    bool,
    typer.Option("--verify-training", help="Do not time: train on real data, and tell whether it learns as fp32 does."),
]
Weights = Annotated[str | None, typer.Option("--weights", metavar="FILE", help="A checkpoint; random weights by default.")]


@guarded
def model(
    out: Output,
    how: How,
    against: Against,
    models: Names = None,
    suite: Suite = None,
    mode: Modes = "infer",
    dtype: Precisions = None,
    batch: Samples = None,
    channels_last: ChannelsLast = False,
    compile_: Compiled = None,
    graph: Graph = False,
    optimizer: Optimizers = None,
    backend: Backends = None,
    input_: GivenInput = None,
    weights: Weights = None,
    compare: Compare = None,
    verify_training: Learns = False,
    set_: Settings = None,
    device: DeviceName = None,
    budget: Budget = "60s",
) -> None:
    """Measure training and inference of standard models or your own: throughput, latency, where the time goes, utilisation.

    Example: dltool bench model resnet50 bert_base --mode both --dtype amp-bf16 --batch 32
    """
    from dltool import units

    if verify_training:
        learning.run(models or (), names(dtype) or None, device, budget, out, command="bench model --verify-training")
    searched = _searched(batch)
    given = {
        "mode": ["infer", "train"] if mode == "both" else names([mode]),
        "precision": names(dtype),
        "batch": names([batch] if batch else None),
        "layout": ["channels_last"] if channels_last else [],
        "compile": names([compile_] if compile_ else None),
        "graph": ["yes"] if graph else [],
        "optimizer": names(optimizer),
        "backend": names(backend),
        "input": [input_] if input_ else [],
        "weights": [weights] if weights else [],
        "options": _options(set_),
        "compare": _boards(compare),
    }
    wanted = {name: values for name, values in given.items() if values}
    axes = {"model": _models(models, suite), **wanted}
    batches = _batches(searched, units.parse_seconds(budget), out) if searched else None
    run("bench model", _cases(suite, searched), axes, device, budget, out, how, against, batches, _PRELOAD)


def _searched(batch: str | None) -> str:
    """ "max" or "sweep", where the batch is to be found.

    Raises:
        UsageError: one of them beside numbers.
    """
    asked = names([batch] if batch else None)
    found = [one for one in asked if one in ("max", "sweep")]
    if found and len(asked) > 1:
        raise UsageError(f"--batch {batch}: {found[0]} stands alone", remedy="For example: --batch sweep, or --batch 8,16,32")
    return found[0] if found else ""


def _batches(way: str, budget_s: float, out: Output) -> Batches:
    from dltool.bench.networks.expanding import Batches

    return Batches(way, max(1.0, budget_s / 30), lambda text: say(f"looking for {text}", quiet=out.quiet))


def _boards(asked: list[str] | None) -> list[str]:
    """The catalogue's names of boards, as one text.

    Raises:
        UsageError: a name leads nowhere, or to several boards.
    """
    from dltool import names as boards

    return [";".join(boards.find(name).name for name in asked)] if asked else []


def _models(models: list[str] | None, suite: str | None) -> list[str]:
    """What is asked for by name.

    Raises:
        UsageError: neither a name nor a suite, or both.
    """
    if bool(models) == bool(suite):
        raise UsageError(
            "name models, or a suite of them" if not models else "names and --suite do not go together",
            remedy="For example: dltool bench model resnet50, or dltool bench model --suite classic",
        )
    return list(dict.fromkeys(models or ()))


def _options(settings: list[str] | None) -> list[str]:
    """The model's own options, as one text.

    Raises:
        UsageError: a setting is not KEY=VALUE, or has several values.
    """
    found = axes_of(None, settings)
    for name, values in found.items():
        if len(values) > 1 or name in _OWN:
            raise UsageError(f"--set {name}: options of the model have one value each", remedy="Other parameters: see --help.")
    return [";".join(f"{name}={values[0]}" for name, values in found.items())] if found else []


def _cases(suite: str | None, searched: str) -> Callable[[Any, Axes], Cases]:
    def cases(where: Device, axes: Axes) -> Cases:
        from dltool.bench.networks import suites

        asked = {**axes, "batch": ["1"]} if searched else axes
        return suites.chosen(where, asked, suite)

    return cases
