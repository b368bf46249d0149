"""`dltool bench`."""

from __future__ import annotations

from typing import Annotated

import typer

from dltool.cli.bench import own_shapes
from dltool.cli.bench.ab import ab
from dltool.cli.bench.against import Against
from dltool.cli.bench.attention import attention
from dltool.cli.bench.conv import conv
from dltool.cli.bench.data import data
from dltool.cli.bench.elementwise import elementwise
from dltool.cli.bench.generate import generate
from dltool.cli.bench.learning import learn
from dltool.cli.bench.memory import memory
from dltool.cli.bench.model import model
from dltool.cli.bench.reference import reference
from dltool.cli.bench.running import Budget, DeviceName, Dtypes, How, Settings, axes_of, run
from dltool.cli.bench.search import search
from dltool.cli.bench.selftest import selftest
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import guarded

app = typer.Typer(help="Measure what this machine really does, checked and with its uncertainty.", no_args_is_help=True)


@app.command()
@guarded
def quick(
    out: Output,
    how: How,
    against: Against,
    dtype: Dtypes = None,
    device: DeviceName = None,
    budget: Budget = "60s",
) -> None:
    """Measure arithmetic in every dtype and memory bandwidth, in about a minute.

    Example: dltool bench quick --budget 30s
    """
    from dltool.bench import suites

    run("bench quick", suites.quick, axes_of(dtype, None), device, budget, out, how, against)


@app.command()
@guarded
def standard(
    out: Output,
    how: How,
    against: Against,
    dtype: Dtypes = None,
    device: DeviceName = None,
    budget: Budget = "5min",
) -> None:
    """Measure every kind of work that a network is made of, in about five minutes.

    Example: dltool bench standard --device cpu --budget 2min
    """
    from dltool.bench import suites

    run("bench standard", suites.standard, axes_of(dtype, None), device, budget, out, how, against)


@app.command()
@guarded
def full(
    out: Output,
    how: How,
    against: Against,
    dtype: Dtypes = None,
    device: DeviceName = None,
    budget: Budget = "20min",
) -> None:
    """Measure the same at more sizes and in more variants, in about twenty minutes.

    Example: dltool bench full --budget 30min -o full.json
    """
    from dltool.bench import suites

    run("bench full", suites.full, axes_of(dtype, None), device, budget, out, how, against)


@app.command()
@guarded
def gemm(
    out: Output,
    how: How,
    against: Against,
    dtype: Dtypes = None,
    set_: Settings = None,
    device: DeviceName = None,
    budget: Budget = "30s",
    support: Annotated[
        bool, typer.Option("--support", help="Do not measure: tell which dtypes and layouts are native, emulated or missing.")
    ] = False,
    shapes: own_shapes.Shapes = None,
    from_model: own_shapes.FromModel = None,
    inputs: own_shapes.Inputs = None,
) -> None:
    """Measure matrix multiplication per dtype against the derived peak, or your own shapes against the best there is.

    Example: dltool bench gemm --dtype fp32,bf16 --set m=1024,4096 --set n=4096 --set k=4096 --set layout=nn,nt
    """
    if shapes is not None or from_model is not None or inputs:
        dtypes = axes_of(dtype, None).get("dtype", [])
        wanted = own_shapes.Wanted(shapes, from_model, tuple(inputs or ()), tuple(dtypes), axes_of(None, set_))
        own_shapes.run(wanted, device, budget, out, how, against)
    from dltool.bench import suites

    if support:
        from dltool.cli.bench import support as matrix

        matrix.run(axes_of(dtype, set_), device, out)
    run("bench gemm", suites.gemm, axes_of(dtype, set_), device, budget, out, how, against)


for command in (memory, attention, conv, elementwise, model, generate, learn, data, search, selftest, ab, reference):
    app.command()(command)
