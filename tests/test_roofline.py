"""What memory lets a program reach: ridges, lines, and what cannot be drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool import catalog, peaks, roofline, systems
from dltool.catalog import Board, Peak
from dltool.errors import CannotRun
from dltool.roofline import Roof


def board(name: str, gb_per_s: float | None = 1000.0, **dense: float | None) -> Board:
    return Board(name=name, memory_gb_per_s=gb_per_s, peaks={key: Peak(dense=value) for key, value in dense.items()})


def lines(*boards: Board, keys: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(roof.board, roof.key) for roof in roofline.roofs(boards, keys)]


def known(name: str) -> Board:
    return peaks.with_peaks(catalog.board(name))


# --- one roof ---------------------------------------------------------------------------------------------------------


def test_the_ridge_is_where_memory_stops_being_the_limit() -> None:
    roof = Roof(board="x", key="fp32", peak=100e12, bandwidth=1e12)
    assert roof.ridge == 100
    assert [roof.at(intensity) for intensity in (0, 1, 50, 100, 1000)] == [0, 1e12, 50e12, 100e12, 100e12]


@given(st.floats(1e9, 1e17), st.floats(1e8, 1e14), st.floats(1e-3, 1e6))
def test_a_roof_rises_and_then_is_flat(peak: float, bandwidth: float, intensity: float) -> None:
    roof = Roof(board="x", key="fp32", peak=peak, bandwidth=bandwidth)
    assert roof.at(roof.ridge) == pytest.approx(peak)
    assert roof.at(intensity) <= min(peak, intensity * bandwidth) * (1 + 1e-12)
    assert roof.at(intensity) <= roof.at(2 * intensity) <= 2 * roof.at(intensity) * (1 + 1e-12)


def test_the_ridges_of_known_boards() -> None:
    h100 = {roof.key: roof for roof in roofline.roofs([known("H100 SXM5 80GB")])}
    assert h100["bf16_tensor"].ridge == pytest.approx(989.4e12 / 3350e9, rel=1e-3)
    assert h100["fp64"].ridge == pytest.approx(33.45e12 / 3350e9, rel=1e-3)


# --- which lines ------------------------------------------------------------------------------------------------------


def test_one_board_shows_all_kinds_of_training() -> None:
    assert lines(board("x", fp64=1, fp32=2, bf16_tensor=16, int8=99, fp8_tensor_acc32=32)) == [
        ("x", "fp64"),
        ("x", "fp32"),
        ("x", "bf16_tensor"),
        ("x", "fp8_tensor_acc32"),
    ]


def test_kinds_of_one_peak_are_one_line() -> None:
    assert lines(board("x", fp32=2, tf32_tensor=2, bf16_tensor=16, fp16_tensor_acc32=16)) == [
        ("x", "fp32"),
        ("x", "bf16_tensor"),
    ]
    assert lines(board("x", fp32=2), board("y", fp32=2)) == [("x", "fp32"), ("y", "fp32")]


@pytest.mark.parametrize(
    ("others", "key"),
    [
        ({"fp32": 1, "bf16_tensor": 9, "fp16_tensor_acc32": 9}, "bf16_tensor"),
        ({"fp32": 1, "fp16_tensor_acc32": 9}, "fp16_tensor_acc32"),
        ({"fp32": 1}, "fp32"),
        ({"fp32": 1, "fp64": 2}, "fp32"),
    ],
    ids=["ampere", "turing", "pascal", "kepler"],
)
def test_several_boards_share_the_kind_that_all_have(others: dict[str, float], key: str) -> None:
    modern = board("x", fp32=60, bf16_tensor=900, fp16_tensor_acc32=900)
    assert lines(modern, board("y", **others)) == [("x", key), ("y", key)]


def test_several_boards_of_the_catalogue() -> None:
    assert lines(known("GeForce RTX 4090"), known("A100 SXM4 80GB")) == [
        ("GeForce RTX 4090", "bf16_tensor"),
        ("A100 SXM4 80GB", "bf16_tensor"),
    ]
    assert {key for _, key in lines(known("GeForce RTX 4090"), known("Tesla K40"))} == {"fp32"}


def test_keys_in_place_of_the_choice() -> None:
    x = board("x", fp32=2, bf16=4, bf16_tensor=16)
    assert lines(x, keys=("bf16", "bf16_tensor")) == [("x", "bf16"), ("x", "bf16_tensor")]
    assert lines(x, board("y", fp32=2), keys=("bf16",)) == [("x", "bf16")]


def test_a_system_has_the_roof_of_its_members() -> None:
    (system,) = roofline.roofs([systems.system("DGX H100")], ("bf16_tensor",))
    (member,) = roofline.roofs([known("H100 SXM5 80GB")], ("bf16_tensor",))
    assert system.ridge == pytest.approx(member.ridge)
    assert system.peak == pytest.approx(8 * member.peak)


def test_a_board_that_lacks_a_figure_is_left_out() -> None:
    assert lines(board("x", fp32=2), board("y", None, fp32=2), board("z", fp32=None)) == [("x", "fp32")]


@pytest.mark.parametrize(
    ("boards", "keys"),
    [
        pytest.param([], (), id="no board"),
        pytest.param([board("x", None, fp32=1)], (), id="no bandwidth"),
        pytest.param([board("x", fp32=None)], (), id="no clock"),
        pytest.param([board("x")], (), id="no peaks"),
        pytest.param([board("x", int8=9)], (), id="nothing to train with"),
        pytest.param([board("x", fp32=1)], ("fp8_tensor",), id="none of the kind"),
        pytest.param([board("x", None, fp32=1), board("y", None, fp32=1)], (), id="several without bandwidth"),
    ],
)
def test_what_cannot_be_drawn_is_said(boards: list[Board], keys: tuple[str, ...]) -> None:
    with pytest.raises(CannotRun, match="no roofline") as caught:
        roofline.roofs(boards, keys)
    assert "dltool gpu-info" in caught.value.remedy


def test_a_cpu_is_to_be_measured() -> None:
    with pytest.raises(CannotRun, match="bandwidth of a host") as caught:
        roofline.roofs([Board(name="a CPU", segment="cpu", peaks={"fp32": Peak(dense=1.0)})])
    assert "dltool bench quick --plot" in caught.value.remedy


def test_every_board_with_figures_can_be_drawn() -> None:
    drawn = 0
    for name, row in catalog.boards().items():
        complete = peaks.with_peaks(row)
        if row.memory_gb_per_s and complete.peaks.get("fp32", Peak(dense=None)).dense:
            found = roofline.roofs([complete])
            assert all(roof.peak > 0 and roof.bandwidth > 0 for roof in found), name
            assert len({roof.peak for roof in found}) == len(found), name
            drawn += 1
    assert drawn > 500


# --- where to draw ----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(1e9, 1e16), min_size=1, max_size=5), st.floats(1e8, 1e14), st.integers(2, 300))
def test_all_bends_are_on_the_picture(heights: list[float], bandwidth: float, points: int) -> None:
    drawn = [Roof(board="x", key=str(number), peak=peak, bandwidth=bandwidth) for number, peak in enumerate(heights)]
    where = roofline.intensities(drawn, points=points)
    assert list(where) == sorted(set(where))
    assert {roof.ridge for roof in drawn} <= set(where)
    assert where[0] == pytest.approx(min(roof.ridge for roof in drawn) / 10)
    assert where[-1] == pytest.approx(max(roof.ridge for roof in drawn) * 10)
