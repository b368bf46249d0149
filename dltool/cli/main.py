"""The command `dltool`.

A start loads and builds the one command that is run: building all of them takes longer than most commands run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated

import typer

from dltool import __version__

COMMANDS = ("doctor", "snapshot", "compat", "gpu-info", "setup", "bench", "models", "report")
"""In the order of `--help`. Each is a module of this package that holds a function of its name, or an `app` of commands."""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dltool {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """What is wrong with this GPU machine, what it could do, and what it does."""


def make_app(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands."""
    app = typer.Typer(
        name="dltool",
        help="What is wrong with this GPU machine, what it could do, and what it does.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in commands:
        module = import_module(f"dltool.cli.{name.replace('-', '_')}")
        group = getattr(module, "app", None)
        if group is not None:
            app.add_typer(group, name=name)
        else:
            app.command(name)(getattr(module, name.replace("-", "_")))
    return app


def main() -> None:
    """Run the command line."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    if wanted in COMMANDS:
        commands: Iterable[str] = (wanted,)
    else:
        commands = () if wanted == "--version" else COMMANDS
    make_app(commands)(prog_name="dltool")
