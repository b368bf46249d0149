"""torch_tensorrt: the exported model with its parts compiled to TensorRT engines, called from torch."""

from __future__ import annotations

import inspect
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.bench.networks.backends.export import as_asked, program
from dltool.bench.networks.backends.parts import Built, Request, failing_as, package, quiet, versions_of
from dltool.errors import CannotRun

if TYPE_CHECKING:
    from torch import Tensor

_INSTEAD = "It has fp32, tf32, fp16 and bf16; for int8 take the backend onnxruntime-tensorrt."


def built(request: Request) -> Built:
    """See `dltool.bench.networks.backends.built`."""
    if request.device.kind != "cuda":
        raise CannotRun("TensorRT runs on NVIDIA GPUs alone", remedy="On a CPU take --backend onnxruntime or openvino.")
    request.wants(("fp32", "tf32", "fp16", "bf16"), _INSTEAD)
    tensorrt = package("torch_tensorrt", request.name, "torch-tensorrt")
    began = time.perf_counter()
    model, inputs = as_asked(request, request.device.name)
    compiled = _compiled(tensorrt, request, program(model, inputs), inputs)
    bound = _Bound(compiled, inputs)
    return Built(
        step=bound.step,
        outputs=bound.outputs,
        note=f"torch_tensorrt, {request.precision}, {_engines(compiled)}; a step holds no copies to or from the host",
        versions=versions_of("torch-tensorrt", "tensorrt"),
        build_s=time.perf_counter() - began,
        blocks=False,
    )


def _compiled(tensorrt: Any, request: Request, found: Any, inputs: Sequence[Tensor]) -> Any:
    with (
        tempfile.TemporaryDirectory(prefix="dltool-tensorrt-") as room,
        quiet(),
        failing_as("TensorRT cannot compile this model", "Measure it in eager torch or with --compile."),
    ):
        settings = _settings(tensorrt.dynamo.compile, request, Path(room) / "timing.bin")
        return tensorrt.dynamo.compile(found, arg_inputs=list(inputs), **settings)


def _settings(compiler: Any, request: Request, cache: Path) -> dict[str, Any]:
    """What this version of the compiler takes: the dtypes are the graph's own, where it can be told so.

    Before `use_explicit_typing` came, TensorRT was free to choose among `enabled_precisions`.
    """
    import torch

    known = inspect.signature(compiler).parameters
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(request.precision, torch.float32)
    wanted = {
        "device": torch.device(request.device.name),
        "disable_tf32": request.precision != "tf32",
        "timing_cache_path": str(cache),
        "use_explicit_typing": True,
    }
    if "use_explicit_typing" not in known:
        wanted["enabled_precisions"] = {dtype}
    return {name: value for name, value in wanted.items() if name in known}


def _engines(compiled: Any) -> str:
    """How the model was divided; what TensorRT has no converter for stays in torch."""
    names = [name for name, _ in compiled.named_children()]
    engines = sum(name.startswith("_run_on_acc") for name in names)
    left = sum(name.startswith("_run_on_gpu") for name in names)
    if not engines:
        told = "TensorRT took no part of this model"
        raise CannotRun(told, remedy="Measure it in eager torch or with --compile.")
    return f"{engines} TensorRT engine{'s' * (engines > 1)}, {left} parts left in torch"


class _Bound:
    """The compiled model with its inputs; they lie on the GPU."""

    def __init__(self, compiled: Any, inputs: Sequence[Tensor]) -> None:
        self._compiled = compiled
        self._inputs = inputs

    def step(self) -> Any:
        """One inference, in torch's stream; it is not waited for."""
        import torch

        with torch.inference_mode():
            return self._compiled(*self._inputs)

    def outputs(self) -> tuple[Tensor, ...]:
        """Those of a step that is made now."""
        return tuple(tensor.cpu() for tensor in self.step())
