"""Processes that wait inside the kernel and cannot be ended."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from dltool.machine import StuckProcess
from dltool.probe import files

PAUSE_S = 0.25
_MOST = 50
_STAT = re.compile(r"[0-9]+ \((?P<name>.*)\) (?P<state>\S)", re.DOTALL)


def stuck(root: Path = Path("/"), *, pause: Callable[[float], None] = time.sleep) -> tuple[StuckProcess, ...] | None:
    """Processes in uninterruptible sleep (state D) at two looks, between which none of their time went by.

    A process that reads a disk is in that state for some milliseconds, again and again; then it has run in between. None where
    processes cannot be looked at.
    """
    directory = root / "proc"
    try:
        numbers = [name for name in os.listdir(directory) if name.isdecimal()]  # noqa: PTH208 - often, and of names only
    except OSError:
        return None
    before = {number: switches for number in numbers if (switches := _asleep(directory / number))}
    if not before:
        return ()
    pause(PAUSE_S)
    still = [number for number, switches in before.items() if _asleep(directory / number) == switches]
    return tuple(_process(directory / number) for number in still[:_MOST])


def _asleep(process: Path) -> tuple[str, ...] | None:
    """How often it has been switched so far, if it is in uninterruptible sleep now."""
    match = _STAT.match(files.line(process / "stat") or "")  # nothing is there of one that ended just now
    if match is None or match["state"] != "D":
        return None
    return tuple(re.findall(r"ctxt_switches:\s*([0-9]{1,20})", files.text_or_nothing(process / "status"))) or ("0",)


def _process(process: Path) -> StuckProcess:
    name, waits_in = (files.line(process / file) or None for file in ("comm", "wchan"))
    return StuckProcess(pid=int(process.name), name=name, waits_in=None if waits_in == "0" else waits_in)
