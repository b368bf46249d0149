"""The harness with a scripted clock: no test here takes real time."""

from __future__ import annotations

import itertools

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
        pytest.param(CannotRun("needs CUDA", remedy="none"), "needs CUDA", id="ours"),
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
    assert plan.sampling_s + plan.warmup_s < 3.6
    assert Plan.for_budget(30.0, 0).sampling_s > 0
