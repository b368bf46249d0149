"""ONNX Runtime: a session with its inputs and outputs bound, on the CPU, by CUDA or by TensorRT."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.bench.networks.backends import onnx_graph, onnx_int8
from dltool.bench.networks.backends.export import onnx_file
from dltool.bench.networks.backends.parts import Built, Request, failing_as, package, versions_of
from dltool.errors import CannotRun

if TYPE_CHECKING:
    from torch import Tensor

_TYPES = {
    "tensor(float)": ("float32", 1),
    "tensor(uint8)": ("uint8", 2),
    "tensor(int8)": ("int8", 3),
    "tensor(int16)": ("int16", 5),
    "tensor(int32)": ("int32", 6),
    "tensor(int64)": ("int64", 7),
    "tensor(bool)": ("bool", 9),
    "tensor(float16)": ("float16", 10),
    "tensor(double)": ("float64", 11),
    "tensor(bfloat16)": ("bfloat16", 16),
}
"""As ONNX Runtime calls it -> as torch does, and its number in onnx.TensorProto.DataType."""
_REMEDY = "Measure it by another --backend, or in fp32."


@dataclass(frozen=True, slots=True)
class _Way:
    """A provider and what it has."""

    provider: str
    precisions: tuple[str, ...]
    install: str
    instead: str = ""


_CPU = _Way("CPUExecutionProvider", ("fp32", "fp16", "bf16", "int8"), "onnxruntime")
_CUDA = _Way(
    "CUDAExecutionProvider",
    ("fp32", "tf32", "fp16", "bf16"),
    "onnxruntime-gpu",
    "It has fp32, tf32, fp16 and bf16; for int8 on a GPU take the backend onnxruntime-tensorrt.",
)
_TENSORRT = _Way("TensorrtExecutionProvider", ("fp32", "tf32", "fp16", "bf16", "int8"), "onnxruntime-gpu tensorrt")


def built(request: Request) -> Built:
    """See `dltool.bench.networks.backends.built`."""
    tensorrt = request.name.endswith("tensorrt")
    if tensorrt and request.device.kind != "cuda":
        told = "TensorRT runs on NVIDIA GPUs alone"
        raise CannotRun(told, remedy="On a CPU take --backend onnxruntime or openvino.")
    way = _TENSORRT if tensorrt else _CUDA if request.device.kind == "cuda" else _CPU
    runtime = package("onnxruntime", request.name)
    if way.provider not in runtime.get_available_providers():
        told = f"ONNX Runtime {runtime.__version__} has no {way.provider} here"
        raise CannotRun(told, remedy=f"pip uninstall onnxruntime && pip install {way.install}")
    request.wants(way.precisions, way.instead)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="dltool-onnx-") as room:
        path, tensors = onnx_file(request, Path(room))
        session, how = _session(runtime, request, way, path, tensors)
    bound = _Bound(session, tensors, request.device.name)
    return Built(
        step=bound.step,
        outputs=bound.outputs,
        note=f"{way.provider}, {how}; a step holds no copies to or from the host",
        versions=versions_of("onnxruntime", "onnxruntime-gpu", "onnx", "onnxscript", "tensorrt"),
        build_s=time.perf_counter() - began,
        blocks=True,
    )


def _session(runtime: Any, request: Request, way: _Way, path: Path, tensors: Sequence[Tensor]) -> tuple[Any, str]:
    """The session, and the arithmetic that is really in it."""
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised as well
    options.intra_op_num_threads = request.device.threads
    optimised = path.with_name("optimised.onnx")
    low = request.precision not in ("fp32", "tf32")
    if low and way is not _TENSORRT:  # whose engines cannot be written as a graph
        options.optimized_model_filepath = str(optimised)
    how = f"{request.precision} asked for" if low else request.precision
    if request.precision == "int8":
        names = [given.name for given in _onnx_inputs(path)]
        path, how = onnx_int8.quantised(path, dict(zip(names, tensors, strict=True)), request.name, tensorrt=way is _TENSORRT)
    with failing_as(f"{way.provider} cannot run this model in {request.precision}", _REMEDY):
        session = runtime.InferenceSession(path, options, providers=_providers(way, request))
    if session.get_providers()[0] != way.provider:
        told = f"{way.provider} cannot be loaded: ONNX Runtime would run on {session.get_providers()[0]}"
        raise CannotRun(told, remedy="Its libraries (CUDA, cuDNN, TensorRT) must be those it was built for; dltool doctor.")
    return session, f"{how}, {_arithmetic(request, way, optimised)}"


def _onnx_inputs(path: Path) -> Sequence[Any]:
    import onnx

    found: Sequence[Any] = onnx.load(path, load_external_data=False).graph.input
    return found


def _arithmetic(request: Request, way: _Way, optimised: Path) -> str:
    """What the products are really computed in.

    Raises:
        CannotRun: int8 was wanted, and none is.
    """
    if way is _CPU and request.precision == "fp32":
        return f"{request.device.threads} thread{'s' * (request.device.threads > 1)}"
    if way is not _CPU and request.precision in ("fp32", "tf32"):
        return "TF32 as TensorRT chooses" if way is _TENSORRT else f"TF32 {'on' if request.precision == 'tf32' else 'off'}"
    if way is _TENSORRT:
        return "kernels as TensorRT chooses"
    found = onnx_graph.products(optimised)
    if request.precision == "int8" and not found["int8"]:
        raise CannotRun("ONNX Runtime found nothing in this model to run in int8", remedy="Measure it in fp32.")
    return onnx_graph.told(found) if found else "no products with weights"


def _providers(way: _Way, request: Request) -> list[Any]:
    """The provider with its options, and those that take what it leaves."""
    index = request.device.name.partition(":")[2] or "0"
    cuda = (_CUDA.provider, {"device_id": index, "use_tf32": str(int(request.precision == "tf32"))})
    if way is _CPU:
        return [way.provider]
    if way is _CUDA:
        return [cuda, _CPU.provider]
    low = {f"trt_{name}_enable": "1" for name in ("fp16", "bf16", "int8") if name == request.precision}
    return [(way.provider, {"device_id": index, **low}), cuda, _CPU.provider]


class _Bound:
    """A session that reads its inputs from tensors and writes its outputs into others, on its own device."""

    def __init__(self, session: Any, inputs: Sequence[Tensor], device: str) -> None:
        import torch

        kind, _, index = device.partition(":")
        self._place = (kind, int(index or 0))
        self._binding = session.io_binding()
        self._inputs = [tensor.to(torch.device(device)).contiguous() for tensor in inputs]
        for given, tensor in zip(session.get_inputs(), self._inputs, strict=True):
            self._bind(self._binding.bind_input, given, tensor)
        self._written = [self._output(told, torch, device) for told in session.get_outputs()]
        self._run = session.run_with_iobinding

    def step(self) -> object:
        """One inference. Whoever holds this method holds the tensors too: the binding knows their addresses alone."""
        return self._run(self._binding)

    def _bind(self, bind: Callable[..., object], told: Any, tensor: Tensor) -> None:
        bind(told.name, *self._place, _TYPES[told.type][1], tuple(tensor.shape), tensor.data_ptr())

    def _output(self, told: Any, torch: Any, device: str) -> Any:
        """The tensor that it is written to; None where its shape is known only when it is there."""
        if not all(isinstance(side, int) and side > 0 for side in told.shape):
            self._binding.bind_output(told.name, *self._place)
            return None
        tensor = torch.empty(told.shape, dtype=getattr(torch, _TYPES[told.type][0]), device=device)
        self._bind(self._binding.bind_output, told, tensor)
        return tensor

    def outputs(self) -> tuple[Tensor, ...]:
        """Those of a step that is made now."""
        import torch

        self.step()
        if all(tensor is not None for tensor in self._written):
            return tuple(tensor.cpu().clone() for tensor in self._written)
        copies = self._binding.copy_outputs_to_cpu()
        return tuple(torch.from_numpy(copy) for copy in copies)
