"""`dltool gpu-info` as its users run it: every option, what contradicts, and text that loses nothing at any width."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dltool import catalog, live, sheets
from dltool.catalog import PEAK_KEYS, Board, Peak
from dltool.cli.main import make_app
from dltool.machine import Gpu, Machine
from dltool.render import FORMATS, Style
from dltool.render.terminal.peaks import label
from dltool.results import Report

Command = Callable[..., Any]
ROOT = Path(__file__).parent.parent
FOUR = ("H100 SXM", "RTX 4090", "V100 SXM2 32GB", "GTX 580 3GB")


@pytest.fixture
def gpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command here, in 80 columns, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"XDG_DATA_HOME": str(tmp_path / "data"), "COLUMNS": "80", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    for name in ("FORCE_COLOR", "DLTOOL_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(make_app(["gpu-info"]), ["gpu-info", *arguments], catch_exceptions=False)

    return run


@pytest.fixture
def told(gpu_info: Command) -> Callable[..., str]:
    """What a run that succeeds prints, and it says nothing else."""

    def run(*arguments: str) -> str:
        result = gpu_info(*arguments)
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    return run


@pytest.fixture
def boards(told: Callable[..., str]) -> Callable[..., list[dict[str, Any]]]:
    return lambda *arguments: json.loads(told(*arguments, "--json"))["boards"]


def refused(result: Any, code: int = 2) -> str:
    """The error of a refused command: one line, then a hint, and nothing on stdout."""
    assert result.exit_code == code
    assert result.stdout == ""
    error, blank, hint = result.stderr.strip().split("\n", 2)
    assert error.startswith("error: ")
    assert blank == ""
    assert hint.startswith("hint: ")
    return f"{error} {hint}"


def text(*boards: Board, machine: Machine | None = None, **style: Any) -> str:
    return FORMATS.get("text")(Report(boards=boards, machine=machine), Style(**style))


def body(shown: str) -> dict[str, list[str]]:
    """The rows of a comparison by their titles, figures apart; of several tables the first row."""
    rows: dict[str, list[str]] = {}
    for line in shown.splitlines():
        title, *cells = re.split(r"  +", line.strip())
        rows.setdefault(title, cells)
    return rows


# --- one board --------------------------------------------------------------------------------------------------------


def test_a_board_in_full(told) -> None:
    shown = told("RTX 4090")
    assert shown.startswith("GeForce RTX 4090\n  Ada Lovelace AD102, compute capability 8.9, geforce, launched 2022-10\n")
    assert "24 GB GDDR6X, 384 bit, 1008 GB/s, L2 72 MiB" in shown
    assert "  software CUDA 11.8 and later, current drivers, PyTorch " in shown
    assert re.search(r"^  BF16 tensor +165\.2 +330\.3 +165\.2 +TFLOP/s$", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_name_that_is_another_boards_says_what_was_asked_for(told) -> None:
    assert "asked for as" not in told("rtx 4090")
    assert "asked for as Thor" in " ".join(told("Thor").split())


def test_explain_shows_how_each_peak_follows(told) -> None:
    shown = told("T4", "--explain")
    assert re.search(r"FP16 tensor acc32 +65\.13 +TFLOP/s +40 SMs x 1024 x 1590 MHz\n", shown)
    assert "source: " in shown
    assert "SMs x" not in told("T4")
    assert "source: " not in told("T4")


@pytest.mark.parametrize("clock", ["795", "795MHz", "795 mhz", "0.795GHz"])
def test_a_clock_is_that_of_every_peak(boards, clock: str) -> None:
    (board,) = boards("T4", "--clock", clock)
    assert board["peaks"]["fp32"]["dense"] == pytest.approx(8.1408 / 2)
    assert {peak["clock_mhz"] for peak in board["peaks"].values()} == {795}


@pytest.mark.parametrize(
    ("what", "head", "figure"), [("watt", "per W", 116.3), ("gb/s", "op per byte", 25.44), ("GB/S", "byte", 25.44)]
)
def test_peaks_for_what_they_cost(told, what: str, head: str, figure: float) -> None:
    shown = told("T4", "--per", what)
    assert head in shown
    assert re.search(rf"^  FP32 .* {figure} +TFLOP/s$", shown, re.MULTILINE)


def test_a_cost_that_is_not_known_is_a_question_mark() -> None:
    assert re.search(
        r"^  FP32 +1 +\? +TFLOP/s$", text(Board(name="x", peaks={"fp32": Peak(dense=1.0)}), per="watt"), re.MULTILINE
    )


def test_a_share_of_a_gpu_is_said_to_be_one(told) -> None:
    assert "note: a vGPU profile (2 GB, for desktops)" in told("GRID T4-2B")
    assert "note: 1 of 7 compute slices with 5 GB (MIG)" in told("NVIDIA A100-SXM4-40GB MIG 1g.5gb")


def test_a_system(told) -> None:
    shown = told("dgx-h100")
    assert shown.startswith("DGX H100\n  built from 8 x H100 SXM5 80GB\n")
    assert "  links NVLink 4" in shown
    assert re.search(r"^  BF16 tensor +7915 ", shown, re.MULTILINE)


def test_an_architecture_comes_with_its_boards(told, boards) -> None:
    assert "Hopper, compute capability 9.0\n  brought " in told("Hopper")
    assert {board["architecture"] for board in boards("Hopper")} == {"Hopper"}
    assert {board["chip"] for board in boards("GA102")} == {"GA102"}


# --- what never shipped -----------------------------------------------------------------------------------------------


def test_what_never_shipped_is_an_answer(told, boards) -> None:
    assert told("Tesla H40").startswith("Tesla H40: no product of this name ever shipped\n  ")
    (board,) = boards("Tesla H40")
    assert (board["name"], board["shipped"], board["peaks"]) == ("Tesla H40", False, {})
    assert board["note"]


def test_what_never_shipped_stands_before_what_was_meant(told, boards) -> None:
    shown = told("Tesla H40", "T4")
    assert shown.index("Tesla H40: no product") < shown.index("Tesla T4\n")
    assert [board["name"] for board in boards("Tesla A10")] == ["Tesla A10", "A10"]
    assert "sold without the Tesla brand" in told("Tesla A100")
    assert all(name in " ".join(told("Tesla A100").split()) for name in ("A100 PCIe 40GB", "A100 SXM4 80GB"))


# --- side by side -----------------------------------------------------------------------------------------------------


def test_ratios_are_to_the_first_and_the_best_is_marked(told) -> None:
    rows = body(told("H100 SXM", "RTX 4090"))
    assert rows["SMs"] == ["132*", "128", "0.97x"]
    assert rows["memory GB/s"] == ["3350*", "1008", "0.30x"]
    assert rows["L2 MiB"] == ["50", "72* 1.44x"]
    assert rows["TDP W"] == ["700", "450* 0.64x"]  # less is better
    assert rows["BF16 tensor"] == ["989.4*", "165.2", "0.17x"]
    assert rows["INT4 tensor"] == ["-", "1321"]
    assert rows["FP64 tensor"] == ["66.91", "-"]


def test_equals_have_no_best(told) -> None:
    rows = body(told("A100 SXM4 40GB", "A100 SXM4 80GB"))
    assert rows["BF16 tensor"] == ["311.9", "311.9", "1.00x"]
    assert rows["memory GB"] == ["40", "80* 2.00x"]


def test_a_board_named_twice_stands_once(told) -> None:
    assert told("T4", "Tesla T4", "tesla-t4") == told("T4")


def test_side_by_side_for_what_they_cost(told) -> None:
    shown = told("T4", "L4", "--per", "watt")
    assert body(shown)["FP32"] == ["116.3", "420.7* 3.62x"]
    assert "per watt of board power" in shown
    assert body(told("T4", "L4", "--per", "gb/s"))["FP32"][0] == "25.44"


def test_a_clock_that_all_share_is_named(told) -> None:
    assert "at 1000 MHz" in " ".join(told("T4", "L4", "--clock", "1000").split())
    assert "at boost clock" in " ".join(told("T4", "L4").split())


@pytest.mark.parametrize(
    "width",
    [
        pytest.param(40),
        60,
        80,
        140,
    ],
)
def test_no_board_and_no_row_is_lost_at_any_width(gpu_info, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = gpu_info(*FOUR).stdout
    full = [board for name in FOUR for board in sheets.of(name)]
    tables = shown.split("\nchip ")[1:]
    assert sum(len(re.findall(r"\S+", table.partition("\n")[0])) for table in tables) == len(full) + len(tables) - 1
    keys = [key for key in PEAK_KEYS if any(key in board.peaks for board in full)]
    for key in keys:
        assert re.search(rf"^{label(key)}  ", shown, re.MULTILINE), key
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize("width", [40, 80, 140])
def test_the_whole_name_of_every_board_is_there(gpu_info, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    words = " ".join(gpu_info(*FOUR).stdout.split())
    for name in ("H100", "SXM5", "RTX", "4090", "Tesla", "V100", "SXM2", "580", "3GB"):
        assert name in words


@pytest.mark.parametrize(
    ("width", "option"),
    [
        pytest.param(width, option if (width, option) == (40, ["--explain"]) else [], id=f"{width} {option}")
        for width in (40, 80, 140)
        for option in ([], ["--explain"], ["--per", "watt"])
    ],
)
def test_a_sheet_loses_no_peak_at_any_width(gpu_info, monkeypatch: pytest.MonkeyPatch, width: int, option: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    (board,) = sheets.of("H100 SXM")
    shown = gpu_info("H100 SXM", *option).stdout
    assert len(re.findall(r" (?:TFLOP/s|TOP/s)\b", shown)) >= len(board.peaks)
    assert "989.4" in shown
    assert "…" not in shown


def test_many_boards_are_listed_not_compared(told) -> None:
    lines = told("GA102").splitlines()
    assert lines[0].split() == ["name", "chip", "cc", "segment", "launch", "GB", "GB/s", "W", "FP32", "T"]
    assert len(lines) == 1 + len(json.loads(told("GA102", "--json"))["boards"])


# --- lists ------------------------------------------------------------------------------------------------------------


def test_the_list_has_every_board_once(told, boards) -> None:
    lines = told("--list").splitlines()
    names = list(catalog.board_names())
    assert [line.startswith(name) for line, name in zip(lines[1:], names, strict=True)] == [True] * len(names)
    assert [board["name"] for board in boards("--list")] == names


def test_a_list_is_never_cut_however_narrow(gpu_info, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = gpu_info("--list").stdout
    monkeypatch.setenv("COLUMNS", "40")
    assert gpu_info("--list").stdout == wide


@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        pytest.param(["--arch", "hopper"], lambda board: board["architecture"] == "Hopper", id="arch"),
        pytest.param(["--segment", "titan"], lambda board: board["segment"] == "titan", id="segment"),
        pytest.param(["--min-memory", "100GB"], lambda board: board["memory_gb"] >= 100, id="min-memory"),
        pytest.param(["--min-memory", "0.1T"], lambda board: board["memory_gb"] >= 100, id="min-memory in T"),
        pytest.param(["--since", "2024"], lambda board: board["launch"] >= "2024", id="since year"),
        pytest.param(["--since", "2024-06"], lambda board: board["launch"] >= "2024-06", id="since month"),
        pytest.param(["--dtype", "fp4"], lambda board: "fp4_tensor" in board["peaks"], id="dtype"),
        pytest.param(["--dtype", "FP8_tensor_acc32"], lambda board: "fp8_tensor_acc32" in board["peaks"], id="peak key"),
        pytest.param(
            ["--list", "--arch", "ampere", "--segment", "datacenter", "--min-memory", "40", "--dtype", "bf16"],
            lambda board: board["architecture"] == "Ampere" and board["segment"] == "datacenter" and board["memory_gb"] >= 40,
            id="all at once",
        ),
    ],
)  # fmt: skip
def test_filters(boards, arguments: list[str], holds: Callable[[dict[str, Any]], bool]) -> None:
    found = boards(*arguments)
    assert 0 < len(found) < len(catalog.board_names())
    assert all(map(holds, found))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("memory", lambda board: board["memory_gb"]),
        ("launch", lambda board: board["launch"]),
        ("tdp", lambda board: board["tdp_w"]),
        ("fp4", lambda board: board["peaks"].get("fp4_tensor", {}).get("dense")),
    ],
)
def test_sorted_lists(boards, column: str, value: Callable[[dict[str, Any]], Any]) -> None:
    found = [value(board) for board in boards("--sort", column)]
    known = [figure for figure in found if figure is not None]
    assert known == sorted(known, reverse=True)


def test_a_list_shows_the_peaks_that_were_asked_for(told) -> None:
    assert told("--arch", "hopper", "--dtype", "fp8").splitlines()[0].endswith("FP8 tensor T  FP8 tensor acc32 T")
    assert told("--arch", "hopper", "--sort", "bf16_tensor").splitlines()[0].endswith("  BF16 tensor T")
    assert told("--arch", "hopper", "--sort", "memory").splitlines()[0].endswith("  FP32 T")


# --- architectures ----------------------------------------------------------------------------------------------------


def test_all_architectures_and_formats(told) -> None:
    shown = told("--archs")
    for own in catalog.architectures():
        assert len(re.findall(rf"^{re.escape(own.compute_capability)} ", shown, re.MULTILINE)) >= 3
        assert all(chip in shown for chip in own.chips)
    for kind in catalog.number_formats():
        assert re.search(rf"^{re.escape(kind.name)} ", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("width", [40, 140])
def test_architectures_at_other_widths(gpu_info, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = gpu_info("--archs")
    assert result.exit_code == 0
    rates = [line for line in result.stdout.splitlines() if re.match(r"\d+\.\d [A-Z]", line)]
    assert len(rates) >= 2 * len(catalog.architectures())


def test_architectures_as_json(told) -> None:
    report = json.loads(told("--archs", "--json"))
    assert report["boards"] == []
    assert [own["compute_capability"] for own in report["architectures"]] == [
        own.compute_capability for own in catalog.architectures()
    ]
    hopper = next(own for own in report["architectures"] if own["name"] == "Hopper")
    assert hopper["ops"]["fp16_tensor"] == 4096
    assert {kind["name"] for kind in report["formats"]} >= {"fp64", "fp32", "bf16", "int8"}


def test_two_architectures_side_by_side(told) -> None:
    shown = told("Volta", "Hopper")
    assert "Operations per clock per SM, tensor cores, dense" in shown
    assert "9.0 Hopper" in shown
    assert "8.9 Ada" not in shown


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["T4"], ["T4", "L4"], ["Tesla H40"], ["DGX H100"], ["Hopper"], ["--archs"], ["--arch", "volta"],
     ["GRID T4-2B", "--clock", "1000"]],
    ids=" ".join,
)  # fmt: skip
def test_json_has_the_fields_of_the_published_schema(told, arguments: list[str]) -> None:
    definitions = json.loads((ROOT / "docs/report.schema.json").read_text())["$defs"]
    report = json.loads(told(*arguments, "--json"))
    assert report.keys() <= definitions["Report"]["properties"].keys()
    for kind, found in (
        ("Board", report["boards"]),
        ("Architecture", report["architectures"]),
        ("NumberFormat", report["formats"]),
    ):
        for row in found:
            assert row.keys() == definitions[kind]["properties"].keys()
    for board in report["boards"]:
        assert board["peaks"].keys() <= set(PEAK_KEYS)
        assert all(peak.keys() == definitions["Peak"]["properties"].keys() for peak in board["peaks"].values())


def test_into_a_file(gpu_info, tmp_path: Path) -> None:
    result = gpu_info("T4", "-o", "t4.json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "written to t4.json\n")
    assert json.loads((tmp_path / "t4.json").read_text())["boards"][0]["name"] == "Tesla T4"
    assert gpu_info("T4", "-o", "t4.txt", "-q").stderr == ""
    assert (tmp_path / "t4.txt").read_text().startswith("Tesla T4\n")


# --- the roofline -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "start"), [("a.png", b"\x89PNG"), ("a.PNG", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_a_picture_is_written(gpu_info, tmp_path: Path, file: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    result = gpu_info("L4", "--plot", file)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == f"roofline written to {file}\n"
    assert result.stdout.startswith("L4\n")
    assert (tmp_path / file).read_bytes().startswith(start)
    assert gpu_info("L4", "--plot", file, "-q").stderr == ""


def test_a_picture_names_its_boards(gpu_info, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    assert gpu_info("L4", "T4", "--plot", "a.svg").exit_code == 0
    drawn = (tmp_path / "a.svg").read_text()
    assert "L4: 121.2 T/s" in drawn
    assert "Tesla T4: 65.13 T/s" in drawn
    assert gpu_info("L4", "--dtype", "fp32", "--plot", "b.svg").exit_code == 0
    assert "FP32: 30.29 T/s" in (tmp_path / "b.svg").read_text()


def test_a_roofline_in_the_terminal(told, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plotext")
    shown = told("T4", "--plot", "-")
    assert shown.index("FP16 tensor acc32: 65.13 T/s from 204 op/byte") < shown.index("Tesla T4\n")
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "40")
    assert "Tesla T4" in told("T4", "--plot", "-")


def test_a_roofline_does_not_spoil_json(gpu_info) -> None:
    assert "--plot - draws in the terminal" in refused(gpu_info("T4", "--plot", "-", "--json"))


@pytest.mark.parametrize("file", ["a.jpg", "a", "", "png", "a.png.txt", ".png/"])
def test_a_picture_of_another_kind_is_refused(gpu_info, file: str) -> None:
    assert "is no picture" in refused(gpu_info("T4", "--plot", file))


def test_a_picture_that_cannot_be_written(gpu_info, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "dir.png").mkdir()
    for file, reason in (("no/such/a.png", "No such file"), ("dir.png", "Is a directory")):
        assert f"cannot write {file}: {reason}" in refused(gpu_info("T4", "--plot", file), 3)


@pytest.mark.parametrize("arguments", [["Tesla H40"], ["T4", "--dtype", "fp8"], ["H100 SXM5 64GB"]], ids=" ".join)
def test_what_has_no_roofline_says_so(gpu_info, arguments: list[str]) -> None:
    assert "no roofline" in refused(gpu_info(*arguments, "--plot", "a.png"), 3)


@pytest.mark.parametrize(("package", "file"), [("matplotlib.figure", "a.png"), ("plotext", "-")])
def test_a_missing_package_is_named(gpu_info, monkeypatch: pytest.MonkeyPatch, package: str, file: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    error = refused(gpu_info("T4", "--plot", file), 3)
    assert "is not installed" in error
    assert "pip install" in error


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--list", "T4"], "--list and its filters go without names"),
        (["--arch", "volta", "T4"], "--list and its filters go without names"),
        (["--segment", "titan", "T4"], "--list and its filters go without names"),
        (["--min-memory", "8", "T4"], "--list and its filters go without names"),
        (["--since", "2020", "T4"], "--list and its filters go without names"),
        (["--sort", "memory", "T4"], "--list and its filters go without names"),
        (["--list", "--clock", "1000"], "--list and its filters go without names"),
        (["--list", "--plot", "a.png"], "--list and its filters go without names"),
        (["--dtype", "bf16", "--clock", "1000"], "--list and its filters go without names"),
        (["--archs", "T4"], "--archs goes alone"),
        (["--archs", "--list"], "--archs goes alone"),
        (["--archs", "--arch", "volta"], "--archs goes alone"),
        (["--archs", "--dtype", "bf16"], "--archs goes alone"),
        (["--archs", "--clock", "1000"], "--archs goes alone"),
        (["--archs", "--plot", "-"], "--archs goes alone"),
        (["--arch", "Hoper"], "unknown architecture `Hoper`"),
        (["--segment", "gamer"], "unknown segment `gamer`"),
        (["--min-memory", "lots"], "`lots` is not a size of memory"),
        (["--min-memory", "-8"], "`-8` is not a size of memory"),
        (["--min-memory", "9999"], "no board has all of these traits"),
        (["--arch", "fermi", "--dtype", "fp8"], "no board has all of these traits"),
        (["--since", "May"], "`May` is no month"),
        (["--since", "2024-13"], "`2024-13` is no month"),
        (["--sort", "memry"], "unknown column `memry`"),
        (["--dtype", "bf61"], "unknown dtype `bf61`"),
        (["T4", "--dtype", "bf61"], "unknown dtype `bf61`"),
        (["T4", "--clock", "abc"], "`abc` is not a clock"),
        (["T4", "--clock", ""], "`` is not a clock"),
        (["T4", "--clock", "0"], "0 MHz is no clock of a GPU"),
        (["T4", "--clock", "99GHz"], "99000 MHz is no clock of a GPU"),
        (["T4", "--per", "dollar"], "unknown measure `dollar`"),
        (["T4", "--per", ""], "unknown measure ``"),
        (["T4", "--format", "xml"], "unknown format `xml`"),
        (["H1000"], "unknown GPU `H1000`"),
        ([""], "unknown GPU ``"),
        (["T4", "H1000"], "unknown GPU `H1000`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_contradicts_or_is_not_known_is_refused(gpu_info, arguments: list[str], error: str) -> None:
    assert error in refused(gpu_info(*arguments))


@pytest.mark.parametrize("option", ["--arch", "--segment", "--min-memory", "--sort"])
def test_an_empty_value_is_refused(gpu_info, option: str) -> None:
    refused(gpu_info("--list", option, ""))


@pytest.mark.parametrize(
    "arguments",
    [["--archs", "--per", "watt"], ["--archs", "--explain"], ["--list", "--per", "watt"], ["--list", "--explain"],
     ["T4", "--dtype", "bf16"]],
    ids=" ".join,
)  # fmt: skip
def test_options_without_effect_are_refused(gpu_info, arguments: list[str]) -> None:
    refused(gpu_info(*arguments))


def test_an_error_is_one_line_whatever_was_typed(gpu_info) -> None:
    refused(gpu_info("Riva\n128"))


def test_an_error_is_short_however_long_the_name(gpu_info) -> None:
    assert len(refused(gpu_info("x" * 5000))) < 1000


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """The command in a process of its own."""
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "COLUMNS": "80"}

    def run(*arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "dltool", "gpu-info", *arguments]
        return subprocess.run(command, capture_output=True, check=False, env=environment, timeout=120)

    return run


def test_a_process_of_its_own(shell, told) -> None:
    run = shell("T4")
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.decode() == told("T4")


def test_bytes_that_are_no_text_are_no_crash(shell) -> None:
    run = shell(b"RTX 4090\xff", "--json")
    assert run.returncode in (0, 2)


def test_bytes_that_are_no_text_are_shown(shell) -> None:
    assert shell(b"RTX 4090\xff").returncode in (0, 2)
    assert shell(b"\xff\xfe").returncode == 2


# --- the GPUs of a machine --------------------------------------------------------------------------------------------


def test_a_gpu_of_this_machine_says_what_differs() -> None:
    gpu = Gpu(index=1, name="NVIDIA L4", memory_total_bytes=23034 * 2**20, power_limit_w=40.0, power_limit_default_w=72.0,
              sm_mhz=300, sm_mhz_max=2040, pcie_width_max=8, ecc_enabled=True)  # fmt: skip
    board = live.live_board(gpu, catalog.board("L4"))
    assert board is not None
    shown = text(board, machine=Machine(gpus=(gpu,)))
    assert shown.startswith("GPU 1  L4")
    assert "differs power limit 40 W, below the default of 72 W" in shown
    assert "differs PCIe x8, where the board has x16" in shown
    assert "at 300 MHz now" in shown
    assert "ECC on" in shown


def test_equal_gpus_share_one_table_of_peaks() -> None:
    gpus = tuple(Gpu(index=index, name="NVIDIA L4", sm_mhz=2040, sm_mhz_max=2040) for index in range(3))
    boards = [board for gpu in gpus if (board := live.live_board(gpu, catalog.board("L4"))) is not None]
    shown = text(*boards, machine=Machine(gpus=gpus))
    assert [f"GPU {index}  L4" in shown for index in range(3)] == [True] * 3
    assert shown.count("BF16 tensor") == 1


def test_equal_gpus_that_differ_in_their_slot_say_so() -> None:
    gpus = tuple(
        Gpu(index=index, name="NVIDIA L4", sm_mhz_max=2040, pcie_width_max=width) for index, width in enumerate((16, 4))
    )
    boards = [board for gpu in gpus if (board := live.live_board(gpu, catalog.board("L4"))) is not None]
    assert boards[1].differences
    assert "PCIe x4, where the board has x16" in text(*boards, machine=Machine(gpus=gpus))
