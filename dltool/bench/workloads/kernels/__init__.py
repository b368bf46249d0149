"""Small CUDA kernels for arithmetic that torch has no operation for; each file says what it does. Compiled when run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

THREADS = 256
"""Of a block."""
WARPS = THREADS // 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What one of the files beside this computes in a round; its name is that of the file."""

    name: str
    chains: int
    """Results of a warp, or of a thread, that do not wait for one another."""
    stored: str
    """torch's name of what a register of A and B is read as."""
    sums: str
    """The same of the results."""
    bits: int
    """Of one number."""
    first: tuple[int, int]
    """The first compute capability that it compiles for."""
    shape: tuple[int, int, int] | None = None
    """m, n, k that a warp multiplies; None: each thread for itself, x = a x + b."""

    @property
    def per_register(self) -> int:
        """Numbers in a register."""
        return {"int32": 32, "float32": 32, "float64": 64}[self.stored] // self.bits

    @property
    def ops_per_round(self) -> int:
        """Of a block of `THREADS`; a multiply-add counts as two."""
        if self.shape is None:
            return 2 * THREADS * self.chains * self.per_register
        m, n, k = self.shape
        return 2 * WARPS * self.chains * m * n * k

    def source(self) -> str:
        """CUDA C++; the kernel is called `measure`."""
        return Path(__file__).with_name(f"{self.name}.cu").read_text(encoding="utf-8")


KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel(name="int4", chains=8, stored="int32", sums="int32", bits=4, first=(7, 5), shape=(16, 8, 64)),
        Kernel(name="int1", chains=8, stored="int32", sums="int32", bits=1, first=(7, 5), shape=(16, 8, 256)),
        Kernel(name="fp64_mma", chains=4, stored="float64", sums="float64", bits=64, first=(8, 0), shape=(16, 8, 16)),
        Kernel(name="fp64", chains=8, stored="float64", sums="float64", bits=64, first=(5, 0)),
        Kernel(name="fp32", chains=8, stored="float32", sums="float32", bits=32, first=(5, 0)),
        Kernel(name="fp16", chains=8, stored="int32", sums="int32", bits=16, first=(5, 3)),
    )
}
