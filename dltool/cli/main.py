"""The command `dltool`."""

from __future__ import annotations

from typing import Annotated

import typer

from dltool import __version__
from dltool.cli import bench, compat, doctor, gpu_info, report, setup, snapshot

app = typer.Typer(
    name="dltool",
    help="What is wrong with this GPU machine, what it could do, and what it does.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dltool {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """What is wrong with this GPU machine, what it could do, and what it does."""


app.command("doctor")(doctor.doctor)
app.command("snapshot")(snapshot.snapshot)
app.command("compat")(compat.compat)
app.command("gpu-info")(gpu_info.gpu_info)
app.add_typer(setup.app, name="setup")
app.add_typer(bench.app, name="bench")
app.add_typer(report.app, name="report")


def main() -> None:
    """Run the command line."""
    app(prog_name="dltool")
