"""What the host takes from a benchmark: quotas, hypervisors, other programs."""

from __future__ import annotations

import pytest

from dltool.bench import host_conditions
from dltool.bench.host_conditions import HostCounters, read


@pytest.fixture
def system(tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "stat").write_text("cpu  100 0 50 800 10 0 5 35 0 0\ncpu0 1 2 3\n")
    (tmp_path / "self/cgroup").write_text("0::/user.slice/job-1\n")
    return tmp_path


def test_steal_and_all_ticks(system):
    seen = read(system, system / "cgroup")
    assert (seen.steal_ticks, seen.all_ticks) == (35, 1000)
    assert seen.preemptions >= 0
    assert seen.quota_wait_s is None


@pytest.mark.parametrize(
    ("where", "own", "text", "seconds"),
    [
        pytest.param("user.slice/job-1", "0::/user.slice/job-1", "nr_throttled 3\nthrottled_usec 1500000\n", 1.5, id="v2"),
        pytest.param("", "0::/", "throttled_usec 250000\n", 0.25, id="container"),
        pytest.param("cpu/docker/ab", "4:cpu,cpuacct:/docker/ab", "throttled_time 2000000000\n", 2.0, id="v1"),
        pytest.param("", "0::/", "usage_usec 5\n", None, id="no quota"),
    ],
)
def test_quota(system, where, own, text, seconds):
    root = system / "group"
    (root / where).mkdir(parents=True)
    (root / where / "cpu.stat").write_text(text)
    (system / "self/cgroup").write_text(own + "\n")
    assert read(system, root).quota_wait_s == seconds


def test_what_was_counted_meanwhile():
    before = HostCounters(preemptions=5, quota_wait_s=1.0, steal_ticks=10, all_ticks=100)
    after = HostCounters(preemptions=9, quota_wait_s=1.5, steal_ticks=30, all_ticks=300)
    assert after.since(before) == {"preemptions": 4, "quota_wait_s": 0.5, "steal": 0.1}


def test_what_is_not_known_stays_unknown():
    assert HostCounters().since(HostCounters(steal_ticks=1, all_ticks=1)) == {
        "preemptions": None, "quota_wait_s": None, "steal": None,
    }  # fmt: skip
    assert HostCounters(steal_ticks=1, all_ticks=1).since(HostCounters(steal_ticks=1, all_ticks=1))["steal"] is None


def test_a_system_without_proc(tmp_path):
    assert read(tmp_path, tmp_path).all_ticks is None
    (tmp_path / "stat").write_text("nonsense\n")
    assert read(tmp_path, tmp_path).steal_ticks is None


def test_here():
    assert host_conditions.load_average() >= 0
