"""Statistics of timings."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool.bench import stats

TIMES = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=300)


def test_interval_of_known_ranks():
    # n = 10: P(X <= 1) = 11/1024 = 1.1 %, P(X <= 2) = 5.5 %: ranks 2 and 9 (Le Boudec, table A.1).
    assert stats.median_ci95([float(value) for value in range(1, 11)]) == (2.0, 9.0)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_samples_have_no_interval(count):
    assert stats.median_ci95([1.0] * count) is None


@pytest.mark.parametrize("count", [6, 20, 199, 200, 201, 1000])
def test_interval_covers_the_median_about_95_percent_of_the_time(count):
    generator = random.Random(count)
    hits = 0
    for _ in range(400):
        low, high = stats.median_ci95([generator.random() for _ in range(count)])
        hits += low <= 0.5 <= high
    assert 0.92 <= hits / 400 <= 1.0


@given(TIMES)
def test_interval_holds_the_sample_median(samples):
    interval = stats.median_ci95(samples)
    if interval is not None:
        assert interval[0] <= statistics.median(samples) <= interval[1]


@given(TIMES)
def test_warnings_are_text_whatever_the_samples(samples):
    assert all(isinstance(warning, str) for warning in stats.warnings(samples))


def test_calm_samples_raise_no_warning():
    assert stats.warnings([1.0, 1.001, 0.999, 1.0, 1.0005] * 10) == []


@pytest.mark.parametrize(
    ("samples", "word"),
    [
        pytest.param([1.0, 1.0, 1.0], "only 3 samples", id="few"),
        pytest.param([1.0, 1.5, 0.8, 1.3, 0.7, 1.6] * 4, "noisy", id="noisy"),
        pytest.param([1.0] * 20 + [1.1] * 20, "drifting", id="drift"),
        pytest.param([1.0, 1.01, 0.99] * 10 + [5.0] * 3, "outliers", id="outliers"),
    ],
)
def test_doubtful_samples_are_called_so(samples, word):
    assert any(word in warning for warning in stats.warnings(samples))


def test_no_samples_no_warning():
    assert stats.warnings([]) == []
