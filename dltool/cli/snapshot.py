"""`dltool snapshot`."""

from __future__ import annotations

from typing import Annotated

import typer

from dltool.cli.common import Out, Output, Python, Quiet, deliver, guarded, say


@guarded
def snapshot(
    full: Annotated[bool, typer.Option("--full", help="Leave nothing out: names, serials and paths as they are.")] = False,
    python: Python = None,
    output: Out = None,
    quiet: Quiet = False,
) -> None:
    """Write this machine's facts as JSON, to be judged elsewhere: dltool doctor --machine FILE.

    Host name, serial numbers and UUIDs are hashed and home directories shortened. Example: dltool snapshot -o machine.json
    """
    from dltool import probe, redact

    machine = probe.read(python=python)
    if not full:
        machine = redact.redact(machine, probe.redactor(machine))
    out = Output(json=True, output=output, quiet=quiet)
    deliver(machine.to_json().decode(), out)
    if output is None:
        say("judge it anywhere with: dltool doctor --machine FILE", quiet=quiet)
