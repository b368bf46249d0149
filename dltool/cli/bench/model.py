"""`dltool bench model`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.bench.against import Against
from dltool.cli.bench.running import Budget, DeviceName, How, Settings, axes_of, run
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import guarded, names
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.bench.devices import Device
    from dltool.bench.suites import Axes, Cases

_OWN = ("model", "mode", "precision", "batch", "layout", "compile", "graph", "optimizer", "backend", "input", "weights")
"""Parameters of the workload, which have options of their own or are not options of the model."""
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
Batches = Annotated[str | None, typer.Option("--batch", metavar="N,..", help="Samples of a step; several are all measured.")]
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
    batch: Batches = None,
    channels_last: ChannelsLast = False,
    compile_: Compiled = None,
    graph: Graph = False,
    optimizer: Optimizers = None,
    backend: Backends = None,
    input_: GivenInput = None,
    weights: Weights = None,
    set_: Settings = None,
    device: DeviceName = None,
    budget: Budget = "60s",
) -> None:
    """Measure training and inference of standard models or your own: throughput, latency, where the time goes, utilisation.

    Example: dltool bench model resnet50 bert_base --mode both --dtype amp-bf16 --batch 32
    """
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
    }
    wanted = {name: values for name, values in given.items() if values}
    axes = {"model": _models(models, suite), **wanted}
    run("bench model", _cases(suite), axes, device, budget, out, how, against)


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


def _cases(suite: str | None):  # type: ignore[no-untyped-def]
    def cases(where: Device, axes: Axes) -> Cases:
        from dltool.bench.networks import suites

        return suites.chosen(where, axes, suite)

    return cases
