"""A text on stdin, read without ever waiting for one.

`doctor` also runs in CI, in loops and in scripts, where stdin may be closed, a pipe that nobody writes to, or the very script
that a shell is still reading. None of these may stop it or be eaten by it.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

PIECE = 1 << 16
QUIET_S = 2.0
"""A pipe that has begun to send and then is silent for so long is taken to have ended: `tail -f` never does."""
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "busybox", "fish", "tcsh", "csh"})
_ANCESTORS = 32


def everything() -> Iterator[bytes]:
    """All of stdin, to its end: it was asked for by name."""
    return iter(lambda: os.read(0, PIECE), b"") if sys.stdin is not None else iter(())


def waiting() -> Iterator[bytes] | None:
    """The text that was given to this command on stdin; None where there is none.

    A file that is not at its end counts, and a pipe that has something to read now. A terminal, a device such as /dev/null,
    blank text, and the input of the shell that runs this command do not.
    """
    if sys.stdin is None:
        return None
    try:
        status = os.fstat(0)
        pieces = _pieces(status)
        if pieces is None or _is_a_shells(status):
            return None
        for piece in pieces:
            if piece.strip():
                return chain([piece], pieces)
    except (OSError, ValueError):
        return None
    return None


def _pieces(status: os.stat_result) -> Iterator[bytes] | None:
    if stat.S_ISREG(status.st_mode):
        return iter(lambda: os.read(0, PIECE), b"")
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        return _while_it_talks() if select.select([0], [], [], 0)[0] else None
    return None


def _while_it_talks() -> Iterator[bytes]:
    while select.select([0], [], [], QUIET_S)[0]:
        piece = os.read(0, PIECE)
        if not piece:
            return
        yield piece


def _is_a_shells(status: os.stat_result) -> bool:
    """Whether a shell above this process reads the same input: `curl ... | bash`, `while read host; do dltool doctor; done`."""
    pid = os.getppid()
    for _ in range(_ANCESTORS):
        try:
            theirs = Path(f"/proc/{pid}/fd/0").stat()
            if (theirs.st_dev, theirs.st_ino) != (status.st_dev, status.st_ino):
                return False
            if Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)") in SHELLS:
                return True
            pid = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return False
