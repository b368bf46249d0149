"""What a step of a model asks of a device: its operations, each with its arithmetic and the bytes it moves. JSON in and out."""

from __future__ import annotations

from msgspec import Struct


class Operation(Struct, frozen=True, kw_only=True):
    """One kernel, or several of the same size."""

    kind: str
    """"gemm", "batched gemm", "convolution" or "attention"; "memory" for what only moves and changes numbers."""
    dtype: str | None = None
    """Of the factors of a product."""
    ops: int = 0
    """Arithmetic of one: products alone; a multiply-add counts as two."""
    bytes: int
    """Read and written by one, as if no cache held anything of it from before."""
    count: int = 1


class Traffic(Struct, frozen=True, kw_only=True):
    """All operations of a step."""

    mode: str
    """"train" or "infer"."""
    precision: str
    """"fp32", "tf32", "bf16", "fp16", "amp-bf16" or "amp-fp16"."""
    batch: int
    operations: tuple[Operation, ...]
    fused: bool = False
    """Whether chains of element-wise operations count as one kernel, as a compiler makes them."""
    found_on: str = "meta"

    @property
    def ops(self) -> int:
        """Of the whole step."""
        return sum(one.ops * one.count for one in self.operations)

    @property
    def bytes(self) -> int:
        """Of the whole step."""
        return sum(one.bytes * one.count for one in self.operations)

    @property
    def kernels(self) -> int:
        """How many operations are launched."""
        return sum(one.count for one in self.operations)
