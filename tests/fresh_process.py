"""Ctrl-C while a call is awaited, and memory, in a process of its own: what other tests loaded may not survive a signal.

`python tests/fresh_process.py NAME` runs one of the functions here; a failed assertion is its exit code.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

import isolated_cases
import pytest
from isolated_cases import DEVICE, Deadly

from dltool.bench import harness
from dltool.bench.isolation import memory, runs, workers
from dltool.bench.plan import Plan

PRELOAD = ("isolated_cases", "dltool.bench.harness")


def interrupt_after(seconds: float) -> None:
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()


def _ends(function: Callable[..., object], *arguments: float) -> None:
    workers._GRACE_S = 0.3
    with workers.Workers(PRELOAD) as made:
        child = made.make_child()  # before the clock runs: on a busy machine it takes longer than the wait below
        interrupt_after(0.5)
        with pytest.raises(workers.Interrupted):
            made.call(function, *arguments, timeout_s=30, child=child)
        assert made.call(isolated_cases.double, 1, timeout_s=10) == 2


def ends_one_that_sleeps() -> None:
    _ends(isolated_cases.sleep, 60.0)


def ends_one_that_ignores_everything() -> None:
    _ends(isolated_cases.spin_ignoring_everything)


def keeps_what_the_child_has() -> None:
    plan = Plan(sampling_s=30.0, warmup_s=0.05, cap_s=60.0)
    with workers.Workers(PRELOAD) as made:
        made.end(made.make_child())  # so that the server is there
        interrupt_after(1.0)
        with pytest.raises(harness.Interrupted) as stop:
            list(runs.run([("one", Deadly(size=1))], DEVICE, plan, made))
    assert (stop.value.partial.median_s or 0) > 0.001
    assert any("interrupted" in warning for warning in stop.value.partial.warnings)


def is_told_of_a_machine_that_runs_out() -> None:
    look = memory.watcher(os.getpid(), 2**50, available=lambda: 2**20)
    assert look() is None  # nothing of it is this process's doing
    taken = os.urandom(2**26)  # more than any allocator keeps by
    assert "left the machine only 1 MiB" in (look() or "")
    del taken
    assert memory.watcher(os.getpid(), 2**50, available=lambda: 2**40)() is None


if __name__ == "__main__":
    globals()[sys.argv[1]]()
