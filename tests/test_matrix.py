"""The support matrix: tried in a child, whatever becomes of it, and shown in every format."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dltool.bench import devices, matrix, matrix_child
from dltool.catalog import Board, Peak
from dltool.errors import ExitCode
from dltool.render import FORMATS, Style
from dltool.results import Report, SupportCell, Verified

torch = pytest.importorskip("torch")

PEAKS = {key: Peak(dense=1.0) for key in ("fp64", "fp32", "bf16", "int8")}
CPU = devices.Device(name="cpu", board=Board(name="Test CPU", peaks=PEAKS), timer=devices.host_timer)


@pytest.fixture(scope="module")
def cells():
    return tuple(matrix.probe(CPU, matrix.workloads(CPU, ["fp32", "fp16", "int8", "tf32", "w4a16", "int4"])))


def states(cells, dtype):
    return {(cell.layout, cell.state) for cell in cells if cell.dtype == dtype}


def test_what_this_cpu_multiplies(cells):
    assert states(cells, "fp32") == {(layout, "native") for layout in ("nn", "nt", "tn", "tt")}
    assert states(cells, "fp16") == {(layout, "emulated") for layout in ("nn", "nt", "tn", "tt")}
    assert states(cells, "tf32") == {(layout, "unsupported") for layout in ("nn", "nt", "tn", "tt")}
    assert states(cells, "w4a16") == {("nt", "emulated")}
    assert states(cells, "int4") == {("", "unsupported")}
    assert all(cell.kernel and cell.verified.ok for cell in cells if cell.state in ("native", "emulated"))


def test_every_dtype_and_layout_is_there():
    every = matrix.workloads(CPU)
    assert len({(case.dtype, getattr(case, "layout", "")) for case in every}) == len(every) > 50


def test_a_case_that_takes_too_long_costs_only_itself():
    cases = matrix.workloads(CPU, ["w4a16", "w8a16"])
    slow = tuple(matrix.probe(CPU, cases, limit_s=0.0001))
    assert [cell.dtype for cell in slow] == ["w4a16", "w8a16"]
    assert all("did not end in time" in cell.why for cell in slow)


def test_a_child_that_is_killed_costs_one_case(monkeypatch):
    """The first child dies at its second case, the next goes on."""
    script = (
        "import json, os, sys; cases = json.loads(sys.argv[3])\n"
        "for number, kind, _ in cases:\n"
        "    if number == 1: os.kill(os.getpid(), 11)\n"
        "    print('noise'); print(json.dumps({'case': number, 'kernel': 'MKL SGEMM AVX2'}), flush=True)\n"
    )
    run = matrix.child.run

    def scripted(command, **limits):
        return run([command[0], "-c", script, *command[command.index("-m") + 2 :]], **limits)

    monkeypatch.setattr(matrix.child, "run", scripted)
    found = tuple(matrix.probe(CPU, matrix.workloads(CPU, ["fp32"])))
    assert [cell.state for cell in found] == ["native", None, "native", "native"]
    assert "killed by SIGSEGV" in found[1].why


def test_the_child_says_why_it_cannot():
    (case,) = matrix.workloads(CPU, ["mxfp8"])
    assert matrix_child.attempt(7, case, CPU).error == "this exists on CUDA devices only"
    (case, *_) = matrix.workloads(CPU, ["fp32"])
    gone = replace(CPU, name="cuda:99")
    assert matrix_child.attempt(7, case, gone).error


WRONG = SupportCell(
    dtype="int8", operation="int_mm", layout="nt", device="cpu", state=None, why="WRONG RESULT, native",
    verified=Verified(reference="float64", error=1.0, tolerance=0.0, ok=False),
)  # fmt: skip


@pytest.mark.parametrize("format_name", ["text", "markdown", "json"])
def test_it_is_shown(cells, format_name):
    report = Report(dltool="0", created="now", command=("bench", "gemm"), boards=(CPU.board,), support=cells)
    shown = FORMATS.get(format_name)(report, Style(width=100))
    assert "emulated" in shown
    assert "naive fallback" in shown
    if format_name == "json":
        assert {cell["dtype"] for cell in json.loads(shown)["support"]} == {"fp32", "fp16", "int8", "tf32", "w4a16", "int4"}
    else:
        assert "nn nt tn tt" in shown


def test_a_wrong_result_is_a_finding(cells):
    assert Report(support=cells).exit_code() is ExitCode.HEALTHY
    assert Report(support=(*cells, WRONG)).exit_code() is ExitCode.FINDINGS
