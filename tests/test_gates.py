"""Two reports, case by case: verdicts, limits, notes, exit codes; the noise that is allowed for."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from dltool.bench import fingerprint, gates, harness, noise, sampling, stats
from dltool.bench.noise import Pair
from dltool.cli.common import report
from dltool.differences import Gate, Noise, Selftest, Verdict
from dltool.errors import ExitCode
from dltool.machine import Cpu, Driver, Gpu, Machine
from dltool.render import FORMATS, Style, verdicts
from dltool.results import Conditions, Measurement, Report, Span, Status, Verified, Work

NEIGHBOURS = ("got 28% of 1 processors: other programs ran, or threads waited",)
CPU = Machine(cpu=Cpu(model="Zen 5", usable_threads=2))
SETTINGS = {"torch": "2.13.0", "threads": 2, "harness": 1}


def case(level=1.0, *, seed=0, kernel="copy", **changes):
    generator = random.Random(seed)
    seconds = tuple(level * math.exp(generator.gauss(0, 0.003)) for _ in range(40))
    fields = {
        "workload": "memory",
        "params": {"kernel": kernel, "bytes": 2**20, "dtype": "fp32"},
        "device": "cpu Zen 5",
        "dtype": "fp32",
        "seconds": seconds,
        "median_s": sorted(seconds)[20],
        "work": Work(bytes=100),
        "rate": 100 / level,
        "rate_unit": "B/s",
        "settings": SETTINGS,
    }
    return Measurement(**{**fields, **changes})


def of(*cases, machine=CPU):
    return report("bench memory", machine=machine, measurements=cases)


def known(workload, sd, **params):
    return Noise(
        workload=workload, params={"dtype": "fp32", **params}, runs=8, between_runs_sd=sd, floor=4 * sd, least_apart=6 * sd
    )


QUIET = Selftest(
    id="quiet",
    created="2026-11-21",
    noise=(known("memory", 0.003, kernel="copy"), known("memory", 0.05, kernel="triad"), known("gemm", 0.2)),
)


def one(a, b, *, selftest=QUIET, percent=None):
    rows, notes = gates.compare(of(a), of(b), selftest, gates.bar(percent))
    (row,) = rows
    return row, notes


class TestLimit:
    @pytest.mark.parametrize(
        ("level", "percent", "gate", "code"),
        [
            pytest.param(1.10, 5, Gate.BROKEN, ExitCode.FINDINGS, id="slower by more"),
            pytest.param(1.00, 5, Gate.MET, ExitCode.HEALTHY, id="same"),
            pytest.param(0.80, 5, Gate.MET, ExitCode.HEALTHY, id="faster"),
            pytest.param(1.05, 5, Gate.UNKNOWN, ExitCode.HEALTHY, id="as much as the limit"),
            pytest.param(1.10, None, None, ExitCode.HEALTHY, id="nothing asked"),
            pytest.param(1.10, 0, Gate.BROKEN, ExitCode.FINDINGS, id="any"),
        ],
    )
    def test_exit_code_follows_the_interval(self, level, percent, gate, code):
        row, _ = one(case(), case(level, seed=1), percent=percent)
        assert row.gate is gate
        assert Report(comparisons=(row,)).exit_code() is code

    def test_noise_that_hides_a_difference_fails_nothing_and_says_so(self):
        row, _ = one(case(kernel="triad"), case(1.1, seed=1, kernel="triad"), percent=5)
        assert (row.verdict, row.gate) == (Verdict.CANNOT_TELL, Gate.UNKNOWN)
        assert row.reason.startswith("noise: anything from -")

    def test_a_case_that_no_longer_runs_breaks_the_gate(self):
        row, _ = one(case(), case(seconds=(), median_s=None, rate=None, not_run="out of memory"), percent=5)
        assert (row.verdict, row.gate) == (Verdict.CANNOT_TELL, Gate.BROKEN)
        assert row.reason == "B did not run: out of memory"

    def test_nor_does_a_wrong_result_pass(self):
        wrong = Verified(reference="float64", error=1.0, tolerance=0.1, ok=False)
        row, _ = one(case(), case(verified=wrong), percent=5)
        assert row.gate is Gate.BROKEN
        row, _ = one(case(verified=wrong), case(), percent=5)
        assert row.gate is Gate.UNKNOWN

    def test_different_clocks_are_no_regression(self):
        clocks = [Conditions(sm_mhz=Span(minimum=mhz, median=mhz, maximum=mhz)) for mhz in (1980, 1650)]
        row, _ = one(case(conditions=clocks[0]), case(1.2, seed=1, conditions=clocks[1]), percent=5)
        assert (row.verdict, row.gate) == (Verdict.CANNOT_TELL, Gate.UNKNOWN)
        assert "clock differs" in row.reason
        assert row.cycles_ratio == pytest.approx(1.0, abs=0.01)

    def test_neighbours_raise_no_alarm_unless_the_noise_knows_them(self):
        busy = case(1.2, seed=1, warnings=NEIGHBOURS)
        for row, _ in (one(case(), busy, percent=5), one(case(1.2), case(1.0, warnings=NEIGHBOURS), selftest=None, percent=5)):
            assert (row.verdict, row.gate) == (Verdict.CANNOT_TELL, Gate.UNKNOWN)
            assert row.reason.startswith("other programs ran during B")
        used_to_them = replace(QUIET, noise=(replace(QUIET.noise[0], disturbed=8),))
        row, _ = one(case(), busy, selftest=used_to_them, percent=5)
        assert (row.verdict, row.gate) == (Verdict.SLOWER, Gate.BROKEN)

    def test_the_words_of_the_harness_are_understood(self):
        for threads in (1, 2):
            state = SimpleNamespace(warnings=[])
            sampling._notice_neighbours(state, 1.0, 0.5 * threads, threads)
            assert noise.disturbed(case(warnings=tuple(state.warnings)))
        seen = (Conditions(other_processes=1), Conditions(other_processes=2, other_names=("x",)), Conditions(steal=0.5))
        for conditions in seen:
            assert noise.disturbed(case(warnings=tuple(harness._doubts(conditions, None))))
        noisy = stats.warnings([1.0, 1.5, 0.8, 1.3, 0.7, 1.6] * 4)
        assert noisy
        assert not noise.disturbed(case(warnings=tuple(noisy)))

    @pytest.mark.parametrize(("mhz", "verdict"), [(3580, Verdict.SAME), (3000, Verdict.CANNOT_TELL)])
    def test_readings_of_a_cpu_clock_are_coarse(self, mhz, verdict):
        row, _ = one(case(conditions=Conditions(cpu_mhz=3656)), case(seed=1, conditions=Conditions(cpu_mhz=mhz)))
        assert row.verdict is verdict

    def test_another_harness_is_not_compared(self):
        row, _ = one(case(), case(settings={**SETTINGS, "harness": 2}))
        assert "different versions of the harness: 1 and 2" in row.reason
        assert row.ratio is None


class TestNotes:
    def test_unknown_noise_is_said_and_guessed_high(self):
        row, notes = one(case(), case(1.05, seed=1), selftest=None)
        assert row.verdict is Verdict.CANNOT_TELL
        assert row.noise_from == noise.DEFAULT
        assert [note.id for note in notes] == ["compare-noise-guessed"]

    def test_another_machine_is_loud_and_names_the_fields(self):
        other = of(case(settings={**SETTINGS, "threads": 4}), machine=replace(CPU, cpu=Cpu(model="Zen 4", usable_threads=2)))
        _, notes = gates.compare(of(case()), other, QUIET, gates.bar(None))
        (note,) = notes
        assert note.status is Status.WARN
        assert "cpu Zen 5 → Zen 4" in note.summary
        assert "threads 2 → 4" in note.summary

    def test_cases_of_one_side_only(self):
        a, b = of(case(), case(kernel="read")), of(case(), case(kernel="write"))
        rows, notes = gates.compare(a, b, QUIET, gates.bar(None))
        assert len(rows) == 1
        assert [(note.id, note.status) for note in notes] == [("compare-new", Status.UNKNOWN), ("compare-gone", Status.UNKNOWN)]
        assert "kernel=write" in notes[0].summary

    def test_repeated_cases_are_paired_in_order(self):
        rows, _ = gates.compare(of(case(), case(2.0)), of(case(seed=1), case(2.0, seed=2)), QUIET, gates.bar(None))
        assert [row.verdict for row in rows] == [Verdict.SAME, Verdict.SAME]


class TestNoise:
    def test_the_nearest_workload_is_allowed_for(self):
        same = noise.allowed(QUIET, "memory", {"kernel": "copy", "dtype": "fp32"})
        near = noise.allowed(QUIET, "memory", {"kernel": "read", "dtype": "fp32"})
        far = noise.allowed(QUIET, "attention", {})
        assert [allowed.noise.sd for allowed in (same, near, far)] == [0.003, 0.05, 0.2]
        assert same.noise.degrees == 7

    def test_a_quiet_machine_tells_little_differences(self):
        found = noise.of_case([Pair(a=case(1 + 1e-3 * (i % 3), seed=i), b=case(seed=50 + i)) for i in range(8)])
        assert found.least_apart < 0.01
        assert found.interleaved is Verdict.SAME
        assert (found.trials, found.false_alarms) == (28, 0)

    def test_the_floor_holds_nineteen_differences_of_twenty(self):
        """Two runs a while apart, on a machine whose runs differ by chance, against the floor that eight others showed."""
        generator = random.Random(0)

        def run():
            return math.exp(generator.gauss(0, 0.02))

        below = 0
        for trial in range(300):
            runs = [case(run(), seed=trial) for _ in range(8)]
            floor = noise.of_case([Pair(a=one_run, b=one_run) for one_run in runs]).floor
            below += abs(math.log(run() / run())) < math.log1p(floor)
        assert below / 300 > 0.91

    def test_the_least_difference_is_called_eight_times_of_ten(self):
        generator = random.Random(1)
        least = math.log1p(noise.least_detectable(0.02, math.inf))
        calls = 0
        for trial in range(300):
            a = case(math.exp(generator.gauss(0, 0.02)), seed=trial)
            b = case(math.exp(generator.gauss(least, 0.02)), seed=trial + 1000)
            ratio = gates.verdicts.apart(a.seconds, b.seconds, gates.verdicts.Noise(sd=0.02))
            calls += gates.verdicts.judge(ratio) is Verdict.SLOWER
        assert 0.7 <= calls / 300 <= 0.9

    def test_three_runs_are_too_few(self):
        with pytest.raises(ValueError, match="3 runs are too few"):
            noise.of_case([Pair(a=case(), b=case())] * 3)


class TestFingerprint:
    GPU = Machine(
        driver=Driver(version="580.1"),
        gpus=(Gpu(index=0, name="NVIDIA H100 80GB HBM3", power_limit_w=700.0, ecc_enabled=True),),
    )

    def test_same_machine_same_id_whatever_the_case(self):
        copy, triad = (fingerprint.fingerprint(CPU, case(kernel=kernel)) for kernel in ("copy", "triad"))
        assert copy == triad
        strict = fingerprint.fingerprint(CPU, case(settings={**SETTINGS, "fp32_precision": "high"}))
        assert fingerprint.short_id(strict) == fingerprint.short_id(copy)
        assert len(fingerprint.short_id(copy)) == 12

    def test_power_limit_and_torch_make_another_id(self):
        on_gpu = case(device="cuda:0 NVIDIA H100 80GB HBM3")
        capped = replace(self.GPU, gpus=(replace(self.GPU.gpus[0], power_limit_w=500.0),))
        newer = replace(on_gpu, settings={**SETTINGS, "torch": "2.14.0"})
        first, *others = (
            fingerprint.fingerprint(machine, measured)
            for machine, measured in ((self.GPU, on_gpu), (capped, on_gpu), (self.GPU, newer))
        )
        assert [fingerprint.differences(first, other) for other in others] == [
            {"power_limit_w": (700.0, 500.0)},
            {"torch": ("2.13.0", "2.14.0")},
        ]
        assert len({fingerprint.short_id(fields) for fields in (first, *others)}) == 3

    def test_the_board_decides_which_gpu_of_a_mixed_machine_is_meant(self):
        display = Gpu(index=0, name="NVIDIA T400", power_limit_w=30.0)
        mixed = replace(self.GPU, gpus=(display, *self.GPU.gpus))
        assert fingerprint.fingerprint(mixed, case(device="cuda:0 H100 SXM5 80GB"))["power_limit_w"] == 700.0

    def test_a_cpu_does_not_depend_on_the_gpu_beside_it(self):
        assert "driver" not in fingerprint.fingerprint(self.GPU, case())


class TestInTurn:
    def blocks(self, level, seed, count=8):
        return [case(level, seed=seed + number) for number in range(count)]

    def test_verdict_and_pairs(self):
        row = gates.in_turn(self.blocks(1.0, 0), self.blocks(1.05, 50), gates.bar(2))
        assert (row.verdict, row.gate, row.method) == (Verdict.SLOWER, Gate.BROKEN, "interleaved")
        assert len(row.pairs) == 8

    def test_blocks_of_different_sizes_are_not_mixed(self):
        shrunk = [*self.blocks(1.0, 0, 7), case(params={"kernel": "copy", "bytes": 64, "dtype": "fp32"})]
        row = gates.in_turn(shrunk, self.blocks(1.0, 50), gates.bar(None))
        assert row.reason == "blocks were measured at different sizes"

    def test_blocks_join_to_one_measurement(self):
        whole = gates.joined(self.blocks(2.0, 0))
        assert len(whole.seconds) == 320
        assert whole.rate == pytest.approx(50, rel=0.01)
        failed = case(not_run="no")
        assert gates.joined([*self.blocks(1.0, 0), failed]) is failed

    def test_what_differs_between_the_sides_is_told(self):
        newer = [replace(block, settings={**SETTINGS, "torch": "2.14.0"}) for block in self.blocks(1.0, 0)]
        (note,) = gates.sides([self.blocks(1.0, 0)], [newer])
        assert note.summary == "A → B: torch 2.13.0 → 2.14.0"
        assert gates.sides([newer], [newer]) == ()


class TestFaces:
    """Every format tells the verdicts."""

    def compared(self, percent=5.0):
        a = of(case(), case(kernel="triad"), case(kernel="read"))
        b = of(case(1.2, seed=1), case(kernel="triad", seed=2), case(kernel="read", not_run="gone"))
        rows, notes = gates.compare(a, b, QUIET, gates.bar(percent))
        return report("report compare", comparisons=rows, findings=notes)

    def test_text(self):
        text = FORMATS.get("text")(self.compared(), Style(width=100))
        assert "1 slower, 2 cannot be told; 2 over the limit (99% confidence, the same within 5.0%)" in text
        assert "memory copy 1 MiB over the limit\n" in text
        assert "memory read 1 MiB over the limit; B did not run: gone" in text
        assert "CAN'T TELL" in text
        assert "noise allowed for: selftest of 2026-11-21: 8 runs of memory copy fp32 differ by 0.30% (sd)" in text

    def test_json_can_be_read_back(self, tmp_path):
        from dltool import results

        path = tmp_path / "compared.json"
        path.write_bytes(self.compared().to_json())
        assert results.load(path).comparisons == self.compared().comparisons

    @pytest.mark.parametrize("name", ["markdown", "junit", "github", "gitlab", "sarif"])
    def test_programs(self, name):
        text = FORMATS.get(name)(self.compared(), Style())
        assert "kernel" in text or "SLOWER" in text

    def test_junit_fails_what_breaks_the_limit_and_skips_what_cannot_be_told(self):
        text = FORMATS.get("junit")(self.compared(), Style())
        assert 'failures="2"' in text
        assert 'skipped="1"' in text
        assert 'classname="dltool.compare" name="memory kernel=copy bytes=1048576 dtype=fp32"' in text

    def test_slower_without_a_limit_is_a_warning(self):
        row, _ = one(case(), case(1.2, seed=1))
        assert verdicts.finding(row).status is Status.WARN
        assert "::warning" in FORMATS.get("github")(report("report compare", comparisons=(row,)), Style())

    def test_parameters_that_differ_are_shown_as_a_change(self):
        fp16 = [case(1.2, seed=i, params={"kernel": "copy", "bytes": 2**20, "dtype": "fp16"}) for i in range(8)]
        row = gates.in_turn([case(seed=i) for i in range(8)], fp16, gates.bar(None))
        assert "dtype=fp32 → kernel=copy bytes=1048576 dtype=fp16" in verdicts.case(row)
        assert verdicts.short(row) == "memory copy 1 MiB → fp16"
        sides = replace(row, workload="gemm", params={"m": 8, "n": 8, "k": 8}, params_b={"m": 8, "n": 8, "k": 9})
        assert verdicts.short(sides) == "gemm 8³ → k=9"


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.034, "3.4 %"), (0.9996, "2x"), (1.5, "2.5x"), (14.99, "over 10x")])
def test_differences_without_direction(value, text):
    assert verdicts.share(value) == text


def test_labels_leave_out_what_is_as_usual():
    sides = {"m": 64, "n": 64, "k": 64}
    assert verdicts.label("gemm", {**sides, "dtype": "bf16", "layout": "nn", "data": "random"}) == "gemm bf16 64³"
    assert (
        verdicts.label("gemm", {**sides, "dtype": "int8", "layout": "nn", "data": "zeros"})
        == "gemm int8 64³ layout=nn data=zeros"
    )
    assert verdicts.label("memory", {"kernel": "copy", "bytes": 2**20, "level": ""}) == "memory copy 1 MiB"


def test_what_noise_makes_endless_is_said_in_short():
    assert verdicts.interval((0.5, 3e7)) == "-50.0 to over 10x"
    assert verdicts.change(1.031) == "+3.1 %"
