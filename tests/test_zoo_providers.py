"""Models by name from other packages and from the user's own code."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from zoo_references import torchvision

from dltool.errors import CannotRun, UsageError
from dltool.zoo import providers
from dltool.zoo.providers import plugins

BERT = {
    "architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 12,
}  # fmt: skip
T5 = {
    "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": 50, "d_model": 8, "d_kv": 4, "d_ff": 16,
    "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0,
}  # fmt: skip
UNET = {
    "_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 3, "out_channels": 3, "block_out_channels": [4, 8],
    "down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"], "norm_num_groups": 2,
    "layers_per_block": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def output(name: str, batch: int = 2, **how: object) -> torch.Tensor:
    """What a model gives for random inputs in eval mode: its first tensor."""
    made = providers.ready(providers.source(name), batch=batch, **how)
    with torch.no_grad():
        found = made.module(*made.inputs)
    return found if isinstance(found, torch.Tensor) else next(iter(found.values()))


def test_the_zoo_itself() -> None:
    found = providers.source("resnet18")
    assert (found.task, found.input) == ("image-classification", "float:N,3,224,224")
    assert output("resnet18", options={"num_classes": "7"}, description="float:N,3,32,32").shape == (2, 7)


def test_timm() -> None:
    torchvision()  # timm imports it
    pytest.importorskip("timm")
    assert providers.source("timm:test_vit").input == "float:N,3,160,160"
    assert output("timm:test_vit", options={"num_classes": "5"}).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "takes", "task"),
    [
        ("resnet18", "float:N,3,224,224", "image-classification"),
        ("inception_v3", "float:N,3,299,299", "image-classification"),
        ("lraspp_mobilenet_v3_large", "float:N,3,520,520", "semantic-segmentation"),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "float:N,3,800,800", "object-detection"),
        ("r3d_18", "float:N,3,16,112,112", "image-classification"),
        ("raft_small", None, None),
    ],
)
def test_torchvision(name: str, takes: str | None, task: str | None) -> None:
    torchvision()
    found = providers.source(f"torchvision:{name}")
    assert (found.input, found.task) == (takes, task)
    assert providers.construct(found.make, {}, device="meta")


def test_a_text_model_from_a_file(tmp_path: Path) -> None:
    torchvision()  # transformers imports it
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    for given in (tmp_path, tmp_path / "config.json"):
        assert output(f"hf:{given}").shape == (2, 12, 50)


def test_an_encoder_and_a_decoder_take_tokens_each(tmp_path: Path) -> None:
    torchvision()  # transformers imports it
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps(T5))
    assert output(f"hf:{tmp_path}", description="int<50:N,6 + int<50:N,4").shape == (2, 4, 50)


def test_a_denoiser_from_a_file(tmp_path: Path) -> None:
    torchvision()
    pytest.importorskip("diffusers")
    (tmp_path / "config.json").write_text(json.dumps(UNET))
    assert output(f"diffusers:{tmp_path}").shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet51", "unknown model `resnet51`"),
        ("timm:", "names no model"),
        ("timm:test_vti", "unknown model of timm"),
        ("torchvision:resnet19", "unknown model of torchvision"),
        ("x:y:z", "names no model"),
        (":y", "names no model"),
        ("no_such_module:y", "there is no module no_such_module"),
        ("no_such_file.py:y", "there is no file no_such_file.py"),
        ("json:y", "json has no callable `y`"),
    ],
)
def test_what_names_no_model(name: str, said: str) -> None:
    torchvision()
    with pytest.raises(UsageError, match=said) as caught:
        providers.source(name)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no configuration"),
        ("{}", "says no model_type|is of no model of diffusers"),
        ('{"model_type": "no such", "_class_name": "NoSuch"}', "no such|NoSuch"),
        ('{"model_type": "bert", "_class_name": "DDPMScheduler2"}', "DDPMScheduler2|^$"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "config.json").write_text(content)
    for prefix in ("hf", "diffusers") if "bert" not in content else ("diffusers",):
        with pytest.raises(UsageError, match=said):
            providers.source(f"{prefix}:{tmp_path}")


@pytest.mark.parametrize("prefix", ["hf", "diffusers"])
def test_a_folder_without_one_and_a_name_without_a_network(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        providers.source(f"{prefix}:{tmp_path}")
    with pytest.raises(CannotRun, match="hub"):
        providers.source(f"{prefix}:no-such-owner/no-such-model")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("timm:resnet18", "timm"),
        ("torchvision:resnet18", "torchvision"),
        ("hf:x", "transformers"),
        ("diffusers:x", "diffusers"),
    ],
)
def test_a_missing_package_is_one_line_of_how_to_install_it(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(package, ModuleNotFoundError(f"No module named '{package}'", name=package), monkeypatch)
    with pytest.raises(CannotRun) as caught:
        providers.source(name)
    assert caught.value.remedy == f"pip install {package}"
    assert caught.value.exit_code == 3


def test_a_package_of_another_build_than_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    without("torchvision", RuntimeError("operator torchvision::nms does not exist"), monkeypatch)
    with pytest.raises(CannotRun, match="operator torchvision::nms does not exist"):
        providers.source("torchvision:resnet18")


def without(package: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the import of a package fail."""

    def refuse(name: str) -> object:
        if name.partition(".")[0] == package:
            raise error
        return import_module(name)

    monkeypatch.setattr("dltool.zoo.providers.import_module", refuse)


def test_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "zoo_mine.py").write_text(
        "import torch\ndef net(width: int = 4):\n    return torch.nn.Linear(3, width), torch.ones(1, 3)\n"
    )
    assert output(f"{tmp_path / 'zoo_mine.py'}:net").shape == (1, 4)
    assert output("zoo_mine:net", description="float:N,3", options={"width": "6"}).shape == (2, 6)
    with pytest.raises(UsageError, match="width"):
        output("zoo_mine:net", options={"width": "wide"})
    with pytest.raises(UsageError, match="unknown option"):
        output("zoo_mine:net", options={"wdith": "3"})


@pytest.mark.parametrize(
    ("code", "said"),
    [("import no_such_package_of_mine", "no_such_package_of_mine"), ("1 / 0", "ZeroDivisionError"), ("def", "SyntaxError")],
)
def test_the_users_code_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "zoo_broken.py").write_text(code)
    with pytest.raises(CannotRun, match=said):
        providers.source(f"{tmp_path / 'zoo_broken.py'}:net")


def test_a_model_of_another_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "zoo_plugin-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-plugin\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text(
        "[dltool.models]\nmy_net = zoo_plugin:net\nbroken = zoo_plugin_broken:net\nnumber = zoo_plugin:number\n"
        "resnet18 = zoo_plugin:number\n"
    )
    (tmp_path / "zoo_plugin.py").write_text("import torch\nnumber = 3\ndef net(): return torch.nn.Linear(3, 4)\n")
    (tmp_path / "zoo_plugin_broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    plugins.brought.cache_clear()
    try:
        assert output("my_net", description="float:N,3").shape == (2, 4)
        assert providers.source("resnet18").task == "image-classification"  # the zoo's own is never replaced
        with pytest.raises(CannotRun, match="broken of zoo-plugin cannot be imported: ZeroDivisionError"):
            providers.source("broken")
        with pytest.raises(UsageError, match="is no callable"):
            providers.source("number")
    finally:
        plugins.brought.cache_clear()
