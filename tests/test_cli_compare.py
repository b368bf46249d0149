"""`report compare`, the gates of `bench`, and what they refuse, as commands."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from dltool import store
from dltool.cli.bench.against import Against
from dltool.results import Measurement, Report, Work


@pytest.fixture
def dltool(tmp_path):
    """Run the command in a process of its own, with nothing stored."""
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
        "COLUMNS": "100",
        "TERM": "dumb",
        "OMP_NUM_THREADS": "1",
    }

    def run(*arguments):
        command = [sys.executable, "-m", "dltool", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment, timeout=120)

    return run


@pytest.fixture
def reports(tmp_path):
    """Two reports of one case; in the second it takes a fifth longer."""

    def write(name, level):
        generator = random.Random(name)
        seconds = tuple(level * math.exp(generator.gauss(0, 0.002)) for _ in range(40))
        case = Measurement(workload="gemm", params={"m": 64, "n": 64, "k": 64, "dtype": "fp32"}, device="cpu", dtype="fp32",
                           seconds=seconds, median_s=sorted(seconds)[20], work=Work(ops=1))  # fmt: skip
        path = tmp_path / name
        path.write_bytes(Report(command=("bench", "gemm"), created="2026-11-21", measurements=(case,)).to_json())
        return path

    return write("base.json", 1.0), write("now.json", 1.2)


def test_compare_tells_and_leaves_the_exit_code_alone(dltool, reports):
    run = dltool("report", "compare", *reports)
    assert run.returncode == 0
    assert "gemm fp32 64³" in run.stdout
    assert "SLOWER" in run.stdout
    assert "dltool bench selftest" in run.stdout  # the noise is a guess


@pytest.mark.parametrize(("percent", "code"), [(5, 1), (15, 0), (30, 0)])
def test_only_slower_beyond_the_limit_fails(dltool, reports, percent, code):
    assert dltool("report", "compare", *reports, "--fail-if-slower", percent).returncode == code
    assert dltool("report", "compare", *reports[::-1], "--fail-if-slower", percent).returncode == 0


def test_json_holds_the_rows(dltool, reports):
    run = dltool("report", "compare", *reports, "--json", "--fail-if-slower", 5)
    (row,) = json.loads(run.stdout)["comparisons"]
    assert (row["verdict"], row["gate"]) == ("slower", "broken")
    low, high = row["ratio_ci"]
    assert low < 1.2 < high


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["bench", "gemm", "--fail-if-slower", "5"], "needs something to compare with", id="no base"),
        pytest.param(["bench", "gemm", "--baseline", "no.json"], "cannot read no.json", id="no file"),
        pytest.param(["bench", "gemm", "--baseline", "empty.json"], "without measurements", id="no measurements"),
        pytest.param(["bench", "memory", "--baseline", "last"], "no run of dltool bench memory is stored", id="no last"),
        pytest.param(["report", "compare", "now.json", "now.json", "--fail-if-slower", "-1"], "not a share", id="limit"),
        pytest.param(["report", "compare", "now.json", "nan.json"], "cannot read nan.json", id="no B"),
        pytest.param(["bench", "ab", "gemm"], "A and B are the same", id="same"),
        pytest.param(["bench", "ab", "--a", "dtype=bf16", "--rounds", "3"], "3 rounds do not bear a verdict", id="rounds"),
        pytest.param(["bench", "ab", "--a", "dtype"], "not KEY=VALUE", id="setting"),
        pytest.param(["bench", "selftest", "--budget", "no"], "is not a duration", id="budget"),
    ],
)  # fmt: skip
def test_refused_before_anything_is_measured(dltool, reports, tmp_path, arguments, said):
    (tmp_path / "empty.json").write_bytes(Report(command=("doctor",)).to_json())
    run = dltool(*arguments)
    assert run.returncode == 2
    assert said in run.stderr
    assert "hint:" in run.stderr


def test_last_is_the_last_run_of_the_same_command_that_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    case = Measurement(workload="gemm", params={}, device="cpu", dtype="fp32")
    for number, (command, cases) in enumerate([("gemm", (case,)), ("gemm", ()), ("quick", (case, case))]):
        kept = store.save(Report(command=("bench", command), created="2026-01-01T00:00:00", measurements=cases))
        os.utime(kept, (number, number))
    assert len(Against(baseline=Path("last")).load("bench gemm").measurements) == 1
    assert len(Against(baseline=Path("last")).load("bench quick").measurements) == 2


class TestMeasured:
    """Small, and for real."""

    @pytest.fixture(autouse=True)
    def _torch(self):
        pytest.importorskip("torch")

    SMALL = ("--set", "m=64", "--set", "n=64", "--set", "k=64", "--device", "cpu")

    def test_bench_against_its_own_baseline(self, dltool):
        assert dltool("bench", "gemm", "--dtype", "fp32", *self.SMALL, "--budget", "1s", "-o", "base.json").returncode == 0
        run = dltool("bench", "gemm", "--dtype", "fp32", *self.SMALL, "--budget", "1s", "--baseline", "base.json",
                     "--fail-if-slower", "400")  # fmt: skip
        assert run.returncode == 0
        assert "B against A" in run.stdout
        assert "gemm fp32 64³" in run.stdout

    def test_two_settings_in_turn(self, dltool):
        """64 times the work is slower, on any machine."""
        arguments = ["--a", "k=64", "--b", "k=4096", "--set", "m=64", "--set", "n=64", "--dtype", "fp32", "--device", "cpu"]
        run = dltool("bench", "ab", "gemm", *arguments, "--budget", "20s", "--json")
        assert run.returncode == 0, run.stderr
        (row,) = json.loads(run.stdout)["comparisons"]
        assert (row["verdict"], row["method"], len(row["pairs"])) == ("slower", "interleaved", 8)
        assert row["params"]["k"] == 64
        assert row["params_b"]["k"] == 4096
