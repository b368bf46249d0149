"""How the registers of a warp hold the matrices of `mma.sync`: the reference for what tensor cores make of them.

A is (16, k), B is (k, 8), C is (16, 8). A register holds `e` numbers that are neighbours along k; lane l is of group l // 4,
and stands at place l % 4 in it. PTX ISA, "Matrix fragments for mma.m16n8k64" and the like: the formats differ in `e` alone.
"""

from __future__ import annotations

from typing import Any


def unpack(torch: Any, registers: Any, bits: int, *, signed: bool) -> Any:
    """The numbers in 32-bit registers, lowest bits first, along a new last dimension; whole registers as they are."""
    if registers.is_floating_point():
        return registers.to(torch.float64)[..., None]
    shifts = torch.arange(0, 32, bits, device=registers.device)
    codes = (registers[..., None].to(torch.int64) >> shifts) & (2**bits - 1)
    return (codes - ((codes >> (bits - 1)) << bits) if signed else codes).to(torch.float64)


def matrix_a(numbers: Any) -> Any:
    """(..., registers, 32 lanes, e) -> (..., 16, k): register i is of the upper or lower eight rows in turn."""
    lead, (registers, _, e) = numbers.shape[:-3], numbers.shape[-3:]
    parts = numbers.reshape(*lead, registers // 2, 2, 8, 4, e)  # along k in steps of 4 e, half, group, place, number
    count = len(lead)
    order = [*range(count), *(count + axis for axis in (1, 2, 0, 3, 4))]
    return parts.permute(order).reshape(*lead, 16, registers // 2 * 4 * e)


def matrix_b(numbers: Any) -> Any:
    """(..., registers, 32 lanes, e) -> (..., k, 8): the group is the column."""
    lead, (registers, _, e) = numbers.shape[:-3], numbers.shape[-3:]
    parts = numbers.reshape(*lead, registers, 8, 4, e)
    count = len(lead)
    order = [*range(count), *(count + axis for axis in (0, 2, 3, 1))]
    return parts.permute(order).reshape(*lead, registers * 4 * e, 8)


def matrix_c(sums: Any) -> Any:
    """(..., 4 registers, 32 lanes) -> (..., 16, 8): two for the upper rows, two for the lower; each lane has two columns."""
    lead = sums.shape[:-2]
    parts = sums.reshape(*lead, 2, 2, 8, 4)  # half, which of two columns, group, place
    count = len(lead)
    order = [*range(count), *(count + axis for axis in (0, 2, 3, 1))]
    return parts.permute(order).reshape(*lead, 16, 8)
