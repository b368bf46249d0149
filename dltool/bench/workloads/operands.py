"""The matrices of a product: as the library takes them, and as the exact numbers that they stand for.

A is (m, k), B is (k, n). What is stored narrow or in blocks with a scale is made from random codes and random scales, so that
its value is known exactly and the reference needs no rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dltool import tables
from dltool.bench.devices import import_torch

GROUP = 32
"""Weights of 4 bits that share a scale."""
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The values of fp4 by their code; the fourth bit is the sign. Source: OCP Microscaling Formats v1.0."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """One operand."""

    stored: Any
    """As the library takes it."""
    exact: Any
    """The numbers that it stands for, in float32 or wider, without scales that are still to be applied."""
    scale: Any = None
    """As the library takes it; None where there is none."""
    spread: Any = None
    """The scale of each number, as a factor of `exact` that may be broadcast; None where there is none."""

    def wide(self, torch: Any, rows: Any = None) -> Any:
        """In float64, all of it or some rows."""
        chosen = self.exact if rows is None else self.exact[rows]
        values = chosen.to(torch.float32).to(torch.float64) if chosen.element_size() < 4 else chosen.to(torch.float64)
        if self.spread is None:
            return values
        factors = self.spread if rows is None or self.spread.shape[0] == 1 else self.spread[rows]
        return values * factors.to(torch.float64)

    def transposed(self) -> Matrix:
        """A matrix made as (n, k), seen as (k, n). The scale is laid out already."""
        spread = None if self.spread is None else self.spread.t()
        return Matrix(self.stored.t(), self.exact.t(), self.scale, spread)


class Maker:
    """Makes operands on a device.

    Args:
        torch: the module.
        device: as torch calls it.
        zeros: zeros in place of random numbers.
    """

    def __init__(self, torch: Any, device: str, *, zeros: bool = False) -> None:
        self.torch, self.device, self.zeros = torch, device, zeros
        self.generator = torch.Generator(device=device).manual_seed(0)

    def numbers(self, shape: tuple[int, int], dtype: str) -> Any:
        """Standard normal numbers, or all values of an integer type alike."""
        torch, kind = self.torch, getattr(self.torch, dtype)
        if self.zeros:
            return torch.zeros(shape, dtype=torch.float32, device=self.device).to(kind)
        if not kind.is_floating_point:
            info = torch.iinfo(kind)
            return self.integers(info.min, info.max + 1, shape, kind)
        wide = torch.float64 if dtype == "float64" else torch.float32
        return torch.randn(shape, dtype=wide, device=self.device, generator=self.generator).to(kind)

    def integers(self, least: int, end: int, shape: tuple[int, ...], kind: Any) -> Any:
        """From `least` to below `end`, each alike."""
        return self.torch.randint(least, end, shape, dtype=kind, device=self.device, generator=self.generator)

    def plain(self, rows: int, k: int, dtype: str, *, transposed: bool) -> Matrix:
        """(rows, k) without scales; `transposed` lies along the rows in memory."""
        stored = self.numbers((k, rows), dtype).t() if transposed else self.numbers((rows, k), dtype)
        return Matrix(stored, stored)

    def scaled(self, rows: int, k: int, dtype: str, scaling: str, *, transposed: bool) -> Matrix:
        """(rows, k) with a scale for all of it, for each row, or for each block, "1x128".

        Every layout of the scales is that of cuBLAS: https://docs.nvidia.com/cuda/cublas, block scaling.
        """
        packed = dtype == "float4_e2m1fn_x2"
        values = self._fp4(rows, k) if packed else self.plain(rows, k, dtype, transposed=transposed)
        high, wide = _block(scaling, rows, k)
        factors = self._factors(rows // high, k // wide, scaling, fp4=packed)
        laid_out = _LAID_OUT.get(scaling, lambda scales: scales)(factors)
        spread = factors.to(self.torch.float32)
        if high < rows:
            spread = spread.repeat_interleave(high, 0)
        if wide < k:
            spread = spread.repeat_interleave(wide, 1)
        return Matrix(values.stored, values.exact, laid_out, spread)

    def pruned(self, rows: int, k: int, dtype: str) -> Matrix:
        """(rows, k) with two of each four numbers of a row zero, at random."""
        torch = self.torch
        dense = self.numbers((rows, k), dtype)
        keep = torch.rand((rows, k // 4, 4), device=self.device, generator=self.generator).argsort(-1) < 2
        wide = dense.to(torch.float32) * keep.reshape(rows, k)
        stored = wide.to(dense.dtype)
        return Matrix(stored, stored)

    def _factors(self, high: int, wide: int, scaling: str, *, fp4: bool) -> Any:
        """Scales between a half and two; of microscaling formats in their own narrow type."""
        torch = self.torch
        if scaling in ("1x32", "1x16"):
            kind = torch.float8_e8m0fnu if scaling == "1x32" else torch.float8_e4m3fn
            return torch.exp2(self.integers(-1, 2, (high, wide), torch.int32).to(torch.float32)).to(kind)
        return 0.5 + 1.5 * torch.rand((high, wide), device=self.device, generator=self.generator)

    def _fp4(self, rows: int, k: int) -> Matrix:
        """Two codes to a byte, the first in the low half."""
        torch = self.torch
        codes = self.integers(0, 1 if self.zeros else 16, (rows, k), torch.uint8)
        values = torch.tensor([*_E2M1, *(-value for value in _E2M1)], device=self.device)[codes.long()]
        packed = codes[:, 0::2] | (codes[:, 1::2] << 4)
        return Matrix(packed.view(torch.float4_e2m1fn_x2), values)


def ways(row: tables.Row) -> tuple[str, str]:
    """How A and B of a number format are scaled: "tensor", "row", "1x128" ..."""
    a, b = row["scaling"].split()
    return a, b


def _block(scaling: str, rows: int, k: int) -> tuple[int, int]:
    if scaling in ("tensor", "row"):
        return (rows, k) if scaling == "tensor" else (1, k)
    high, _, wide = scaling.partition("x")
    return int(high), int(wide)


def _along_rows(factors: Any) -> Any:
    """Scales of 1x128: neighbours in memory belong to neighbouring rows."""
    return factors.t().contiguous().t()


def _padded(factors: Any) -> Any:
    """Scales of 128x128: along k, of which there are a multiple of four; seen transposed."""
    torch = import_torch()
    return torch.nn.functional.pad(factors, (0, -factors.shape[1] % 4)).t()


def _swizzled(factors: Any) -> Any:
    """Scales of microscaling formats: tiles of 128 rows x 4; in a tile row r stands at place 16 (r mod 32) + 4 (r div 32)."""
    torch = import_torch()
    high, wide = factors.shape
    codes = torch.nn.functional.pad(factors.view(torch.uint8), (0, -wide % 4, 0, -high % 128))
    high, wide = codes.shape
    tiles = codes.view(high // 128, 4, 32, wide // 4, 4).permute(0, 3, 2, 1, 4)
    return tiles.flatten().view(factors.dtype)


_LAID_OUT = {"1x128": _along_rows, "128x128": _padded, "1x32": _swizzled, "1x16": _swizzled}
