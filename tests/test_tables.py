"""What becomes of a table that somebody edited by hand and broke: file, line and column are named, and the rest serves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool import catalog, compat, names, peaks, sheets, systems, tables
from dltool.errors import CannotRun, UsageError

ROOT = Path(__file__).parent.parent
MODULES = (tables, catalog, names, peaks, compat, systems, sheets)
BOARD = "name,sms,boost_mhz,note\n"


def forget() -> None:
    """Empty every cache above the tables."""
    vars(tables)["_problems"].clear()
    for module in MODULES:
        for function in list(vars(module).values()):
            if hasattr(function, "cache_clear"):
                function.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty catalogue that is read in place of ours."""
    (tmp_path / "catalog").mkdir()
    monkeypatch.setattr(tables, "directory", lambda: tmp_path / "catalog")
    forget()
    yield tmp_path / "catalog"
    forget()


@pytest.fixture
def copied(folder: Path) -> Path:
    """A copy of our catalogue, to be broken."""
    shutil.copytree(ROOT / "catalog", folder, dirs_exist_ok=True)
    return folder


def read(folder: Path, content: str | bytes, name: str = "gpus") -> tuple[list[str], tuple[str, ...]]:
    """The names of the rows that serve, and what was said of the others."""
    (folder / f"{name}.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    forget()
    return [row["name"] for row in tables.rows(name)], tables.problems()


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before
    path.write_text(after, encoding="utf-8")
    forget()


# --- one table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        pytest.param("B,1,2", "3 cells where the header has 4", id="too few cells"),
        pytest.param("B,1,2,,", "5 cells where the header has 4", id="too many cells"),
        pytest.param("B, with a comma,1,2,", "5 cells where the header has 4", id="comma without quotes"),
        pytest.param("B,many,2,", "column sms: `many` is not a whole number", id="word"),
        pytest.param("B,1.5,2,", "column sms: `1.5` is not a whole number", id="fraction"),
        pytest.param("B,-1,2,", "column sms: `-1` is not a whole number", id="negative whole number"),
        pytest.param("B,1,-2.5,", "column boost_mhz: `-2.5` is not a number", id="negative"),
        pytest.param("B,1,nan,", "column boost_mhz: `nan` is not a number", id="nan"),
        pytest.param("B,1,inf,", "column boost_mhz: `inf` is not a number", id="infinity"),
        pytest.param("B,1,1e999,", "column boost_mhz: `1e999` is not a number", id="too large"),
        pytest.param("B,1,1410 MHz,", "column boost_mhz: `1410 MHz` is not a number", id="with its unit"),
        pytest.param(f"B,{'9' * 5000},2,", "column sms", id="endless number"),
        pytest.param('B,1,2,"never closed', "unexpected end of data", id="open quote"),
        pytest.param('"B"x,1,2,', "expected after", id="text behind a quote"),
        pytest.param(f'B,1,2,"{"x" * 200_000}"', "larger than field limit", id="endless cell"),
        pytest.param("B\x01\x02\x03\x7f", "cells where the header has 4", id="binary"),
    ],
)
def test_a_malformed_row_is_named_and_left_out(folder: Path, row: str, problem: str) -> None:
    served, problems = read(folder, f"{BOARD}A,1,2,\n{row}\nC,3,4,\n")
    assert served == ["A", "C"]
    (told,) = problems
    assert told.startswith("catalog/gpus.csv line 3, ")
    assert problem in told
    assert told.endswith("; the row is left out")


def test_a_problem_is_told_once(folder: Path) -> None:
    (folder / "gpus.csv").write_text(f"{BOARD}A,many,2,\n")
    tables.rows("gpus")
    assert tables.table("gpus").row(0) is None
    assert len(tables.problems()) == 1


def test_every_malformed_row_is_told(folder: Path) -> None:
    served, problems = read(folder, f'{BOARD}A\n"B,1,2,\nC,1,2,\nD,x,2,\n')
    assert served == ["C"]
    assert [problem.partition(",")[0] for problem in problems] == [f"catalog/gpus.csv line {line}" for line in (2, 3, 5)]


def test_empty_cells_are_unknown_not_malformed(folder: Path) -> None:
    assert read(folder, f"{BOARD}A,,,\n") == (["A"], ())
    assert (tables.number(""), tables.integer("")) == (None, None)
    assert (tables.number("1.5"), tables.integer("3")) == (1.5, 3)


@pytest.mark.parametrize("content", ["", "\n", BOARD], ids=["nothing", "a blank line", "a header alone"])
def test_a_table_without_rows(folder: Path, content: str) -> None:
    assert read(folder, content) == ([], ())
    assert tables.table("gpus").first_cells() == []


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""], ids=["lf", "crlf", "none"])
def test_the_ends_of_lines(folder: Path, ending: str) -> None:
    assert read(folder, f"{BOARD}A,1,2,{ending}") == (["A"], ())


def test_a_missing_table_is_said_in_one_line(folder: Path) -> None:
    with pytest.raises(CannotRun, match=r"cannot read the table .*nothing\.csv") as caught:
        tables.rows("nothing")
    assert caught.value.remedy == "Install dltool anew."


def test_bytes_that_are_no_text_are_said_in_one_line(folder: Path) -> None:
    (folder / "gpus.csv").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00")
    with pytest.raises(CannotRun, match=r"cannot read the table .*gpus\.csv") as caught:
        tables.rows("gpus")
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_first_column(folder: Path) -> None:
    assert read(folder, b"\xef\xbb\xbf" + f"{BOARD}A,1,2,\n".encode()) == (["A"], ())


@pytest.mark.parametrize("sign", ["\u2028", "\x85", "\x0b", "\x1c"], ids=ascii)
def test_only_an_end_of_line_ends_a_line(folder: Path, sign: str) -> None:
    assert read(folder, f"{BOARD}A,1,2,one{sign}two\n") == (["A"], ())


def test_first_cells_are_those_of_the_rows(folder: Path) -> None:
    (folder / "gpus.csv").write_text(f'{BOARD}A,1,2,\n"B, of ""b""",1,2,\nC\n"D\n')
    assert tables.table("gpus").first_cells() == ["A", 'B, of "b"', "C", "D"]


def test_first_cells_have_the_numbers_of_their_rows(folder: Path) -> None:
    (folder / "gpus.csv").write_text(f"{BOARD}\nA,1,2,\n")
    assert (tables.table("gpus").row(tables.table("gpus").first_cells().index("A")) or {})["name"] == "A"


CELLS = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029'), max_size=8)


@given(st.lists(st.tuples(CELLS, st.sampled_from(["", "7", "x", "-1"]), st.text(max_size=6)), max_size=6))
def test_every_line_is_a_row_or_a_problem(lines: list[tuple[str, str, str]]) -> None:
    """Whatever is written: as many rows and problems as lines, and a row alone is as in the whole."""
    table = tables.Table.__new__(tables.Table)
    table.name = "x"
    table.columns = ["name", "sms", "note"]
    table.lines = [",".join(cells).replace("\n", " ").replace("\r", " ") for cells in lines]
    vars(table)["_checked"] = [(1, "sms")]
    vars(table)["_versions"] = []
    before = set(tables.problems())
    served = table.rows()
    alone = [table.row(number) for number in range(len(lines))]
    told = set(tables.problems()) - before
    for problem in told:
        vars(tables)["_problems"].pop(problem)
    assert served == tuple(row for row in alone if row is not None)
    assert len(served) + len(told) == len(lines)


# --- the catalogue with a broken table --------------------------------------------------------------------------------


def test_a_broken_board_costs_that_board(copied: Path) -> None:
    edit(copied / "gpus/hopper.csv", lambda text: text.replace("H100 NVL,GH100", "H100 NVL,GH100,one too many", 1))
    assert "H100 NVL" not in catalog.boards()
    assert names.find("H200 SXM").memory_gb == 141
    with pytest.raises(
        UsageError, match=r"the row of H100 NVL is malformed: catalog/gpus/hopper\.csv line \d+, 29 cells"
    ) as caught:
        catalog.board("H100 NVL")
    assert caught.value.remedy == "Mend catalog/gpus/hopper.csv."


def test_a_broken_row_of_names_costs_that_name(copied: Path) -> None:
    edit(copied / "names.csv", lambda text: text + 'my card,"GeForce RTX 4090\nyour card,GeForce RTX 4090,,alias,,test\n')
    assert names.find("your card").name == "GeForce RTX 4090"
    assert names.identify(name="NVIDIA A10", device_id=None, memory_bytes=None) is not None
    assert any("catalog/names.csv line" in problem for problem in tables.problems())


@pytest.mark.parametrize("table", ["names", "published", "systems", "rate_classes", "architectures", "formats", "cpu_rates"])
def test_a_table_with_a_header_alone_costs_its_facts_only(copied: Path, table: str) -> None:
    edit(copied / f"{table}.csv", lambda text: text.partition("\n")[0] + "\n")
    assert sheets.of("GeForce RTX 4090")[0].memory_gb == 24
    assert len(catalog.boards()) > 300


def test_a_name_that_stands_twice_is_told(copied: Path) -> None:
    edit(copied / "gpus/hopper.csv", lambda text: text + text.splitlines()[1] + "\n")
    catalog.boards()
    assert any("hopper.csv line" in problem for problem in tables.problems())


@pytest.mark.parametrize("column", ["fp32", "bf16_tensor", "sparsity"])
def test_a_word_among_the_rates_costs_that_architecture(copied: Path, column: str) -> None:
    header = (copied / "architectures.csv").read_text().partition("\n")[0].split(",")

    def spoil(text: str) -> str:
        first = text.splitlines()[1].split(",")
        first[header.index(column)] = "many"
        return text.replace(text.splitlines()[1], ",".join(first))

    edit(copied / "architectures.csv", spoil)
    assert catalog.architecture_of("9.0") is not None
    assert any(f"column {column}: `many`" in problem for problem in tables.problems())


def test_an_empty_cell_that_must_not_be_costs_that_row(copied: Path) -> None:
    edit(copied / "architectures.csv", lambda text: text.replace("GF100 GF110,2010,32,", "GF100 GF110,2010,,", 1))
    assert catalog.architecture_of("9.0") is not None


def test_a_broken_system_is_said_in_one_line(copied: Path) -> None:
    edit(copied / "systems.csv", lambda text: text.replace("DGX H100,system,", "DGX H100,system,one too many,", 1))
    with pytest.raises(UsageError, match=r"systems\.csv line"):
        sheets.of("DGX H100")


def test_a_name_of_a_board_that_is_none_is_said_in_one_line(copied: Path) -> None:
    edit(copied / "names.csv", lambda text: text + "my card,GeForce RTX 9999,,alias,,test\n")
    with pytest.raises(UsageError):
        sheets.of("my card")


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def dltool(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`dltool gpu-info` of a copy of the package, with a catalogue of its own."""
    shutil.copytree(ROOT / "dltool", tmp_path / "dltool", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "catalog", tmp_path / "catalog")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "COLUMNS": "80"}
        command = [sys.executable, "-m", "dltool", "gpu-info", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment, timeout=120)

    return run


def test_gpu_info_warns_of_a_broken_row_and_goes_on(dltool, tmp_path: Path) -> None:
    table = tmp_path / "catalog/gpus/hopper.csv"
    table.write_text(
        table.read_text().replace("H100 NVL,GH100,9.0,datacenter,full,132", "H100 NVL,GH100,9.0,datacenter,full,many")
    )
    for arguments in (["--list"], ["H100 SXM"], ["--arch", "hopper", "--json"]):
        run = dltool(*arguments)
        assert run.returncode == 0, run.stderr
        assert "H100 SXM5 80GB" in run.stdout
        (warning,) = run.stderr.splitlines()
        assert warning.startswith("warning: catalog/gpus/hopper.csv line ")
        assert "column sms: `many` is not a whole number; the row is left out" in warning
    assert dltool("--list", "--quiet").stderr == ""
    named = dltool("H100 NVL")
    assert named.returncode == 2
    assert named.stderr.startswith("error: the row of H100 NVL is malformed: catalog/gpus/hopper.csv line ")


def test_gpu_info_without_a_table_says_so(dltool, tmp_path: Path) -> None:
    (tmp_path / "catalog/architectures.csv").unlink()
    run = dltool("--archs")
    assert run.returncode == 3
    assert run.stderr.startswith("error: cannot read the table ")
    assert "architectures.csv" in run.stderr
    assert "Traceback" not in run.stderr
