"""Run a command that may hang, crash or eat all memory, and come back in time with whatever it said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child process said before it ended or its time was up."""

    output: str
    errors: str
    returncode: int | None
    """None: its time was up, or its memory."""
    over_memory: bool = False
    """It was ended because it took more memory than it may."""

    @property
    def timed_out(self) -> bool:
        """Whether it was still running at the end of its time."""
        return self.returncode is None and not self.over_memory


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    memory_bytes: int | None = None,
    keep_bytes: int | None = None,
    feed: bytes = b"",
) -> Answer:
    """Run `argv` for at most `timeout_s` seconds.

    A process that is stuck inside the kernel cannot be killed, so its pipes are read by threads that may be left behind.

    Args:
        argv: the command.
        timeout_s: its time.
        environment: its variables; ours by default.
        cwd: its working directory; ours by default.
        memory_bytes: what it and all that it started may hold of memory of their own. With it, whatever the command leaves
            running is ended too.
        keep_bytes: how much of the end of each output is kept; all by default.
        feed: what it finds on its standard input.

    Raises:
        OSError: the command cannot be started.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=cwd,
        start_new_session=True,  # so that what it started can be ended with it
    )
    deadline = time.monotonic() + timeout_s
    collected = (_Tail(keep_bytes), _Tail(keep_bytes))
    readers = [
        threading.Thread(target=_collect, args=(pipe, tail), daemon=True)
        for pipe, tail in zip((process.stdout, process.stderr), collected, strict=True)
        if pipe is not None
    ]
    if process.stdin is not None:
        threading.Thread(target=_feed, args=(process.stdin, feed), daemon=True).start()
    returncode: int | None
    over_memory = False
    try:
        for reader in readers:
            reader.start()
        if memory_bytes is None:
            returncode = process.wait(timeout_s)
        else:
            returncode, over_memory = _watch(process, deadline, memory_bytes)
    except subprocess.TimeoutExpired:
        returncode = None
    finally:  # Ctrl-C does not reach it in its own session
        if process.returncode is None:
            _end(process)
    patience = deadline if memory_bytes is None else time.monotonic() + 1
    for reader in readers:
        reader.join(max(0.2, patience - time.monotonic()))
    output, errors = (tail.text() for tail in collected)
    return Answer(output, errors, returncode, over_memory)


def python(
    module: str, *, timeout_s: float, feed: bytes = b"", memory_bytes: int | None = None, keep_bytes: int | None = None
) -> Answer:
    """Run one of our modules as a script in this interpreter, importing this very dltool and nothing from the cwd."""
    place = str(Path(__file__).parents[1])
    code = (
        "import sys, runpy; sys.path[:] = filter(None, sys.path); "
        f"{place!r} in sys.path or sys.path.insert(0, {place!r}); "
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    argv = [sys.executable, "-c", code]
    return run(argv, timeout_s=timeout_s, feed=feed, memory_bytes=memory_bytes, keep_bytes=keep_bytes)


def how_it_ended(returncode: int | None, limit_s: float) -> str:
    """In words, as the predicate of a sentence: "was killed by SIGSEGV"."""
    if returncode is None:
        return f"did not end within {limit_s:g} s"
    if returncode < 0:
        return f"was killed by {signal_name(-returncode)}"
    return f"ended with exit code {returncode}"


def signal_name(number: int) -> str:
    """The name of a signal, "SIGSEGV"; real-time signals have a number only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Tail:
    """The end of what a pipe said."""

    def __init__(self, most: int | None) -> None:
        self._chunks: deque[bytes] = deque()
        self._most = most
        self._size = 0

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        while self._most is not None and self._size - len(self._chunks[0]) >= self._most:
            self._size -= len(self._chunks.popleft())

    def text(self) -> str:
        data = b"".join(tuple(self._chunks))
        return (data if self._most is None else data[-self._most :]).decode(errors="replace")


def _feed(pipe: IO[bytes], data: bytes) -> None:
    try:
        with pipe:
            pipe.write(data)
    except OSError:  # it ended before it had read all
        pass


def _collect(pipe: IO[bytes], tail: _Tail) -> None:
    # The thread owns the pipe: closed by anybody else while it still reads, its number would soon be another file's.
    with pipe:
        while chunk := os.read(pipe.fileno(), 65536):
            tail.add(chunk)


def _watch(process: subprocess.Popen[bytes], deadline: float, memory_bytes: int) -> tuple[int | None, bool]:
    """Wait for the end, the deadline or too much memory: (exit status, whether it was the memory)."""
    pause = 0.005
    while True:
        # Not reaped yet, so its number still names its own group, of which nothing shall be left.
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
            _kill_group(process.pid)
            return process.wait(), False
        if time.monotonic() >= deadline:
            return None, False
        if private_bytes(process.pid) > memory_bytes:
            return None, True
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.5, 0.1)


def private_bytes(session: int) -> int:
    """The memory that the processes of a session hold for themselves; what they share is not counted."""
    total = 0
    for entry in os.listdir("/proc"):  # noqa: PTH208 - often, and of names only
        if not entry.isdigit():
            continue
        try:
            if os.getsid(int(entry)) == session:
                resident, shared = Path("/proc", entry, "statm").read_text().split()[1:3]
                total += (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):  # it ended just now
            continue
    return total


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:  # it ended just now
        pass


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill_group(process.pid)
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.returncode = -9  # stuck in the kernel: nothing will reap it, and nobody shall wait for it at exit
