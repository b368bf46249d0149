"""When a warm-up is over: planted drift, noise, clocks that fall and heat that rises."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool.bench.steady import LAST, Window, slope, unsteady


def windows(medians, mhz=None, celsius=None, every_s=0.3, spread=0.0):
    return [
        Window(
            samples=tuple(median * (1 + spread * offset) for offset in (-1, -0.5, 0, 0.5, 1)),
            ended_s=(number + 1) * every_s,
            mhz=mhz[number] if mhz else None,
            celsius=celsius[number] if celsius else None,
        )
        for number, median in enumerate(medians)
    ]


def test_nothing_moves():
    assert unsteady(windows([1.0] * LAST), 0.01) is None


def test_fewer_windows_prove_nothing():
    assert unsteady(windows([1.0] * (LAST - 1)), 0.01) == "too few windows of samples"


def test_what_was_before_the_last_windows_does_not_matter():
    assert unsteady(windows([5.0, 3.0, 2.0] + [1.0] * LAST), 0.01) is None


@pytest.mark.parametrize(
    ("per_window", "word"),
    [(1.003, "slower"), (0.997, "faster"), (1.02, "times differ"), (1.0015, None)],
)
def test_planted_drift(per_window, word):
    """Three in a row agree within 1 % while all of them creep by 0.3 %."""
    found = unsteady(windows([per_window**number for number in range(8)]), 0.01)
    assert word is None or word in found
    assert (found is None) == (word is None)


def test_noise_is_allowed_for():
    medians = [1.0, 1.02, 0.99, 1.01, 1.0]
    assert unsteady(windows(medians), 0.01) is not None
    assert unsteady(windows(medians, spread=0.1), 0.01) is None


def test_noise_that_settled_is_called_steady_most_of_the_time():
    """Gaussian noise of 2 % around a constant: within twenty windows nearly every run is proven steady."""
    generator = random.Random(1)
    steady = 0
    for _ in range(200):
        held = []
        for number in range(20):
            held.append(Window(samples=tuple(generator.gauss(1, 0.02) for _ in range(5)), ended_s=number * 0.1))
            if unsteady(held, 0.01) is None:
                steady += 1
                break
    assert steady > 180


def test_drift_under_noise_is_seen_most_of_the_time():
    """3 % a window under noise of 1 %: five windows that look steady are rare."""
    generator = random.Random(2)
    wrong = sum(
        unsteady(
            [
                Window(samples=tuple(generator.gauss(1.03**number, 0.01) for _ in range(5)), ended_s=number * 0.1)
                for number in range(LAST)
            ],
            0.01,
        )
        is None
        for _ in range(300)
    )
    assert wrong < 15


def test_a_clock_that_falls_is_not_steady():
    clocks = [1980, 1950, 1920, 1890, 1860]
    assert unsteady(windows([1.0] * 5, mhz=clocks), 0.01) == "the clock falls by 120 MHz over the last windows"
    assert unsteady(windows([1.0] * 5, mhz=[1980, 1965, 1980, 1950, 1980]), 0.01) is None


def test_heat_that_rises_is_not_steady():
    rising = unsteady(windows([1.0] * 6, celsius=[50, 51, 52, 53, 54, 55], every_s=0.4), 0.01)
    assert rising == "the temperature moves by +2.5 °C a second"
    assert unsteady(windows([1.0] * 6, celsius=[50, 51, 50, 51, 50, 50], every_s=0.4), 0.01) is None


def test_heat_over_too_short_a_time_is_not_judged():
    assert unsteady(windows([1.0] * 5, celsius=[50, 51, 52, 53, 54], every_s=0.01), 0.01) is None


@given(st.lists(st.floats(1e-6, 10), min_size=2, max_size=8), st.floats(-5, 5))
def test_slope_of_a_line_is_its_slope_whatever_one_outlier(values, rise):
    line = [rise * number for number in range(9)]
    assert slope(line) == pytest.approx(rise, abs=1e-9)
    line[4] = 1e6
    assert slope(line) == pytest.approx(rise, abs=max(0.5, abs(rise)))
    assert slope(values) == -slope(values[::-1])
