"""Which boards a list shows, and in which order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool import catalog, peaks, selection
from dltool.catalog import PEAK_KEYS, Board, Peak
from dltool.errors import UsageError

SMALL = Board(name="b small", architecture="Turing", compute_capability="7.5", segment="geforce", memory_gb=8, launch="2018-09",
              memory_gb_per_s=448, tdp_w=215, sms=46, boost_mhz=1710, peaks={"fp32": Peak(dense=10.0)})  # fmt: skip
LARGE = Board(name="A large", architecture="Ada Lovelace", compute_capability="8.9", segment="datacenter", memory_gb=48,
              launch="2022-10", memory_gb_per_s=864, tdp_w=300, sms=142, boost_mhz=2490,
              peaks={"fp32": Peak(dense=90.0), "bf16": Peak(dense=90.0), "bf16_tensor": Peak(dense=181.0)})  # fmt: skip
OLD = Board(name="c old", architecture="Fermi", compute_capability="2.0", segment="datacenter", launch="2010-05", memory_gb=3,
            shader_mhz=1150, peaks={"fp32": Peak(dense=1.0)})  # fmt: skip
NEW = Board(name="D new", architecture="Blackwell", compute_capability="12.0", segment="geforce", memory_gb=24,
            launch="2025-01", peaks={"fp32": Peak(dense=None), "bf16_tensor": Peak(dense=None)})  # fmt: skip
VAGUE = Board(name="e vague")
ALL = (SMALL, LARGE, OLD, NEW, VAGUE)


def selected(**traits: Any) -> list[str]:
    return [board.name for board in selection.select(ALL, **traits)]


def in_order(column: str) -> list[str]:
    return [board.name for board in selection.ordered(ALL, column)]


@pytest.mark.parametrize(
    ("traits", "names"),
    [
        ({}, ["b small", "A large", "c old", "D new", "e vague"]),
        ({"architecture": "Ada Lovelace"}, ["A large"]),
        ({"architecture": "ada"}, ["A large"]),
        ({"architecture": "FERMI"}, ["c old"]),
        ({"segment": "geforce"}, ["b small", "D new"]),
        ({"segment": "Data"}, ["A large", "c old"]),
        ({"min_memory_gb": 0}, ["b small", "A large", "c old", "D new"]),
        ({"min_memory_gb": 24}, ["A large", "D new"]),
        ({"min_memory_gb": 24.1}, ["A large"]),
        ({"min_memory_gb": 1e9}, []),
        ({"keys": ("bf16", "bf16_tensor")}, ["A large", "D new"]),
        ({"keys": ("bf16",)}, ["A large"]),
        ({"keys": ("fp4_tensor",)}, []),
        ({"since": "2018-09"}, ["b small", "A large", "D new"]),
        ({"since": "2018-10"}, ["A large", "D new"]),
        ({"since": "2025"}, ["D new"]),
        ({"since": "1999"}, ["b small", "A large", "c old", "D new"]),
        ({"segment": "geforce", "since": "2020", "min_memory_gb": 16}, ["D new"]),
        ({"segment": "geforce", "architecture": "Fermi"}, None),
    ],
    ids=str,
)  # fmt: skip
def test_traits(traits: dict[str, Any], names: list[str] | None) -> None:
    if names is None:
        with pytest.raises(UsageError):
            selected(**traits)
    else:
        assert selected(**traits) == names


def test_the_whole_name_goes_before_its_beginning() -> None:
    boards = [board for board in catalog.boards().values() if (board.architecture or "").startswith("Blackwell")]
    assert {board.architecture for board in boards} == {"Blackwell", "Blackwell Ultra"}
    assert {board.architecture for board in selection.select(boards, architecture="blackwell")} == {"Blackwell"}
    assert len(selection.select(boards, architecture="black")) == len(boards)


@pytest.mark.parametrize(
    ("traits", "error", "remedy"),
    [
        ({"architecture": "Hoper"}, "unknown architecture `Hoper`", "Known: Ada Lovelace, Blackwell, Fermi, Turing"),
        ({"architecture": "Turin g"}, "unknown architecture", "Did you mean `Turing`?"),
        ({"segment": "gamer"}, "unknown segment `gamer`", "Known: datacenter, geforce"),
        ({"since": "May"}, "`May` is no month", "2020-05"),
        ({"since": "2020-13"}, "`2020-13` is no month", "2020-05"),
        ({"since": "2020-5"}, "`2020-5` is no month", "2020-05"),
        ({"since": "20"}, "`20` is no month", "2020-05"),
        ({"since": "2020-05-01"}, "is no month", "2020-05"),
        ({"since": ""}, "is no month", "2020-05"),
    ],
    ids=str,
)
def test_unknown_traits_are_refused(traits: dict[str, Any], error: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=error) as caught:
        selected(**traits)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("name", ["A large", "b small", "c old", "D new", "e vague"]),
        ("launch", ["D new", "A large", "b small", "c old", "e vague"]),
        ("capability", ["D new", "A large", "b small", "c old", "e vague"]),
        ("memory", ["A large", "D new", "b small", "c old", "e vague"]),
        ("bandwidth", ["A large", "b small", "c old", "D new", "e vague"]),
        ("tdp", ["A large", "b small", "c old", "D new", "e vague"]),
        ("sms", ["A large", "b small", "c old", "D new", "e vague"]),
        ("clock", ["A large", "b small", "c old", "D new", "e vague"]),
        ("fp32", ["A large", "b small", "c old", "D new", "e vague"]),
        ("FP32", ["A large", "b small", "c old", "D new", "e vague"]),
        ("bf16", ["A large", "D new", "b small", "c old", "e vague"]),
        ("bf16_tensor", ["A large", "D new", "b small", "c old", "e vague"]),
    ],
)
def test_the_greatest_first_and_the_unknown_last(column: str, names: list[str]) -> None:
    assert in_order(column) == names


def test_boards_of_one_figure_keep_their_order() -> None:
    assert in_order("nvlink") == [board.name for board in ALL]


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown column `memry`") as caught:
        selection.ordered(ALL, "memry")
    assert "`memory`" in caught.value.remedy


def test_an_unknown_column_that_is_like_none_is_refused_with_a_way_on() -> None:
    with pytest.raises(UsageError) as caught:
        selection.ordered(ALL, "zzz")
    assert "memory" in caught.value.remedy


@pytest.mark.parametrize(
    ("dtype", "keys"),
    [
        ("bf16", ("bf16", "bf16_tensor")),
        ("FP16", ("fp16", "fp16_tensor", "fp16_tensor_acc32")),
        ("fp16_tensor", ("fp16_tensor",)),
        ("fp32", ("fp32",)),
        ("tf32", ("tf32_tensor",)),
        ("int8", ("int8", "int8_tensor")),
    ],
)
def test_formats_stand_for_their_peaks(dtype: str, keys: tuple[str, ...]) -> None:
    assert selection.peak_keys(dtype) == keys


@pytest.mark.parametrize("dtype", ["bf61", "", "tensor", "fp", "fp16_"])
def test_formats_that_are_none(dtype: str) -> None:
    with pytest.raises(UsageError, match="unknown dtype"):
        selection.peak_keys(dtype)


# --- the whole catalogue ----------------------------------------------------------------------------------------------


CATALOGUE = tuple(map(peaks.with_peaks, catalog.boards().values()))
COLUMNS = (
    "name",
    "launch",
    "capability",
    "memory",
    "bandwidth",
    "l2",
    "nvlink",
    "tdp",
    "sms",
    "cores",
    "clock",
    "bf16",
    *PEAK_KEYS,
)
ARCHITECTURES = sorted({board.architecture or "" for board in CATALOGUE})
TRAITS = st.fixed_dictionaries(
    {},
    optional={
        "architecture": st.sampled_from(ARCHITECTURES),
        "segment": st.sampled_from(["geforce", "datacenter", "workstation"]),
        "min_memory_gb": st.floats(0, 300),
        "keys": st.lists(st.sampled_from(PEAK_KEYS), max_size=3),
        "since": st.integers(2009, 2027).map(str),
    },
)


@given(TRAITS)
def test_a_selection_is_a_part_in_the_same_order(traits: dict[str, Any]) -> None:
    try:
        chosen = selection.select(CATALOGUE, **traits)
    except UsageError:  # no board of both architecture and segment
        assert {"architecture", "segment"} <= traits.keys()
        return
    names = {board.name for board in chosen}
    assert [board.name for board in chosen] == [board.name for board in CATALOGUE if board.name in names]
    assert selection.select(chosen or CATALOGUE, **traits) == chosen
    for board in chosen:
        assert board.architecture == traits.get("architecture", board.architecture)
        assert (board.memory_gb or 0) >= traits.get("min_memory_gb", 0)


@pytest.mark.parametrize("column", COLUMNS)
def test_an_order_keeps_every_board(column: str) -> None:
    ordered = selection.ordered(CATALOGUE, column)
    assert Counter(board.name for board in ordered) == Counter(board.name for board in CATALOGUE)


@given(st.lists(st.integers(0, len(CATALOGUE) - 1), unique=True, max_size=30), st.sampled_from(PEAK_KEYS))
def test_figures_fall_and_the_unknown_comes_last(places: list[int], key: str) -> None:
    ordered = selection.ordered([CATALOGUE[place] for place in places], key)
    figures = [greatest(board, selection.peak_keys(key)) for board in ordered]
    assert figures == sorted(figures, reverse=True)


def greatest(board: Board, keys: tuple[str, ...]) -> float:
    return max((board.peaks[key].dense or 0 for key in keys if key in board.peaks), default=-1)


@pytest.mark.parametrize("since", ["2018", "2018-06", "2024-12"])
def test_since_is_by_month_though_only_the_year_may_be_known(since: str) -> None:
    chosen = selection.select(CATALOGUE, since=since)
    assert all((board.launch or "")[:4] >= since[:4] for board in chosen)
