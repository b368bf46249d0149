#!/usr/bin/env python3
"""The memory kernels of `dltool bench memory` against STREAM in C, compiled here with gcc -O3: one of each in turn.

Each is the harness's own step on the harness's own timer. Bandwidth is compared at the best sample (what STREAM prints) and at
the median. A neighbour on the machine that takes turns disturbs either side: only samples in which both got their processors
without interruption would be clean, so the limit is on the best, and the median is printed beside it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import verdict

from dltool import probe
from dltool.bench import devices
from dltool.bench.devices import Device
from dltool.bench.workloads.memory import Memory, array_bytes

KERNELS = ("copy", "scale", "add", "triad")
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
REST_S = 0.003
"""Between two samples: the threads of one side stop waiting actively before the other begins."""


class Stream:
    """The compiled program, which runs one kernel each time it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def seconds(self, kernel: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{kernel}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline().split()[0])


@contextmanager
def stream(array: int, threads: int) -> Iterator[Stream]:
    """Compile, start, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "stream"
        source = Path(__file__).with_name("stream.c")
        subprocess.run(["gcc", "-O3", "-fopenmp", "-march=native", str(source), "-o", str(program)], check=True)
        command = [str(program), str(array // 8)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
            try:
                yield Stream(process)
            finally:
                process.terminate()


def in_turn(c: Stream, kernel: str, device: Device, array: int) -> tuple[list[float], list[float]]:
    """Seconds of the harness's steps and of STREAM's, one after the other; which comes first alternates."""
    prepared = Memory(kernel=kernel, bytes=array).prepare(device)
    ours, theirs = [], []
    for number in range(ROUNDS + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            time.sleep(REST_S)
            took = c.seconds(kernel) if side else device.timer(prepared.step, 1)
            if number:
                (theirs if side else ours).append(took)
    assert prepared.verify().ok
    return ours, theirs


def main() -> int:
    device = devices.find("cpu", probe.read())
    array = array_bytes(device) // 64 * 64
    print(f"arrays of {array / 2**20:.0f} MiB, {device.threads} threads, NUMA {device.numa}, {ROUNDS} samples of each")
    good = []
    with stream(array, device.threads) as c:
        for kernel in KERNELS:
            ours, theirs = in_turn(c, kernel, device, array)
            moved = Memory(kernel=kernel, bytes=array).work().bytes / 1e9
            print(f"{kernel:6} GB/s, best and median: here {moved / min(ours):5.1f} {moved / statistics.median(ours):5.1f}, "
                  f"C {moved / min(theirs):5.1f} {moved / statistics.median(theirs):5.1f}; "
                  f"ratio of medians {statistics.median(ours) / statistics.median(theirs):.3f}")  # fmt: skip
            good.append(verdict(f"{kernel}: best time here / best of C STREAM", min(ours) / min(theirs), 1.03))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
