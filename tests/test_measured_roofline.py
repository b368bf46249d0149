"""A run on its roofline: which lines, which points, and the pictures."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from explained_cases import H100, cpu_of, gemm, gpu, on_cpu
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from test_render_measurements import BROKEN, CAPPED, HOT, NOT_RUN, READ, REPORT
from typer.testing import CliRunner

from dltool import store
from dltool.bench.explain import explain
from dltool.cli.report import app
from dltool.errors import CannotRun
from dltool.machine import Cpu, Machine
from dltool.measured_roofline import levels, of_report
from dltool.render import plot
from dltool.results import Measurement, Report, Work

ZEN5 = cpu_of(("avx2", "fma", "avx512f"))


def moved(kernel: str, size: int, rate: float) -> Measurement:
    return replace(READ, params={"kernel": kernel, "bytes": size}, work=Work(bytes=2 * size), rate=rate, peak=None)


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_points_lines_and_bandwidths_of_a_gpu() -> None:
    drawn = of_report(REPORT)
    assert [(roof.key, round(roof.peak / 1e12)) for roof in drawn.roofs] == [("bf16_tensor", 989)]
    assert [roof.at_mhz for roof in drawn.held] == [1410, 1140, 1755]
    assert [point.label for point in drawn.points] == ["bf16 8192³", "fp16 8192³", "fp16 1024x1024x8192", "int4 8192³"]
    assert drawn.points[0].intensity == pytest.approx(8192 / 3)
    assert drawn.points[0].share == pytest.approx(722 / 989.5)
    assert [(level.name, level.bandwidth) for level in drawn.levels] == [("memory", 2.8e12)]


def test_what_is_wrong_or_was_not_run_is_no_point() -> None:
    report = Report(boards=(H100,), measurements=tuple(explain(case, gpu()) for case in (BROKEN, NOT_RUN, CAPPED)))
    assert [point.label for point in of_report(report).points] == ["bf16 8192³"]


def test_clocks_that_are_nearly_the_same_are_one_line() -> None:
    near = [explain(gemm(700e12, mhz=mhz, throttle=("sw_power_cap",)), gpu()) for mhz in (1410, 1412, 1830, 1200)]
    drawn = of_report(Report(boards=(H100,), measurements=tuple(near)))
    assert [roof.at_mhz for roof in drawn.held] == [1410, 1200]


def test_a_cpu_leans_on_the_bandwidth_that_was_measured() -> None:
    report = Report(boards=(ZEN5,), measurements=(on_cpu(1e12, ZEN5), moved("triad", 2**28, 40e9)))
    (roof,) = of_report(report).roofs
    assert roof.bandwidth == 40e9
    assert roof.ridge == pytest.approx(2.048e12 / 40e9)


def test_without_any_bandwidth_the_roof_is_flat() -> None:
    drawn = of_report(Report(boards=(ZEN5,), measurements=(on_cpu(1e12, ZEN5),)))
    assert drawn.roofs[0].ridge == 0
    assert drawn.roofs[0].at(1e-6) == pytest.approx(2.048e12)
    assert all(math.isfinite(end) and end > 0 for end in drawn.span)


def test_levels_by_what_holds_the_data() -> None:
    machine = Machine(cpu=Cpu(l2_bytes=2**20, l3_bytes=2**25))
    cases = [moved("copy", 2**18, 900e9), moved("read", 2**23, 300e9), moved("copy", 2**28, 40e9), moved("triad", 2**28, 42e9),
             moved("h2d", 2**28, 1e12)]  # fmt: skip
    assert [(level.name, level.by) for level in levels(cases, ZEN5, machine)] == [
        ("L2", "copy"), ("L3", "read"), ("memory", "triad"),
    ]  # fmt: skip
    assert [level.name for level in levels([moved("copy", 2**20, 5e12)], H100, None)] == ["L2"]


@pytest.mark.parametrize("measurements", [(), (READ,), (NOT_RUN,)], ids=["nothing", "memory-only", "not-run"])
def test_without_arithmetic_there_is_no_roofline(measurements: tuple[Measurement, ...]) -> None:
    with pytest.raises(CannotRun, match="no arithmetic was measured"):
        of_report(Report(boards=(H100,), measurements=measurements))


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_the_picture_names_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    drawn = of_report(REPORT)
    svg = plot.picture(drawn.roofs, "svg", drawn).decode()
    for text in (
        "Roofline of H100 SXM5 80GB and what was measured",
        "bf16 8192³: 722 TFLOP/s, 73 % of peak",
        "BF16 tensor: 989.4 T/s from 295 op/byte",
        "BF16 tensor at 1410 MHz: 762.3 T/s",
        "memory, measured by read: 2.8 TB/s",
    ):
        assert text in svg


@pytest.mark.parametrize("report", [REPORT, Report(boards=(ZEN5,), measurements=(on_cpu(5e9, ZEN5),))], ids=["gpu", "cpu"])
def test_any_report_can_be_drawn(report: Report) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("plotext")
    drawn = of_report(report)
    assert plot.picture(drawn.roofs, "png", drawn).startswith(b"\x89PNG")
    for width in (60, 80, 120):
        shown = plot.text(drawn.roofs, width=width, color=False, measured=drawn)
        assert max(map(len, shown.splitlines()[:24])) <= width
        assert "A  " in shown


def test_the_terminal_names_the_letters() -> None:
    pytest.importorskip("plotext")
    drawn = of_report(REPORT)
    shown = plot.text(drawn.roofs, width=80, color=False, measured=drawn)
    assert "B  fp16 8192³: 560 TFLOP/s, 57 % of peak, 2730 op/byte\n" in shown
    assert "   memory, measured by read: 2.8 TB/s\n" in shown
    assert " A " in shown.splitlines()[4] + shown.splitlines()[3] + shown.splitlines()[5]


@given(st.lists(st.floats(1e9, 1e15), min_size=1, max_size=12))
def test_names_do_not_lie_upon_one_another(rates: list[float]) -> None:
    points = [replace(of_report(REPORT).points[0], rate=rate) for rate in rates]
    placed = [math.log10(point.rate) + shift for point, shift in plot._spread(points, 5.0)]
    assert placed == sorted(placed)
    assert all(above - below >= plot._APART * 5.0 - 1e-9 for below, above in pairwise(placed))


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`dltool report show` with the options given, on a stored report of made-up measurements."""
    monkeypatch.setattr(store, "directory", lambda: tmp_path)
    file = tmp_path / "report.json"
    file.write_bytes(replace(REPORT, command=("bench", "gemm")).to_json())
    monkeypatch.chdir(tmp_path)
    return lambda *options: CliRunner().invoke(app, ["show", str(file), *options], env={"COLUMNS": "80"})


def test_a_stored_report_is_drawn(show, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = show("--plot", "a.png")
    assert result.exit_code == 0, result.stderr
    assert "roofline written to a.png" in result.stderr
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "722 TFLOP/s" in result.stdout


def test_in_the_terminal_before_the_figures(show) -> None:
    pytest.importorskip("plotext")
    shown = show("--plot", "-").stdout
    assert shown.index("A  bf16 8192³: 722 TFLOP/s") < shown.index("gemm      size")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot", "a.gif"], "`a.gif` is no picture"),
        (["--plot", "-", "--json"], "beside text only"),
        (["--plot", "-", "-o", "a.txt"], "beside text only"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(show, options: list[str], words: str) -> None:
    result = show(*options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not result.stdout


def test_a_missing_package_is_said_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch, show) -> None:
    monkeypatch.setattr(plot, "find_spec", lambda _name: None)
    result = show("--plot", "a.png")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "matplotlib is not installed" in result.stderr


def test_a_picture_that_fails_costs_no_report(show) -> None:
    pytest.importorskip("matplotlib")
    result = show("--plot", "no/such/folder/a.png")
    assert result.exit_code == 0
    assert "cannot write no/such/folder/a.png" in result.stderr
    assert "722 TFLOP/s" in result.stdout


def test_hot_and_capped_are_not_the_same() -> None:
    hot, capped = (of_report(Report(boards=(H100,), measurements=(explain(case, gpu()),))) for case in (HOT, CAPPED))
    assert hot.held[0].peak < capped.held[0].peak


def test_a_run_draws_its_own_picture(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    options = ["--dtype", "fp32", "--set", "m=64", "--set", "n=64", "--set", "k=64", "--budget", "1s", "--device", "cpu"]
    run = subprocess.run(
        [sys.executable, "-m", "dltool", "bench", "gemm", *options, "--plot", "run.svg", "--json"],
        env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    (case,) = json.loads(run.stdout)["measurements"]
    assert case["rate"] > 0
    assert "roofline written to run.svg" in run.stderr
    assert (tmp_path / "run.svg").read_text().startswith("<?xml")
