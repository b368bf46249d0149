"""The largest batch that fits: the search against any threshold, and real tries in child processes with limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from batch_cases import CPU, Allocates, Refuses, Slow, Trains
from hypothesis import given
from hypothesis import strategies as st

from dltool.bench.isolation.workers import Died, Workers
from dltool.bench.networks.batches import ERROR, MOST, TIME, Trial, largest, next_nice, nice
from dltool.bench.networks.trials import Tries, foreseen_s, try_batch
from dltool.render.terminal.batches import lines

P = 1 / 16
TOP = 2**20
MIB = 2**20
BATCHES = st.one_of(st.integers(0, 70), st.integers(0, TOP + 1000))


def up_to(threshold: int, spurious: int | None = None, seen: list[int] | None = None) -> Callable[[int], Trial]:
    """Fits up to a threshold; the try of number `spurious` fails whatever its batch."""
    seen = [] if seen is None else seen

    def tried(batch: int) -> Trial:
        seen.append(batch)
        fits = batch <= threshold and len(seen) - 1 != spurious
        return Trial(fits=fits, seconds=0.1, peak_bytes=batch, why="" if fits else "out of memory")

    return tried


@given(st.integers(1, TOP * 2))
def test_nice_batches(batch: int) -> None:
    below = nice(batch)
    assert below <= batch < next_nice(below)
    assert nice(below) == below
    assert nice(next_nice(below)) == next_nice(below)
    assert below <= 32 or below % 8 == 0
    assert next_nice(below) - below <= max(1, below / 4)


def within(found: int, threshold: int) -> bool:
    """Whether a search may end there: it fits, and the next that is worth a try does not."""
    if found > threshold:
        return False
    return found >= nice(TOP) or threshold < max(next_nice(found), found * (1 + P))


@given(threshold=BATCHES, foreseen=st.none() | BATCHES, start=st.integers(1, 64))
def test_any_threshold_is_found(threshold: int, foreseen: int | None, start: int) -> None:
    seen: list[int] = []
    found = largest(up_to(threshold, seen=seen), start=start, foreseen=foreseen)
    assert within(found.largest, threshold)
    assert found.limited_by == (MOST if found.largest == TOP else "memory")
    assert [one.batch for one in found.tries] == seen
    assert all(nice(batch) == batch for batch in seen)
    assert len(seen) <= 2 * math.log2(TOP) + 4
    assert found.notes == ()


@given(threshold=st.integers(0, 2**18), foreseen=st.none() | BATCHES, start=st.integers(1, 64))
def test_no_try_is_bolder_than_it_must(threshold: int, foreseen: int | None, start: int) -> None:
    fits, failed, probe = 0, TOP + 1, 8 * start
    for one in largest(up_to(threshold), start=start, foreseen=foreseen).tries:
        assert one.batch <= failed, "what is known to fail is tried again once at most, and nothing above it"
        assert one.batch <= max(2 * fits, start, probe if foreseen else 0, foreseen or 0, 1)
        fits, failed = (max(fits, one.batch), failed) if one.fits else (fits, min(failed, one.batch))


@given(threshold=st.integers(1, TOP), error=st.floats(0.95, 1.05))
def test_a_good_forecast_makes_it_short(threshold: int, error: float) -> None:
    found = largest(up_to(threshold), foreseen=max(1, int(threshold * error)))
    assert within(found.largest, threshold)
    assert len(found.tries) <= 8


@given(threshold=BATCHES, foreseen=st.none() | BATCHES, spurious=st.integers(0, 40))
def test_one_spurious_failure_changes_nothing(threshold: int, foreseen: int | None, spurious: int) -> None:
    seen: list[int] = []
    found = largest(up_to(threshold, spurious, seen), foreseen=foreseen)
    assert within(found.largest, threshold)
    assert len(seen) <= 4 * math.log2(TOP)
    in_vain = spurious < len(seen) and seen[spurious] <= threshold
    assert bool(found.notes) == in_vain
    assert len(set(seen)) >= len(seen) - 2


@given(st.data())
def test_whatever_fails_it_ends_with_what_was_seen_to_fit(data: st.DataObject) -> None:
    found = largest(
        lambda _batch: Trial(fits=data.draw(st.booleans()), stopped_by=data.draw(st.sampled_from(["memory", "time", "error"]))),
        most=4096,
        foreseen=data.draw(st.none() | st.integers(0, 5000)),
    )
    assert found.largest == max((one.batch for one in found.tries if one.fits), default=0)
    assert found.next_fails is None or found.next_fails > found.largest


def test_what_is_too_slow_is_no_lack_of_memory() -> None:
    def tried(batch: int) -> Trial:
        return Trial(fits=batch <= 100, stopped_by=TIME, why="too slow")

    found = largest(tried, foreseen=4000)
    assert 50 <= found.largest <= 100
    assert found.limited_by == TIME
    assert found.next_fails <= 2 * found.largest


def test_a_model_that_refuses_one_sample() -> None:
    def tried(batch: int) -> Trial:
        return Trial(fits=1 < batch <= 20, stopped_by=ERROR if batch == 1 else "memory", why="Expected more than 1 value\nat")

    found = largest(tried)
    assert found.largest == 20
    assert found.limited_by == "memory"
    assert found.notes == ("the model does not run with batch 1: Expected more than 1 value",)


def test_a_model_that_never_runs_is_tried_twice() -> None:
    found = largest(lambda _batch: Trial(fits=False, stopped_by=ERROR, why="no such kernel"), foreseen=64)
    assert (found.largest, found.limited_by, len(found.tries)) == (0, ERROR, 2)


@pytest.mark.parametrize("most", [1, 24, 100])
def test_never_beyond_the_most(most: int) -> None:
    found = largest(up_to(TOP), most=most, foreseen=1000)
    assert (found.largest, found.limited_by, found.next_fails) == (nice(most), MOST, None)


def test_seconds_are_foreseen_along_a_line() -> None:
    assert foreseen_s({1: 0.5}, 100) == 0.0
    assert foreseen_s({1: 1.0, 8: 1.7, 500: 9.0}, 16) == pytest.approx(2.5)
    assert foreseen_s({1: 1.0, 8: 0.9}, 16) == 0.9


@pytest.fixture(scope="module")
def workers():
    with Workers(preload=("torch", "dltool.zoo.subject", "batch_cases", "dltool.bench.networks.trials")) as workers:
        yield workers


def test_a_try_tells_seconds_and_peak(workers) -> None:
    found = try_batch(workers, CPU, Allocates(batch=64), memory_bytes=300 * MIB)
    assert found.fits
    assert found.seconds is not None
    assert found.seconds < 5
    assert 60 * MIB < found.peak_bytes < 90 * MIB


def test_what_takes_too_much_is_refused_before_it_hurts(workers) -> None:
    found = try_batch(workers, CPU, Allocates(batch=2000), memory_bytes=300 * MIB)
    assert not found.fits
    assert found.stopped_by == "memory"
    assert "can't allocate memory: you tried to allocate 2097152000 bytes" in found.why


def test_the_largest_that_really_fits(workers) -> None:
    with Tries(workers, CPU, partial_case(Allocates), memory_bytes=100 * MIB) as tries:
        found = largest(tries, foreseen=90)
    assert 80 <= found.largest <= 100
    assert found.limited_by == "memory"
    assert len(found.tries) <= 8


def test_a_model_of_the_zoo(workers) -> None:
    with Tries(workers, CPU, partial_case(Trains), memory_bytes=120 * MIB) as tries:
        found = largest(tries, start=32, foreseen=250, precision=1.0)
    fitting = {one.batch: one.peak_bytes for one in found.tries if one.fits}
    assert found.limited_by == "memory"
    assert 64 <= found.largest <= 1000
    assert fitting[32] < fitting[found.largest] <= 240 * MIB
    assert all("can't allocate memory" in one.why for one in found.tries if not one.fits)
    assert len(found.tries) <= 6


def test_what_would_take_too_long_is_not_run(workers) -> None:
    with Tries(workers, CPU, partial_case(Slow), longest_s=0.3) as tries:
        found = largest(tries, foreseen=2000)
    assert found.limited_by == TIME
    assert 15 <= found.largest <= 30
    slow = [one for one in found.tries if one.batch == 1984]
    assert "would take" in slow[0].why
    assert "whether it fits is not known" in slow[0].why


def test_one_that_hangs_is_too_slow_too(workers) -> None:
    found = try_batch(workers, CPU, Slow(batch=1, each_s=60), longest_s=0.1, start_s=0.3)
    assert (found.fits, found.stopped_by) == (False, TIME)
    assert found.why.startswith("too slow to try: its process was stopped after")


def test_crashes_and_refusals_are_errors(workers) -> None:
    with Tries(workers, CPU, partial_case(Refuses, dies_at=16)) as tries:
        found = largest(tries)
    assert found.largest == 15
    assert found.limited_by == ERROR
    assert "SIGABRT" in next(one.why for one in found.tries if one.batch == 16)
    assert "does not run with batch 1" in found.notes[0]


class FakeWorkers:
    """Answers as scripted; notes which child was asked, and which were ended."""

    def __init__(self, *answers: Trial | Exception) -> None:
        self.answers, self.made, self.asked, self.ended = list(answers), 0, [], []

    def make_child(self) -> int:
        self.made += 1
        return self.made

    def end(self, child: int) -> None:
        self.ended.append(child)

    def call(self, *_arguments: object, child: int, **_limits: object) -> Trial:
        self.asked.append(child)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


FITS, FULL = Trial(fits=True, seconds=0.1), Trial(fits=False, why="CUDA out of memory")


def asked_of(device_name: str, batches: list[int], *answers: Trial) -> FakeWorkers:
    workers = FakeWorkers(*answers)
    with Tries(workers, replace(CPU, name=device_name), partial_case(Slow)) as tries:  # type: ignore[arg-type]
        for batch in batches:
            tries(batch)
    return workers


def test_on_a_gpu_a_child_is_kept_until_it_runs_out() -> None:
    workers = asked_of("cuda:0", [1, 2, 4, 3], FITS, FITS, FULL, FITS)
    assert workers.asked == [1, 1, 1, 2]
    assert workers.ended == [1, 2]


def test_what_is_tried_again_gets_a_fresh_child() -> None:
    workers = asked_of("cuda:0", [4, 2, 4], FULL, FITS, FITS)
    assert workers.asked == [1, 2, 3]
    assert workers.ended == [1, 2, 3]


def test_on_a_cpu_each_try_has_a_child_of_its_own() -> None:
    workers = asked_of("cpu", [1, 2, 4], FITS, FITS, FULL)
    assert workers.asked == workers.ended == [1, 2, 3]


@pytest.mark.parametrize(
    ("death", "stopped_by"),
    [
        ("took more than 1.0 GiB of memory", "memory"),
        ("took 3.0 GiB and left the machine only 20 MiB", "memory"),
        ("was killed by SIGKILL, by the system for lack of memory or by somebody", "memory"),
        ("was killed by SIGABRT: what():  std::bad_alloc", "memory"),
        ("MemoryError", "memory"),
        ("was stopped after 80 s", TIME),
        ("was killed by SIGSEGV", ERROR),
        ("ended with exit code 1: KeyError: 'nothing'", ERROR),
    ],
)
def test_what_a_death_means(death: str, stopped_by: str) -> None:
    found = try_batch(FakeWorkers(Died(death)), CPU, Slow(batch=1), child=1)  # type: ignore[arg-type]
    assert (found.fits, found.stopped_by) == (False, stopped_by)
    assert death in found.why


@pytest.mark.parametrize(
    ("tried", "text"),
    [
        (up_to(96), "the largest batch that fits is 96: 104 found no memory (8 tries; the memory model foretold 80)"),
        (up_to(TOP), "batch 4096 fits; larger ones were not to be tried (12 tries; the memory model foretold 80)"),
        (up_to(0), "no batch runs: batch 1 found no memory (2 tries; the memory model foretold 80)"),
        (lambda batch: Trial(fits=batch < 9, stopped_by=TIME, why="too slow to try: it takes 9 s"),
         "the largest batch that runs is 8: 13 is too slow to try: it takes 9 s (8 tries; the memory model foretold 80)"),
        (lambda batch: Trial(fits=batch < 9, stopped_by=ERROR, why="\n  an index overflows\n  at line 3"),
         "the largest batch that runs is 8: 9 fails: an index overflows (10 tries; the memory model foretold 80)"),
    ],
)  # fmt: skip
def test_the_search_as_text(tried: Callable[[int], Trial], text: str) -> None:
    assert lines(largest(tried, foreseen=80, most=4096), 200) == [text]


def test_notes_are_told() -> None:
    found = lines(largest(up_to(20, spurious=3), most=4096), 60)
    assert found[-3].startswith("note: batch")
    assert all(len(line) <= 60 for line in found)


def partial_case(kind, **options):
    """The workload at a batch."""

    def at(batch: int):
        return partial(kind, **options)(batch=batch)

    return at
