"""How time is told: the loop's own cost is taken off, short kernels run behind a waiting one, timers can be sent to a child."""

from __future__ import annotations

import pickle
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from dltool.bench import timers
from dltool.bench.devices import Device
from dltool.bench.timers import CudaTimer, for_step, host_timer, name_of
from dltool.catalog import Board


def test_the_loop_itself_costs_next_to_nothing():
    per_step = min(host_timer(lambda: None, 10_000) for _ in range(5)) / 10_000
    assert 0 < per_step <= timers.loop_s()


def test_a_step_that_takes_time_loses_none_of_it():
    step = lambda: time.sleep(0.002)  # noqa: E731
    assert 0.02 < host_timer(step, 10) < 2


def test_a_sample_that_gets_stuck_is_reckoned_by_what_was_done():
    began = time.monotonic()
    assert host_timer(lambda: time.sleep(0.01), 10_000) / 10_000 == pytest.approx(0.01, rel=0.5)  # not a hundred seconds
    assert time.monotonic() - began < 30


class FakeCuda:
    """torch.cuda with a host that takes `launch_s` for each launch and a device that takes `kernel_s`."""

    def __init__(self, launch_s: float, kernel_s: float) -> None:
        self.host = self.busy_until = 0.0
        self.launch_s, self.kernel_s = launch_s, kernel_s
        self.slept: list[float] = []

    def launch(self, seconds=None):
        self.host += self.launch_s
        self.busy_until = max(self.busy_until, self.host) + (self.kernel_s if seconds is None else seconds)

    def _sleep(self, cycles):
        self.slept.append(cycles / timers._CYCLES_PER_S)
        self.launch(self.slept[-1])

    def device(self, _index):
        return nullcontext()

    def Event(self, enable_timing):  # noqa: N802
        cuda = self

        class Event:
            def record(self):
                self.at = max(cuda.busy_until, cuda.host)

            def synchronize(self):
                cuda.host = max(cuda.host, cuda.busy_until)

            def elapsed_time(self, end):
                return (end.at - self.at) * 1e3

        return Event()


@pytest.fixture
def cuda(monkeypatch):
    cuda = FakeCuda(launch_s=8e-6, kernel_s=2e-6)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(timers.time, "perf_counter", lambda: cuda.host)
    return cuda


def test_events_alone_measure_the_gaps_between_launches(cuda):
    assert CudaTimer(0)(cuda.launch, 100) / 100 == pytest.approx(8e-6, rel=0.05)


def test_behind_a_waiting_kernel_there_are_none(cuda):
    timer = CudaTimer(0, behind_spin=True)
    assert timer(cuda.launch, 100) / 100 == pytest.approx(2e-6, rel=0.02)
    assert timer.launch_s == pytest.approx(8e-6)
    assert cuda.slept == [pytest.approx(1.5 * 100 * timers._LAUNCH_S, rel=1e-3)]
    timer(cuda.launch, 100)
    assert cuda.slept[-1] == pytest.approx(1.5 * 100 * 8e-6, rel=1e-3)  # what it learnt


def test_the_wait_is_bounded(cuda):
    CudaTimer(0, behind_spin=True, launch_s=1.0)(cuda.launch, 100)
    assert cuda.slept == [pytest.approx(timers._MOST_SPIN_S)]


@pytest.mark.parametrize(("step_s", "behind"), [(1e-6, True), (49e-6, True), (51e-6, False), (1.0, False)])
def test_short_steps_get_the_waiting_kernel(step_s, behind):
    chosen = for_step(CudaTimer(3), step_s)
    assert (chosen.index, chosen.behind_spin) == (3, behind)
    assert ("waiting" in name_of(chosen)) == behind


def test_other_timers_stay():
    assert for_step(host_timer, 1e-6) is host_timer
    assert name_of(host_timer) == "host clock"


@pytest.mark.parametrize("timer", [host_timer, CudaTimer(1)])
def test_a_device_can_be_sent_to_a_child(timer):
    device = Device(name="cuda:1", board=Board(name="x"), timer=timer)
    assert pickle.loads(pickle.dumps(device)) == device


def test_the_cache_is_flushed_by_its_exact_size():
    pytest.importorskip("torch")
    flush = timers.flusher("cpu", 2**16)
    buffer = flush()
    assert buffer.numel() * buffer.element_size() == 2**16
    assert int(flush().max()) == 2  # read and written
