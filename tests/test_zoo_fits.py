"""The largest batch: pure search, and the answer for a board."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_zoo_flops import own
from test_zoo_memory import Mlp, mlp
from torch import nn

from dltool import catalog
from dltool.errors import UsageError
from dltool.zoo import fits, memory

GIB = 2**30


@given(base=st.integers(0, 10**9), slope=st.integers(1, 10**7), room=st.integers(0, 10**10))
def test_on_a_straight_line_it_is_exact(base: int, slope: int, room: int) -> None:
    line = fits.largest(lambda batch: base + slope * batch, room)
    wanted = min(max(0, (room - base) // slope), 2**20)
    assert line.batch == wanted
    assert line.peak == base + slope * max(1, wanted)
    assert (line.base, line.per_sample) == (base, slope)


@given(
    floor=st.integers(0, 10**9), base=st.integers(0, 10**9), slope=st.integers(1, 10**7), room=st.integers(0, 10**10),
)  # fmt: skip
def test_where_the_line_bends_nothing_too_large_is_said(floor: int, base: int, slope: int, room: int) -> None:
    def peak(batch: int) -> int:
        return max(floor + batch, base + slope * batch)

    line = fits.largest(peak, room)
    assert line.batch == 0 or peak(line.batch) <= room
    assert line.batch >= 0


def test_what_does_not_grow_fits_once_or_not() -> None:
    assert fits.largest(lambda _: 5, 5).batch == 1
    assert not fits.largest(lambda _: 5, 5).grows
    assert fits.largest(lambda _: 5, 4).batch == 0


def test_the_line_is_taken_at_its_word_where_trying_costs() -> None:
    asked: list[int] = []

    def peak(batch: int) -> int:
        asked.append(batch)
        return 10 * batch

    assert fits.largest(peak, 995, second=4, proofs=0).batch == 99
    assert asked == [2, 4]


def test_a_board() -> None:
    tokens = own(Mlp, (64, 256))
    found = fits.of(tokens, catalog.board("GeForce RTX 3060"))
    assert found.memory == pytest.approx(0.965 * 12 * GIB, rel=1e-6)
    assert 0.5 * GIB < found.reserved < 1.5 * GIB
    by_name = {(fit.purpose, fit.dtype): fit for fit in found.fits}
    assert set(by_name) == {
        ("training", "fp32"),
        ("training", "mixed"),
        ("training", "bf16"),
        ("inference", "fp32"),
        ("inference", "bf16"),
    }
    train = by_name["training", "fp32"]
    room = found.memory - found.reserved
    assert train.peak is not None
    assert train.peak <= room
    assert memory.training(tokens, train.batch + train.batch // 100 + 1).peak > room
    assert by_name["training", "bf16"].batch > by_name["training", "mixed"].batch > train.batch
    assert by_name["inference", "bf16"].batch > by_name["inference", "fp32"].batch > train.batch
    assert any("CUDA context" in text for text in found.assumed)


def test_memory_with_ecc_in_it_shows_less() -> None:
    assert fits.of(own(Mlp, (256,)), catalog.board("L4"), training=False).memory == pytest.approx(0.925 * 24 * GIB)
    assert fits.of(own(Mlp, (256,)), catalog.board("H100 SXM5 80GB"), training=False).memory == pytest.approx(0.965 * 80 * GIB)


def test_a_model_that_is_too_large_says_so() -> None:
    large = own(lambda: nn.Linear(60_000, 60_000), (60_000,))
    found = fits.of(large, catalog.board("GeForce RTX 3060"))
    assert [fit.batch for fit in found.fits if fit.dtype == "fp32"] == [0, 0]
    assert all((fit.peak or 0) > found.memory - found.reserved for fit in found.fits if fit.batch == 0)
    assert any(fit.batch for fit in found.fits if fit.dtype == "bf16" and fit.purpose == "inference")


def test_a_board_of_unknown_memory_is_refused() -> None:
    with pytest.raises(UsageError, match="memory of X is not known"):
        fits.of(mlp(), catalog.Board(name="X"))
