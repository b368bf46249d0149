"""Taking over what an earlier run of the same command had finished."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from dltool.cli.common import say

if TYPE_CHECKING:
    from dltool.bench import suites
    from dltool.bench.devices import Device
    from dltool.bench.journal import Journal


def journal_of(command: str, axes: suites.Axes, where: Device, cases: int, *, resume: bool, quiet: bool) -> Journal:
    """The file of this run, or of the one that it continues, which is said."""
    import datetime

    from dltool import __version__, store
    from dltool.bench import harness
    from dltool.bench.journal import Head, Journal, take_over

    folder = store.directory() / "unfinished"
    key = {
        "command": command,
        "parameters": " ".join(f"{name}={','.join(values)}" for name, values in sorted(axes.items())),
        "device": f"{where.name} {where.board.name}",
        "threads": str(where.threads),
        "dltool": __version__,
        "harness": str(harness.HARNESS_VERSION),
        "python": sys.executable,
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES", "all"),
    }
    if resume:
        found = take_over(folder, key)
        if found is not None:
            done = len(found.done)
            say(f"continuing the run of {found.head.created}: {done} of {cases} cases are taken over", quiet=quiet)
            return found
        say("nothing to continue: no run of this command, device and settings was broken off", quiet=quiet)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return Journal(folder, Head(key=key, created=now, cases=cases))
