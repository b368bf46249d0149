"""Cases in turn: whatever drifts meets all alike, and one that fails costs no other."""

from __future__ import annotations

import itertools
import statistics

import pytest
from bench_fakes import FakeTime, Scripted
from hypothesis import given
from hypothesis import strategies as st

from dltool.bench import harness
from dltool.bench.interleave import alternate, interleave
from dltool.bench.plan import Plan

PLAN = Plan(sampling_s=2.0, warmup_s=0.5)


def test_there_and_back():
    order = []
    clock = itertools.count().__next__
    samplers = [lambda letter=letter: order.append(letter) or 1.0 for letter in "AB"]
    alternate(samplers, 4, clock=clock)
    assert "".join(order).startswith("ABBAABBA")


@given(st.integers(0, 4), st.floats(0, 20))
def test_every_case_gets_the_same_number(cases, duration):
    now = itertools.count()
    samples = alternate([lambda: 1.0] * cases, duration, clock=lambda: float(next(now)))
    assert len({len(taken) for taken in samples}) <= 1
    assert all(len(taken) >= 2 for taken in samples)


def test_drift_meets_both_alike():
    """The machine gets slower by half while they run: the medians are far from the start, their ratio is right."""
    time = FakeTime()
    slowing = lambda size: size * 1e-5 * (1 + 0.1 * time.now)  # noqa: E731
    cases = [("a", Scripted(size=1000, step_s=slowing)), ("b", Scripted(size=1030, step_s=slowing))]
    a, b = interleave(cases, time.device(), PLAN, clock=time.clock)
    assert len(a.seconds) == len(b.seconds) > 20
    assert a.seconds[-1] > 1.2 * a.seconds[0]
    ratios = [there / here for here, there in zip(a.seconds, b.seconds, strict=True)]
    assert statistics.median(ratios) == pytest.approx(1.03, abs=0.002)
    assert a.verified.ok
    assert b.rate is not None


def test_one_that_cannot_run_costs_no_other():
    time = FakeTime()
    bad, good = interleave([("bad", Scripted(error=RuntimeError("no"))), ("good", Scripted())], time.device(), PLAN,
                           clock=time.clock)  # fmt: skip
    assert bad.not_run == "RuntimeError: no"
    assert good.rate


def test_ctrl_c_holds_what_there_is():
    count = itertools.count()

    def step(size):
        if next(count) == 200:
            raise KeyboardInterrupt
        return 0.01

    time = FakeTime()
    with pytest.raises(harness.Interrupted) as stop:
        interleave([("a", Scripted(step_s=step)), ("b", Scripted())], time.device(), PLAN, clock=time.clock)
    assert any("interrupted" in warning for warning in stop.value.partial.warnings)


def test_each_case_has_its_own_precision_of_fp32():
    torch = pytest.importorskip("torch")
    from dataclasses import replace

    from dltool.bench import Prepared

    seen = {}

    class Precise(Scripted):
        def prepare(self, device):
            torch.set_float32_matmul_precision(self.dtype)
            return Prepared(lambda: seen.setdefault(self.dtype, set()).add(torch.get_float32_matmul_precision()) or 0.01,
                            lambda: self.verified)  # fmt: skip

    time = FakeTime()
    device = replace(time.device(), name="cpu")
    interleave([("a", Precise(dtype="highest")), ("b", Precise(dtype="medium"))], device, PLAN, clock=time.clock)
    assert seen == {"highest": {"highest"}, "medium": {"medium"}}
    assert torch.get_float32_matmul_precision() == "highest"
