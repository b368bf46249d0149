"""The side of the caller: run a function in a child process, with limits, and say in words how a child died."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

from dltool.bench.isolation import memory
from dltool.bench.isolation.server import receive, send
from dltool.child import how_it_ended
from dltool.errors import CannotRun

PRELOAD = ("torch", "numpy", "dltool.bench.harness", "dltool.bench.workloads.gemm", "dltool.bench.workloads.memory")
_LOOK_S = 0.1
"""How often a child's memory is looked at: some 20 microseconds of work each time."""
_GRACE_S = 2.0
"""What a child that is interrupted may take to tell what it has."""
_START_S = 120.0
"""Importing torch from a cold network disk can take a minute."""


class Died(Exception):
    """The child is no more; the text is the predicate of a sentence: "was killed by SIGSEGV"."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; `partial` is what the child had by then, None if nothing."""

    def __init__(self, partial: Any) -> None:
        super().__init__()
        self.partial = partial


@dataclass(slots=True)
class Child:
    """A process that waits for calls."""

    pid: int
    channel: socket.socket
    errors: IO[bytes]


class Workers:
    """Makes children and calls functions in them.

    Args:
        preload: modules that every child needs.
    """

    def __init__(self, preload: Sequence[str] = PRELOAD) -> None:
        self._preload = tuple(preload)
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._ready = self._closed = False
        self._start()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the server, and with it all children; no others are made."""
        self._closed = True
        self._drop_server()

    def _drop_server(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._server is not None:
            self._server.kill()
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(1.0)
        self._server = self._channel = None

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        timeout_s: float,
        memory_bytes: int | None = None,
        child: Child | None = None,
    ) -> Any:
        """Run a function in a child, by default in a new one which ends with it; what comes back is pickled.

        Args:
            function: importable by its name.
            arguments: what it is called with.
            timeout_s: after so long the child is ended.
            memory_bytes: what the child may hold; None is no limit.
            child: one of `make_child`, which waits for the next call afterwards unless it died.

        Raises:
            Died: it did; says how.
            DltoolError: the function raised it.
            Interrupted: Ctrl-C.
        """
        own = child is None
        worker = child or self.make_child()
        try:
            send(worker.channel, (function, arguments))
            kind, value = self._await(worker, time.monotonic() + timeout_s, timeout_s, memory_bytes)
        except (EOFError, BrokenPipeError):
            raise Died(self._how_it_ended(worker)) from None
        except BaseException:
            self.end(worker)
            raise
        if own:
            self.end(worker)
        if kind == "refused":
            error, text, remedy = value
            raise error(text, remedy=remedy)
        if kind == "died":
            raise Died(value)
        if kind == "interrupted":
            raise Interrupted(value)
        return value

    def make_child(self) -> Child:
        """A process that has imported what is needed.

        Raises:
            CannotRun: no process can be made.
        """
        ours, theirs = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
        with theirs, self._lock:
            try:
                channel = self._server_channel()
                socket.send_fds(channel, [b"f"], [theirs.fileno(), errors.fileno()])
                return Child(receive(channel), ours, errors)
            except (EOFError, OSError) as error:
                ours.close()
                errors.close()
                self._drop_server()
                raise CannotRun(f"no process for the benchmark could be made: {error or 'its server ended'}",
                                remedy="Free memory or processes (ulimit -u), and try again.") from None  # fmt: skip

    def end(self, child: Child) -> None:
        """Kill a child and everything that it started, and reap it. One that is reaped already is nobody any more."""
        if child.channel.fileno() < 0:
            return
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        with suppress(OSError):
            os.kill(child.pid, signal.SIGKILL)  # before it became the leader of a group
        self._reap(child)
        child.errors.close()

    def _await(self, child: Child, deadline: float, timeout_s: float, most: int | None) -> tuple[str, Any]:
        too_much = memory.watcher(child.pid, most)
        try:
            while not select.select([child.channel], [], [], _LOOK_S)[0]:
                why = too_much()
                if why is None and time.monotonic() > deadline:
                    why = f"was stopped after {timeout_s:.0f} s"
                if why is not None:
                    self.end(child)
                    raise Died(why)
        except KeyboardInterrupt:
            raise Interrupted(self._interrupt(child)) from None
        answer: tuple[str, Any] = receive(child.channel)
        return answer

    def _interrupt(self, child: Child) -> Any:
        """Pass Ctrl-C on; what the child has by then, None if it does not answer in time."""
        with _deaf():
            with suppress(OSError):
                os.kill(child.pid, signal.SIGINT)
            try:
                if not select.select([child.channel], [], [], _GRACE_S)[0]:
                    return None
                kind, value = receive(child.channel)
            except (EOFError, OSError):
                return None
        return value if kind in ("interrupted", "value") else None

    def _how_it_ended(self, child: Child) -> str:
        status = self._reap(child)
        last = _last_line(child.errors)
        if status is None:
            how = "ended, and nobody knows how"
        else:
            how = how_it_ended(os.waitstatus_to_exitcode(status), 0)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                how += ", by the system for lack of memory or by somebody"
        return f"{how}: {last}" if last else how

    def _reap(self, child: Child) -> int | None:
        """Its exit status, as waitpid has it; None where the server does not tell."""
        child.channel.close()
        with self._lock, suppress(EOFError, OSError):
            channel = self._server_channel()
            channel.settimeout(_GRACE_S)
            channel.sendall(b"r")
            send(channel, child.pid)
            status: int = receive(channel)
            channel.settimeout(None)
            return status
        self._drop_server()  # it waits for a child that is stuck in the kernel: the next call starts another
        return None

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from dltool.bench.isolation import server; server.main({theirs.fileno()}, {self._preload!r})"
        )
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        self._channel, self._ready = ours, False

    def _server_channel(self) -> socket.socket:
        """The way to the server, once it has imported everything."""
        if self._closed:
            raise EOFError
        if self._channel is None:
            self._start()
        assert self._channel is not None
        if not self._ready:
            self._channel.settimeout(_START_S)
            receive(self._channel)
            self._channel.settimeout(None)
            self._ready = True
        return self._channel


@contextmanager
def _deaf() -> Iterator[None]:
    """A second Ctrl-C while the first is answered changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _last_line(errors: IO[bytes]) -> str:
    with errors:
        size = errors.seek(0, os.SEEK_END)
        errors.seek(max(0, size - 4096))
        lines = [line.strip() for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
