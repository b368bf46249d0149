"""`dltool bench search` and `bench gemm --shapes` as their users run them, on the processor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")
SMALL = ("--device", "cpu", "--min", "64", "--max", "256")


@pytest.fixture
def dltool(tmp_path):
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "CUDA_"))},
        "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "XDG_STATE_HOME": str(tmp_path / "state"),
        "COLUMNS": "100",
    }  # fmt: skip

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "dltool", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path,
        )  # fmt: skip

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        with start(*arguments) as process:
            out, errors = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, errors)

    run.start = start
    return run


def wait_for_trials(folder, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        files = list(folder.glob("**/*.jsonl"))
        if files and files[0].read_text().count("\n") > count:
            return
        time.sleep(0.05)
    raise AssertionError("no trials were recorded")


def test_a_search_measures_its_winner_and_keeps_all_trials(dltool, tmp_path):
    run = dltool("bench", "search", "--dtype", "fp32", "--budget", "3s", *SMALL, "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    (search,), (best,) = report["searches"], report["measurements"]
    winner = search["finalists"][0]
    assert [best["params"][side] for side in "mnk"] == [winner[side] for side in "mnk"]
    assert best["verified"]["ok"]
    assert search["tried"] >= 1  # how many depends on what else this machine does
    assert len(search["trials"]) > search["tried"]
    assert search["spent_s"] == pytest.approx(sum(trial["cost_s"] for trial in search["trials"]))
    (record,) = (tmp_path / "state").glob("**/*.jsonl")
    assert len(record.read_text().splitlines()) == len(search["trials"]) + 1


def test_a_killed_search_goes_on(dltool, tmp_path):
    arguments = ("bench", "search", "--dtype", "fp32", "--budget", "20s", *SMALL)
    with dltool.start(*arguments) as process:
        wait_for_trials(tmp_path / "state", 20)
        process.kill()
        process.communicate()
    (record,) = (tmp_path / "state").glob("**/*.jsonl")
    whole = record.read_text().split("\n")[1:-1]
    with dltool.start(*arguments, "--resume", "--json") as process:
        wait_for_trials(tmp_path / "state", len(whole) + 5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    (search,) = json.loads(out)["searches"]
    assert search["resumed_s"] > 0
    assert len(search["trials"]) > len(whole)
    assert search["ended"] == "interrupted"


def test_ctrl_c_prints_what_there_is(dltool, tmp_path):
    with dltool.start("bench", "search", "--dtype", "fp32", "--budget", "30s", *SMALL) as process:
        wait_for_trials(tmp_path / "state", 5)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "shapes tried, none confirmed" in out
    assert "--resume" in out
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "--budget", "1s"], "too short to search 2 dtypes"),
        (["search", "--min", "0"], "--min 0: a side from 1 to 2^20"),
        (["search", "--min", "4096", "--max", "512", "--device", "cpu"], "--min 4096 is above --max 512"),
        (["search", "--plot", "picture.gif"], "`picture.gif` is no picture"),
        (["search", "--plot", "-", "--json"], "beside text only"),
        (["search", "--dtype", "bf61", "--device", "cpu"], "unknown dtype `bf61`"),
        (["gemm", "--shapes", "nosuchfile"], "nosuchfile"),
        (["gemm", "--input", "8x8"], "--input without --from-model"),
        (["gemm", "--shapes", "a", "--from-model", "b:c"], "--shapes and --from-model together"),
        (["gemm", "--from-model", "resnet51"], "unknown model `resnet51`"),
        (["gemm", "--from-model", "a:b:c"], "names no model"),
        (["gemm", "--from-model", "resnet50", "--set", "batch=0"], "is not a count"),
        (["gemm", "--from-model", "resnet50", "--set", "batch=1,2"], "has several values"),
        (["gemm", "--shapes", "a", "--set", "m=3"], "--set without --from-model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_in_one_line(dltool, arguments, said):
    run = dltool("bench", *arguments)
    assert run.returncode == 2
    assert said in run.stderr
    assert "hint: " in run.stderr
    assert run.stdout == ""


def test_a_dtype_that_is_not_there_is_said(dltool):
    run = dltool("bench", "search", "--dtype", "tf32", "--budget", "3s", *SMALL)
    assert run.returncode == 3
    assert "tf32: no shape could be run: this exists on CUDA devices only" in run.stdout


def test_own_shapes_against_the_ceiling(dltool, tmp_path):
    (tmp_path / "shapes.txt").write_text("128 250 64 fp32 3 odd\n64 64 64 fp32\n")
    run = dltool("bench", "gemm", "--shapes", "shapes.txt", "--device", "cpu", "--budget", "10s", "--json")
    assert run.returncode == 0, run.stderr
    own = json.loads(run.stdout)["own_shapes"]
    odd = next(shape for shape in own["shapes"] if shape["name"] == "odd")
    assert odd["padding"]["n"] == 256
    assert odd["padding"]["pairs"] >= 6
    assert odd["total_s"] == pytest.approx(3 * odd["seconds"])
    assert 0 < odd["share_of_ceiling"] <= 1
    assert own["measured_at_ceiling_s"] <= own["measured_s"]
