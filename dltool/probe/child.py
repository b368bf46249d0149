"""Run a command that may hang or crash, and come back in time with whatever it said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child process said before it ended or its time was up."""

    output: str
    errors: str
    returncode: int | None
    """None: its time was up."""

    @property
    def timed_out(self) -> bool:
        """Whether it was still running at the end of its time."""
        return self.returncode is None


def python(module: str, *, timeout_s: float) -> Answer:
    """Run one of our modules as a script in this interpreter, importing this very dltool and nothing from the cwd."""
    place = str(Path(__file__).parents[2])
    code = (
        "import sys, runpy; sys.path[:] = filter(None, sys.path); "
        f"{place!r} in sys.path or sys.path.insert(0, {place!r}); "
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    return run([sys.executable, "-c", code], timeout_s=timeout_s)


def run(argv: Sequence[str], *, timeout_s: float) -> Answer:
    """Run `argv` for at most `timeout_s` seconds.

    A process that is stuck inside the kernel cannot be killed, so its pipes are read by threads that may be left behind.

    Raises:
        OSError: the command cannot be started.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that what it started can be ended with it
    )
    deadline = time.monotonic() + timeout_s
    collected: tuple[list[bytes], list[bytes]] = ([], [])
    readers = [
        threading.Thread(target=_collect, args=(pipe, chunks), daemon=True)
        for pipe, chunks in zip((process.stdout, process.stderr), collected, strict=True)
        if pipe is not None
    ]
    for reader in readers:
        reader.start()
    returncode: int | None
    try:
        returncode = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        returncode = None
    finally:  # Ctrl-C does not reach it in its own session
        if process.returncode is None:
            _end(process)
    for reader in readers:
        reader.join(max(0.2, deadline - time.monotonic()))
    output, errors = (b"".join(chunks).decode(errors="replace") for chunks in collected)
    return Answer(output, errors, returncode)


def _collect(pipe: IO[bytes], chunks: list[bytes]) -> None:
    # The thread owns the pipe: closed by anybody else while it still reads, its number would soon be another file's.
    with pipe:
        while chunk := os.read(pipe.fileno(), 65536):
            chunks.append(chunk)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:  # it ended just now
        pass
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.returncode = -9  # stuck in the kernel: nothing will reap it, and nobody shall wait for it at exit
