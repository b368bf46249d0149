"""How a matrix product falls into tiles, and the tiles into waves over the multiprocessors of a GPU.

Assumed: each multiprocessor works on one tile at a time, and k is not split among several.
Source: NVIDIA, Matrix Multiplication Background User's Guide, "Tile quantization" and "Wave quantization".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from msgspec import Struct

from dltool import tables

_IN_NAME = re.compile(r"(?:_|tilesize)(\d{2,3})x(\d{2,3})(?=[x_]|$)")
_SMALLEST = 64
"""The side of the smallest tile: no more than this of a larger one may lie outside of the matrix."""
_LARGE = 128
_SPLITS = re.compile(r"(?i)split_?k|stream_?k")


class Tiling(Struct, frozen=True, kw_only=True):
    """A product cut into tiles of `tile`."""

    tile: tuple[int, int]
    tiles: int
    waves: int
    """Rounds until every tile is done."""
    padding: float
    """Of the arithmetic of all tiles, what falls inside of the matrix."""
    filling: float
    """Of the multiprocessors' time in all waves, what has a tile to work on."""

    @property
    def efficiency(self) -> float:
        """The most that is left of the peak."""
        return self.padding * self.filling


def tiling(m: int, n: int, tile: tuple[int, int], sms: int) -> Tiling:
    """Cut an (m, n) result into tiles and hand them out to `sms` multiprocessors, one each, wave by wave."""
    tiles = math.ceil(m / tile[0]) * math.ceil(n / tile[1])
    waves = math.ceil(tiles / sms)
    return Tiling(
        tile=tile,
        tiles=tiles,
        waves=waves,
        padding=m * n / (tiles * tile[0] * tile[1]),
        filling=tiles / (waves * sms),
    )


def best(m: int, n: int, sms: int, choices: Sequence[tuple[int, int]]) -> Tiling:
    """The tiling that wastes least, of the largest tiles among equals."""
    return max((tiling(m, n, tile, sms) for tile in choices), key=lambda found: (found.efficiency, math.prod(found.tile)))


def of_kernel(name: str | None) -> tuple[int, int] | None:
    """The tile that the name of a GEMM kernel tells: "ampere_bf16_s16816gemm_bf16_128x256_ldg8_..." -> (128, 256)."""
    found = _IN_NAME.search(name or "")
    return (int(found[1]), int(found[2])) if found else None


def splits_k(name: str | None) -> bool:
    """Whether a kernel shares one tile among several multiprocessors, so that waves tell nothing."""
    return _SPLITS.search(name or "") is not None


def usual(m: int, n: int, *, large: bool) -> tuple[tuple[int, int], ...]:
    """The tiles that libraries have and that an (m, n) result does not fall short of; the large ones reach the peak."""
    rows = (row for row in tables.rows("gemm_tiles") if row["kind"] == "cuda")
    sizes = ((int(row["m"]), int(row["n"])) for row in rows)
    tiles = (tile for tile in sizes if min(tile) >= _LARGE or not large)
    return tuple(tile for tile in tiles if tile[0] < m + _SMALLEST and tile[1] < n + _SMALLEST)
