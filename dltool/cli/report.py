"""`dltool report`."""

from __future__ import annotations

from typing import Annotated

import typer

from dltool.cli.bench.against import FailIfSlower
from dltool.cli.common import DrawnOutput, Output, as_json, deliver, finish, guarded, report, say, style
from dltool.cli.drawing import draw

app = typer.Typer(help="Look at the reports of earlier runs.", no_args_is_help=True)


@app.command("list")
@guarded
def list_(out: Output) -> None:
    """List the stored reports, newest first.

    Example: dltool report list
    """
    from dltool import store

    entries = store.entries()
    if out.format_name == "json":
        rows = [{"id": e.id, "created": e.created, "command": e.command, "path": str(e.path)} for e in entries]
        deliver(as_json(rows), out)
        return
    lines = [f"{entry.created}Z  {entry.command:<14}  {entry.id}" for entry in entries]
    deliver("\n".join(lines or [f"No report is stored yet in {store.directory()}. Make one: dltool doctor"]) + "\n", out)


@app.command()
@guarded
def show(
    out: DrawnOutput,
    name: Annotated[str, typer.Argument(help="An id, a part that fits one only, `last`, or a report file.", metavar="ID")],
) -> None:
    """Show a stored report again.

    Example: dltool report show last
    """
    from dltool import store
    from dltool.render import FORMATS

    found = store.load(name)
    say(f"{' '.join(found.command)} of {found.created} by dltool {found.dltool}", quiet=out.quiet)
    draw(found, out)
    deliver(FORMATS.get(out.format_name)(found, style(out)), out)


@app.command()
@guarded
def compare(
    out: Output,
    a: Annotated[str, typer.Argument(help="The baseline: an id, a part of one, `last`, or a report file.", metavar="A")],
    b: Annotated[str, typer.Argument(help="What is compared with it.", metavar="B")],
    fail_if_slower: FailIfSlower = None,
) -> None:
    """Compare two reports of bench, case by case: faster, slower, the same, or not to be told.

    Example: dltool report compare base.json last
    """
    from dltool import store
    from dltool.cli.bench.against import check_limit, compared, with_measurements

    check_limit(fail_if_slower)
    before, now = (with_measurements(store.load(name), name) for name in (a, b))
    say(f"A is of {before.created}, B of {now.created}", quiet=out.quiet)
    result = report("report compare", machine=now.machine)
    finish(compared(before, now, fail_if_slower, result), out, keep=None)
