"""Inference by other backends: what runs there agrees with eager torch, and what cannot run says why."""

from __future__ import annotations

import os
import sys
import tempfile
import types
from dataclasses import replace
from importlib.abc import MetaPathFinder

import pytest
from bench_cpu import cpu_device
from hypothesis import given
from hypothesis import strategies as st
from zoo_small import all_small

from dltool.bench.networks.backends import BACKENDS, accuracy, built, onnx_graph, torch_tensorrt
from dltool.bench.networks.backends.parts import Request
from dltool.errors import CannotRun, UsageError
from dltool.zoo.inputs import tensors
from dltool.zoo.recorder import tensors_in
from dltool.zoo.subject import of_zoo

torch = pytest.importorskip("torch")
nn = torch.nn
AS_EAGER = 1e-4
"""Relative error of fp32: another order of sums, other approximations of erf and tanh."""
AS_INT8 = 0.05
"""Relative error of int8 with random weights: half a step of 127 at each of some layers."""
GPU = "cuda:0"


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def device():
    return cpu_device()


def small(name):
    """A model of the zoo and its inputs."""
    found = all_small()[name]
    subject = of_zoo(name, {key: str(value) for key, value in found.options.items()})
    return subject.make(device="cpu").eval(), tensors(found.input, 2)


def eager(model, inputs):
    with torch.inference_mode():
        return tuple(tensors_in(model(*inputs)))


def convolutions():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 10)
    return nn.Sequential(*layers).eval(), (torch.randn(4, 3, 8, 8),)


class Odd(nn.Module):
    """Takes whole numbers, a dictionary and nothing; gives all kinds of things."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, numbers, x, nothing=None, more=None):
        y = self.last(self.table(numbers) + x) + more["shift"]
        return {"z": y, "a": [y.argmax(-1), y], "nothing": None, "n": 3, "given": x, "empty": y[:0], "sign": (y > 0,)}


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Choosing(nn.Module):
    """How much comes out hangs on what goes in."""

    def forward(self, x):
        return x[x > 0]


class Hidden(MetaPathFinder):
    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {self.name!r}", name=self.name)


@pytest.fixture
def hide(monkeypatch):
    """Makes a package as if it were not installed."""

    def hidden(name):
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(sys, "meta_path", [Hidden(name), *sys.meta_path])

    return hidden


@pytest.mark.parametrize(
    ("backend", "name"),
    [("onnxruntime", "resnet18"), ("onnxruntime", "bert_base"), ("openvino", "lstm_lm")],
)
def test_fp32_is_as_eager(backend, name, device):
    model, inputs = small(name)
    found = built(backend, model, inputs, device=device, precision="fp32")
    assert found.step.__self__ is found.outputs.__self__  # a step alone keeps the memory that it writes to
    found.step()
    assert accuracy(found.outputs(), eager(model, inputs), against="eager").relative_error < AS_EAGER
    assert "fp32" in found.note
    assert "1 thread" in found.note
    assert {backend, "onnx"} <= set(found.versions)
    assert 0 < found.build_s < 60
    assert found.blocks


@pytest.mark.parametrize("make", [convolutions, lambda: small("lstm_lm")], ids=["static", "dynamic"])
def test_int8_of_onnx_runtime_is_near_eager(make, device):
    model, inputs = make()
    found = built("onnxruntime", model, inputs, device=device, precision="int8")
    assert 0 < accuracy(found.outputs(), eager(model, inputs), against="eager").relative_error < AS_INT8
    assert "3 of 3 products with weights in int8" in found.note


def test_a_precision_that_the_provider_only_imitates_is_called_so(device):
    model, inputs = convolutions()
    found = built("onnxruntime", model, inputs, device=device, precision="fp16")
    assert found.outputs()[0].dtype == torch.float16
    assert accuracy(found.outputs(), eager(model, inputs), against="eager").relative_error < 5e-3
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):  # no fp16 kernels for these
        assert "fp16 asked for, 3 of 3 products with weights in fp32" in found.note


def test_bf16_of_openvino_runs_in_it_or_is_refused(device):
    model, inputs = convolutions()
    vino = pytest.importorskip("openvino")
    if "BF16" in vino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        found = built("openvino", model, inputs, device=device, precision="bf16")
        assert "3 products in bf16" in found.note
        assert 1e-5 < accuracy(found.outputs(), eager(model, inputs), against="eager").relative_error < AS_INT8
        return
    with pytest.raises(CannotRun, match="OpenVINO has no bf16 on this CPU") as caught:
        built("openvino", model, inputs, device=device, precision="bf16")
    assert "fp32" in caught.value.remedy


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_odd_arguments_and_results_come_through(backend, device):
    model = Odd().eval()
    inputs = (torch.tensor([1, 2]), torch.randn(2, 4, requires_grad=True), None, {"shift": torch.ones(3), "unused": True})
    found = built(backend, model, inputs, device=device, precision="fp32").outputs()
    reference = eager(model, inputs)
    assert [tensor.dtype for tensor in found] == [tensor.dtype for tensor in reference]
    for one, other in zip(found, reference, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_step_reads_the_inputs_anew_and_nothing_from_disk(device, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    x = torch.tensor([[1.0, -2.0, 3.0]])
    found = built("onnxruntime", Choosing(), (x,), device=device, precision="fp32")
    assert list(tmp_path.iterdir()) == []
    assert found.outputs()[0].tolist() == [1, 3]
    x.copy_(torch.tensor([[-1.0, 5.0, 7.0]]))
    assert found.outputs()[0].tolist() == [5, 7]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_what_cannot_be_exported_says_why_in_a_line(backend, device, capfd):
    with pytest.raises(CannotRun, match=r"torch cannot export this model: .*data-dependent") as caught:
        built(backend, Branching().eval(), (torch.randn(3),), device=device, precision="fp32")
    assert "\n" not in str(caught.value)
    assert "eager" in caught.value.remedy
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("backend", "where", "hidden"),
    [
        ("onnxruntime", "cpu", "onnxruntime"),
        ("onnxruntime", "cpu", "onnxscript"),
        ("openvino", "cpu", "openvino"),
        ("openvino", "cpu", "onnx"),
        ("torch-tensorrt", GPU, "torch_tensorrt"),
    ],
)
def test_a_missing_package_is_named(backend, where, hidden, device, hide):
    hide(hidden)
    pip = hidden.replace("_", "-") if hidden.startswith("torch") else hidden
    with pytest.raises(CannotRun, match=f"the backend {backend} needs the package {pip}") as caught:
        built(backend, nn.Identity(), (torch.ones(1),), device=replace(device, name=where), precision="fp32")
    assert caught.value.remedy == f"pip install {pip}"


def test_int8_of_openvino_needs_nncf(device, hide):
    hide("nncf")
    with pytest.raises(CannotRun, match="openvino in int8 needs the package nncf") as caught:
        built("openvino", *convolutions(), device=device, precision="int8")
    assert caught.value.remedy == "pip install nncf"


def test_int8_that_changed_nothing_is_no_int8(device, monkeypatch):
    idle = types.ModuleType("nncf")
    idle.Dataset = list
    idle.quantize = lambda graph, samples, subset_size: graph
    monkeypatch.setitem(sys.modules, "nncf", idle)
    monkeypatch.delenv("NNCF_CI", raising=False)
    with pytest.raises(CannotRun, match="found nothing in this model to run in int8"):
        built("openvino", *convolutions(), device=device, precision="int8")
    assert "NNCF_CI" not in os.environ
    with pytest.raises(CannotRun, match="found nothing in this model to run in int8"):
        built("onnxruntime", nn.ReLU(), (torch.randn(3),), device=device, precision="int8")


@pytest.mark.parametrize(
    ("backend", "where", "precision", "told", "remedy"),
    [
        ("onnxruntime", GPU, "fp32", "has no CUDAExecutionProvider here", "onnxruntime-gpu"),
        ("onnxruntime-tensorrt", GPU, "fp16", "has no TensorrtExecutionProvider here", "onnxruntime-gpu tensorrt"),
        ("onnxruntime-tensorrt", "cpu", "fp16", "NVIDIA GPUs alone", "onnxruntime or openvino"),
        ("torch-tensorrt", "cpu", "fp16", "NVIDIA GPUs alone", "onnxruntime or openvino"),
        ("torch-tensorrt", GPU, "int8", "no int8 on cuda:0", "onnxruntime-tensorrt"),
        ("openvino", GPU, "fp32", "OpenVINO has no cuda:0", "--device cpu"),
        ("onnxruntime", "cpu", "tf32", "no tf32 on cpu", "fp32, fp16, bf16, int8"),
        ("openvino", "cpu", "tf32", "no tf32 on cpu", "fp32, fp16, bf16, int8"),
    ],
)
def test_what_is_not_here_says_what_to_do(backend, where, precision, told, remedy, device):
    with pytest.raises(CannotRun, match=told) as caught:
        built(backend, nn.Identity(), (torch.ones(1),), device=replace(device, name=where), precision=precision)
    assert remedy in caught.value.remedy


def test_unknown_names_are_answered_by_the_nearest(device):
    with pytest.raises(UsageError) as caught:
        built("onnx-runtime", nn.Identity(), (), device=device, precision="fp32")
    assert "`onnxruntime`" in caught.value.remedy
    with pytest.raises(UsageError, match="unknown precision"):
        built("onnxruntime", nn.Identity(), (), device=device, precision="float")


def test_every_backend_has_a_module():
    assert set(BACKENDS) == {"onnxruntime", "onnxruntime-tensorrt", "openvino", "torch-tensorrt"}


@given(st.floats(1e-6, 10.0), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_the_relative_error_is_over_all_outputs(error, sides):
    reference = [torch.randn(side, 3, generator=torch.Generator().manual_seed(side)) for side in sides]
    found = [tensor * (1 + error) for tensor in reference]
    told = accuracy(found, [*reference], against="eager")
    assert told.relative_error == pytest.approx(error, rel=1e-2, abs=1e-6)
    assert told.agreeing == 1


def test_the_share_of_the_same_best_class():
    reference = torch.eye(4)
    found = reference[[0, 1, 2, 0]]
    assert accuracy([found], [reference], against="eager").agreeing == 0.75
    assert accuracy([found[None]], [reference[None]], against="eager").agreeing is None
    assert accuracy([torch.tensor([1, 2])], [torch.tensor([1, 0])], against="eager").relative_error == 2


@pytest.mark.parametrize(
    ("found", "told"),
    [
        pytest.param([torch.tensor([1.0, float("nan")])], "NaN or infinity where eager has none", id="nan"),
        pytest.param([torch.ones(3)], "have the shapes", id="shape"),
        pytest.param([torch.ones(2), torch.ones(2)], "have the shapes", id="number"),
    ],
)
def test_what_cannot_be_compared_says_so(found, told):
    with pytest.raises(CannotRun, match=told):
        accuracy(found, [torch.ones(2)], against="eager")


def test_infinity_in_both_is_no_difference():
    one = torch.tensor([[1.0, float("-inf")]])
    assert accuracy([one], [one], against="eager").relative_error == 0


def test_weights_that_are_only_stored_small_count_as_what_multiplies(tmp_path):
    onnx = pytest.importorskip("onnx")
    held = onnx.helper.make_tensor("held", onnx.TensorProto.INT8, (2, 2), [1, 2, 3, 4])
    scale = onnx.helper.make_tensor("scale", onnx.TensorProto.FLOAT, (), [0.5])
    half = onnx.helper.make_tensor("half", onnx.TensorProto.FLOAT16, (2, 2), [0, 0, 0, 0])
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["held", "scale"], ["wide"]),
        onnx.helper.make_node("MatMul", ["x", "wide"], ["y"]),
        onnx.helper.make_node("Gemm", ["y", "half"], ["z"]),
        onnx.helper.make_node("MatMul", ["z", "z"], ["attention"]),
    ]
    graph = onnx.helper.make_graph(nodes, "tiny", [], [], [held, scale, half])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "tiny.onnx")
    found = onnx_graph.products(tmp_path / "tiny.onnx")
    assert found == {"fp32": 1, "fp16": 1}
    assert onnx_graph.told(found) == "1 of 2 products with weights in fp32, 1 in fp16"


def test_torch_tensorrt_is_told_what_its_version_takes(device, tmp_path):
    def now(program, arg_inputs, device, disable_tf32, timing_cache_path, use_explicit_typing): ...
    def before(program, arg_inputs, disable_tf32, enabled_precisions): ...

    request = Request(name="torch-tensorrt", model=nn.Identity(), inputs=(), device=device, precision="fp16")
    settings = torch_tensorrt._settings(now, request, tmp_path)
    assert settings == {
        "device": torch.device("cpu"),
        "disable_tf32": True,
        "timing_cache_path": str(tmp_path),
        "use_explicit_typing": True,
    }
    older = torch_tensorrt._settings(before, replace(request, precision="tf32"), tmp_path)
    assert older == {"disable_tf32": False, "enabled_precisions": {torch.float32}}


def test_torch_tensorrt_that_took_nothing_is_no_tensorrt():
    divided = nn.Module()
    divided.add_module("_run_on_gpu_0", nn.Identity())
    with pytest.raises(CannotRun, match="took no part"):
        torch_tensorrt._engines(divided)
    divided.add_module("_run_on_acc_1", nn.Identity())
    assert torch_tensorrt._engines(divided) == "1 TensorRT engine, 1 parts left in torch"
