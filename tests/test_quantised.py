"""Linear layers in int8 and fp8: the numbers, what is replaced, and what is said of the rest."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from bench_cpu import cpu_device
from hypothesis import given, settings
from hypothesis import strategies as st

from dltool.bench.networks.backends import accuracy
from dltool.bench.networks.quantised import quantised
from dltool.errors import CannotRun, UsageError

torch = pytest.importorskip("torch")
nn = torch.nn
ROUNDING = {"int8": 0.02, "fp8": 0.08}
"""Relative error of a product: 8 bits of the largest in a row; 4 bits of each number in fp8."""


@pytest.fixture(scope="module")
def device():
    return cpu_device()


def error(model, changed, x):
    with torch.inference_mode():
        return accuracy([changed(x)], [model(x)], against="eager").relative_error


def mlp(*sides):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(*pair) for pair in itertools.pairwise(sides))).eval()


@pytest.mark.parametrize("precision", ["int8", "fp8"])
@given(rows=st.integers(1, 20), inner=st.integers(32, 200), columns=st.integers(8, 50), bias=st.booleans())
@settings(max_examples=20)
def test_any_shape_is_near_the_exact_product(precision, rows, inner, columns, bias, device):
    torch.manual_seed(rows + inner + columns)
    layer = nn.Linear(inner, columns, bias=bias)
    found, told = quantised(layer, precision, device)
    assert 0 < error(layer, found, torch.randn(rows, inner)) < ROUNDING[precision]
    assert told.startswith(f"1 of 1 linear layers in {precision}")


def test_int8_is_the_product_of_whole_numbers(device):
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.tensor([[127.0, -64, 3, 0], [1.27, 0, 0, -0.5]])
    found, _ = quantised(layer, "int8", device)
    assert found.numbers.tolist() == [[127, -64, 3, 0], [127, 0, 0, -50]]
    x = torch.tensor([[[127.0, 1, 0, -127]], [[0, 0, 0, 0]]])
    assert found(x)[0, 0].tolist() == pytest.approx([127 * 127 - 64, 127 * 1.27 + 127 * 0.5], rel=1e-5)
    assert found(x)[1].tolist() == [[0, 0]]


@pytest.mark.parametrize("precision", ["int8", "fp8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_format_of_what_goes_in_comes_out(precision, dtype, device):
    model = mlp(64, 32, 16).to(dtype)
    found, _ = quantised(model, precision, device)
    out = found(torch.randn(2, 3, 64, dtype=dtype))
    assert (out.dtype, out.shape) == (dtype, (2, 3, 16))
    assert found[0].weight.dtype == dtype
    assert error(nn.Identity(), lambda x: found[0].weight.float(), model[0].weight.detach().float()) < ROUNDING[precision]


def test_the_model_itself_stays_and_shares_what_was_not_changed(device):
    model = nn.Sequential(nn.Embedding(10, 32), nn.LayerNorm(32), nn.Linear(32, 10, bias=False)).eval()
    model[2].weight = model[0].weight
    found, _ = quantised(model, "int8", device)
    assert type(model[2]) is nn.Linear
    assert found[0].weight is model[0].weight
    assert type(found[2]) is not nn.Linear
    assert error(model, found, torch.arange(10)) < ROUNDING["int8"]


def test_a_layer_in_two_places_stays_one(device):
    layer = nn.Linear(32, 32)
    found, told = quantised(nn.Sequential(layer, nn.ReLU(), layer), "int8", device)
    assert found[0] is found[2]
    assert told == "1 of 1 linear layers in int8"


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Named(nn.Linear):
    pass


def test_other_layers_are_left_and_counted(device):
    parts = {
        "conv": nn.Conv1d(4, 4, 1),
        "plain": nn.Linear(4, 4),
        "named": Named(4, 4),
        "doubled": Doubled(4, 4),
        "rnn": nn.LSTM(4, 4).half(),
        "norm": nn.LayerNorm(4),
    }
    found, told = quantised(nn.ModuleDict(parts), "int8", device)
    assert told == "2 of 2 linear layers in int8, 1 convolution, 2 other layers in fp16 and fp32"
    assert type(found["doubled"]) is Doubled
    assert type(found["named"]) is not Named


@pytest.mark.parametrize("mask", [None, torch.tensor([[False] * 5, [False] * 4 + [True]])], ids=["whole", "padded"])
def test_torchs_encoder_really_calls_the_layers(mask, device):
    """In eval mode it hands the weights themselves to one kernel."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    found, told = quantised(model, "int8", device)
    assert told == "4 of 6 linear layers in int8, 2 other layers in fp32"
    calls = []
    for name, module in found.named_modules():
        if name.endswith(("linear1", "linear2")):
            module.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(2, 5, 32)
    with torch.inference_mode():
        one, other = (which(x, src_key_padding_mask=mask)[:, :4] for which in (found, model))
    assert len(calls) == 4
    assert 0 < accuracy([one], [other], against="eager").relative_error < ROUNDING["int8"]


def test_sides_that_the_gpu_refuses_are_left_in_place(device):
    gpu = replace(device, name="cuda:0")
    found, told = quantised(mlp(64, 30, 16, 8), "int8", gpu)
    assert told == "1 of 3 linear layers in int8, 2 linear layers of odd sizes in fp32, calls of fewer than 17 rows are padded"
    assert [type(layer) is nn.Linear for layer in found] == [True, True, False]
    with pytest.raises(CannotRun, match="sides of its 1 linear layer"):
        quantised(mlp(64, 30), "int8", gpu)


def test_fp8_says_where_it_is_only_imitated(device, monkeypatch):
    assert quantised(mlp(64, 32), "fp8", device)[1].endswith("emulated: a CPU has no fp8 arithmetic")
    gpu = replace(device, name="cuda:0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: (8, 9))
    assert quantised(mlp(64, 32), "fp8", gpu)[1] == "1 of 1 linear layers in fp8, fast accumulation"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: (8, 6))
    with pytest.raises(CannotRun, match=r"compute capability 8\.6\) has no fp8 arithmetic") as caught:
        quantised(mlp(64, 32), "fp8", gpu)
    assert "int8" in caught.value.remedy


@pytest.mark.parametrize(
    ("model", "told"),
    [
        pytest.param(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), "it has no linear layer, 1 convolution", id="convolutions alone"
        ),
        pytest.param(nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(3)), nn.Linear(4, 4)), "3 are most of", id="mostly"),
        pytest.param(nn.LSTM(4, 4), "1 other layer", id="recurrent"),
        pytest.param(nn.ReLU(), "no layer with weights", id="nothing"),
    ],
)
def test_what_cannot_be_quantised_names_who_could(model, told, device):
    with pytest.raises(CannotRun, match=told) as caught:
        quantised(model, "int8", device)
    assert "--backend onnxruntime or openvino" in caught.value.remedy


def test_an_unknown_precision_is_answered(device):
    with pytest.raises(UsageError, match="unknown precision of linear layers `int4`"):
        quantised(mlp(4, 4), "int4", device)
