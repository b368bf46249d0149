"""Verdicts on simulated samples: planted differences are found, unchanged code is left alone, at the stated rates."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dltool.bench import distributions, verdicts
from dltool.bench.verdicts import Noise, Ratio, apart, at_equal_clocks, interleaved, judge
from dltool.differences import Verdict

CONFIDENCES = (0.95, 0.99)
ALARMS = (Verdict.FASTER, Verdict.SLOWER)
BLOCKS = st.lists(st.lists(st.floats(1e-6, 1e2), min_size=1, max_size=9), min_size=1, max_size=14)


def normal(generator):
    return math.exp(generator.gauss(0, 0.01))


def heavy(generator):
    """Student's t with two degrees of freedom: no variance at all."""
    return math.exp(0.01 * generator.gauss(0, 1) / math.sqrt(generator.expovariate(1.0) + 1e-9))


def spiked(generator):
    """One sample in ten takes three times as long."""
    return normal(generator) * (3.0 if generator.random() < 0.1 else 1.0)


def bimodal(generator):
    """A clock that jumps between two steps, 8 % apart."""
    return normal(generator) * (1.08 if generator.random() < 0.5 else 1.0)


SHAPES = [normal, heavy, spiked, bimodal]


def block(generator, shape, *, level=1.0, size=10):
    return [level * shape(generator) for _ in range(size)]


def in_turn(generator, shape, *, change=1.0, drift=0.0, rounds=10):
    """Blocks of A and B in the order AB BA AB ..., while everything takes `drift` more from block to block."""
    a_blocks, b_blocks = [], []
    for number in range(rounds):
        sides = [(a_blocks, 1.0), (b_blocks, change)]
        for place, (blocks, level) in enumerate(sides if number % 2 == 0 else sides[::-1]):
            blocks.append(block(generator, shape, level=level * (1 + drift) ** (2 * number + place)))
    return a_blocks, b_blocks


def two_runs(generator, shape, *, sd, runs_known, change=1.0, slow=0.0):
    """Runs whose level differs by chance by `sd`, and the noise as a selftest of so many runs would estimate it.

    Within a run the level wanders by `slow` a sample: neighbours are alike.
    """

    def run(level=1.0):
        level *= math.exp(generator.gauss(0, sd))
        samples = []
        for _ in range(30):
            level *= math.exp(generator.gauss(0, slow))
            samples.append(level * shape(generator))
        return samples

    logs = [math.log(statistics.median(run())) for _ in range(runs_known)]
    return run(), run(change), Noise(sd=statistics.stdev(logs), degrees=runs_known - 1)


def most_by_chance(trials, rate):
    """What a rate may show in so many trials: three standard deviations above it."""
    return rate * trials + 3 * math.sqrt(rate * (1 - rate) * trials)


def excludes_one(ratio):
    low, high = ratio.interval
    return not low <= 1 <= high


class TestFalseAlarms:
    """1,000 experiments on the same code: alarms at most at the stated rate."""

    @pytest.mark.parametrize("shape", SHAPES)
    def test_interleaved(self, shape):
        generator = random.Random(1)
        outside = dict.fromkeys(CONFIDENCES, 0)
        alarms = 0
        for _ in range(1000):
            blocks = in_turn(generator, shape)
            for confidence in CONFIDENCES:
                outside[confidence] += excludes_one(interleaved(*blocks, confidence=confidence))
            alarms += judge(interleaved(*blocks)) in ALARMS
        assert all(outside[confidence] <= most_by_chance(1000, 1 - confidence) for confidence in CONFIDENCES)
        assert alarms <= outside[0.99]

    @pytest.mark.parametrize("shape", SHAPES)
    def test_apart(self, shape):
        generator = random.Random(2)
        outside = dict.fromkeys(CONFIDENCES, 0)
        for _ in range(1000):
            a, b, noise = two_runs(generator, shape, sd=0.02, runs_known=8, slow=0.001)
            for confidence in CONFIDENCES:
                outside[confidence] += excludes_one(apart(a, b, noise, confidence=confidence))
        assert all(outside[confidence] <= most_by_chance(1000, 1 - confidence) for confidence in CONFIDENCES)

    def test_without_the_noise_between_runs_it_would_cry_wolf(self):
        """The reason for a selftest: what one run shows of itself is not what another differs by."""
        generator = random.Random(3)
        outside = 0
        for _ in range(200):
            a, b, _ = two_runs(generator, normal, sd=0.02, runs_known=2)
            outside += excludes_one(apart(a, b, Noise(sd=0.0)))
        assert outside > 100


class TestPlanted:
    @pytest.mark.parametrize("shape", SHAPES[:3])
    @pytest.mark.parametrize(("change", "verdict"), [(1.03, Verdict.SLOWER), (1 / 1.03, Verdict.FASTER)])
    def test_three_per_cent_interleaved(self, shape, change, verdict):
        generator = random.Random(4)
        found = [judge(interleaved(*in_turn(generator, shape, change=change)), 0.01) for _ in range(200)]
        assert found.count(verdict) >= 190
        assert verdict.swapped not in found

    def test_three_per_cent_apart_where_the_machine_is_quiet(self):
        generator = random.Random(5)
        found = []
        for _ in range(200):
            found.append(judge(apart(*two_runs(generator, normal, sd=0.003, runs_known=10, change=1.03)), 0.01))
        assert found.count(Verdict.SLOWER) >= 180

    def test_three_per_cent_apart_where_it_is_not(self):
        """A machine whose runs differ by 5 % cannot tell 3 %, and must not pretend to."""
        generator = random.Random(6)
        found = [judge(apart(*two_runs(generator, normal, sd=0.05, runs_known=10, change=1.03))) for _ in range(200)]
        assert found.count(Verdict.CANNOT_TELL) >= 190

    def test_the_interval_holds_the_true_ratio(self):
        generator = random.Random(7)
        missed = 0
        for _ in range(1000):
            low, high = interleaved(*in_turn(generator, heavy, change=1.03)).interval
            missed += not low <= 1.03 <= high
        assert missed <= most_by_chance(1000, 0.01)

    @pytest.mark.parametrize("drift", [0.002, -0.002, 0.01])
    def test_drift_meets_both_sides(self, drift):
        """Everything slows by 20 % while A and B take turns: the same code is not called slower."""
        generator = random.Random(8)
        found = [judge(interleaved(*in_turn(generator, normal, drift=drift))) for _ in range(200)]
        assert sum(verdict in ALARMS for verdict in found) <= most_by_chance(200, 0.01)

    def test_drift_hides_no_planted_difference(self):
        generator = random.Random(9)
        found = [judge(interleaved(*in_turn(generator, normal, change=1.03, drift=0.002)), 0.01) for _ in range(200)]
        assert found.count(Verdict.SLOWER) >= 190

    def test_a_clock_that_jumps_within_a_run_is_not_certain(self):
        generator = random.Random(10)
        steady = [normal(generator) for _ in range(60)]
        jumps = [normal(generator) * (1.0 if number < 28 else 1.08) for number in range(60)]
        assert judge(apart(steady, jumps, Noise(sd=0.003, degrees=7))) is Verdict.CANNOT_TELL

    def test_same_is_proved_not_assumed(self):
        generator = random.Random(11)
        quiet = [judge(interleaved(*in_turn(generator, normal))) for _ in range(100)]
        assert quiet.count(Verdict.SAME) >= 95
        noisy = Noise(sd=0.03)
        assert judge(apart([1.0] * 20, [1.0] * 20, noisy)) is Verdict.CANNOT_TELL


class TestJudge:
    @pytest.mark.parametrize(
        ("interval", "verdict"),
        [
            pytest.param((1.001, 1.05), Verdict.SLOWER, id="slower"),
            pytest.param((0.95, 0.999), Verdict.FASTER, id="faster"),
            pytest.param((0.99, 1.01), Verdict.SAME, id="same"),
            pytest.param((1.001, 1.01), Verdict.SAME, id="slower by nothing that matters"),
            pytest.param((0.99, 1.05), Verdict.CANNOT_TELL, id="both"),
            pytest.param(None, Verdict.CANNOT_TELL, id="no interval"),
        ],
    )
    def test_verdict_of_an_interval(self, interval, verdict):
        assert judge(Ratio(value=1.0, interval=interval), 0.02) is verdict

    def test_too_few_rounds_say_so(self):
        ratio = interleaved([[1.0]] * 7, [[1.1]] * 7)
        assert judge(ratio) is Verdict.CANNOT_TELL
        assert ratio.reason == "7 rounds do not bear 99% confidence"
        assert judge(interleaved([[1.0]] * 8, [[1.1]] * 8)) is Verdict.SLOWER

    @pytest.mark.parametrize("bad", [[], [0.0] * 5, [-1.0] * 5, [math.nan] * 5, [math.inf] * 5])
    def test_no_times_no_verdict(self, bad):
        assert judge(apart([1.0] * 9, bad, Noise(sd=0.01))) is Verdict.CANNOT_TELL
        assert judge(interleaved([[1.0]] * 9, [bad] * 9)) is Verdict.CANNOT_TELL

    def test_two_samples_are_too_few(self):
        assert "2 samples" in apart([1.0, 1.0], [2.0] * 9, Noise(sd=0.01)).reason


class TestClocks:
    SLOWER = Ratio(value=1.3, interval=(1.28, 1.32))

    def test_the_same_cycles_at_a_lower_clock_are_no_slower_code(self):
        verdict, cycles, reason = at_equal_clocks(self.SLOWER, 1980, 1980 / 1.3)
        assert verdict is Verdict.CANNOT_TELL
        assert cycles.value == pytest.approx(1.0)
        assert "clock differs: 1980 MHz, then 1523" in reason

    def test_confirmed_at_equal_clocks(self):
        assert at_equal_clocks(self.SLOWER, 1980, 1975)[0] is Verdict.SLOWER

    def test_a_higher_clock_can_hide_slower_code(self):
        assert at_equal_clocks(Ratio(value=1.0, interval=(0.995, 1.005)), 1500, 1980)[0] is Verdict.CANNOT_TELL

    @pytest.mark.parametrize("clocks", [(None, 1980), (1980, None), (0, 1980)])
    def test_without_both_clocks_the_seconds_stand(self, clocks):
        verdict, cycles, _ = at_equal_clocks(self.SLOWER, *clocks)
        assert (verdict, cycles) == (Verdict.SLOWER, None)


class TestInvariances:
    @given(BLOCKS, st.randoms(use_true_random=False), st.floats(0, 0.1))
    def test_swapping_a_and_b_swaps_the_verdict(self, blocks, generator, margin):
        other = generator.sample(blocks, len(blocks))
        there, back = judge(interleaved(blocks, other), margin), judge(interleaved(other, blocks), margin)
        close = math.isclose
        ratio = interleaved(blocks, other)
        edges = [1.0, 1 + margin, 1 / (1 + margin)]
        if ratio.interval and any(close(end, edge, rel_tol=1e-9) for end in ratio.interval for edge in edges):
            return  # on the edge itself rounding decides
        assert back is there.swapped

    @given(BLOCKS, st.floats(1e-3, 1e3))
    def test_the_unit_of_time_changes_nothing(self, blocks, unit):
        b_blocks = [[1.1 * sample for sample in block] for block in blocks]
        scaled = [[[unit * sample for sample in block] for block in side] for side in (blocks, b_blocks)]
        assert interleaved(*scaled).value == pytest.approx(interleaved(blocks, b_blocks).value, rel=1e-9)
        flat, flat_b = ([sample for block in side for sample in block] for side in (blocks, b_blocks))
        times, times_b = ([unit * sample for sample in side] for side in (flat, flat_b))
        first, second = apart(flat, flat_b, Noise(sd=0.01)), apart(times, times_b, Noise(sd=0.01))
        assert first.value == pytest.approx(second.value, rel=1e-9)
        if first.interval:
            assert first.interval == pytest.approx(second.interval, rel=1e-6)

    @given(BLOCKS, st.randoms(use_true_random=False))
    def test_neither_order_within_a_block_nor_of_rounds_matters(self, blocks, generator):
        b_blocks = [[1.1 * sample**0.9 for sample in block] for block in blocks]
        order = generator.sample(range(len(blocks)), len(blocks))
        mixed = [[generator.sample(side[place], len(side[place])) for place in order] for side in (blocks, b_blocks)]
        assert interleaved(*mixed).value == pytest.approx(interleaved(blocks, b_blocks).value, rel=1e-9)

    @settings(max_examples=50)
    @given(st.floats(0, 0.1), st.floats(1, 50))
    def test_more_noise_never_narrows(self, sd, degrees):
        a, b = [1.0, 1.01, 0.99] * 5, [1.1, 1.12, 1.09] * 5
        narrow = apart(a, b, Noise(sd=sd)).interval
        wide = apart(a, b, Noise(sd=sd + 0.01, degrees=degrees)).interval
        assert wide[0] <= narrow[0]
        assert narrow[1] <= wide[1]


class TestDistributions:
    @pytest.mark.parametrize(
        ("confidence", "degrees", "t"),
        [(0.95, 1, 12.7062), (0.95, 2, 4.3027), (0.95, 5, 2.5706), (0.95, 30, 2.0423), (0.99, 7, 3.4995), (0.99, 10, 3.1693)],
    )
    def test_student_t_as_tabulated(self, confidence, degrees, t):
        assert distributions.student_t(confidence, degrees) == pytest.approx(t, abs=1e-4)
        assert distributions.student_t(confidence, degrees + 0.9) == pytest.approx(t, abs=1e-4)

    def test_student_t_becomes_normal(self):
        assert distributions.student_t(0.95, math.inf) == pytest.approx(1.95996, abs=1e-5)
        assert distributions.student_t(0.95, 199) == pytest.approx(1.972, abs=1e-3)

    def test_signed_ranks_as_tabulated(self):
        # Two-sided critical values of Wilcoxon's signed ranks at 5 % and 1 %, n = 6 ... 12.
        assert [distributions.signed_rank(count, 0.95) for count in range(5, 13)] == [None, 0, 2, 3, 5, 8, 10, 13]
        assert [distributions.signed_rank(count, 0.99) for count in range(7, 13)] == [None, 0, 1, 3, 5, 7]

    def test_units_are_batches(self):
        """A run of many samples is no more certain than its batches say."""
        assert verdicts._within([1.0, 2.0]) is None
        assert verdicts._within([1.0] * 100) == (0.0, 9)
