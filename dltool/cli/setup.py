"""`dltool setup`."""

from __future__ import annotations

from typing import Annotated

import typer

from dltool.cli import setup_env
from dltool.cli.asking import Asking
from dltool.cli.common import Out, Output, Quiet, deliver, finish, guarded, report, say
from dltool.cli.planning import Planning, plan_for
from dltool.errors import DltoolError, ExitCode

app = typer.Typer(
    help="Plan an environment that works, make it, and write it down for others.",
    epilog="Example: dltool setup plan",
    no_args_is_help=True,
)


class NothingSuits(DltoolError):
    """There is no plan, so there is nothing to export."""

    exit_code = ExitCode.FINDINGS


@app.command()
@guarded
def plan(out: Output, planning: Planning, asking: Asking) -> None:
    """Say step by step how to get an environment that works: driver, toolkit, Python, torch; commands, checks, ways back.

    Without options it is for this machine; --gpu, --driver, --os, --distro and the like describe another. Nothing is run.
    Example: dltool setup plan --gpu "RTX 5090" --distro ubuntu24.04 --with torchvision --manager uv
    """
    from dltool.cli.gpu_info import warn_of_tables

    found = plan_for(asking, planning)
    warn_of_tables(quiet=out.quiet)
    finish(report("setup plan", plan=found), out, keep=None)


@app.command()
@guarded
def export(
    planning: Planning,
    asking: Asking,
    format_: Annotated[str, typer.Argument(help="dockerfile, conda, pip, constraints, uv or pixi.", metavar="FORMAT")],
    output: Out = None,
    quiet: Quiet = False,
) -> None:
    """Write the environment of the plan as a file that another tool reads.

    Example: dltool setup export dockerfile --gpu A100 --for building-extensions -o Dockerfile
    """
    from dltool.setup.export import export as written
    from dltool.setup.export import exporter

    exporter(format_)  # an unknown one is refused before anything is read
    found = plan_for(asking, planning)
    if found.environment is None:
        raise NothingSuits(f"there is no plan to export: {found.problems[0]}", remedy="See: dltool setup plan")
    for problem in found.problems:
        say(f"warning: {problem}", quiet=quiet)
    deliver(written(found, format_), Output(output=output, quiet=quiet))
    raise typer.Exit(ExitCode.FINDINGS if found.problems else ExitCode.HEALTHY)


setup_env.register(app)
