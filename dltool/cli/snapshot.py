"""`dltool snapshot`."""

from __future__ import annotations

from typing import Annotated

import typer

from dltool.cli.common import Output, Python, deliver, guarded, say
from dltool.errors import UsageError


@guarded
def snapshot(
    out: Output,
    full: Annotated[bool, typer.Option("--full", help="Leave nothing out: names, serials and paths as they are.")] = False,
    python: Python = None,
) -> None:
    """Write this machine's facts as JSON, to be judged elsewhere: dltool doctor --machine FILE.

    Host name, serial numbers and UUIDs are hashed and home directories shortened. Example: dltool snapshot -o machine.json
    """
    from dltool import probe, redact

    if out.format not in (None, "json"):
        raise UsageError(f"a snapshot is JSON, not {out.format}", remedy="Leave --format out.")
    machine = probe.read(python=python)
    if not full:
        machine = redact.redact(machine, probe.redactor(machine))
    deliver(machine.to_json().decode(), out)
    if out.output is None:
        say("judge it anywhere with: dltool doctor --machine FILE", quiet=out.quiet)
