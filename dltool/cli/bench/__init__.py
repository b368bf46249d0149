"""`dltool bench`."""

from __future__ import annotations

import typer

from dltool.cli.bench import own_shapes
from dltool.cli.bench.running import Budget, DeviceName, Dtypes, Settings, axes_of, run
from dltool.cli.common import Output, guarded

app = typer.Typer(help="Measure what this machine really does, checked and with its uncertainty.", no_args_is_help=True)


@app.command()
@guarded
def quick(
    out: Output,
    dtype: Dtypes = None,
    device: DeviceName = None,
    budget: Budget = "60s",
) -> None:
    """Measure arithmetic in every dtype and memory bandwidth, in about a minute.

    Example: dltool bench quick --budget 30s
    """
    from dltool.bench import suites

    run("bench quick", suites.quick, axes_of(dtype, None), device, budget, out)


@app.command()
@guarded
def gemm(
    out: Output,
    dtype: Dtypes = None,
    set_: Settings = None,
    device: DeviceName = None,
    budget: Budget = "30s",
    shapes: own_shapes.Shapes = None,
    from_model: own_shapes.FromModel = None,
    inputs: own_shapes.Inputs = None,
) -> None:
    """Measure matrix multiplication per dtype against the derived peak, or your own shapes against the best there is.

    Example: dltool bench gemm --dtype fp32,bf16 --set m=1024,4096 --set n=4096 --set k=4096
    """
    if shapes is not None or from_model is not None or inputs:
        own_shapes.run(shapes, from_model, inputs, axes_of(dtype, None).get("dtype", []), device, budget, out)
    from dltool.bench import suites

    run("bench gemm", suites.gemm, axes_of(dtype, set_), device, budget, out)


@app.command()
@guarded
def memory(
    out: Output,
    set_: Settings = None,
    device: DeviceName = None,
    budget: Budget = "20s",
) -> None:
    """Measure memory bandwidth: read, write, copy, triad, and transfers to and from a GPU.

    Example: dltool bench memory --set kernel=copy,triad --set bytes=268435456
    """
    from dltool.bench import suites

    run("bench memory", suites.memory, axes_of(None, set_), device, budget, out)


from dltool.cli.bench.search import search  # noqa: E402

app.command()(search)
