"""In which arithmetic a graph that ONNX Runtime has optimised multiplies: told by what its products hold their weights in."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

_PRODUCTS = re.compile(r"Conv|Gemm|MatMul|LSTM|GRU|RNN|Attention")
_FORMATS = {1: "fp32", 2: "int8", 3: "int8", 10: "fp16", 11: "fp64", 16: "bf16"}
"""Of onnx.TensorProto.DataType; int8 with and without sign."""


def products(path: Path) -> Counter[str]:
    """Number format -> how many products have their weights in it; those of two activations, as in attention, are not counted.

    Args:
        path: a graph after optimisation, where constants that are cast have become others.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    formats = {tensor.name: tensor.data_type for tensor in graph.initializer if len(tensor.dims) > 1}
    for node in graph.node:  # weights that are only stored in another format, and made fp32 before they are multiplied
        if node.op_type == "DequantizeLinear" and node.input[0] in formats:
            formats[node.output[0]] = onnx.TensorProto.FLOAT
    found: Counter[str] = Counter()
    for node in graph.node:
        weight = next((formats[name] for name in node.input if name in formats), None)
        if weight is not None and _PRODUCTS.search(node.op_type):
            found[_FORMATS.get(weight, "other formats")] += 1
    return found


def convolutional(path: Path) -> bool:
    """Whether more of its products are convolutions than products of matrices."""
    import onnx

    kinds = Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)
    return kinds["Conv"] + kinds["ConvTranspose"] > kinds["MatMul"] + kinds["Gemm"]


def without_shapes(path: Path) -> None:
    """Takes the shapes of values in between out of a file: a quantiser that transposes weights trips over the old ones."""
    import onnx

    model: Any = onnx.load(path, load_external_data=False)
    del model.graph.value_info[:]
    onnx.save(model, path)


def told(found: Counter[str]) -> str:
    """ "20 of 21 products with weights in int8, 1 in fp32"."""
    first, *others = found.most_common()
    rest = "".join(f", {count} in {name}" for name, count in others)
    return f"{first[1]} of {found.total()} products with weights in {first[0]}{rest}"
