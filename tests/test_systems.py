"""Boxes and superchips: everything is so many times its board."""

from __future__ import annotations

import pytest

from dltool import catalog, peaks, sheets, systems, tables
from dltool.catalog import Board, Member
from dltool.render import FORMATS, Style
from dltool.results import Report

ROWS = tables.rows("systems")
NAMES = [row["name"] for row in ROWS]
BUILT = [row["name"] for row in ROWS if row["gpus"] and row["board"] in catalog.board_names()]


def text(*boards: Board, **style: object) -> str:
    return FORMATS.get("text")(Report(boards=boards), Style(**style))


def test_rows_are_well_formed() -> None:
    assert len(NAMES) == len(set(NAMES)) > 50
    assert not set(NAMES) & set(catalog.board_names())
    assert [row["name"] for row in ROWS if row["board"] and row["board"] not in catalog.board_names()] == []
    assert all(systems.is_system(name) for name in NAMES)


@pytest.mark.parametrize("name", ["H100 SXM5 80GB", "dgx h100", "DGX", "", "H100"])
def test_what_is_no_system(name: str) -> None:
    assert not systems.is_system(name)


def test_an_unknown_system_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        systems.system("DGX H9000")


def test_a_dgx_h100() -> None:
    dgx = systems.system("DGX H100")
    assert dgx.members == (Member(board="H100 SXM5 80GB", count=8),)
    assert (dgx.memory_gb, dgx.memory_gb_per_s, dgx.tdp_w) == (640, 26800, 10200)
    assert dgx.peaks["bf16_tensor"].dense == pytest.approx(8 * 989.4, rel=1e-3)
    assert dgx.peaks["bf16_tensor"].sparse == pytest.approx(16 * 989.4, rel=1e-3)
    assert dgx.peaks["bf16_tensor"].formula.startswith("8 GPUs x (132 SMs")
    assert dgx.facts["CPU memory"] == "2048 GB"
    assert dgx.facts["links"].startswith("NVLink 4")


@pytest.mark.parametrize("name", BUILT)
def test_totals_are_count_times_member(name: str) -> None:
    system = systems.system(name)
    (member,) = system.members
    one = peaks.with_peaks(catalog.board(member.board))
    assert system.peaks.keys() == one.peaks.keys()
    for key, peak in system.peaks.items():
        own = one.peaks[key]
        assert (peak.dense is None) == (own.dense is None)
        assert peak.dense is None or own.dense is None or peak.dense == pytest.approx(member.count * own.dense)
        assert (peak.unit, peak.clock_mhz, peak.basis) == (own.unit, own.clock_mhz, own.basis)
        assert (peak.published, peak.difference) == (None, "")
    assert system.memory_gb_per_s == (one.memory_gb_per_s * member.count if one.memory_gb_per_s else None)
    assert (system.architecture, system.memory_type) == (one.architecture, one.memory_type)


def test_memory_is_that_of_the_members() -> None:
    """Where the maker's total is another, the note says why."""
    for name in BUILT:
        system = systems.system(name)
        (member,) = system.members
        each = catalog.board(member.board).memory_gb
        if system.memory_gb and each and not system.note:
            assert system.memory_gb == pytest.approx(member.count * each, rel=0.05), name


def test_a_clock_is_for_all_members() -> None:
    half = systems.system("DGX H100", clock_mhz=990).peaks["fp32"]
    full = systems.system("DGX H100").peaks["fp32"]
    assert half.dense is not None
    assert full.dense == pytest.approx(2 * half.dense)


def test_a_system_of_boards_that_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    table = tables.table("systems")
    facts = {"Box": {"kind": "system", "board": "Z100", "gpus": "8", "gpu_memory_gb": "640"}, "Blank": {"kind": "system"}}
    lines = [",".join({"name": name, **known}.get(column, "") for column in table.columns) for name, known in facts.items()]
    monkeypatch.setattr(table, "lines", [*table.lines, *lines])
    box = systems.system("Box")
    assert (box.members, box.memory_gb) == ((Member(board="Z100", count=8),), 640)
    assert (box.architecture, box.memory_gb_per_s, box.peaks) == (None, None, {})
    blank = systems.system("Blank")
    assert (blank.members, blank.memory_gb, blank.tdp_w, blank.launch, blank.facts) == ((), None, None, None, {})
    assert text(box).startswith("Box\n")
    assert text(blank).startswith("Blank\n")


@pytest.mark.parametrize("width", [40, 80, 140])
def test_every_system_is_shown(width: int) -> None:
    for name in NAMES:
        (system,) = sheets.of(name)
        assert system.name == name
        shown = text(system, width=width, explain=True)
        assert shown.startswith(name[: width - 1].split()[0])
        assert max(map(len, shown.splitlines())) <= max(width, 60), name
        for fact in system.facts:
            assert fact in shown
        if system.members:
            assert "built from" in shown


def test_systems_and_boards_side_by_side() -> None:
    shown = text(*sheets.of("DGX H100"), *sheets.of("H100 SXM"), *sheets.of("DGX B200"), width=140)
    assert "0.12x" in shown or "0.13x" in shown
    assert Report(boards=sheets.of("DGX H100")).to_json()


def test_a_system_has_no_blank_line_among_its_facts() -> None:
    facts = text(*sheets.of("DGX H100"), width=80).partition("  peak ")[0].rstrip()
    assert "\n\n" not in facts
