"""Percentiles that know how uncertain they are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool.bench.percentiles import percentile


@pytest.mark.parametrize(("percent", "least"), [(50, 6), (90, 36), (95, 72), (99, 368)])
def test_too_few_samples_have_none(percent, least):
    assert percentile(range(least - 1), percent) is None
    assert percentile(range(least), percent) is not None


def test_p99_of_ten_is_none():
    assert percentile([1.0] * 10, 99) is None


def test_nearest_rank():
    assert percentile(range(1, 101), 50).value == 50
    assert percentile(range(1, 1001), 99).value == 990


@pytest.mark.parametrize("percent", [50, 90, 99])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_interval_covers_as_stated(percent, confidence):
    generator = random.Random(percent)
    hits = 0
    for _ in range(500):
        found = percentile([generator.random() for _ in range(600)], percent, confidence=confidence)
        hits += found.low <= percent / 100 <= found.high
    assert hits / 500 >= confidence - 3 * (confidence * (1 - confidence) / 500) ** 0.5


@given(st.lists(st.floats(0, 1e3), max_size=500), st.floats(1, 99))
def test_value_lies_in_its_interval(samples, percent):
    found = percentile(samples, percent)
    if found is not None:
        assert found.low <= found.value <= found.high
        assert found.value in samples


@pytest.mark.parametrize("percent", [0, 100, -1])
def test_no_percentile_at_the_ends(percent):
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile([1.0] * 1000, percent)
