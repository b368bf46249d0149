"""Run one command of a setup: all it says goes to the log, and it ends with us, or at its limit."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dltool.setup.recipe import shown, without_credentials

_LOOK_S = 0.5
_KEPT_LINES = 400
_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and its last lines."""

    returncode: int | None
    """None: its time was up."""
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The last lines as one text."""
        return "\n".join(self.lines)


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path,
    log: IO[bytes],
    tell: Callable[[str], None],
    limit_s: float,
    lock: int,
    errors: IO[bytes] | None = None,
) -> Ended:
    """Run `command` for at most `limit_s` seconds, telling each line as it comes.

    Args:
        cwd: an empty directory: Python looks for modules in it.
        lock: stays held until the command and what it started have ended, should we be killed.
        errors: where stderr goes; None is along with stdout.

    Raises:
        OSError: it cannot be started, or the log cannot be written.
        KeyboardInterrupt: the command was ended first.
    """
    _write(log, f"$ {shown(command)}\n".encode())
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors or subprocess.STDOUT,
        cwd=cwd,
        env=dict(environment),
        pass_fds=(lock,),
        start_new_session=True,  # so that what it started can be ended with it
    )
    lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def take(line: bytes) -> None:
        text = without_credentials(line.decode(errors="replace").rstrip())
        _write(log, f"{text}\n".encode())
        lines.append(text)
        tell(text)

    try:
        in_time = _follow(process, take, time.monotonic() + limit_s)
    finally:  # Ctrl-C does not reach it in its own session
        if process.poll() is None:
            end(process)
        assert process.stdout is not None
        process.stdout.close()
    return Ended(process.returncode if in_time else None, tuple(lines))


def _follow(process: subprocess.Popen[bytes], take: Callable[[bytes], None], deadline: float) -> bool:
    """Pass on line by line until the command has ended; False when its time was up before."""
    assert process.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(_LOOK_S):
                if process.poll() is not None:
                    break  # it has ended; what it left behind still holds the pipe
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            *whole, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            for line in whole:
                take(line)
    if rest:
        take(rest)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command and all that it started: asked first, then made to."""
    for number, patience in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, 1.0)):
        try:
            os.killpg(process.pid, number)
        except OSError:  # it ended just now
            return
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue


def _write(log: IO[bytes], data: bytes) -> None:
    log.write(data)
    log.flush()
