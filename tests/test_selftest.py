"""Rounds in processes of their own, blocks in turn, and the selftest made of them: scripted, and once for real."""

from __future__ import annotations

import itertools
import json
import math
import random
import subprocess
import sys

import pytest

from dltool import store
from dltool.bench import elsewhere, selftest, turns
from dltool.cli.common import report
from dltool.differences import Noise, Selftest, Verdict
from dltool.errors import CannotRun, UsageError
from dltool.machine import Machine
from dltool.render import FORMATS, Style
from dltool.results import Measurement


class Rounds:
    """A machine whose rounds cost `start_s` and whose blocks take as long as they are told to."""

    def __init__(self, start_s=2.0, cases=3, **of_a_block):
        self.now, self.start_s, self.cases, self.of_a_block = 0.0, start_s, cases, of_a_block
        self.asked, self.generator = [], random.Random(0)

    def clock(self):
        return self.now

    def measure(self, block_s):
        self.asked.append(block_s)
        blocks = self.cases * selftest.BLOCKS
        self.now += self.start_s + block_s * blocks
        return [self.block(place) for place in range(blocks)]

    def block(self, place):
        seconds = tuple((1 + place // 2) * math.exp(self.generator.gauss(0, 0.01)) for _ in range(20))
        return Measurement(**{"workload": f"w{place // 2}", "params": {}, "device": "cpu", "dtype": "fp32", "seconds": seconds,
                              **self.of_a_block})  # fmt: skip


class TestRounds:
    def test_the_budget_is_kept_and_each_case_has_its_pairs(self):
        rounds = Rounds()
        pairs = selftest.run(rounds.measure, 100.0, clock=rounds.clock)
        assert rounds.now == pytest.approx(100.0, abs=1.0)
        assert len(rounds.asked) == 1 + selftest.ROUNDS
        assert len(set(rounds.asked[1:])) == 1  # all rounds alike
        assert [[pair.a.workload for pair in case] for case in pairs] == [[f"w{case}"] * 8 for case in range(3)]

    def test_a_budget_that_is_too_small_says_what_is_needed(self):
        rounds = Rounds()
        with pytest.raises(UsageError, match=r"20 s are too few for 8 blocks, each of which loses 2\.0 s") as refused:
            selftest.run(rounds.measure, 20.0, clock=rounds.clock)
        needed = float(refused.value.remedy.rpartition(" ")[2].rstrip("s"))
        again = Rounds()
        selftest.run(again.measure, needed, clock=again.clock)

    def test_a_case_that_does_not_run_ends_it(self):
        rounds = Rounds(not_run="no such kernel")
        with pytest.raises(CannotRun, match="no such kernel"):
            selftest.run(rounds.measure, 100.0, clock=rounds.clock)

    def test_a_machine_that_is_not_quiet_is_seen(self):
        rounds = Rounds(warnings=("got 33% of 2 processors: other programs ran, or threads waited", "noisy: spans 48%"))
        notes = selftest.notes(selftest.run(rounds.measure, 100.0, clock=rounds.clock))
        assert notes == ("other programs took processors in 48 of 48 blocks", "samples were noisy in 48 of 48 blocks")


class TestInTurn:
    def test_order_is_ab_ba(self):
        now, order = itertools.count(), []

        def side(name):
            def measure(case_s):
                order.append(name)
                return [Measurement(workload=name, params={}, device="cpu", dtype="fp32")] * 2

            return measure

        a_blocks, b_blocks = turns.run(side("A"), side("B"), 8, 1000.0, clock=lambda: float(next(now)))
        assert "".join(order[2:]) == "ABBA" * 4  # after one trial of each
        assert [[block.workload for block in case] for case in a_blocks] == [["A"] * 8] * 2
        assert [[block.workload for block in case] for case in b_blocks] == [["B"] * 8] * 2

    def test_sides_of_different_lengths(self):
        one = Measurement(workload="w", params={}, device="cpu", dtype="fp32")
        with pytest.raises(UsageError, match="different numbers of cases"):
            turns.run(lambda _: [one], lambda _: [one, one], 8, 10.0)


def kept(**changes):
    noise = Noise(
        workload="gemm",
        params={"dtype": "fp32", "m": 64, "n": 64, "k": 64},
        runs=8,
        medians_s=(1e-3,) * 8,
        between_runs_sd=0.01,
        floor=0.034,
        least_apart=0.06,
        least_interleaved=0.012,
        interleaved=Verdict.SAME,
        trials=28,
    )
    return Selftest(**{"id": "0123456789ab", "fingerprint": {"device": "cpu Zen 5"}, "noise": (noise,), **changes})


class TestKept:
    def test_what_is_stored_is_found_by_its_fingerprint(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        assert store.selftest("0123456789ab") is None
        path = store.save_selftest(kept())
        assert json.loads(path.read_text())["noise"][0]["floor"] == 0.034
        assert store.selftest("0123456789ab") == kept()
        store.save_selftest(kept(notes=("again",)))
        assert store.selftest("0123456789ab").notes == ("again",)
        assert store.entries() == []  # no report
        path.write_text("{")
        assert store.selftest("0123456789ab") is None

    def test_shown(self):
        result = report("bench selftest", selftest=kept(notes=("samples were noisy in 3 of 80 blocks",)))
        text = FORMATS.get("text")(result, Style(width=100))
        row = next(line for line in text.splitlines() if "64³" in line)
        assert row.split() == ["gemm", "fp32", "64³", "1", "ms", "3.4", "%", "6.0", "%", "1.2", "%", "0", "of", "28"]
        assert "This machine was not quiet: samples were noisy in 3 of 80 blocks." in text
        assert "| gemm fp32 64³ | 3.4 % | 6.0 % | 1.2 % | 0 of 28 |" in FORMATS.get("markdown")(result, Style())


class TestElsewhere:
    """A real child process; its torch is a fake one where it must not be there."""

    def test_a_python_without_torch(self, tmp_path):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty"], check=True)
        with pytest.raises(CannotRun, match="benchmarks need PyTorch"):
            elsewhere.measure(str(tmp_path / "empty/bin/python"), [("gemm", {})], Machine(), "cpu", 0.1)

    def test_no_python_at_all(self):
        with pytest.raises(CannotRun, match="cannot be started"):
            elsewhere.measure("/nowhere/python", [("gemm", {})], Machine(), "cpu", 0.1)

    def test_one_that_breaks(self, tmp_path):
        broken = tmp_path / "python"
        broken.write_text("#!/bin/sh\necho what a pity >&2; exit 7\n")
        broken.chmod(0o755)
        with pytest.raises(CannotRun, match="ended with exit code 7: what a pity"):
            elsewhere.measure(str(broken), [("gemm", {})], Machine(), "cpu", 0.1)

    def test_what_is_wrong_with_the_request_is_said_as_here(self):
        pytest.importorskip("torch")
        with pytest.raises(UsageError, match="unknown workload `gem`"):
            elsewhere.measure(sys.executable, [("gem", {})], Machine(), "cpu", 0.1)

    def test_measured_in_a_process_of_its_own(self):
        pytest.importorskip("torch")
        wanted = [("gemm", {"dtype": ["fp32"], "m": ["64"], "n": ["64"], "k": ["64"]})]
        blocks = elsewhere.measure(sys.executable, wanted, Machine(), "cpu", 0.1, times=2)
        asked = {"m": 64, "n": 64, "k": 64, "dtype": "fp32"}
        assert [{key: block.params[key] for key in asked} for block in blocks] == [asked] * 2
        assert all(block.rate and block.verified.ok for block in blocks)
