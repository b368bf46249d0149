"""Inference by something else than eager torch: the same model and inputs, exported, bound and ready to be timed.

onnxruntime             ONNX Runtime: its CPU provider, its CUDA provider on a GPU
onnxruntime-tensorrt    ONNX Runtime's TensorRT provider
openvino                OpenVINO on the CPU
torch-tensorrt          what torch_tensorrt compiles
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dltool.bench.devices import Device
from dltool.bench.networks.agreement import accuracy
from dltool.bench.networks.backends.parts import Built, Request
from dltool.errors import unknown_name

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BACKENDS", "PRECISIONS", "Built", "accuracy", "built"]

BACKENDS = {
    "onnxruntime": "onnx_runtime",
    "onnxruntime-tensorrt": "onnx_runtime",
    "openvino": "open_vino",
    "torch-tensorrt": "torch_tensorrt",
}
"""Name -> the module here that builds it."""
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")
"""What a backend may have; which of them it has on a device, it says itself."""


def built(name: str, model: nn.Module, inputs: tuple[Any, ...], *, device: Device, precision: str) -> Built:
    """The model as the backend runs it, with its inputs bound: a step times the inference alone.

    Args:
        name: one of `BACKENDS`.
        model: in fp32 and in eval mode, on any device; it is not changed.
        inputs: its arguments, tensors or whatever holds some. They stay bound: a step infers the same ones again.
        device: where the backend runs it.
        precision: one of `PRECISIONS`.

    Raises:
        UsageError: no such backend or precision.
        CannotRun: a package, a provider or the precision is missing here, or the model cannot be exported; says why.
    """
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    if precision not in PRECISIONS:
        raise unknown_name("precision of a backend", precision, PRECISIONS)
    module = import_module(f"{__name__}.{BACKENDS[name]}")
    found: Built = module.built(Request(name=name, model=model, inputs=inputs, device=device, precision=precision))
    return found
