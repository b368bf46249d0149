"""Backends of inference and quantised layers on a real GPU, against eager fp32 on the same inputs."""

from __future__ import annotations

import pytest

from dltool import probe
from dltool.bench import devices
from dltool.bench.networks.backends import accuracy, built
from dltool.bench.networks.quantised import quantised
from dltool.errors import CannotRun
from dltool.zoo.recorder import tensors_in
from dltool.zoo.subject import forward_of, of_zoo

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")
TOLERANCES = {"fp32": 1e-4, "tf32": 5e-3, "fp16": 2e-2, "bf16": 5e-2, "int8": 0.1, "fp8": 0.15}
BACKENDS = ("onnxruntime", "onnxruntime-tensorrt", "torch-tensorrt")


@pytest.fixture(scope="module")
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    return devices.find("cuda:0", probe.read())


def subject(name):
    model, inputs = forward_of(of_zoo(name), 4, "cuda:0")
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.inference_mode():
            return model, inputs, tuple(tensors_in(model(*inputs)))
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["resnet50", "bert_base"])
def test_a_backend_agrees_with_eager(name, backend, precision, gpu):
    model, inputs, reference = subject(name)
    try:
        found = built(backend, model, inputs, device=gpu, precision=precision)
    except CannotRun as error:
        pytest.skip(f"{error}; {error.remedy}")
    for _ in range(3):
        found.step()
    told = accuracy(found.outputs(), reference, against="eager fp32")
    bar = TOLERANCES["tf32"] if backend == "onnxruntime-tensorrt" and precision == "fp32" else TOLERANCES[precision]
    assert told.relative_error < bar, found.note


def test_a_step_that_does_not_block_is_told_alike_by_both_clocks(gpu):
    model, inputs, _ = subject("resnet50")
    try:
        found = built("torch-tensorrt", model, inputs, device=gpu, precision="fp16")
    except CannotRun as error:
        pytest.skip(f"{error}; {error.remedy}")
    assert not found.blocks

    def whole():
        found.step()
        torch.cuda.synchronize()

    for _ in range(20):
        whole()
    assert gpu.timer(found.step, 50) <= devices.host_timer(whole, 50) * 1.05


@pytest.mark.parametrize("precision", ["int8", "fp8"])
@pytest.mark.parametrize("rows", [1, 16, 17, 256])
def test_linear_layers_agree_with_eager(precision, rows, gpu):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 520)).cuda().eval()
    x = torch.randn(rows, 512, device="cuda")
    try:
        found, told = quantised(model, precision, gpu)
    except CannotRun as error:
        pytest.skip(f"{error}; {error.remedy}")
    assert told.startswith("2 of 2" if precision == "int8" else "1 of 2"), told
    with torch.inference_mode():
        error = accuracy([found(x)], [model(x)], against="eager fp32").relative_error
    assert 0 < error < TOLERANCES[precision]


def test_bert_in_int8_agrees_with_eager(gpu):
    model, inputs, reference = subject("bert_base")
    found, told = quantised(model, "int8", gpu)
    assert told.startswith("73 of 73 linear layers in int8")
    with torch.inference_mode():
        assert accuracy(tuple(tensors_in(found(*inputs))), reference, against="eager fp32").relative_error < TOLERANCES["int8"]
