"""One product of the user's."""

from __future__ import annotations

from msgspec import Struct

from dltool.bench.search.space import Shape


class Own(Struct, frozen=True, kw_only=True):
    """A product as it occurs in a user's program."""

    m: int
    n: int
    k: int
    dtype: str | None = None
    """None: whichever is asked for."""
    count: int = 1
    """How often a step does it."""
    batch: int = 1
    """Products of this shape in one call."""
    name: str = ""
    kind: str = "gemm"
    """"gemm", "batched gemm", "convolution" or "attention"."""

    @property
    def shape(self) -> Shape:
        """Its sides."""
        return Shape(self.m, self.n, self.k)

    @property
    def ops(self) -> int:
        """Operations of all occurrences; a multiply and an add count as two."""
        return self.shape.ops * self.count * self.batch
