"""Functions and workloads that child processes of the tests run: importable by name, and each a way to die."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass

from bench_fakes import Scripted

from dltool.bench import Prepared
from dltool.bench.devices import Device, host_timer
from dltool.catalog import Board
from dltool.errors import CannotRun

DEVICE = Device(name="fake", board=Board(name="scripted"), timer=host_timer)


def double(number: int) -> int:
    return 2 * number


def pids() -> tuple[int, int]:
    return os.getpid(), os.getppid()


def die(how: str) -> None:
    if how == "exit":
        os._exit(7)
    if how == "words":
        print("cuBLAS failed badly", file=sys.stderr, flush=True)
        os.abort()
    if how == "bug":
        raise KeyError("nothing like it")
    os.kill(os.getpid(), getattr(signal, how))


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def spin_ignoring_everything() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(0.01)


def eat(total_bytes: int) -> int:
    held = []
    for _ in range(total_bytes // 2**22):
        held.append(bytearray(os.urandom(16)) * 2**18)
        time.sleep(0.002)
    time.sleep(5)
    return len(held)


def refuse() -> None:
    raise CannotRun("no such thing here", remedy="Buy one.")


def no_memory() -> None:
    raise MemoryError


def allocate_beyond(most: int) -> str:
    from dltool.bench.isolation import memory

    memory.refuse_beyond(most)
    try:
        bytearray(4 * most)
    except MemoryError:
        return "refused"
    return "given"


def chatter() -> str:
    print("noise on stdout")
    sys.stdout.flush()
    os.write(1, b"noise from a library\n")
    return "fine"


@dataclass(frozen=True, kw_only=True)
class Deadly(Scripted):
    """Dies in its step in the way that `how` says; "fine" does not."""

    how: str = "fine"
    step_s: None = None

    def prepare(self, device: Device) -> Prepared:
        def step() -> None:
            if self.how == "hang":
                spin_ignoring_everything()
            if self.how == "memory":
                eat(2**40)
            if self.how != "fine":
                die(self.how)
            time.sleep(0.001)

        return Prepared(step, lambda: self.verified)
