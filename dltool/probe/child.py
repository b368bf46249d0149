"""Run a command that may hang or crash, and come back in time with whatever it said."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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
    path = str(Path(__file__).parents[2])
    first = f"import sys, runpy; sys.path[:] = [{path!r}, *filter(None, sys.path)]"
    code = f"{first}; runpy.run_module({module!r}, run_name='__main__')"
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
    )
    deadline = time.monotonic() + timeout_s
    collected: tuple[list[bytes], list[bytes]] = ([], [])
    readers = [
        threading.Thread(target=_collect, args=(pipe.fileno(), chunks), daemon=True)
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
        process.kill()
        _reap(process)
    for reader in readers:
        reader.join(max(0.2, deadline - time.monotonic()))
    if not any(reader.is_alive() for reader in readers):
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    output, errors = (b"".join(chunks).decode(errors="replace") for chunks in collected)
    return Answer(output, errors, returncode)


def _collect(descriptor: int, chunks: list[bytes]) -> None:
    while chunk := os.read(descriptor, 65536):
        chunks.append(chunk)


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.returncode = -9  # stuck in the kernel: nothing will reap it, and nobody shall wait for it at exit
