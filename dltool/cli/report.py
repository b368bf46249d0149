"""`dltool report`."""

from __future__ import annotations

from typing import Annotated

import typer

from dltool.cli.common import Format, Json, Out, Output, Verbose, deliver, guarded, style

app = typer.Typer(help="Look at the reports of earlier runs.", no_args_is_help=True)


@app.command("list")
@guarded
def list_(json: Json = False, output: Out = None) -> None:
    """List the stored reports, newest first.

    Example: dltool report list
    """
    from dltool import store

    out = Output(json=json, file=output)
    entries = store.entries()
    if out.format_name == "json":
        import msgspec

        rows = [{"id": e.id, "created": e.created, "command": e.command, "path": str(e.path)} for e in entries]
        deliver(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n", out)
        return
    lines = [f"{entry.created}  {entry.command:<14}  {entry.id}" for entry in entries]
    deliver("\n".join(lines or [f"No report is stored yet in {store.directory()}. Make one: dltool doctor"]) + "\n", out)


@app.command()
@guarded
def show(
    name: Annotated[str, typer.Argument(help="An id, a part that fits one only, `last`, or a report file.", metavar="ID")],
    format_: Format = None,
    json: Json = False,
    output: Out = None,
    verbose: Verbose = False,
) -> None:
    """Show a stored report again.

    Example: dltool report show last
    """
    from dltool import store
    from dltool.render import FORMATS

    out = Output(format=format_, json=json, file=output, verbose=verbose)
    renderer = FORMATS.get(out.format_name)
    deliver(renderer(store.load(name), style(out)), out)
