"""Operations that memory bounds: the bytes they cannot avoid, and that a wrong result is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench_cpu import FAST, cpu_device
from hypothesis import given, settings
from hypothesis import strategies as st

from dltool.bench import cases, harness
from dltool.bench.workloads import elementwise
from dltool.bench.workloads.elementwise import Elementwise
from dltool.bench.workloads.elementwise_ops import OPS
from dltool.errors import CannotRun, UsageError

torch = pytest.importorskip("torch")

SMALL = {"rows": 80, "columns": 96}
BYTES = {
    "add": 3 * 12 * 4, "gelu": 2 * 12 * 4, "layer_norm": (2 * 12 + 2 * 4) * 4, "rms_norm": (2 * 12 + 4) * 4,
    "softmax": 2 * 12 * 4, "cross_entropy": 12 * 4 + 3 * 8, "sum": (12 + 3) * 4, "mean": (12 + 3) * 4, "amax": (12 + 3) * 4,
    "embedding": 2 * 12 * 4 + 3 * 8, "transpose": 2 * 12 * 4, "copy": 2 * 12 * 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def cpu():
    return cpu_device()


@pytest.mark.parametrize("op", OPS)
def test_bytes_by_hand(op):
    assert Elementwise(op=op, rows=3, columns=4).work().bytes == BYTES[op]


@pytest.mark.parametrize("dtype", ["fp64", "fp32", "bf16", "fp16"])
@pytest.mark.parametrize("op", OPS)
def test_every_operation_runs_and_is_right(cpu, op, dtype):
    result = harness.measure("elementwise", Elementwise(op=op, dtype=dtype, **SMALL), cpu, FAST)
    assert result.not_run is None
    assert result.verified.ok, result.verified


@pytest.mark.parametrize("op", OPS)
def test_a_wrong_result_and_none_are_found(cpu, op):
    prepared = Elementwise(op=op, dtype="bf16", **SMALL).prepare(cpu)
    assert not prepared.verify().ok, "nothing was computed yet"
    prepared.step()
    assert prepared.verify().ok
    code = prepared.step.__code__
    cells = {name: cell.cell_contents for name, cell in zip(code.co_freevars, prepared.step.__closure__, strict=True)}
    if "out" in cells:
        cells["out"].mul_(1.2)
    else:
        cells["left"][0] = cells["left"][0] * 1.2
    assert not prepared.verify().ok


@given(st.integers(1, 70), st.integers(1, 300), st.sampled_from(sorted(OPS)))
@settings(max_examples=60, deadline=None)
def test_any_shape_is_right(rows, columns, op):
    prepared = Elementwise(op=op, rows=rows, columns=columns, dtype="fp64").prepare(cpu_device())
    prepared.step()
    assert prepared.verify().ok, prepared.verify()


@given(st.integers(1, 2**30), st.integers(1, 2**20), st.sampled_from(sorted(OPS)))
def test_sizes_climb(rows, columns, op):
    case = Elementwise(op=op, rows=rows, columns=columns)
    costs = [size.work().bytes for size in case.sizes()]
    assert costs == sorted(costs)
    assert list(case.sizes())[-1] == case


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        pytest.param({"op": ["gleu"]}, "unknown op `gleu`", id="op"),
        pytest.param({"compile": ["maybe"]}, "unknown compile", id="compile"),
        pytest.param({"rows": ["0"]}, "positive whole number", id="zero"),
        pytest.param({"columns": ["-1"]}, "positive whole number", id="negative"),
        pytest.param({"dtype": ["int8"]}, "no kernels for int8", id="dtype"),
        pytest.param({"dtype": ["tf32"]}, "way to multiply", id="tf32"),
    ],
)
def test_bad_parameters(axes, text):
    with pytest.raises(UsageError, match=text) as refused:
        cases(Elementwise, axes)
    assert refused.value.remedy


def test_what_does_not_fit_says_how_much_would(cpu):
    with pytest.raises(CannotRun, match=r"1.0 GiB fit"):
        Elementwise(rows=2**30).prepare(cpu)


def test_doubts(cpu):
    small = Elementwise(op="gelu", **SMALL).doubts(cpu)
    assert "last-level cache" in small[0]
    assert "page faults" in small[1]
    assert Elementwise(op="add", rows=2**20).doubts(cpu) == []
    assert len(Elementwise(op="gelu", **SMALL).doubts(replace(cpu, name="cuda:0"))) == 1


def test_the_cases_fill_memory_and_begin_with_the_triad(cpu):
    (name, triad), *rest = elementwise.chosen(cpu, {"op": ["add"], "columns": ["1024", "2048"]})
    assert (name, triad.kernel) == ("memory", "triad")
    assert [(case.op, case.columns, case.rows) for _, case in rest] == [("add", 1024, 16384), ("add", 2048, 16384)]
    assert not elementwise.default_cases(cpu, "quick")
    assert {case.op for _, case in elementwise.default_cases(cpu, "full")} == set(OPS)
    assert all(name == "elementwise" for name, _ in elementwise.default_cases(cpu, "standard"))
