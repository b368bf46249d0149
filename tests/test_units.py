"""Quantities as text and text as quantities."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool import units
from dltool.errors import UsageError

SIZES = st.integers(min_value=0, max_value=2**60)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("0", 0),
        ("10b", 10),
        ("64MiB", 64 * 2**20),
        ("64mib", 64 * 2**20),
        ("1.5 GB", 1_500_000_000),
        ("1.5GiB", 3 * 2**29),
        ("2k", 2048),
        ("2 kB", 2000),
        ("8G", 8 * 2**30),
        (" 1T ", 2**40),
        ("1TB", 10**12),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_sizes_that_people_write(text: str, size: int) -> None:
    assert units.parse_bytes(text) == size


BAD_SIZES = [
    *("", "-1", "-1GB", "+1", "GB", "1..5", "1.", ".5", "1,5GB", "1e9", "nan", "inf", "0x10", "unknown"),
    *("1XB", "1 PB", "1GiBs", "1G B", "9" * 400, "9" * 5000),
]


@pytest.mark.parametrize("text", BAD_SIZES)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        units.parse_bytes(text)


@given(SIZES)
def test_a_plain_number_is_bytes(size: int) -> None:
    assert units.parse_bytes(str(size)) == size


@given(SIZES)
def test_what_gib_writes_can_be_read_back(size: int) -> None:
    """Within half of the last digit that is written."""
    step = 2**30 / 10 if size >= 2**30 else 2**20
    assert abs(units.parse_bytes(units.gib(size)) - size) <= step / 2 + 1


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert units.parse_bytes(text) >= 0


@pytest.mark.parametrize(
    ("text", "duration"),
    [("10", 10), ("60s", 60), ("60 sec", 60), ("500ms", 0.5), ("2min", 120), ("2m", 120), ("1.5h", 5400), (" 1s ", 1)],
)
def test_durations_that_people_write(text: str, duration: float) -> None:
    assert units.parse_seconds(text) == pytest.approx(duration)


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-1", "-1s", "s", "1 day", "1d", "1e3", "inf", "nan", "60S", "1:30", "9" * 400]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        units.parse_seconds(text)


@given(st.text(max_size=20))
def test_any_text_is_a_positive_duration_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert 0 < units.parse_seconds(text) < float("inf")


@given(st.floats(min_value=1e-9, max_value=1e6))
def test_what_seconds_writes_can_be_read_back(duration: float) -> None:
    number, unit = units.seconds(duration).split()
    factor = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]
    assert float(number) * factor == pytest.approx(duration, rel=5.1e-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (989.43, "989"),
        (0.0123, "0.0123"),
        (1234567, "1230000"),
        (1e-10, "0.0000000001"),
        (1.234e-8, "0.0000000123"),
        (-3.14159, "-3.14"),
        (80.0, "80"),
    ],
)
def test_significant_figures(value: float, text: str) -> None:
    assert units.significant(value) == text


@given(st.floats(min_value=1e-15, max_value=1e15) | st.floats(min_value=-1e15, max_value=-1e-15))
def test_significant_figures_have_no_exponent_and_keep_the_value(value: float) -> None:
    text = units.significant(value)
    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=5.1e-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9.894e14, "989 TFLOP/s"),
        (1.979e15, "1979 TFLOP/s"),
        (1.58e12, "1.58 TFLOP/s"),
        (5e9, "5 GFLOP/s"),
        (1500.0, "1.5 kFLOP/s"),
        (1.0, "1 FLOP/s"),
        (0.25, "0.25 FLOP/s"),
        (0.0, "0 FLOP/s"),
        (None, "unknown"),
    ],
)
def test_rates(value: float | None, text: str) -> None:
    assert units.rate(value, "FLOP/s") == text


def test_sizes_and_times_and_shares() -> None:
    assert units.gib(80 * 2**30) == "80.0 GiB"
    assert units.gib(64 * 2**20) == "64 MiB"
    assert [units.seconds(value) for value in (1.5, 1.234e-3, 2e-6, 5e-9)] == ["1.5 s", "1.23 ms", "2 µs", "5 ns"]
    assert [units.percent(share) for share in (0.8123, 1.0, 0.0123, 0.0)] == ["81 %", "100 %", "1.2 %", "0.0 %"]


def test_the_unknown_is_called_so() -> None:
    assert {units.gib(None), units.seconds(None), units.percent(None)} == {units.UNKNOWN}


@pytest.mark.parametrize(
    ("text", "mhz"),
    [
        ("1830", 1830),
        ("1830MHz", 1830),
        (" 1830 mhz ", 1830),
        ("1.83GHz", 1830),
        ("1.83 GHZ", 1830),
        ("0", 0),
        ("1410.5", 1410.5),
    ],
)
def test_clocks_that_people_write(text: str, mhz: float) -> None:
    assert units.parse_mhz(text) == pytest.approx(mhz)


@pytest.mark.parametrize(
    "text", ["", "-5", "+5", "MHz", "1.83.0", "1,83GHz", "1e3", "nan", "inf", "1830 Hz", "1830kHz", "9" * 400]
)
def test_what_is_no_clock_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a clock"):
        units.parse_mhz(text)


@pytest.mark.parametrize(
    ("text", "gb"),
    [("24", 24), ("24GB", 24), ("24 GiB", 24), ("24g", 24), ("24 gib", 24), ("512MB", 0.5), ("512 MiB", 0.5), ("0.5T", 500),
     ("1.5TB", 1500), (" 80 GB ", 80), ("0", 0)],
)  # fmt: skip
def test_memory_as_cards_are_sold(text: str, gb: float) -> None:
    assert units.parse_memory_gb(text) == pytest.approx(gb)


@pytest.mark.parametrize("text", ["", "-8", "lots", "GB", "1,5GB", "nan", "1e3", "24KB", "24 P", "24GBs", "24 G B", "9" * 400])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size of memory"):
        units.parse_memory_gb(text)


@pytest.mark.parametrize("parse", [units.parse_mhz, units.parse_memory_gb])
@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_refused(parse: Callable[[str], float], text: str) -> None:
    with contextlib.suppress(UsageError):
        assert 0 <= parse(text) < float("inf")
