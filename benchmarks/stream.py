#!/usr/bin/env python3
"""The memory kernels of `dltool bench memory` against STREAM in C, compiled here with gcc -O3: one of each in turn.

Each is the harness's own step. Before a timed one the same is run untimed, so that all threads are awake, and a sample counts
only where the system took no processor away from it: on a shared machine the others tell of the neighbours.

python benchmarks/stream.py [SECONDS FOR EACH KERNEL [THREADS]]
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common import verdict

from dltool import probe
from dltool.bench import devices
from dltool.bench.devices import Device
from dltool.bench.workloads.memory import Memory, array_bytes

KERNELS = ("copy", "scale", "add", "triad")
WANTED = 50
"""Undisturbed samples of each side."""
MOST_S = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
"""For each kernel."""
THREADS = int(sys.argv[2]) if len(sys.argv) > 2 else None
"""On a machine whose processors are all busy, one thread still finds undisturbed moments."""
LEAST = 10
Sample = tuple[float, int]
"""Seconds, and how often a processor was taken away."""


class Stream:
    """The compiled program, which runs one kernel each time it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def sample(self, kernel: str) -> Sample:
        """One run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{kernel}\n")
        self._process.stdin.flush()
        took, taken, _ = self._process.stdout.readline().split()
        return float(took), int(taken)


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


def taken_away() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def own_sample(device: Device, step: Callable[[], object]) -> Sample:
    before = taken_away()
    took = device.timer(step, 1)
    return took, taken_away() - before


def in_turn(c: Stream, kernel: str, device: Device, array: int) -> tuple[list[float], list[float]]:
    """Undisturbed seconds of the harness's steps and of STREAM's, one after the other; which comes first alternates."""
    prepared = Memory(kernel=kernel, bytes=array).prepare(device)
    sides = (lambda: own_sample(device, prepared.step), lambda: c.sample(kernel))
    found: tuple[list[float], list[float]] = ([], [])
    began, turn = time.monotonic(), 0
    while min(map(len, found)) < WANTED and time.monotonic() - began < MOST_S:
        turn += 1
        for number in (0, 1) if turn % 2 else (1, 0):
            sides[number]()
            took, disturbed = sides[number]()
            if not disturbed:
                found[number].append(took)
    assert prepared.verify().ok
    return found


def main() -> int:
    if THREADS:
        devices.import_torch().set_num_threads(THREADS)
    device = devices.find("cpu", probe.read())
    array = array_bytes(device) // 64 * 64
    print(f"arrays of {array / 2**20:.0f} MiB, {device.threads} threads, NUMA {device.numa}")
    good = []
    with stream(array, device.threads) as c:
        for kernel in KERNELS:
            ours, theirs = in_turn(c, kernel, device, array)
            if min(len(ours), len(theirs)) < LEAST:
                print(f"{kernel}: the machine is too busy: {len(ours)} and {len(theirs)} undisturbed samples in {MOST_S:.0f} s")
                good.append(False)
                continue
            moved = Memory(kernel=kernel, bytes=array).work().bytes / 1e9
            here, there = statistics.median(ours), statistics.median(theirs)
            print(f"{kernel:6} GB/s, median and best: here {moved / here:.1f} {moved / min(ours):.1f} of {len(ours)}, "
                  f"C {moved / there:.1f} {moved / min(theirs):.1f} of {len(theirs)}")  # fmt: skip
            good.append(verdict(f"{kernel}: median time here / of C STREAM", here / there, 1.03))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
