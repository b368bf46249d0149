"""The search for the best shape: on simulated devices with tiles, waves, noise and heat."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import Simulated, two_bytes

from dltool.bench.search import confirmation, hunt, trier
from dltool.bench.search.journal import Head, Journal, file_name
from dltool.bench.search.space import Shape, Space, tiles
from dltool.bench.search.strategy import State, search, why_not
from dltool.errors import UsageError
from dltool.shape_results import Trial

BRUTE = [Shape(*sides) for sides in itertools.product(range(512, 8193, 512), repeat=3)]
"""What a loop over all multiples of 512 would time: 4096 shapes."""
DEVICES = {
    "H100": Simulated(sms=132, peak=800e12, bandwidth=3.35e12, heat=0.08),
    "H100, deep": Simulated(sms=132, peak=800e12, bandwidth=3.35e12, heat=0.08, sweet=Shape(2048, 2048, 13312)),
    "A100": Simulated(sms=108, peak=300e12, bandwidth=2e12, heat=0.03, sweet=Shape(1024, 10240, 5120)),
    "B200": Simulated(sms=148, peak=1700e12, bandwidth=8e12, heat=0.08, sweet=Shape(1792, 16128, 3072)),
    "V100": Simulated(sms=80, peak=112e12, bandwidth=0.9e12, sweet=Shape(3000, 3000, 1500)),
}


def found(device: Simulated, budget_s: float, **space: object) -> tuple[State, tuple]:
    state = State(device.space(**space), device.trial, budget_s)
    confirmation.confirm(state, search(state))
    return state, confirmation.ranking(state.trials)


def shape_of(finalist) -> Shape:
    return Shape(finalist.m, finalist.n, finalist.k)


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_within_two_per_cent_of_brute_force_in_a_tenth_of_its_trials(name, seed):
    device = replace(DEVICES[name], seed=seed, shapes=set())
    state, ranked = found(device, 4.0)
    best = max(map(device.true_rate, BRUTE))
    assert device.true_rate(shape_of(ranked[0])) >= 0.98 * best
    assert device.count <= len(BRUTE) / 10
    assert state.spent_s <= 4.0 * 1.05


def test_the_same_samples_give_the_same_search():
    runs = [found(Simulated(seed=3, heat=0.05), 2.0)[0].trials for _ in range(2)]
    assert runs[0] == runs[1]


def test_a_lucky_sample_does_not_win():
    """One shape answers ten times too fast once, and never again: the confirmation finds out."""
    device, lucky = Simulated(), []

    def trial(shape: Shape, stage: str, samples: int) -> Trial:
        told = device.trial(shape, stage, samples)
        if stage == "refine" and not lucky:
            lucky.append(shape)
            return msgspec.structs.replace(told, seconds=tuple(second / 10 for second in told.seconds))
        return told

    state = State(device.space(), trial, 4.0)
    confirmation.confirm(state, search(state))
    first = confirmation.ranking(state.trials)[0]
    assert lucky
    assert shape_of(first) != lucky[0]
    assert first.rate == pytest.approx(device.true_rate(shape_of(first)), rel=0.03)


def test_finalists_that_were_lucky_give_their_place_to_one_outside():
    """Three shapes looked twice as fast before; in the confirmation they fall behind a fourth."""
    device = Simulated(noise=0.0)
    shapes = [Shape(1024, 1024, 1024 + 64 * number) for number in range(3)]
    good = Shape(4096, 4096, 8192)
    state = State(device.space(), device.trial, 10.0)
    for shape in shapes:
        state.samples[shape] = [device.true_s(shape) / 10]
    state.samples[good] = [device.true_s(good)]
    confirmation.confirm(state, state.best(3))
    ranked = confirmation.ranking(state.trials)
    assert shape_of(ranked[0]) == good
    assert len(ranked) == 3


def test_the_confirmation_takes_turns_and_each_round_begins_with_another():
    device = Simulated()
    state = State(device.space(), device.trial, 1.0)
    shapes = [Shape(1024, 1024, 1024), Shape(2048, 2048, 2048), Shape(512, 512, 8192)]
    confirmation.confirm(state, shapes)
    order = [Shape(trial.m, trial.n, trial.k) for trial in state.trials]
    assert order[:9] == [*shapes, *shapes[1:], shapes[0], shapes[2], *shapes[:2]]


def test_drift_meets_all_finalists_alike():
    """The device slows down by half during the confirmation: the ratios of pairs stay what they are."""
    ranked = confirmation.ranking([
        Trial(m=side, n=64, k=64, stage="confirm", seconds=(side * (1 + number / 20),))
        for number in range(12) for side in (64, 128)
    ])  # fmt: skip
    assert ranked[1].behind == pytest.approx(1.0, rel=0.06)
    assert confirmation.ranking([]) == ()


def test_equal_shapes_are_called_level():
    device = Simulated(noise=0.02)
    state = State(device.space(), device.trial, 10.0)
    confirmation.confirm(state, [Shape(2048, 4224, 8192), Shape(4224, 2048, 8192)])
    _, second = confirmation.ranking(state.trials)
    assert second.level
    assert second.behind == pytest.approx(1.0, abs=0.02)


def test_slow_arithmetic_is_found_out_at_a_tiny_size():
    """A format that is emulated a million times slower must not take minutes."""
    device = Simulated(peak=1e9)
    state, _ = found(device, 10.0)
    assert max(trial.m * trial.n * trial.k for trial in state.trials) == 512**3
    assert state.pruned["too slow for the budget"] > 700


def test_a_disturbed_calibration_is_not_believed():
    """The first cubes take a thousand times too long, as on a busy machine; large shapes are tried all the same."""
    device = Simulated()

    def trial(shape: Shape, stage: str, samples: int) -> Trial:
        told = device.trial(shape, stage, samples)
        return told if device.count > 4 else msgspec.structs.replace(told, seconds=tuple(s * 1000 for s in told.seconds))

    state = State(device.space(), trial, 4.0)
    best = search(state)[0]
    assert device.true_rate(best) >= 0.97 * max(map(device.true_rate, BRUTE))
    assert state.pruned["too slow for the budget"] < 20


def test_memory_and_roofline_leave_shapes_out():
    space = Simulated().space(free_bytes=2**28)
    device = Simulated(bandwidth=2e11)
    state = State(space, device.trial, 4.0)
    search(state)
    assert state.pruned["memory"] > 0
    assert all(4 * two_bytes(Shape(t.m, t.n, t.k)) <= 2**28 for t in state.trials)
    narrow, _ = found(device, 4.0)
    assert narrow.pruned["roofline"] > 0


def test_the_roofline_does_not_judge_what_a_cache_holds():
    space = Simulated().space(bandwidth=1.0, cache_bytes=2**30)
    assert space.bound(Shape(1024, 1024, 1024)) == float("inf")
    assert space.bound(Shape(2**15, 2**15, 64)) < 1e6


def test_shapes_that_fail_are_kept_and_not_tried_again():
    device = Simulated(error_above=2 * 4096**3)
    state, ranked = found(device, 4.0)
    assert state.failed
    assert ranked
    failed = [Shape(t.m, t.n, t.k) for t in state.trials if t.error]
    assert len(failed) == len(set(failed))


def test_a_device_that_runs_nothing_ends_the_search_soon():
    device = Simulated(error_above=0)
    _, ranked = found(device, 60.0)
    assert ranked == ()
    assert device.count <= 10


@given(
    lowest=st.integers(64, 3000), more=st.integers(0, 9000), sms=st.sampled_from([0, 1, 7, 46, 108, 132, 170]),
    kind=st.sampled_from(["cpu", "cuda"]), step=st.floats(1.01, 2.0),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_candidate_and_neighbour_is_allowed_and_whole(lowest, more, sms, kind, step):
    space = Space(lowest=lowest, highest=lowest + more, tiles=tiles(kind), sms=sms, bytes_of=two_bytes)
    candidates = space.candidates()
    assert len(set(candidates)) == len(candidates)
    kept = random.Random(0).sample(candidates, min(20, len(candidates)))
    near = [neighbour for shape in kept for neighbour in space.neighbours(shape, step)]
    for shape in (*kept, *near):
        assert space.allows(shape)
        assert all(side % unit == 0 for side, unit in zip(shape, space.unit, strict=True))
        assert 0 < space.wave_share(shape) <= 1


def test_every_beginning_of_the_grid_covers_it():
    space = Space(lowest=128, highest=8192, tiles=tiles("cpu"), bytes_of=two_bytes)
    begin = space.candidates()[:24]
    for side in range(3):
        lengths = {shape[side] for shape in begin}
        assert min(lengths) <= 512
        assert max(lengths) == 8192


def test_whole_waves_are_among_the_candidates_of_a_gpu():
    space = Simulated().space()
    assert sum(space.wave_share(shape) > 0.96 for shape in space.candidates()[:80]) >= 20


# --- the record on disk -----------------------------------------------------------------------------------------------

HEAD = Head(device="cuda:0 simulated", dtype="bf16", lowest=512, highest=8192, settings={"torch": "2.13"})


class Killed(BaseException):
    """kill -9: nothing is cleaned up."""


def run_with(journal: Journal, device: Simulated, *, killed_after: int | None = None, budget_s: float = 2.0) -> State:
    def live(shape: Shape, stage: str, samples: int) -> Trial:
        if killed_after is not None and device.count >= killed_after:
            raise Killed
        return device.trial(shape, stage, samples)

    state = State(device.space(), journal.through(live), budget_s)
    confirmation.confirm(state, search(state))
    return state


def test_a_killed_search_goes_on_where_it_was(tmp_path):
    whole = run_with(Journal(tmp_path / "none", HEAD), Simulated())
    device = Simulated()
    first = Journal(tmp_path / "a" / "search.jsonl", HEAD)
    first.open(resume=False)
    with pytest.raises(Killed):
        run_with(first, device, killed_after=70)
    with first.path.open("ab") as file:
        file.write(b'{"m": 512, "n": ')  # a line that the kill cut short
    second = Journal(first.path, HEAD)
    second.open(resume=True)
    resumed = run_with(second, device)
    assert resumed.trials == whole.trials
    assert second.resumed_s == pytest.approx(sum(trial.cost_s for trial in whole.trials[:70]))
    assert device.count == len(whole.trials)
    lines = first.path.read_text().splitlines()
    assert len(lines) == len(whole.trials) + 1
    assert all(json.loads(line) for line in lines)


def test_without_resume_the_record_begins_anew(tmp_path):
    for _ in range(2):
        journal = Journal(tmp_path / "search.jsonl", HEAD)
        journal.open(resume=False)
        run_with(journal, Simulated(), budget_s=1.0)
    assert journal.resumed_s == 0
    assert journal.path.read_text().count("schema") == 1


def test_a_larger_budget_goes_on_with_a_finished_search(tmp_path):
    journal = Journal(tmp_path / "search.jsonl", HEAD)
    journal.open(resume=False)
    device = Simulated()
    run_with(journal, device, budget_s=1.0)
    before = device.count
    again = Journal(journal.path, HEAD)
    again.open(resume=True)
    state = run_with(again, device, budget_s=3.0)
    assert again.resumed_s > 0.3
    assert device.count - before < len(state.trials)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(b"{}\n", "no record of a search", id="no-head"),
        pytest.param(b"\xff\xfe\n", "no record of a search", id="binary"),
        pytest.param(
            msgspec.json.encode(msgspec.structs.replace(HEAD, lowest=128)) + b"\n", "another lowest: 128, now 512", id="other"
        ),
        pytest.param(msgspec.json.encode(HEAD) + b"\nnonsense\n", "line 2 is no trial", id="line"),
    ],
)
def test_a_record_of_something_else_is_refused(tmp_path, text, said):
    path = tmp_path / "search.jsonl"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=said):
        Journal(path, HEAD).open(resume=True)


def test_a_full_disk_costs_the_record_and_not_the_search(tmp_path):
    journal = Journal(tmp_path / "search.jsonl", HEAD)
    journal.open(resume=False)
    journal._file, closed = None, journal._file
    assert run_with(journal, Simulated(), budget_s=1.0).tried > 10
    assert closed is not None


def test_names_of_records():
    assert file_name("cuda:0 NVIDIA H100 80GB HBM3", "bf16") == "cuda-0-nvidia-h100-80gb-hbm3-bf16.jsonl"


def test_limits_without_a_shape_are_refused():
    from bench_fakes import FakeTime

    device = FakeTime().device(name="cpu")
    for low, high, said in ((4096, 512, "above"), (65, 100, "no multiple of 64")):
        with pytest.raises(UsageError, match=said):
            hunt.hunt(device, "fp32", hunt.Options(budget_s=2, lowest=low, highest=high))


def test_why_a_shape_is_left_out():
    device = Simulated()
    state = State(device.space(free_bytes=2**31), device.trial, 1.0)
    assert why_not(state, Shape(2**14, 2**14, 2**14)) == "memory"
    assert why_not(state, Shape(1024, 1024, 1024)) is None


# --- the door to a device ---------------------------------------------------------------------------------------------


class Timed:
    """A device whose steps take as long as scripted."""

    def __init__(self, step_s: float, stall_s: float = 0.0) -> None:
        self.step_s, self.stall_s, self.asked = step_s, stall_s, []

    def timer(self, step, steps: int) -> float:
        step()
        self.asked.append(steps)
        return self.step_s * steps + (self.stall_s * steps if steps > 1 else 0.0)


@pytest.mark.parametrize(("step_s", "stall_s", "steps"), [(1.0, 0.0, 1), (1e-3, 0.0, 3), (1e-9, 0.0, 4096), (1e-4, 0.5, 4)])
def test_a_sample_is_long_enough_and_not_longer(step_s, stall_s, steps):
    """Also where steps stall as soon as there are several: no sample of a hundred of them is begun."""
    pytest.importorskip("torch")
    from bench_fakes import FakeTime

    scripted = Timed(step_s, stall_s)
    timer = trier.DeviceTrier(FakeTime().device(name="cpu", timer=scripted.timer), "fp32", clock=lambda: 0.0)
    trial = timer(Shape(8, 8, 8), "coarse", 3)
    assert trial.error is None
    assert (trial.steps, len(trial.seconds)) == (steps, 3)
    timer(Shape(8, 8, 8), "confirm", 1)
    assert scripted.asked[-1] == steps  # it was still ready: nothing was found out again
    assert sum(asked == 1 for asked in scripted.asked) <= 2 or steps == 1


def test_what_a_device_refuses_is_a_trial_that_says_why():
    from bench_fakes import FakeTime

    def refuses(step, steps: int) -> float:
        raise RuntimeError("CUDA out of memory\nmore lines")

    timer = trier.DeviceTrier(FakeTime().device(name="cpu", timer=refuses), "fp32")
    assert timer(Shape(8, 8, 8), "coarse", 3).error == "RuntimeError: CUDA out of memory"
    tf32 = trier.DeviceTrier(FakeTime().device(name="cpu", timer=refuses), "tf32")
    assert tf32(Shape(8, 8, 8), "coarse", 3).error == "this exists on CUDA devices only"


def test_a_fresh_measurement_that_disagrees_with_the_confirmation_is_said():
    from dltool.results import Measurement

    device = Simulated()
    _, ranked = found(device, 2.0)
    best = ranked[0]
    case = Measurement(workload="gemm", params={}, device="cuda:0", dtype="bf16", rate=best.rate * 0.6, rate_unit="FLOP/s")
    (said,) = hunt.disagreement(best, case)
    assert "40 % below" in said
    assert hunt.disagreement(best, msgspec.structs.replace(case, rate=best.rate)) == []
    assert hunt.disagreement(best, None) == []
