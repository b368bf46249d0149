"""The search for the best shape on a real GPU."""

from __future__ import annotations

import pytest

from dltool import probe
from dltool.bench import devices
from dltool.bench.search import hunt, trier
from dltool.bench.search.space import Shape

pytestmark = pytest.mark.gpu


def test_the_winner_is_no_slower_than_large_cubes():
    device = devices.find("cuda:0", probe.read())
    found = hunt.hunt(device, "bf16", hunt.Options(budget_s=30.0, bandwidth=trier.bandwidth(device, 1.0)))
    assert found.measurement is not None
    assert found.measurement.verified is not None
    assert found.measurement.verified.ok
    best = found.search.finalists[0]
    timer = trier.DeviceTrier(device, "bf16")
    for side in (4096, 8192):
        cube = Shape(side, side, side)
        seconds = sorted(timer(cube, "coarse", 11).seconds)
        assert best.rate >= 0.98 * cube.ops / seconds[5]
