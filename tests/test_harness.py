"""The harness with a scripted clock: no test here takes real time."""

from __future__ import annotations

import itertools
import random

import pytest
from bench_fakes import FakeTime, Scripted

from dltool.bench import harness
from dltool.bench.harness import Plan
from dltool.errors import CannotRun
from dltool.results import Verified

PLAN = Plan(sampling_s=2.0, warmup_s=1.0, sample_s=0.01, step_s=0.5, cap_s=30.0)


@pytest.fixture(autouse=True)
def _no_torch_settings(monkeypatch):
    monkeypatch.setattr(harness, "settings", lambda device: {"torch": "none"})


def measure(workload, plan=PLAN, time=None):
    time = time or FakeTime()
    return harness.measure("scripted", workload, time.device(), plan, clock=time.clock)


def test_rate_and_share_follow_from_the_median():
    result = measure(Scripted(size=1000))  # 10 ms a step
    assert result.median_s == pytest.approx(0.01)
    assert result.rate == pytest.approx(1e5)
    assert result.share_of_peak == pytest.approx(0.5)
    assert result.ci95_s == pytest.approx((0.01, 0.01))
    assert result.warnings == ()
    assert result.verified.ok


def test_sampling_lasts_as_long_as_planned():
    result = measure(Scripted(size=1000))
    assert sum(result.seconds) * result.steps_per_sample == pytest.approx(2.0, abs=0.02)


def test_short_steps_are_repeated_within_a_sample():
    result = measure(Scripted(size=100, step_s=lambda size: 1e-6 * size))
    assert result.steps_per_sample == 100
    assert result.median_s == pytest.approx(1e-4)


def test_time_outside_the_samples_is_told():
    time = FakeTime()
    result = measure(Scripted(size=1000), time=time)
    assert result.overhead_s == pytest.approx(time.now - sum(result.seconds) * result.steps_per_sample)
    assert result.overhead_s < 0.35  # five windows of five samples, and the smaller sizes


def test_slow_dtype_is_measured_at_a_smaller_size_and_says_so():
    result = measure(Scripted(size=10_000, step_s=lambda size: size * 1e-3))  # 10 s a step as asked for
    assert result.params["size"] == 1000
    assert any("smaller size" in warning and "size=10000" in warning and "10 s" in warning for warning in result.warnings)


def test_no_time_to_try_a_size_is_not_foretold_as_no_time_at_all():
    result = measure(Scripted(size=10_000, step_s=lambda size: 20.0), plan=Plan(cap_s=10.0))
    assert result.params["size"] == 100
    assert any("no time to try it as asked for" in warning for warning in result.warnings)
    assert not any("would take" in warning for warning in result.warnings)


def test_a_step_that_collapses_with_size_cannot_hang_the_run():
    time = FakeTime()
    slow = Scripted(size=10_000, step_s=lambda size: size * 1e-5 * (50 if size >= 10_000 else 1))
    result = measure(slow, plan=Plan(cap_s=20.0), time=time)
    assert result.params["size"] == 10_000  # foreseen 0.1 s, really 5 s
    assert time.now <= 20 + 2 * 5
    assert result.seconds


def test_unsteady_warm_up_is_said():
    heating = itertools.count(10)  # every step takes longer than the last
    result = measure(Scripted(size=1000, step_s=lambda size: next(heating) * 1e-3))
    assert result.warmup_s is None
    assert any(warning.startswith("not steady") for warning in result.warnings)


def test_warm_up_waits_for_a_clock_that_settles():
    count = itertools.count()
    result = measure(Scripted(size=1000, step_s=lambda size: max(0.01, 0.02 * 0.98 ** next(count))), plan=Plan(warmup_s=5.0))
    assert result.warmup_s is not None
    assert result.seconds == pytest.approx([0.01] * len(result.seconds))


def test_wrong_result_is_shouted():
    wrong = Verified(reference="float64", error=0.5, tolerance=0.01, ok=False)
    result = measure(Scripted(verified=wrong))
    assert any("WRONG RESULT" in warning for warning in result.warnings)
    assert not result.verified.ok


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(RuntimeError("no kernel for this\nlong trace"), "RuntimeError: no kernel for this", id="torch"),
        pytest.param(MemoryError(), "MemoryError", id="memory"),
        pytest.param(NotImplementedError("sparse"), "NotImplementedError: sparse", id="unsupported"),
        pytest.param(CannotRun("needs CUDA", remedy="none"), "needs CUDA. none", id="ours"),
    ],
)
def test_case_that_cannot_run_is_a_row(error, text):
    result = measure(Scripted(error=error))
    assert result.not_run == text
    assert result.rate is None
    assert result.seconds == ()


def test_ctrl_c_keeps_the_samples():
    count = itertools.count()

    def step(size):
        if next(count) == 100:
            raise KeyboardInterrupt
        return 0.01

    with pytest.raises(harness.Interrupted) as stop:
        measure(Scripted(step_s=step))
    assert stop.value.partial.seconds
    assert stop.value.partial.rate == pytest.approx(1e5)
    assert any("interrupted" in warning for warning in stop.value.partial.warnings)


def test_ctrl_c_before_the_first_sample():
    def step(size):
        raise KeyboardInterrupt

    with pytest.raises(harness.Interrupted) as stop:
        measure(Scripted(step_s=step))
    assert stop.value.partial.not_run == "interrupted"


def test_one_bad_case_costs_no_other():
    time = FakeTime()
    cases = [("bad", Scripted(error=RuntimeError("no"))), ("good", Scripted())]
    told = []
    bad, good = harness.run(cases, time.device(), PLAN, clock=time.clock, progress=told.append)
    assert bad.not_run
    assert good.rate
    assert [text.split()[0] for text in told] == ["bad", "good"]


def test_budget_is_shared():
    plan = Plan.for_budget(30.0, 10)
    assert plan.warmup_s < plan.case_s / 3 < plan.case_s < 3.0
    assert Plan.for_budget(30.0, 0).sampling_s > 0


def test_burst_and_sustained_are_two_figures():
    count = itertools.count()
    result = measure(Scripted(size=1000, step_s=lambda size: 0.008 if next(count) < 40 else 0.01), plan=Plan(warmup_s=5.0))
    assert result.burst_s == pytest.approx(0.008)
    assert result.median_s == pytest.approx(0.01)


def test_precision_ends_a_quiet_case_early_and_not_a_noisy_one():
    quiet, noise = FakeTime(), random.Random(1)
    plan = Plan(sampling_s=10.0, warmup_s=1.0, precision=0.005)
    result = measure(Scripted(size=1000), plan=plan, time=quiet)
    assert sum(result.seconds) == pytest.approx(2.5, abs=0.2)  # a quarter of its time in any case
    noisy = measure(Scripted(size=1000, step_s=lambda size: 0.01 * noise.uniform(0.7, 1.3)), plan=plan)
    assert sum(noisy.seconds) == pytest.approx(10.0, abs=0.1)


@pytest.mark.parametrize(("precision", "least"), [(None, 28.5), (0.005, 5.0)])
@pytest.mark.parametrize("step_s", [1e-5, 1e-3, 0.05, 0.3])
def test_a_budget_is_kept_within_5_percent(step_s, precision, least):
    time = FakeTime()
    noise = itertools.cycle([0.8, 1.3, 1.0, 1.6, 0.7])
    case = Scripted(size=100, step_s=lambda size: step_s * size / 100 * next(noise))
    plan = Plan.for_budget(30.0, 10, precision=precision)
    rows = list(harness.run([("x", case)] * 10, time.device(), plan, clock=time.clock))
    assert len(rows) == 10
    assert least < time.now < 31.5


def test_what_a_failed_case_leaves_goes_to_the_others():
    time = FakeTime()
    cases = [("bad", Scripted(error=RuntimeError("no")))] * 9 + [("good", Scripted())]
    *_, good = harness.run(cases, time.device(), Plan.for_budget(30.0, 10), clock=time.clock)
    assert time.now == pytest.approx(30, rel=0.05)
    assert sum(good.seconds) > 20


def test_no_memory_is_measured_smaller_and_says_so():
    from dataclasses import replace as changed

    class Large(Scripted):
        def prepare(self, device):
            if self.size > 1000:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return super().prepare(device)

        def sizes(self):
            yield changed(self, size=1000)
            yield self

    result = measure(Large(size=2000))
    assert result.params["size"] == 1000
    assert any("no memory" in warning and "size=2000" in warning for warning in result.warnings)
    assert result.rate
    none = measure(Scripted(error=MemoryError("all of it")))
    assert none.not_run == "MemoryError: all of it"


class TestCold:
    """A device with a cache of 4 KiB, which the data of a step fits in."""

    PLAN = Plan(sampling_s=2.0, warmup_s=0.5)

    def measure(self, monkeypatch, *, flush_s, penalty_s, llc_bytes=4096, size=512):
        time = FakeTime()
        warm = [True]

        def flush():
            warm[0] = False
            return flush_s

        def step(_size):
            held, warm[0] = warm[0], True
            return 0.01 + (0 if held else penalty_s)

        monkeypatch.setattr("dltool.bench.timers.flusher", lambda name, cache_bytes: flush)
        monkeypatch.setattr("dltool.bench.sampling._notice_neighbours", lambda *_: None)
        device = time.device(name="cpu", llc_bytes=llc_bytes, free_bytes=2**30)
        return harness.measure("x", Scripted(size=size, step_s=step), device, self.PLAN, clock=time.clock)

    def test_cold_is_a_figure_of_its_own(self, monkeypatch):
        result = self.measure(monkeypatch, flush_s=0.004, penalty_s=0.003)
        assert result.median_s == pytest.approx(0.01)
        assert result.cold_s == pytest.approx(0.013)

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"flush_s": 1e-5}, id="filling it takes no part of a step"),
            pytest.param({"flush_s": 0.004, "llc_bytes": 0}, id="no cache"),
            pytest.param({"flush_s": 0.004, "size": 2**20}, id="no cache can hold the data"),
        ],
    )
    def test_where_it_cannot_matter_there_is_none(self, monkeypatch, changes):
        assert self.measure(monkeypatch, penalty_s=0.003, **changes).cold_s is None


@pytest.mark.parametrize("fails", ["RuntimeError", "DltoolError"])
def test_a_result_that_cannot_be_checked_is_no_number(fails):
    class Unchecked(Scripted):
        def prepare(self, device):
            from dltool.bench import Prepared

            def verify():
                raise RuntimeError("lost") if fails == "RuntimeError" else CannotRun("lost", remedy="none")

            return Prepared(lambda: 0.01, verify)

    assert "lost" in measure(Unchecked()).not_run


def test_a_machine_that_becomes_busy_cannot_stretch_a_sample_to_minutes():
    """The quickest of the first steps takes 10 us, all after them a thousand times as long: as threads do that wait."""
    count, time = itertools.count(), FakeTime()
    busy = Scripted(size=1000, step_s=lambda size: 1e-5 if next(count) < 70 else 1e-2)
    result = measure(busy, plan=Plan(sampling_s=1.0, warmup_s=0.5), time=time)
    assert result.steps_per_sample <= 4
    assert result.median_s == pytest.approx(1e-2)
    assert time.now < 2.5


def test_making_and_checking_the_data_is_part_of_the_budget():
    from dltool.bench import Prepared

    time = FakeTime()

    class Large(Scripted):
        def prepare(self, device):
            time.now += 0.2 * self.size / 1000

            def verify():
                time.now += 0.2
                return self.verified

            return Prepared(lambda: 0.01, verify)

    rows = list(harness.run([("x", Large())] * 10, time.device(), Plan.for_budget(20.0, 10), clock=time.clock))
    assert all(row.seconds for row in rows)
    assert time.now == pytest.approx(20, rel=0.05)
