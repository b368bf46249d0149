"""Which steps a run of `bench model` holds, and what its command refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dltool import tables, zoo
from dltool.bench.devices import Device, host_timer
from dltool.bench.networks import suites
from dltool.bench.workloads.model import Model
from dltool.catalog import Board, board
from dltool.cli.bench import app
from dltool.errors import UsageError

CPU = Device(name="cpu", board=Board(name="a CPU"), timer=host_timer, free_bytes=2**34)
GPU = Device(name="cuda:0", board=board("A100 SXM4 80GB"), timer=host_timer, free_bytes=80 * 2**30)


def steps(found: suites.Cases) -> list[Model]:
    return [case for name, case in found if name == "model"]


@pytest.mark.parametrize("suite", suites.names())
@pytest.mark.parametrize("device", [CPU, GPU], ids=["cpu", "gpu"])
def test_every_suite_gives_cases(device: Device, suite: str) -> None:
    found = steps(suites.chosen(device, {}, suite))
    assert len(found) >= 5
    assert {case.model for case in found} <= {entry.name for entry in zoo.entries()}
    assert {case.precision for case in found} == {"fp32" if device is CPU else "amp-bf16"}


def test_a_suite_is_halved_until_it_fits() -> None:
    whole = {case.model: case.batch for case in steps(suites.chosen(GPU, {}, "classic"))}
    small = {case.model: case.batch for case in steps(suites.chosen(replace(GPU, free_bytes=2**33), {}, "classic"))}
    assert small["densenet121"] < whole["densenet121"]
    assert small["lenet5_d2l"] == whole["lenet5_d2l"]
    assert min(small.values()) >= 1


def test_what_is_asked_for_goes_before_the_suite() -> None:
    found = steps(suites.chosen(CPU, {"batch": ["2"], "mode": ["infer", "train"], "precision": ["bf16"]}, "vision"))
    assert {(case.batch, case.precision) for case in found} == {(2, "bf16")}
    assert {case.mode for case in found} == {"infer", "train"}


def test_each_dtype_has_its_ceiling_in_the_same_run() -> None:
    found = suites.chosen(CPU, {"model": ["resnet18"], "precision": ["fp32", "amp-bf16", "bf16"]})
    assert [case.dtype for name, case in found if name == "gemm"] == ["fp32", "bf16"]


def test_optimizers_are_for_training() -> None:
    axes = {"model": ["resnet18"], "mode": ["infer", "train"], "optimizer": ["momentum", "adamw"]}
    assert [(case.mode, case.optimizer) for case in steps(suites.chosen(CPU, axes))] == [
        ("infer", "momentum"),
        ("train", "momentum"),
        ("train", "adamw"),
    ]


def test_old_gpus_train_in_fp16() -> None:
    assert suites.usual_precision(replace(GPU, board=board("Tesla V100 SXM2 16GB"))) == "amp-fp16"


def test_an_unknown_suite_names_the_known() -> None:
    with pytest.raises(UsageError, match="classical") as refused:
        suites.chosen(CPU, {}, "classical")
    assert "classic" in refused.value.remedy


@pytest.mark.parametrize("suite", ["quick", "standard", "full"])
def test_the_named_runs_hold_a_few_models(suite: str) -> None:
    assert steps(suites.usual(CPU, suite))
    assert len(steps(suites.usual(CPU, suite))) <= 8


def test_rows_of_the_table_are_whole() -> None:
    for row in tables.rows("model_suites"):
        assert int(row["cpu_batch"]) <= int(row["gpu_batch"])
        assert float(row["train_mib"]) > 0
        assert row["source"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name models"),
        (["resnet18", "--suite", "vision"], "do not go together"),
        (["resnet81"], "resnet18"),
        (["resnet18", "--batch", "0"], "positive whole number"),
        (["resnet18", "--batch", "many"], "positive whole number"),
        (["resnet18", "--mode", "test"], "train"),
        (["resnet18", "--dtype", "fp5"], "fp8"),
        (["resnet18", "--optimizer", "adamx"], "adamw"),
        (["resnet18", "--backend", "onnx"], "onnxruntime"),
        (["resnet18", "--set", "batch=4"], "see --help"),
        (["resnet18", "--set", "num_classes=4,5"], "one value each"),
        (["resnet18", "--input", "float"], "describes no inputs"),
    ],
)
def test_what_the_command_refuses(arguments: list[str], said: str) -> None:
    answer = CliRunner().invoke(app, ["model", *arguments, "--device", "cpu"])
    assert answer.exit_code == 2
    assert said in " ".join(answer.stderr.split())


def test_the_command_measures(tmp_path: Path) -> None:
    kept = tmp_path / "found.json"
    asked = ["lenet5_d2l", "--mode", "both", "--batch", "2,4", "--device", "cpu", "--budget", "3s"]
    answer = CliRunner().invoke(app, ["model", *asked, "-o", str(kept), "--json"])
    assert answer.exit_code == 0, answer.stderr
    rows = json.loads(kept.read_text())["measurements"]
    assert [row["workload"] for row in rows] == ["gemm", *["model"] * 4]
    assert [(row["params"]["mode"], row["params"]["batch"]) for row in rows[1:]] == [
        ("infer", 2),
        ("infer", 4),
        ("train", 2),
        ("train", 4),
    ]
    assert all(row["model"]["throughput"] > 0 and row["model"]["mamfu"] > 0 for row in rows[1:])


@pytest.mark.parametrize("name", ["lenet5_d2l", "resnet18", "gpt2"])
def test_what_a_step_holds_is_what_following_it_finds(name: str) -> None:
    from dltool.zoo import memory
    from dltool.zoo.subject import of_zoo

    row = next(row for row in tables.rows("model_suites") if row["model"] == name)
    batch = int(row["gpu_batch"])
    found = memory.training(of_zoo(name), batch, habits=memory.CPU).peak / 2**20
    assert float(row["train_mib"]) + batch * float(row["train_mib_per_sample"]) == pytest.approx(found, rel=0.02)
