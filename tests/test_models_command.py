"""`dltool models`: what a user sees, what programs read, and where it refuses."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from dltool.cli.main import make_app
from dltool.results import Report
from dltool.zoo import entries


def run(*arguments: str) -> tuple[int, str, str]:
    answer = CliRunner().invoke(make_app(["models", "report"]), ["models", *arguments])
    return answer.exit_code, answer.stdout, answer.stderr


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where PyTorch is not installed."""
    found = importlib.import_module

    def refuse(name: str, package: str | None = None) -> object:
        if name.startswith("dltool.models."):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return found(name, package)

    monkeypatch.setattr("dltool.zoo.building.import_module", refuse)


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_list_has_every_model_and_fits_the_terminal(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, text, _ = run()
    assert code == 0
    names = {entry.name for entry in entries()}
    assert names <= {line.split()[0] for line in text.splitlines() if line.startswith("  ")}
    assert "a multiply-add counts as two" in text.splitlines()[0]
    assert f"{len(names)} models" in text
    assert ("ResNet-50" in text) == (columns == "120")


def test_the_list_of_a_task() -> None:
    code, text, _ = run("--task", "image-classification", "--json")
    assert code == 0
    models = json.loads(text)["models"]
    assert {model["task"] for model in models} == {"image-classification"}
    assert models[0]["flops"] is None


def test_a_model_in_full() -> None:
    code, text, _ = run("resnet18", "--batch", "4", "--optimizer", "momentum", "--dtype", "mixed")
    assert code == 0
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "resnet18 ResNet-18"
    assert "parameters 11,689,512" in lines
    assert "forward 3.628 1.814" in lines
    assert "training step 10.65 5.324 2.935 x forward" in lines
    assert "memory, mixed, momentum training step of 4 forward of 4" in lines
    assert "options num_classes=1000" in lines


def test_json_holds_all_of_it_and_comes_back() -> None:
    code, text, _ = run("resnet18", "--layers", "--json", "--set", "num_classes=10")
    assert code == 0
    report = msgspec.json.decode(text, type=Report)
    (model,) = report.models
    assert model.params == 11_689_512 - 513_000 + 5130
    assert model.options == {"num_classes": "10"}
    assert model.flops is not None
    assert model.flops.forward.by_kind["gemm"] == 2 * 512 * 10
    assert [held.optimizer for held in model.memory] == ["adamw", None]
    assert model.layers[-1].output == ((1, 10),)
    assert model.forward_gflops is None  # of the row, whose model this is not


def test_the_layers_and_their_sum() -> None:
    code, text, _ = run("resnet18", "--layers")
    assert code == 0
    lines = [line.split() for line in text.splitlines()]
    assert ["conv1", "Conv2d", "1x64x112x112", "9,408", "118,013,952"] in lines
    assert ["total", "11,689,512", "1,814,073,344"] in lines


def test_what_fits_on_a_board_and_what_was_assumed() -> None:
    code, text, _ = run("resnet18", "--fits", "RTX 3060 12GB", "--format", "markdown")
    assert code == 0
    assert "on GeForce RTX 3060" in text
    assert "| training | fp32 | " in text
    assert "the CUDA context takes 400 MiB" in text


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["resnet5"], "unknown model `resnet5`", "Did you mean `resnet50`"),
        (["--task", "x"], "unknown task `x`", "image-classification"),
        (["resnet18", "--task", "x"], "--task is for the list", "dltool models --task"),
        (["resnet18", "--set", "num_class=3"], "unknown option of resnet18 `num_class`", "num_classes"),
        (["resnet18", "--set", "num_classes"], "`--set num_classes` sets nothing", "OPTION=VALUE"),
        (["resnet18", "--set", "num_classes=many"], "`many` is no int", "num_classes"),
        (["resnet18", "--dtype", "fp23"], "unknown dtype `fp23`", "mixed"),
        (["resnet18", "--optimizer", "adma"], "unknown optimizer `adma`", "adam"),
        (["resnet18", "--fits", "RTX 9999"], "unknown GPU", ""),
        (["--layers"], "--layers is for named models", "dltool models resnet50 --layers"),
        (["--fits", "L4"], "--fits is for named models", "--fits"),
        (["--set", "a=1"], "--set is for named models", "--set"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], said: str, hint: str) -> None:
    code, text, error = run(*arguments)
    assert code == 2
    assert text == ""
    assert said in error
    assert hint in error


def test_without_torch_a_model_still_has_its_row(no_torch: None) -> None:
    code, text, _ = run("resnet18")
    assert code == 0
    assert "11,689,512" in text
    assert "3.628 GFLOP" in text
    assert "pip install 'dltool[bench]'" in " ".join(text.split())


@pytest.mark.parametrize("option", [["--layers"], ["--set", "num_classes=3"], ["--fits", "L4"]])
def test_without_torch_what_needs_it_says_how_to_install_it(no_torch: None, option: list[str]) -> None:
    code, text, error = run("resnet18", *option)
    assert (code, text) == (3, "")
    assert "pip install 'dltool[bench]'" in error


OWN = """
import torch

def net(width: int = 64):
    return torch.nn.Sequential(torch.nn.Linear(32, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))

def brings():
    return net(), torch.randn(4, 32)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_net.py").write_text(OWN)
    return f"{tmp_path}/own_net.py"


def test_a_model_of_the_users_is_described_like_any_other(own: str) -> None:
    code, text, errors = run(f"{own}:net", "--input", "float:N,32", "--set", "width=128", "--batch", "16", "--layers", "--json")
    assert (code, errors) == (0, "")
    (model,) = json.loads(text)["models"]
    assert model["params"] == 33 * 128 + 129 * 10
    assert model["flops"]["forward"]["ops"] == 16 * 2 * (32 * 128 + 128 * 10)
    assert [layer["type"] for layer in model["layers"]] == ["Linear", "ReLU", "Linear"]


def test_inputs_that_a_callable_brings_count_as_one_sample(own: str) -> None:
    code, text, _ = run(f"{own}:brings", "--dtype", "bf16", "--json")
    assert code == 0
    (model,) = json.loads(text)["models"]
    assert model["flops"]["forward"]["ops"] == 4 * 2 * (32 * 64 + 64 * 10)
    assert "one sample" in model["notes"][0]


def test_a_model_of_the_zoo_at_another_input() -> None:
    code, text, _ = run("resnet18", "--input", "float:N,3,32,32", "--json")
    assert code == 0
    assert json.loads(text)["models"][0]["flops"]["forward"]["ops"] < 1e8


def test_what_the_users_model_takes_must_be_known(own: str) -> None:
    code, _, errors = run(f"{own}:net")
    assert code == 2
    assert "--input float:N" in errors
