"""A simulated device for searches: time follows from tiles and waves, with noise; its clock is what the trials cost."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from dltool.bench.search.space import Shape, Space, Tile, tiles
from dltool.shape_results import Trial

TILES = tiles("cuda")


@dataclass
class Simulated:
    """A GPU: each wave of tiles takes as long as one tile; a library that takes the best tile; memory is a roof."""

    sms: int = 132
    peak: float = 800e12
    bandwidth: float = 3.3e12
    launch_s: float = 4e-6
    noise: float = 0.01
    sweet: Shape | None = None
    """Where caches suit best: each doubling or halving of a side away from it costs 2 %, and more the further."""
    heat: float = 0.0
    """The share of its clock that it loses as it warms up, with a time constant of two seconds of work."""
    seed: int = 0
    error_above: int = 2**62
    """Shapes of more operations fail."""
    busy_s: float = 0.0
    count: int = 0
    shapes: set[Shape] = field(default_factory=set)

    def true_s(self, shape: Shape) -> float:
        """Seconds of a step without noise."""
        away = sum(math.log2(side / best) ** 2 for side, best in zip(shape, self.sweet or shape, strict=True))
        kernel = max(min(self._tile_s(shape, tile) for tile in TILES), self._memory_s(shape))
        return self.launch_s + kernel * (1 + 0.02 * away)

    def _tile_s(self, shape: Shape, tile: Tile) -> float:
        waves = math.ceil(math.ceil(shape.m / tile.m) * math.ceil(shape.n / tile.n) / self.sms)
        depth = math.ceil(shape.k / tile.k) * tile.k + 256  # filling and draining the pipeline
        reuse = {32768: 1.0, 16384: 0.94}.get(tile.m * tile.n, 0.7)
        return waves * 2 * tile.m * tile.n * depth / (self.peak / self.sms * reuse)

    def _memory_s(self, shape: Shape) -> float:
        return two_bytes(shape) / self.bandwidth

    def true_rate(self, shape: Shape) -> float:
        return shape.ops / self.true_s(shape)

    def trial(self, shape: Shape, stage: str, samples: int) -> Trial:
        self.count += 1
        self.shapes.add(shape)
        mnk = dict(zip("mnk", shape, strict=True))
        if shape.ops > self.error_above:
            return Trial(**mnk, stage=stage, cost_s=0.001, error="OutOfMemoryError: CUDA out of memory")
        chance = random.Random(hash((*shape, self.count, self.seed)))
        seconds = []
        for _ in range(samples):
            warm = 1 - self.heat * (1 - math.exp(-self.busy_s / 2))
            sample = self.true_s(shape) / warm * math.exp(abs(chance.gauss(0, self.noise)))
            steps = max(1, math.ceil(0.003 / sample))
            self.busy_s += steps * sample
            seconds.append(sample)
        return Trial(**mnk, stage=stage, seconds=tuple(seconds), cost_s=0.004 + sum(max(0.003, s) for s in seconds))

    def space(self, **changes: object) -> Space:
        known: dict = {"lowest": 512, "highest": 8192, "tiles": tiles("cuda"), "sms": self.sms, "bytes_of": two_bytes}
        return Space(**{**known, "bandwidth": self.bandwidth, **changes})


def two_bytes(shape: Shape) -> int:
    return 2 * (shape.m * shape.k + shape.k * shape.n + shape.m * shape.n)
