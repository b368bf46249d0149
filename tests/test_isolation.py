"""Child processes that die in every way: each is a row, nothing is lost, nothing is left running."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import isolated_cases
import pytest
from isolated_cases import DEVICE, Deadly

from dltool.bench import harness
from dltool.bench.isolation import memory, runs
from dltool.bench.isolation.workers import Died, Workers
from dltool.bench.plan import Plan
from dltool.errors import CannotRun

PLAN = Plan(sampling_s=0.05, warmup_s=0.05, cap_s=1.0)
TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def workers():
    with Workers(preload=("isolated_cases", "dltool.bench.harness")) as workers:
        yield workers


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition, seconds=5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_a_call_comes_back(workers):
    assert workers.call(isolated_cases.double, 21, timeout_s=10) == 42


def test_each_call_has_a_process_of_its_own(workers):
    (first, parent), (second, same) = (workers.call(isolated_cases.pids, timeout_s=10) for _ in range(2))
    assert first != second
    assert parent == same != os.getpid()
    assert wait_for(lambda: not alive(first) and not alive(second))


def test_a_kept_child_serves_again(workers):
    child = workers.make_child()
    pids = {workers.call(isolated_cases.pids, timeout_s=10, child=child)[0] for _ in range(3)}
    workers.end(child)
    assert pids == {child.pid}


@pytest.mark.parametrize(
    ("how", "text"),
    [
        pytest.param("SIGSEGV", "was killed by SIGSEGV", id="segfault"),
        pytest.param("SIGKILL", "was killed by SIGKILL, by the system for lack of memory or by somebody", id="killed"),
        pytest.param("words", "was killed by SIGABRT: cuBLAS failed badly", id="abort"),
        pytest.param("exit", "ended with exit code 7", id="exit"),
        pytest.param("bug", "ended with exit code 1: KeyError: 'nothing like it'", id="bug"),
    ],
)
def test_how_a_child_died_is_told(workers, how, text):
    with pytest.raises(Died) as death:
        workers.call(isolated_cases.die, how, timeout_s=10)
    assert str(death.value) == text
    assert workers.call(isolated_cases.double, 1, timeout_s=10) == 2


def test_one_that_hangs_is_stopped(workers):
    began = time.monotonic()
    with pytest.raises(Died, match="was stopped after 0 s"):
        workers.call(isolated_cases.spin_ignoring_everything, timeout_s=0.3)
    assert time.monotonic() - began < 5


def test_one_that_takes_too_much_memory_is_stopped(workers):
    with pytest.raises(Died, match=r"took more than 0.1 GiB of memory"):
        workers.call(isolated_cases.eat, 2**30, timeout_s=30, memory_bytes=2**27)


def test_allocations_fail_before_they_hurt(workers):
    assert workers.call(isolated_cases.allocate_beyond, 2**26, timeout_s=10) == "refused"
    with pytest.raises(Died, match="MemoryError"):
        workers.call(isolated_cases.no_memory, timeout_s=10)


def test_an_error_for_the_user_stays_one(workers):
    with pytest.raises(CannotRun, match="no such thing here") as refused:
        workers.call(isolated_cases.refuse, timeout_s=10)
    assert refused.value.remedy == "Buy one."


def test_what_libraries_print_does_not_reach_stdout(workers, capfd):
    assert workers.call(isolated_cases.chatter, timeout_s=10) == "fine"
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "what",
    [
        "ends_one_that_sleeps",
        "ends_one_that_ignores_everything",
        "keeps_what_the_child_has",
        "is_told_of_a_machine_that_runs_out",
    ],
)
def test_a_fresh_process(what):
    ended = subprocess.run([sys.executable, str(TESTS / "fresh_process.py"), what], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


def test_a_server_that_was_killed_is_replaced():
    with Workers(preload=()) as workers:
        (_, server) = workers.call(isolated_cases.pids, timeout_s=10)
        os.kill(server, signal.SIGKILL)
        with contextlib.suppress(CannotRun):
            workers.call(isolated_cases.double, 1, timeout_s=10)
        assert workers.call(isolated_cases.double, 1, timeout_s=10) == 2


def test_nothing_outlives_a_caller_that_is_killed():
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "import threading, time, json\nimport isolated_cases\nfrom dltool.bench.isolation.workers import Workers\n"
        "workers = Workers(preload=())\n"
        "child = workers.make_child()\n"
        "print(json.dumps([child.pid, workers._server.pid]), flush=True)\n"
        "workers.call(isolated_cases.spin_ignoring_everything, timeout_s=60, child=child)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    pids = json.loads(caller.stdout.readline())
    assert all(map(alive, pids))
    caller.kill()
    caller.wait()
    caller.stdout.close()
    assert wait_for(lambda: not any(map(alive, pids)))


class TestRuns:
    @pytest.mark.parametrize(
        ("how", "text"),
        [
            pytest.param("SIGSEGV", "the process of this case was killed by SIGSEGV", id="segfault"),
            pytest.param("SIGKILL", "the process of this case was killed by SIGKILL", id="killed"),
            pytest.param("hang", "the process of this case was stopped after 2 s", id="hang"),
        ],
    )
    def test_a_deadly_case_costs_no_other(self, workers, how, text, monkeypatch):
        monkeypatch.setattr(runs, "_ADDED_S", 0.2)
        cases = [("one", Deadly(size=1, how=how)), ("two", Deadly(size=2))]
        bad, good = runs.run(cases, DEVICE, PLAN, workers)
        assert bad.not_run.startswith(text)
        assert (bad.workload, bad.params["how"]) == ("one", how)
        assert good.not_run is None
        assert good.median_s > 0.001

    def test_memory_is_watched(self, workers, monkeypatch):
        monkeypatch.setattr(memory, "available_bytes", lambda: 2**27)
        (row,) = runs.run([("greedy", Deadly(how="memory"))], DEVICE, PLAN, workers)
        assert "took more than 0.1 GiB of memory" in row.not_run

    def test_a_gpu_keeps_its_child_until_one_fails(self, workers, monkeypatch):
        made = []
        make = workers.make_child
        monkeypatch.setattr(workers, "make_child", lambda: made.append(make()) or made[-1])
        device = isolated_cases.Device(name="cuda:0", board=DEVICE.board, timer=DEVICE.timer)
        monkeypatch.setattr(runs, "measure_here", isolated_cases.double)
        kept = runs.Kept(workers, device)
        failing = iter([False, False, True, False])

        def call(*_args, child, **_options):
            return harness.failed("x", Deadly(), device, "no" if next(failing) else None)

        monkeypatch.setattr(workers, "call", call)
        for _ in range(4):
            kept.measure("x", Deadly(), PLAN)
        kept.end()
        assert len(made) == 2


class TestMemory:
    def test_available_is_the_less_of_machine_and_group(self, tmp_path):
        (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:    8388608 kB\n")
        group = tmp_path / "group"
        assert memory.available_bytes(tmp_path, group) == 8 * 2**30
        group.mkdir()
        (group / "memory.max").write_text(f"{4 * 2**30}\n")
        (group / "memory.current").write_text(f"{3 * 2**30}\n")
        (group / "memory.stat").write_text(f"anon 5\ninactive_file {2**30}\n")
        assert memory.available_bytes(tmp_path, group) == 2 * 2**30
        (group / "memory.max").write_text("max\n")
        assert memory.available_bytes(tmp_path, group) == 8 * 2**30

    def test_nothing_known(self, tmp_path):
        assert memory.available_bytes(tmp_path, tmp_path) is None
        assert memory.limit(None) is None
        assert memory.held_bytes(2**30) is None
