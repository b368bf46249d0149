"""Names, options, inputs and weights of the zoo: what is right, and every kind of wrong."""

from __future__ import annotations

import builtins
import json
import pickle
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dltool import models
from dltool.errors import CannotRun, DltoolError, UsageError
from dltool.zoo import building, entries, inputs
from dltool.zoo.tasks import task

# --- names and options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet51", "ResNet50", "", "resnet50 "])
def test_an_unknown_name_suggests_the_nearest(name: str) -> None:
    with pytest.raises(UsageError, match="unknown model") as caught:
        models.build(name)
    assert "dltool models" in caught.value.remedy


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_clases": "10"}, "unknown option"),
        ({"num_classes": "ten"}, "`ten` is no int"),
        ({"num_classes": "1.5"}, "`1.5` is no int"),
        ({"num_classes": "True"}, "`True` is no int"),
        ({"num_classes": "(1, 2)"}, "is no int"),
        ({"num_classes": "__import__('os')"}, "is no int"),
    ],
)
def test_an_option_that_is_none(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        models.build("resnet18", device="meta", **options)
    assert said in str(caught.value)


def test_texts_become_what_an_option_holds() -> None:
    def make(
        *,
        count: int = 1,
        share: float = 0.5,
        on: bool = True,
        kind: str = "a",
        sizes: tuple[int, ...] = (),
        or_none: int | None = 1,
    ) -> None: ...

    given = {"count": "3", "share": "2", "on": "False", "kind": "7", "sizes": "(1, 2)", "or_none": "None"}
    assert building.checked(make, given) == {
        "count": 3, "share": 2, "on": False, "kind": "7", "sizes": (1, 2), "or_none": None,
    }  # fmt: skip
    assert building.checked(make, {"sizes": [3]}) == {"sizes": [3]}  # what is no text is the caller's own


def test_device_and_dtype() -> None:
    model = models.build("resnet18", device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.bfloat16)}


def test_without_torch_a_model_is_described_but_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = builtins.__import__

    def refuse(name: str, *arguments: object, **more: object) -> object:
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return honest(name, *arguments, **more)

    for name in [name for name in sys.modules if name.startswith("dltool.models.resnet")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert models.entry("resnet18").params == 11_689_512
    with pytest.raises(CannotRun) as caught:
        models.build("resnet18")
    assert "pip install" in caught.value.remedy


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.label)
def test_a_row_is_whole(entry: models.Entry) -> None:
    assert inputs.parse(entry.input)
    assert task(entry.task).unit
    assert 1980 < entry.year < 2030
    assert entry.title
    assert entry.source
    assert entry.paper
    made = building.factory(entry)
    assert building.checked(made, {**entry.options, **entry.training}) is not None
    assert made.__module__ == import_module(f"dltool.models.{entry.module}").__name__


# --- inputs ---------------------------------------------------------------------------------------------------------------


def test_inputs_have_the_shapes_and_the_range_that_are_described() -> None:
    picture, tokens = inputs.tensors("float:N,3,8,8 + int<7:4,N", 5)
    assert (picture.shape, picture.dtype) == ((5, 3, 8, 8), torch.float32)
    assert (tokens.shape, tokens.dtype) == ((4, 5), torch.int64)
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < 7
    again = inputs.tensors("float:N,3,8,8 + int<7:4,N", 5)
    assert all(torch.equal(one, two) for one, two in zip((picture, tokens), again, strict=True))
    assert not torch.equal(picture, inputs.tensors("float:N,3,8,8", 5, seed=1)[0])


def test_inputs_on_meta_and_of_another_dtype() -> None:
    (picture,) = inputs.tensors("float:N,2", 3, device="meta", dtype=torch.bfloat16)
    assert (picture.device.type, picture.dtype, picture.shape) == ("meta", torch.bfloat16, (3, 2))


@pytest.mark.parametrize("text", ["", "N,3", "float", "float:", "float:0,3", "float:N,,3", "int:N", "int<0:N", "int<-1:N", "+"])
def test_what_describes_no_inputs(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        inputs.parse(text)
    assert "float:N" in caught.value.remedy


@given(st.text(alphabet="floatin<:,+N0123456789 ", max_size=30))
def test_no_text_breaks_the_reader_of_inputs(text: str) -> None:
    try:
        for one in inputs.parse(text):
            assert all(side > 0 for side in one.shape(1))
    except DltoolError as error:
        helps(error)


def helps(error: DltoolError) -> None:
    assert error.remedy


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_that_holds_nothing(batch: int) -> None:
    with pytest.raises(UsageError, match="holds nothing"):
        inputs.tensors("float:N,3", batch)


# --- weights --------------------------------------------------------------------------------------------------------------


class Anything:
    """What a file of weights has no business to hold."""


def small() -> torch.nn.Module:
    return models.build("resnet18", num_classes=3)


@pytest.mark.parametrize(
    "wrap", [lambda found: found, lambda found: {"epoch": 3, "state_dict": found}, lambda found: {"model": found}]
)
def test_weights_of_a_torch_file_whatever_it_wraps_them_in(tmp_path: Path, wrap: object) -> None:
    expected = small().state_dict()
    torch.save(wrap(expected), tmp_path / "weights.pth")
    found = models.build("resnet18", num_classes=3, weights=tmp_path / "weights.pth").state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_weights_of_a_safetensors_file(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    expected = small().state_dict()
    safetensors.save_file(expected, tmp_path / "weights.safetensors")
    found = models.build("resnet18", num_classes=3, weights=tmp_path / "weights.safetensors").state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("whole", [False, True])
def test_weights_in_shards_beside_their_index(tmp_path: Path, whole: bool) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    expected = small().state_dict()
    if whole:
        safetensors.save_file(expected, tmp_path / "model.safetensors")
    else:
        keys = sorted(expected)
        parts = {"model-1.safetensors": keys[::2], "model-2.safetensors": keys[1::2]}
        for name, held in parts.items():
            safetensors.save_file({key: expected[key] for key in held}, tmp_path / name)
        index = {"weight_map": {key: name for name, held in parts.items() for key in held}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        found = models.build("resnet18", num_classes=3, weights=tmp_path / "model.safetensors.index.json").state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    found = models.build("resnet18", num_classes=3, weights=tmp_path).state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "gone.safetensors"}}']
)
def test_an_index_that_is_none_or_lacks_a_shard(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(UsageError) as caught:
        models.build("resnet18", weights=tmp_path)
    assert str(tmp_path) in str(caught.value)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    torch.save(Anything(), tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"state_dict": {"fc.weight": "seven"}}, tmp_path / "words.pth")
    files = [
        tmp_path / "missing.pth",
        tmp_path,
        written(tmp_path / "empty.pth", b""),
        written(tmp_path / "cut.pth", whole[: len(whole) // 2]),
        written(tmp_path / "noise.pth", b"PK" + bytes(range(256))),
        written(tmp_path / "noise.safetensors", bytes(range(256))),
        written(tmp_path / "pickle.pth", pickle.dumps(Anything(), protocol=2)),
        tmp_path / "code.pth",
        tmp_path / "list.pth",
        tmp_path / "words.pth",
    ]
    for file in files:
        with pytest.raises(UsageError) as caught:
            models.build("resnet18", weights=file)
        assert str(file) in str(caught.value)
        assert caught.value.remedy


def test_weights_of_another_model_say_what_does_not_fit(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "three.pth")
    with pytest.raises(UsageError, match=r"size mismatch for fc\.weight"):
        models.build("resnet18", weights=tmp_path / "three.pth")
    torch.save({"fc.wieght": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"lacks conv1\.weight.*has besides fc\.wieght"):
        models.build("resnet18", weights=tmp_path / "other.pth")
