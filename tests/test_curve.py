"""Throughput over the batch: knee, shape and advice, with and without noise; the curve as text."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool.bench.networks.curve import NEAR, curve, sweep_batches
from dltool.render.terminal.curve import lines, markdown
from dltool.step_results import BatchCurve, BatchPoint

MIB = 2**20
SHAPES = {"saturated", "climbing", "falling", "flat", "point"}


def point(batch: int, rate: float, noise: float = 0.0, **more: object) -> BatchPoint:
    return BatchPoint(batch=batch, rate=rate, low=rate * (1 - noise), high=rate * (1 + noise), **more)  # type: ignore[arg-type]


def saturating(batches: tuple[int, ...], half: float, noise: float = 0.0, seed: int = 0) -> list[BatchPoint]:
    """1000 units per second at most, half of it at batch `half`: a fixed cost for each step and one for each sample."""
    chance = random.Random(seed)
    return [
        point(
            batch,
            1000 * batch / (batch + half) * (1 + chance.uniform(-noise, noise)),
            noise,
            latency_s=(batch + half) / 1000,
            peak_bytes=(100 + 10 * batch) * MIB,
        )
        for batch in batches
    ]


@given(st.integers(1, 2**20), st.integers(1, 64))
def test_what_to_measure(largest: int, smallest: int) -> None:
    found = sweep_batches(largest, smallest=smallest)
    assert list(found) == sorted(set(found))
    assert (found[-1:] == (largest,)) == (largest >= smallest)
    assert all(second <= 2 * first for first, second in pairwise(found))
    assert all(batch % smallest == 0 for batch in found[:-1])
    assert len(found) <= math.log2(largest) + 2


@given(
    st.lists(
        st.tuples(st.integers(1, 2**20), st.floats(1e-3, 1e9), st.floats(0, 0.5)),
        min_size=1,
        max_size=20,
        unique_by=lambda t: t[0],
    ),
    st.sampled_from(["memory", "time", "error", "most", ""]),
)
def test_of_any_points(given_points: list[tuple[int, float, float]], limited_by: str) -> None:
    points = [point(batch, rate, noise) for batch, rate, noise in given_points]
    found = curve(points, limited_by=limited_by)
    by_batch = {one.batch: one for one in points}
    best, knee = by_batch[found.best], by_batch[found.knee]
    assert [one.batch for one in found.points] == sorted(by_batch)
    assert best.low == max(one.low for one in points)
    assert knee.rate >= NEAR * best.low
    assert all(one.rate < NEAR * best.low for one in points if one.batch < found.knee)
    assert found.knee <= found.best
    assert found.shape in SHAPES
    assert found.shape != "climbing" or found.knee == max(by_batch)
    assert found.advice.endswith(".")
    assert curve(points[::-1], limited_by=limited_by) == found
    assert len(lines(found, 80)) >= 1 + len(points)


@given(half=st.floats(0.01, 500), noise=st.floats(0, 0.01), seed=st.integers(0, 1000))
def test_the_knee_of_a_saturating_curve_survives_noise(half: float, noise: float, seed: int) -> None:
    """95 % of the best is reached at about 19 times the half-way batch, or at the end where that is beyond it."""
    batches = sweep_batches(4096)
    found = curve(saturating(batches, half, noise, seed))
    top = 4096 / (4096 + half)
    at_knee = found.knee / (found.knee + half)
    assert at_knee >= 0.9 * top
    smaller = found.knee / 2
    assert found.knee == 1 or smaller / (smaller + half) <= 0.99 * top


def test_no_points_is_no_curve() -> None:
    with pytest.raises(ValueError, match="needs a point"):
        curve([])


def test_a_lucky_outlier_wins_nothing() -> None:
    steady = [point(8, 90, 0.01), point(16, 100, 0.01), point(64, 101, 0.01)]
    lucky = BatchPoint(batch=32, rate=150, low=60, high=190)
    assert curve([*steady, lucky]).best == 64
    assert curve([*steady, lucky]).knee == 16


SATURATED = curve(saturating(sweep_batches(256), 3), unit="image", limited_by="memory")
FALLING = curve([point(8, 80), point(16, 95), point(32, 100), point(64, 90), point(128, 82)], device="cpu")
CLIMBING = curve([point(8, 80), point(16, 150), point(24, 200)], limited_by="memory")


@pytest.mark.parametrize(
    ("found", "shape", "advice"),
    [
        pytest.param(SATURATED, "saturated",
                     "Batch 64 gives 97 % of the best rate at 28 % of the memory and 0.26 times the latency of batch 256; "
                     "beyond 64 little is gained.", id="saturated"),
        pytest.param(CLIMBING, "climbing",
                     "Throughput still climbs at batch 24, 33 % above batch 16, the largest that fits. Memory is the limit: "
                     "AMP, bf16 or activation checkpointing would let the batch grow.", id="climbing"),
        pytest.param(curve([point(8, 80), point(16, 150)], limited_by="memory", training=False), "climbing",
                     "Throughput still climbs at batch 16, 88 % above batch 8, the largest that fits. Memory is the limit: "
                     "bf16 or fp16 would let the batch grow.", id="climbing, inference"),
        pytest.param(curve([point(8, 80), point(16, 150)], limited_by="time"), "climbing",
                     "Throughput still climbs at batch 16, 88 % above batch 8, and a step of a larger one takes too long to "
                     "try.",
                     id="climbing, slow"),
        pytest.param(curve([point(8, 80), point(16, 150)]), "climbing",
                     "Throughput still climbs at batch 16, 88 % above batch 8, the largest that was measured: try larger ones.",
                     id="climbing, asked for no more"),
        pytest.param(FALLING, "falling",
                     "Batch 16 gives 95 % of the best rate. Throughput falls beyond 32, by 18 % at 128. Its tensors no longer "
                     "stay in the caches, most likely.", id="falling"),
        pytest.param(curve([point(1, 100, 0.02, peak_bytes=50), point(2, 101, 0.02, peak_bytes=90)], training=False), "flat",
                     "Batch 1 does as well as any: a larger one only adds to latency and memory. Take it for inference.",
                     id="flat"),
        pytest.param(curve([point(4, 100)]), "point",
                     "Only batch 4 was measured: more batches show where throughput stops to grow.", id="point"),
    ],
)  # fmt: skip
def test_the_advice(found: BatchCurve, shape: str, advice: str) -> None:
    assert found.shape == shape
    assert found.advice == advice


def test_a_fall_within_the_noise_is_none() -> None:
    assert curve([point(8, 70, 0.1), point(16, 100, 0.1), point(32, 93, 0.1)]).shape == "saturated"


def test_as_text() -> None:
    assert lines(FALLING, 60) == [
        "batch  sample/s    95 %",
        "    8        80  ±0.0 %  ████████████████▊",
        "   16        95  ±0.0 %  ████████████████████ <- knee",
        "   32       100  ±0.0 %  █████████████████████ <- best",
        "   64        90  ±0.0 %  ██████████████████▉",
        "  128        82  ±0.0 %  █████████████████▎",
        "Batch 16 gives 95 % of the best rate. Throughput falls",
        "beyond 32, by 18 % at 128. Its tensors no longer stay in the",
        "caches, most likely.",
    ]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_page(width: int) -> None:
    assert max(map(len, lines(SATURATED, width))) <= width
    assert sum("knee" in line for line in lines(SATURATED, width)) == 1


def test_as_markdown() -> None:
    text = markdown(CLIMBING)
    assert text.splitlines()[0] == "| batch | sample/s | 95 % | step | memory |  |"
    assert "| 24 | 200 | ±0.0 % |  |  | knee, best |" in text
    assert text.endswith(CLIMBING.advice)
