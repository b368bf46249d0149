"""An ONNX model in int8, by ONNX Runtime's own quantiser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.bench.networks.backends.onnx_graph import convolutional, without_shapes
from dltool.bench.networks.backends.parts import failing_as, package, quiet

if TYPE_CHECKING:
    from torch import Tensor

_LARGE = 2**31 - 2**20
"""Bytes that a protobuf file can hold, with room for the graph."""


def quantised(path: Path, inputs: Mapping[str, Tensor], backend: str, *, tensorrt: bool) -> tuple[Path, str]:
    """Another file beside it, and how its numbers were chosen.

    Convolutional networks are quantised statically, by the extremes that activations reach on the inputs of the benchmark;
    others dynamically, weights now and activations at each step. TensorRT takes the static way alone, with zero in the middle.

    Raises:
        CannotRun: the quantiser refuses; its reason in one line.
    """
    tool = package("onnxruntime.quantization", backend)
    made = path.with_name("int8.onnx")
    large = sum(file.stat().st_size for file in path.parent.iterdir()) > _LARGE
    static = tensorrt or convolutional(path)
    without_shapes(path)
    with quiet(), failing_as("ONNX Runtime cannot quantise this model", "Measure it in fp32, fp16 or bf16."):
        if static:
            kind = (
                tool.QuantType.QInt8 if tensorrt else tool.QuantType.QUInt8
            )  # the CPU's kernels take activations without sign
            tool.quantize_static(
                path,
                made,
                _source(tool, inputs),
                per_channel=True,
                activation_type=kind,
                use_external_data_format=large,
                extra_options={"ActivationSymmetric": tensorrt},
            )
            return made, "static int8, its ranges from the inputs of the benchmark alone"
        tool.quantize_dynamic(path, made, per_channel=True, use_external_data_format=large)
        return made, "dynamic int8: activations are quantised within the step"


def _source(tool: Any, inputs: Mapping[str, Tensor]) -> Any:
    """What the quantiser draws its samples from: the inputs, once."""

    class Source(tool.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{name: tensor.numpy() for name, tensor in inputs.items()}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    return Source()
