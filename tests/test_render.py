"""What people see, at a fixed width."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from dltool.catalog import Board, Peak
from dltool.render import FORMATS, Style
from dltool.render.terminal.page import folded
from dltool.results import Conditions, Finding, Measurement, Remedy, Report, Risk, Scope, Span, Status, Verified, Work
from dltool.units import significant

MEASURED = Measurement(
    workload="gemm",
    params={"m": 8192, "n": 8192, "k": 4096, "dtype": "bf16"},
    device="cuda:0 H100 SXM5 80GB",
    dtype="bf16",
    seconds=(0.7e-3,) * 10,
    median_s=0.7e-3,
    ci95_s=(0.69e-3, 0.71e-3),
    work=Work(ops=2 * 8192 * 8192 * 4096),
    rate=785.4e12,
    rate_unit="FLOP/s",
    peak=989.4e12,
    share_of_peak=0.7938,
    implementation="native",
    conditions=Conditions(
        sm_mhz=Span(minimum=1395, median=1440, maximum=1755),
        power_w=Span(minimum=650, median=699, maximum=701),
        throttle=("sw_power_cap",),
    ),
    verified=Verified(reference="float64", error=1e-3, tolerance=1e-2, ok=True),
    settings={"torch": "2.13.0", "cuda": "13.0", "harness": 1},
)


def text(report: Report, **style) -> str:
    return FORMATS.get("text")(report, Style(**style))


def test_measurement_with_conditions():
    assert text(Report(measurements=(MEASURED,))) == (
        "cuda:0 H100 SXM5 80GB\n"
        "torch 2.13.0, cuda 13.0\n"
        "\n"
        "gemm  size                   rate  of peak    95 %    step  samples\n"
        "bf16  8192x8192x4096  785 TFLOP/s     79 %  ±1.4 %  700 µs       10\n"
        "\n"
        "seen while timing (median, lowest to highest)\n"
        "bf16      SM 1440 MHz (1395 to 1755), 699 W (650 to 701), sw_power_cap\n"
    )


def test_a_case_that_did_not_run_says_why():
    shown = text(
        Report(measurements=(Measurement(workload="gemm", params={}, device="cpu", dtype="tf32", not_run="needs CUDA"),))
    )
    assert "not run: needs CUDA" in shown


def test_a_finding_with_its_remedy():
    finding = Finding(
        id="gpu-lost",
        status=Status.FAIL,
        summary="GPU 3 of 8 does not answer",
        why="It fell off the bus.",
        remedies=(Remedy(text="Restart.", commands=("sudo reboot",), risk=Risk.REBOOT),),
        scope=Scope.HOST,
        devices=(3,),
    )
    follows = Finding(id="gpus-hidden", status=Status.UNKNOWN, summary="cannot tell", caused_by="gpu-lost")
    assert text(Report(findings=(finding, follows), headline="GPU 3 of 8 does not answer")) == (
        "GPU 3 of 8 does not answer\n"
        "\n"
        "FAIL    GPU 3 of 8 does not answer\n"
        "        gpu-lost · GPU 3 · for whoever runs this host\n"
        "        It fell off the bus.\n"
        "        fix Restart. (as root, restarts the machine)\n"
        "            sudo reboot\n"
        "        explains gpus-hidden: cannot tell\n"
        "\n"
        "1 failed, 1 could not look. All of them: -v\n"
        "What a finding means: dltool doctor --explain gpu-lost\n"
    )


def test_markup_in_facts_is_text():
    finding = Finding(id="x", status=Status.INFO, summary="[bold]not bold[/] :smile: [host]")
    assert "[bold]not bold[/] :smile: [host]" in text(Report(findings=(finding,)))


def test_facts_cannot_steer_the_terminal():
    evil = Finding(id="x", status=Status.WARN, summary="a\x1b[2Jb", remedies=(Remedy(text="c", commands=("echo \x1b[8m",)),))
    shown = text(Report(findings=(evil,), headline="a\x1b[2Jb\x9b"))
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert r"echo \x1b[8m" in shown


@pytest.mark.parametrize("width", [60, 80, 140])
def test_many_boards_side_by_side_keep_their_labels(width):
    boards = tuple(Board(name=f"GeForce RTX {number} SUPER", sms=number) for number in range(4000, 4008))
    shown = text(Report(boards=boards), width=width)
    assert shown.count("capability") >= (1 if width == 140 else 2)
    assert max(map(len, shown.splitlines())) <= width
    assert all(str(number) in shown for number in range(4000, 4008))


def test_a_narrow_page_keeps_what_counts():
    shown = text(Report(measurements=(MEASURED,)), width=50)
    assert "bf16" in shown
    assert "785 TFLOP/s" in shown


def test_commands_are_never_wrapped():
    command = "python -m pip install " + " ".join(f"package{number}" for number in range(40))
    remedy = Remedy(text="Do it.", commands=(command,))
    assert command in text(Report(findings=(Finding(id="x", status=Status.WARN, summary="s", remedies=(remedy,)),)), width=60)


def test_a_board_without_peaks_or_facts():
    assert text(Report(boards=(Board(name="Mystery"),))).startswith("Mystery\n")


def test_unverified_peaks_are_marked():
    board = Board(name="x", peaks={"fp32": Peak(dense=12.3, basis="unverified", formula="f")})
    assert "[unverified]" in text(Report(boards=(board,)))
    assert "12.3?" in text(Report(boards=(board, board)))


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("color", [False, True])
def test_any_width_and_color(width, color):
    shown = text(Report(measurements=(MEASURED,)), width=width, color=color)
    assert significant(785.4) in shown


def test_a_problem_needs_a_remedy():
    with pytest.raises(ValueError, match="needs a remedy"):
        Finding(status=Status.FAIL, summary="x")


def test_exit_codes_of_reports():
    warn = Finding(status=Status.WARN, summary="x", remedies=(Remedy(text="y"),))
    crash = Finding(status=Status.CRASH, summary="x")
    assert Report(findings=(warn,)).exit_code() == 0
    assert Report(findings=(warn,)).exit_code(Status.WARN) == 1
    assert Report(findings=(crash,)).exit_code() == 1
    assert Report(findings=(crash,), interrupted=True).exit_code() == 130


@pytest.mark.parametrize("width", [10, 24, 40, 79])
def test_chinese_is_parted_between_letters_and_no_line_begins_with_a_mark(width: int) -> None:
    text = "需要复位或维修的，在一天之内算作故障（见 NVIDIA 的文档），用 `nvidia-smi -q` 查看；驱动 550 太旧。"
    lines = folded(text, width).split("\n")
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(line[0] not in "，。；：！？、）》” " for line in lines)
    words = max(cell_len(word) for word in ("`nvidia-smi", "NVIDIA"))
    assert all(cell_len(line) <= max(width, words) + 2 for line in lines), "a mark may hang over"
    assert len(lines) <= cell_len(text) // (width - 12 if width > 24 else 4) + 1


def test_what_is_not_chinese_is_left_to_the_terminal() -> None:
    assert folded("as it is, however long", 5) == "as it is, however long"
