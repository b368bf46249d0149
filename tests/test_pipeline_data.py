"""`bench data`: every part measured for real at a tiny size, the verdicts by scripted rates, the command."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pipeline_cases
import pytest
from bench_cpu import FAST, cpu_device
from pipeline_cases import row, small

from dltool.bench import cases, conclusions, harness
from dltool.bench.isolation.workers import Died, Workers
from dltool.bench.pipeline import choice, images, training, verdict
from dltool.bench.pipeline.folder import images_in
from dltool.bench.pipeline.stages import STAGES, one_thread
from dltool.bench.workloads.data import Data
from dltool.errors import UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
pytest.importorskip("numpy")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("images")
    images.make(made, 8, width=60, height=40)
    return made


@pytest.fixture(scope="module")
def eight(folder):
    return images_in(folder)


@pytest.fixture(autouse=True)
def alone():
    """Threads of several tests at once would wait for one another most of the time."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def cpu():
    return cpu_device()


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "copy"])
def test_every_stage_is_measured_and_right(cpu, eight, stage):
    found = harness.measure("data", small(eight, stage=stage), cpu, FAST)
    assert found.not_run is None
    assert found.verified.ok, found.verified
    assert found.rate == pytest.approx(4 / found.median_s)
    assert found.model.throughput == pytest.approx(found.rate)
    assert (found.label, found.size) == (stage, "4 x 16x16")


def test_a_stage_that_is_wrong_is_found(cpu, eight):
    for stage in ("read", "decode", "resize", "collate"):
        prepared = small(eight, stage=stage).prepare(cpu)
        assert not prepared.verify().ok, "nothing was done yet"
        prepared.step()
        assert prepared.verify().ok
    prepared = small(eight, stage="resize").prepare(cpu)
    prepared.step()
    prepared.step.given[0][:, 8, 8] ^= 0x40
    assert not prepared.verify().ok


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"workers": 0}, id="none"),
        pytest.param({"workers": 1}, id="one"),
        pytest.param({"workers": 1, "persistent": "no"}, id="restarted"),
    ],
)
def test_the_loader_with_real_workers(cpu, eight, fields):
    found = harness.measure("data", small(eight, **fields), cpu, FAST)
    assert found.not_run is None
    assert found.verified.ok, found.verified
    assert found.model.units == (16 if "persistent" in fields else 4)
    assert found.model.first_step_s > 0
    assert not [text for text in found.warnings if text.startswith("got ")], "its workers' time is not seen from here"
    assert not multiprocessing.active_children(), "workers end with their case"


def test_a_step_alone_and_fed(cpu, eight):
    case = {"model": "lenet5", "side": 32, "channels": 1, "augment": "none"}
    alone = harness.measure("data", small(eight, stage="step", **case), cpu, FAST)
    fed = harness.measure("data", small(eight, stage="together", workers=1, **case), cpu, FAST)
    assert alone.not_run is None
    assert fed.not_run is None
    assert alone.verified.ok
    assert fed.verified.ok
    (part,) = fed.model.parts
    assert 0 < part.seconds < fed.median_s, "a step that waits for decoding"
    assert not multiprocessing.active_children()


def test_what_needs_a_gpu_says_so(cpu, eight):
    for fields in ({"stage": "copy"}, {"stage": "flip", "where": "device"}):
        assert "needs a CUDA device" in harness.measure("data", small(eight, **fields), cpu, FAST).not_run


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_child_that_is_ended_takes_its_workers_with_it(eight):
    with Workers(preload=("torch", "pipeline_cases")) as children:
        child = children.make_child()
        pids = children.call(pipeline_cases.workers_of, small(eight, workers=2), timeout_s=60, child=child)
        assert len(pids) == 2
        assert all(map(alive, pids))
        children.end(child)  # as on a time-out, on too much memory, and after every case
        assert wait_for(lambda: not any(map(alive, pids)))
        # Not here: torch raises it wherever the program is when the worker dies.
        with pytest.raises(Died, match=r"worker.* (killed|died|exited)"):
            children.call(pipeline_cases.killed_worker, small(eight, workers=1), timeout_s=60)


def test_parameters():
    (case,) = cases(Data, {"workers": ["0"], "stage": ["loader"]})
    assert case.workers == 0
    for axes, text in (
        ({"stage": ["decoed"]}, "unknown stage"),
        ({"augment": ["flop"]}, "unknown augmentation"),
        ({"batch": ["0"]}, "positive whole number"),
        ({"workers": ["-1"]}, "positive whole number"),
        ({"persistent": ["maybe"]}, "unknown persistent"),
    ):
        with pytest.raises(UsageError, match=text):
            cases(Data, axes)


def test_labels_tell_neighbours_apart(eight, cpu):
    gpu = cpu_device().__class__(name="cuda:0", board=cpu.board, timer=cpu.timer)
    axes = {"side": ["32"], "channels": ["3"], "augment": ["crop,flip"], "show": ["noise"], "images": ["made"], "cpus": ["8"],
            "batch": ["16"], "workers": ["0", "4"]}  # fmt: skip
    for device in (cpu, gpu):
        for model in ({}, {"model": ["resnet18"]}):
            chosen = [case for _, case in choice.chosen(eight, device, {**axes, **model})]
            labels = [(case.label, case.pin) for case in chosen if case.stage != "noise"]
            assert len({*labels}) == len(labels)
            assert {case.stage for case in chosen} >= {
                "loader",
                "read",
                "decode",
                "resize",
                "crop",
                "flip",
                "floats",
                "collate",
            }
            assert ({"step", "together"} <= {case.stage for case in chosen}) == bool(model)
            assert ("device" in {case.where for case in chosen}) == (device is gpu)
            assert all(case._source is eight and "workers" not in case.images for case in chosen)


def test_numbers_of_workers_end_at_the_quota():
    assert choice.sweep(1) == [0, 1]
    assert choice.sweep(2) == [0, 1, 2]
    assert choice.sweep(6) == [0, 1, 2, 4, 6]


STAGES_OF_AN_IMAGE = (row("decode", 100.0), row("flip", 1000.0), row("noise", 500.0), row("collate", 10_000.0))
GPU = {"device": "cuda:0 H100"}


def told(*rows) -> dict[str, str]:
    return {found.label: found.explained for found in conclusions.concluded(rows)}


def test_the_verdict_without_a_model():
    rates = {0: 80.0, 1: 90.0, 2: 175.0, 4: 178.0}
    found = told(*(row("loader", rate, workers=count, cpus=4) for count, rate in rates.items()), *STAGES_OF_AN_IMAGE)
    assert found["4 workers"].startswith("2 workers deliver 175 img/s, the most within 4 CPUs; decode takes 90 % of an image's")
    assert "1.98 times 1 worker" in found["4 workers"]
    assert found["flip"] == "1 ms an image, 9.0 % of a worker's time"
    assert found["noise"] == "2 ms an image; not in this pipeline"


def test_enough_workers_and_one_too_few():
    loaders = [row("loader", rate, workers=count, cpus=4, **GPU) for count, rate in ((1, 90.0), (2, 175.0), (4, 260.0))]
    fed = [
        row("together", rate, 0.6, workers=count, model="resnet50", **GPU)
        for count, rate in ((1, 88.0), (2, 174.0), (4, 208.0))
    ]
    found = told(*loaders, row("step", 210.0, model="resnet50", **GPU), *fed)
    assert found["resnet50 alone"] == (
        "the step takes 210 img/s; 4 workers deliver 260 img/s: enough; "
        "with 2 workers it starves (174 img/s, 17 % of the time without data)."
    )
    assert found["resnet50 + 4 workers"] == "waited for data 1.0 % of the time, 99 % of the step alone"


def test_a_loader_that_cannot():
    found = told(
        row("loader", 90.0, workers=2, cpus=2, **GPU), row("step", 210.0, model="resnet50", **GPU),
        row("together", 88.0, 0.9, workers=2, model="resnet50", cpus=2, **GPU), row("decode", 60.0, **GPU),
        row("flip", 200.0, **GPU),
    )  # fmt: skip
    assert found["resnet50 alone"] == (
        "the loader cannot feed this step within 2 CPUs: 2 workers deliver 90 img/s of 210 img/s. decode takes 77 % of an "
        "image's time: smaller files (resized once beforehand), or a faster decoder would help."
    )
    slow = told(row("loader", 90.0, workers=2, **GPU), row("step", 210.0, model="vgg16", **GPU), row("crop", 9.0, **GPU),
                row("together", 88.0, 0.9, workers=2, model="vgg16", **GPU))  # fmt: skip
    assert "augment on the device would help" in slow["vgg16 alone"]


def test_on_a_cpu_the_waiting_counts_and_the_sharing_is_told():
    found = told(row("loader", 300.0, workers=1), row("step", 20.0, model="alexnet"),
                 row("together", 15.0, 0.01, workers=1, model="alexnet"))  # fmt: skip
    assert found["alexnet alone"] == (
        "the step takes 20 img/s; 1 worker delivers 300 img/s: enough. "
        "Together they reach 15 img/s: step and workers share the same CPUs."
    )


def test_variants_are_compared_only_as_far_as_the_run_can_tell():
    usual = row("loader", 100.0, workers=2)
    found = told(usual, row("loader", 101.0, workers=2, prefetch=4), row("loader", 50.0, workers=2, persistent="no"))
    assert found["2 workers, prefetch 4"] == "not told apart from 2 workers by this run"
    assert found["2 workers, restarted"].endswith("of 16 images here; 0.5 times 2 workers")


def test_a_verdict_from_few_samples_says_so():
    few = msgspec.structs.replace(row("loader", 100.0, workers=1), ci95_s=None)
    step, fed = row("step", 50.0, model="alexnet"), row("together", 50.0, 0.0, workers=1, model="alexnet")
    assert told(few)["1 worker"].startswith("from too few samples to be sure (give a larger --budget); 1 worker delivers")
    assert told(few, step, fed)["alexnet alone"].startswith(
        "from too few samples to be sure (give a larger --budget): the step"
    )


def test_rows_that_did_not_run_and_other_workloads_stay_as_they_are():
    rows = [row("loader", None, workers=1), row("step", None, model="resnet18")]
    assert verdict.concluded(rows) == rows
    assert told(row("loader", 5.0, workers=0))["0 workers"].startswith("the process itself delivers 5 img/s, the most")


def test_models_of_images():
    assert training.picture_of("resnet50") == (3, 224)
    assert training.picture_of("lenet5")[0] == 1
    with pytest.raises(UsageError, match="not trained on single images"):
        training.picture_of("gpt2")
    with pytest.raises(UsageError, match="unknown model"):
        training.picture_of("resnet5")


def dltool(*arguments, home):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_DATA_HOME": str(home),
        "TMPDIR": str(home),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "dltool", "bench", "data", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(["--workers", "-1"], "--workers -1: no number of workers", id="negative"),
        pytest.param(["--batch", "0"], "--batch 0: from 1 to 65536", id="batch"),
        pytest.param(["--size", "0"], "--size 0: from 1", id="size"),
        pytest.param(["--augment", "mixupp"], "unknown augmentation `mixupp`", id="augmentation"),
        pytest.param(["--folder", "/nonexistent"], "/nonexistent does not exist", id="folder"),
        pytest.param(["--model", "gpt2"], "not trained on single images", id="model"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(arguments, text, tmp_path):
    run = dltool(*arguments, home=tmp_path)
    assert run.returncode == 2, run.stderr
    assert text in run.stderr
    assert "hint: " in run.stderr


def test_the_command(folder, tmp_path):
    (folder / "broken.jpg").write_text("no image")
    small = ["--size", "16", "--batch", "4", "--workers", "1", "--augment", "flip"]
    run = dltool("--folder", str(folder), *small, "--budget", "3s", "--json", "-q", home=tmp_path)
    (folder / "broken.jpg").unlink()
    assert run.returncode == 0, run.stderr
    assert str(folder) not in run.stdout, "where a user's images are is nobody's business"
    rows = {each["label"]: each for each in json.loads(run.stdout)["measurements"]}
    assert {label for label, each in rows.items() if each["not_run"]} == set()
    assert "1 of 9 images cannot be decoded and are left out: broken.jpg" in rows["read"]["warnings"]
    assert "the most within" in rows["1 worker"]["explained"]
    assert rows["flip"]["params"]["images"] == "folder"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("dltool-images")], "what was made is gone"
