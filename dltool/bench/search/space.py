"""Which shapes there are to try, and which of them cannot be the best. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from dltool import tables

_FITTING = 4
"""So many shapes must fit into memory at once: the finalists are timed in turn."""


class Shape(NamedTuple):
    """C (m, n) = A (m, k) @ B (k, n)."""

    m: int
    n: int
    k: int

    @property
    def ops(self) -> int:
        """A multiply and an add count as two."""
        return 2 * self.m * self.n * self.k

    def __str__(self) -> str:
        return f"{self.m}x{self.n}x{self.k}"


class Tile(NamedTuple):
    """The block of C that one multiprocessor (or core) computes at a time, and the block of k it takes."""

    m: int
    n: int
    k: int


def tiles(kind: str) -> tuple[Tile, ...]:
    """The tiles that libraries use on this kind of device, the most efficient first."""
    return tuple(Tile(int(row["m"]), int(row["n"]), int(row["k"])) for row in tables.rows("gemm_tiles") if row["kind"] == kind)


@dataclass(frozen=True, kw_only=True)
class Space:
    """The shapes that may be tried and what is known of the device before anything is."""

    lowest: int
    highest: int
    tiles: tuple[Tile, ...]
    bytes_of: Callable[[Shape], int]
    """The bytes of A, B and C together."""
    sms: int = 0
    """Multiprocessors among which tiles are dealt in waves; 0 where there are no waves (a CPU)."""
    free_bytes: int = 2**62
    cache_bytes: int = 0
    """What fits here is not bound by memory once it is warm."""
    bandwidth: float | None = None
    """Bytes per second of memory; None where it is not known, and nothing is left out for it."""

    @cached_property
    def unit(self) -> Tile:
        """The granularity of each side: the smallest tile's."""
        return Tile(*(min(tile[side] for tile in self.tiles) for side in range(3)))

    def allows(self, shape: Shape) -> bool:
        """Whether all sides are within the limits."""
        return all(self.lowest <= side <= self.highest for side in shape)

    def fits(self, shape: Shape) -> bool:
        """Whether all finalists of this size would fit into memory together."""
        return self.bytes_of(shape) * _FITTING <= self.free_bytes

    def bound(self, shape: Shape) -> float:
        """Operations per second that memory lets this shape reach at most (roofline); infinite where caches hold it."""
        size = self.bytes_of(shape)
        if self.bandwidth is None or size <= self.cache_bytes:
            return math.inf
        return shape.ops / size * self.bandwidth

    def wave_share(self, shape: Shape) -> float:
        """How full the waves of tiles are, with the tile that suits best: 1.0 means that no multiprocessor ever waits."""
        if not self.sms:
            return 1.0
        return max(_fullness(shape, tile, self.sms) for tile in self.tiles)

    @cached_property
    def sides(self) -> tuple[int, ...]:
        """A logarithmic grid: 1, 1.5, 2, 3, 4 ... times a power of two, in whole units, and the ends of what is allowed."""
        unit = max(self.unit)
        found = {math.ceil(self.lowest / unit) * unit, self.highest // unit * unit}
        side = unit
        while side <= self.highest:
            found |= {rounded for rounded in (side, side * 3 // 2) if rounded % unit == 0}
            side *= 2
        return tuple(sorted(side for side in found if self.lowest <= side <= self.highest))

    def candidates(self) -> tuple[Shape, ...]:
        """The grid and, on a GPU, shapes of whole waves; a wide net first, then what lies between."""
        waves = list(self._whole_waves())
        grid = list(_coarse_to_fine(self.sides))
        mixed: dict[Shape, None] = {}
        for place in range(max(len(waves), len(grid))):
            mixed.update(dict.fromkeys((*grid[place : place + 1], *waves[place : place + 1])))
        return tuple(shape for shape in mixed if self.allows(shape))

    def _whole_waves(self) -> Iterator[Shape]:
        """For each m of the grid, the n that fills one, two, four ... waves with the two most efficient tiles."""
        depths = self.sides[-1:-9:-2]
        for waves in (4, 2, 1, 8, 3, 6):
            for tile in self.tiles[:2] if self.sms else ():
                for m in self.sides:
                    n = (waves * self.sms // math.ceil(m / tile.m)) * tile.n
                    yield from (Shape(m, n, k) for k in depths if self.lowest <= n <= self.highest)

    def neighbours(self, shape: Shape, step: float) -> list[Shape]:
        """One side longer or shorter by the factor `step`, at least by a unit; on a GPU also to the ends of whole waves."""
        found: dict[Shape, None] = {}
        for side, unit in enumerate(self.unit):
            for factor in (step, 1 / step):
                found[shape._replace(**{"mnk"[side]: _moved(shape[side], factor, unit)})] = None
        for tile in self.tiles[:2] if self.sms else ():
            found.update(dict.fromkeys(_filled(shape, tile, self.sms)))
        found.pop(shape, None)
        return [near for near in found if self.allows(near) and self.fits(near)]


def _fullness(shape: Shape, tile: Tile, sms: int) -> float:
    """Useful share of what the waves could do: edges of tiles and the last wave are lost."""
    count = math.ceil(shape.m / tile.m) * math.ceil(shape.n / tile.n)
    return (shape.m * shape.n) / (math.ceil(count / sms) * sms * tile.m * tile.n)


def _moved(side: int, factor: float, unit: int) -> int:
    """The nearest multiple of the unit to side x factor, other than the side itself."""
    moved = round(side * factor / unit) * unit
    if moved == side or (moved > side) != (factor > 1):
        moved = (side // unit + 1) * unit if factor > 1 else (math.ceil(side / unit) - 1) * unit
    return moved


def _filled(shape: Shape, tile: Tile, sms: int) -> Iterator[Shape]:
    """This shape with n, or m, such that its last wave is full, or that the broken wave is dropped."""
    rows, columns = math.ceil(shape.m / tile.m), math.ceil(shape.n / tile.n)
    waves = math.ceil(rows * columns / sms)
    for wanted in {waves - 1, waves, waves + 1} - {0}:
        if wanted * sms >= rows:
            yield shape._replace(n=wanted * sms // rows * tile.n)
        if wanted * sms >= columns:
            yield shape._replace(m=wanted * sms // columns * tile.m)


def _coarse_to_fine(sides: Sequence[int]) -> Iterator[Shape]:
    """The grid in an order of which every beginning covers all of it: each fourth side, each second, every one.

    Within a level the order goes crosswise through the grid, so that a budget that ends in its middle has seen all corners.
    """
    count, seen = len(sides), set()
    for stride in (4, 2, 1):
        places = sorted({*range(count - 1, -1, -stride)}, reverse=True)
        level = [(a, b, c) for a in places for b in places for c in places]
        leap = _coprime_leap(len(level))
        for number in range(len(level)):
            place = level[number * leap % len(level)]
            if place not in seen:
                seen.add(place)
                yield Shape(*(sides[at] for at in place))


def _coprime_leap(count: int) -> int:
    """A step of about 0.618 of `count` that meets every number below it once: successive ones lie far apart."""
    leap = max(1, round(0.618 * count))
    while math.gcd(leap, count) != 1:
        leap += 1
    return leap
