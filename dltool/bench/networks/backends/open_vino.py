"""OpenVINO on the CPU: the model read from ONNX, compiled for latency, with its inputs bound to an inference request."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.bench.networks.backends.export import onnx_file
from dltool.bench.networks.backends.parts import Built, Request, failing_as, package, quiet, versions_of
from dltool.errors import CannotRun

if TYPE_CHECKING:
    from torch import Tensor

_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
"""Without one OpenVINO takes bf16 wherever the processor has it; with int8 it is for what is left in floating point."""
_KINDS = {"f32": "fp32", "f16": "fp16", "u8": "int8", "i8": "int8"}
_PRODUCTS = re.compile(r"Convolution|FullyConnected|MatMul|RNN|LSTM|GRU")
"""As OpenVINO calls the layers and formats of a compiled model."""
_CAPABILITIES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "int8": "INT8"}


def built(request: Request) -> Built:
    """See `dltool.bench.networks.backends.built`.

    The model is read from ONNX: `openvino.convert_model` takes fewer models from torch, and reports its use over the network.
    """
    if request.device.kind != "cpu":
        raise CannotRun(f"OpenVINO has no {request.device.name}", remedy="Measure it with --device cpu.")
    request.wants(tuple(_HINTS))
    vino = package("openvino", request.name)
    core = vino.Core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if _CAPABILITIES[request.precision] not in able:
        told = f"OpenVINO has no {request.precision} on this CPU ({core.get_property('CPU', 'FULL_DEVICE_NAME')})"
        raise CannotRun(told, remedy=f"It has {', '.join(name for name, word in _CAPABILITIES.items() if word in able)}.")
    compress = _compressor(request) if request.precision == "int8" else None
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="dltool-onnx-") as room:
        path, tensors = onnx_file(_in_fp32(request), Path(room))
        with quiet(), failing_as("OpenVINO cannot run this model", "Measure it by another --backend, or in eager torch."):
            graph = core.read_model(path)
            if compress is not None:
                graph = compress(graph, tensors)
            compiled = core.compile_model(graph, "CPU", _options(request))
    bound = _Bound(vino, compiled, tensors)
    return Built(
        step=bound.step,
        outputs=bound.outputs,
        note=f"OpenVINO CPU, {_arithmetic(request, compiled)}, latency mode; a step holds no copies of inputs or outputs",
        versions=versions_of("openvino", "nncf", "onnx", "onnxscript"),
        build_s=time.perf_counter() - began,
        blocks=True,
    )


def _in_fp32(request: Request) -> Request:
    """The request for the graph: OpenVINO itself lowers the precision of one in fp32."""
    return replace(request, precision="fp32")


def _options(request: Request) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[request.precision],
        "INFERENCE_NUM_THREADS": request.device.threads,
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
    }


def _compressor(request: Request) -> Any:
    """The function that makes a graph int8, with ranges from the inputs.

    Raises:
        CannotRun: NNCF is missing.
    """
    with _untold():
        nncf = package("nncf", f"{request.name} in int8", "nncf")

    def compress(graph: Any, tensors: Sequence[Tensor]) -> Any:
        samples = nncf.Dataset([[tensor.numpy() for tensor in tensors]])
        with failing_as("NNCF cannot quantise this model", "Measure it in fp32 or bf16, or by --backend onnxruntime."):
            return nncf.quantize(graph, samples, subset_size=1)

    return compress


@contextmanager
def _untold() -> Iterator[None]:
    """NNCF decides when it is imported whether it reports its use over the network: not inside of this."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before


def _arithmetic(request: Request, compiled: Any) -> str:
    """What the layers of the compiled model really run in.

    Raises:
        CannotRun: int8 was wanted, and none does.
    """
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        told = node.get_rt_info()
        if "layerType" in told and _PRODUCTS.search(told["layerType"].astype(str)):
            kind = str(told["runtimePrecision"].astype(str)).lower()
            found[_KINDS.get(kind, kind)] += 1
    if request.precision == "int8" and not found["int8"]:
        raise CannotRun("NNCF found nothing in this model to run in int8", remedy="Measure it in fp32.")
    parts = ", ".join(f"{count} products in {kind}" for kind, count in found.most_common())
    threads = compiled.get_property("INFERENCE_NUM_THREADS")
    return f"{parts or request.precision}, {threads} thread{'s' * (threads > 1)}"


class _Bound:
    """An inference request that reads its inputs where torch has them."""

    def __init__(self, vino: Any, compiled: Any, inputs: Sequence[Tensor]) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = [tensor.contiguous().numpy() for tensor in inputs]
        for place, array in enumerate(self._inputs):
            self._request.set_input_tensor(place, vino.Tensor(array, shared_memory=True))
        self._outputs = range(len(compiled.outputs))

    def step(self) -> object:
        """One inference; its outputs stay in OpenVINO's own memory."""
        self._request.start_async()
        return self._request.wait()

    def outputs(self) -> tuple[Tensor, ...]:
        """Those of a step that is made now."""
        import torch

        self.step()
        return tuple(torch.from_numpy(self._request.get_output_tensor(place).data.copy()) for place in self._outputs)
