"""Every number format: what the table promises of it, how it is stored, what is refused, and when a result is wrong."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool import tables
from dltool.bench import cases, devices, dtype_row, harness, suites
from dltool.bench.harness import Plan
from dltool.bench.workloads.gemm import LAYOUTS, Gemm
from dltool.bench.workloads.instruction import Instruction
from dltool.bench.workloads.kernels import KERNELS
from dltool.bench.workloads.operands import GROUP, Maker, ways
from dltool.bench.workloads.operations import OPERATIONS, Problem, set_switches
from dltool.catalog import PEAK_KEYS, Board, Peak
from dltool.errors import DltoolError, UsageError
from dltool.numerics import product_tolerance, recurrence_tolerance, repeated_tolerance
from dltool.render import FORMATS, Style
from dltool.results import Measurement, Report, Verified, Work

torch = pytest.importorskip("torch")

ROWS = tables.rows("dtypes")
FAST = Plan(sampling_s=0.01, warmup_s=0.01, step_s=0.2, cap_s=5.0)
ON_CPU = [row["name"] for row in ROWS if not row["needs_cuda"]]
FREE = [row["name"] for row in ROWS if not row["needs_cuda"] and not row["align"]]
CPU = devices.Device(name="cpu", board=Board(name="CPU", peaks={"fp32": Peak(dense=1.0)}), timer=devices.host_timer, threads=1)
CUDA = devices.Device(name="cuda:0", board=Board(name="GPU", sms=4), timer=devices.host_timer)


def test_the_table_holds_together():
    assert tables.problems() == ()
    for row in ROWS:
        own = row["operation"].removeprefix("kernel_")
        assert row["operation"] in OPERATIONS or own in KERNELS, row
        assert set(row["cuda_peaks"].split() + row["cpu_peaks"].split()) <= set(PEAK_KEYS)
        assert row["suite"] in suites.SUITES
        assert row["source"]
        if own not in KERNELS:
            assert row["layout"] in row["layouts"].split()
            assert set(row["layouts"].split()) <= set(LAYOUTS)
            assert hasattr(torch, row["torch"])
            assert hasattr(torch, row["torch_out"])
        if row["pruned"] or row["operation"] == "sparse":
            assert row["pruned"] == "yes"
            assert row["operation"] == "sparse"


def test_every_kind_of_arithmetic_of_gpus_has_a_row():
    """fp6 alone has none: no library and no instruction of its own multiplies it faster than fp8."""
    assert set(PEAK_KEYS) - {key for row in ROWS for key in row["cuda_peaks"].split()} == {"fp6_tensor", "fp8_tensor"}


@pytest.mark.parametrize("data", ["random", "zeros"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FREE)
def test_every_layout_is_right_and_nothing_is_not(dtype, layout, data):
    prepared = Gemm(m=48, n=80, k=96, dtype=dtype, layout=layout, data=data).prepare(CPU)
    assert not prepared.verify().ok
    prepared.step()
    assert prepared.verify().ok, prepared.verify()


@pytest.mark.parametrize("dtype", ["w4a16", "w8a16"])
def test_weights_alone_are_right(dtype):
    prepared = Gemm(m=5, n=128, k=256, dtype=dtype).prepare(CPU)
    assert not prepared.verify().ok
    prepared.step()
    assert prepared.verify().ok, prepared.verify()


@given(st.sampled_from(FREE), st.integers(1, 70), st.integers(1, 70), st.integers(1, 70))
def test_any_shape_is_right(dtype, m, n, k):
    prepared = Gemm(m=m, n=n, k=k, dtype=dtype).prepare(CPU)
    prepared.step()
    assert prepared.verify().ok, prepared.verify()


def test_a_wrong_result_is_no_number():
    class Liar(Gemm):
        __slots__ = ()

        def prepare(self, device):
            prepared = super().prepare(device)
            return replace(prepared, step=lambda: None)

    result = harness.measure("gemm", Liar(m=64, n=64, k=64), CPU, FAST)
    assert result.seconds
    assert not result.verified.ok
    assert (result.rate, result.share_of_peak) == (None, None)
    assert any("WRONG RESULT" in warning for warning in result.warnings)


def test_one_wrong_entry_in_a_checked_row_is_found(monkeypatch):
    """As a library that is wrong once would leave it."""
    multiply = torch._int_mm

    def spoil(a, b, *, out):
        multiply(a, b, out=out)
        out[0, 5] += 1

    monkeypatch.setattr(torch, "_int_mm", spoil)
    case = Gemm(m=64, n=64, k=64, dtype="int8").prepare(CPU)
    case.step()
    assert not case.verify().ok


@pytest.mark.parametrize(
    ("case", "device", "text"),
    [
        pytest.param(Gemm(dtype="fp8_e4m3", k=1001), CUDA, "k in multiples of 16: 1008 instead of 1001", id="fp8 k"),
        pytest.param(Gemm(dtype="fp8_e4m3", n=4), CUDA, "n in multiples of 16: 16 instead of 4", id="fp8 n"),
        pytest.param(Gemm(dtype="int8", n=100), CUDA, "n in multiples of 8: 96 instead of 100", id="int8 n"),
        pytest.param(Gemm(dtype="int8", m=16), CUDA, "m from 17 on, not 16", id="int8 m"),
        pytest.param(Gemm(dtype="nvfp4", m=100), CUDA, "m in multiples of 128: 128 instead of 100", id="nvfp4 m"),
        pytest.param(Gemm(dtype="fp8_block", n=192), CUDA, "n in multiples of 128: 256 instead of 192", id="block n"),
        pytest.param(Gemm(dtype="w4a16", k=100), CPU, "k in multiples of 128: 128 instead of 100", id="w4a16 k"),
        pytest.param(Gemm(dtype="mxfp8", layout="nn"), CUDA, "stored for layout nt, not nn", id="layout"),
        pytest.param(Gemm(dtype="tf32"), CPU, "CUDA devices only", id="device"),
        pytest.param(Gemm(dtype="int4"), CUDA, "no library product", id="no library"),
        pytest.param(Gemm(m=2**39), replace(CPU, free_bytes=2**32), "are free", id="memory"),
    ],
)
def test_what_cannot_be_multiplied_is_refused_in_a_line(case, device, text):
    with pytest.raises(DltoolError, match=text) as refused:
        case.prepare(device)
    assert "\n" not in str(refused.value)
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        ({"layout": ["xn"]}, "unknown layout `xn`"),
        ({"data": ["ones"]}, "unknown data `ones`"),
        ({"dtype": ["fp7"]}, "unknown dtype `fp7`"),
        ({"m": ["9" * 30]}, "positive whole number"),
    ],
)
def test_unknown_names_are_refused(axes, text):
    with pytest.raises(UsageError, match=text):
        cases(Gemm, axes)


def test_suites_hold_more_and_more():
    names = {suite: [(name, case) for name, case in suites.gemm(CUDA, {}, suite=suite)] for suite in suites.SUITES}
    dtypes = {suite: {case.dtype for _, case in held} for suite, held in names.items()}
    assert dtypes["quick"] < dtypes["standard"] < dtypes["full"] == {row["name"] for row in ROWS}
    layouts = {case.layout for name, case in names["full"] if name == "gemm" and case.dtype == "bf16"}
    assert layouts == set(LAYOUTS)
    zeros = [case for _, case in names["standard"] if getattr(case, "data", "") == "zeros"]
    assert [(case.dtype, case.m) for case in zeros] == [("bf16", 8192)]
    blocks = {case.blocks for name, case in names["full"] if name == "instruction"}
    assert blocks == {8}  # two for each SM


def test_one_dtype_is_one_row():
    (only,) = suites.gemm(CUDA, {"dtype": ["int4"], "rounds": ["64"]})
    assert only == ("instruction", Instruction(dtype="int4", blocks=8, rounds=64))
    (only,) = suites.gemm(CPU, {"dtype": ["fp32"], "m": ["64"], "layout": ["tt"]})
    assert only == ("gemm", Gemm(m=64, n=2048, k=2048, layout="tt"))


@pytest.mark.parametrize("dtype", ON_CPU)
def test_work_of_a_narrow_format_is_less(dtype):
    row = dtype_row(dtype)
    work = Gemm(m=256, n=512, k=1024, dtype=dtype).work()
    assert work.ops == 2 * 256 * 512 * 1024
    assert work.bytes == 256 * 1024 * float(row["bytes"]) + 512 * 1024 * float(row["bytes_b"]) + 256 * 512 * float(
        row["bytes_out"]
    )


def test_a_sparse_product_tells_what_it_skips():
    work = Gemm(m=64, n=64, k=64, dtype="fp16_sparse").work()
    assert work.skipped_ops * 2 == work.ops
    assert work.bytes == 64 * 64 * (1 + 1 / 8) + 64 * 64 * 2 + 64 * 64 * 2  # half of A, and two bits for each number kept
    peaks = {"fp16_tensor_acc32": Peak(dense=100.0, sparse=200.0)}
    device = replace(CUDA, board=Board(name="x", peaks=peaks))
    assert Gemm(dtype="fp16_sparse").peak(device) == (2e14, "fp16_tensor_acc32 2:4 sparse derived")
    assert Gemm(dtype="fp16").peak(device) == (1e14, "fp16_tensor_acc32 derived")


def test_unusual_cases_are_told_apart_and_sparse_rates_explained():
    base = Measurement(
        workload="gemm", device="cuda:0", dtype="fp16_sparse", seconds=(1.0,), median_s=1.0, rate=2e12, rate_unit="FLOP/s",
        params={"m": 64, "n": 64, "k": 64, "layout": "nt", "data": "random"}, work=Work(ops=2, skipped_ops=1),
    )  # fmt: skip
    odd = msgspec.structs.replace(base, dtype="bf16", params={**base.params, "layout": "tt", "data": "zeros"}, work=Work(ops=2))
    lie = Verified(reference="float64", error=1.0, tolerance=0.1, ok=False)
    wrong = msgspec.structs.replace(odd, dtype="int8", rate=None, verified=lie, params={**base.params, "layout": "nt"})
    text = FORMATS.get("text")(Report(measurements=(base, odd, wrong)), Style(width=100))
    assert "counts skipped products, as datasheets do; 1 TFLOP/s are computed" in text
    assert "bf16 tt zeros" in text
    assert re.search(r"int8 +64³ +WRONG", text)
    unit = Measurement(workload="instruction", device="cuda:0", dtype="int4", params={"blocks": 8, "rounds": 64}, not_run="x")
    assert "8 x 64" in FORMATS.get("text")(Report(measurements=(unit,)), Style(width=100))


# how operands are stored


@pytest.mark.parametrize("dtype", [row["name"] for row in ROWS if row["scaling"] and row["operation"] == "scaled_mm"])
def test_scaled_operands_stand_for_code_times_scale(dtype):
    row = dtype_row(dtype)
    for way in ways(row):
        matrix = Maker(torch, "cpu").scaled(256, 512, row["torch"], way, transposed=False)
        values = matrix.wide(torch)
        assert values.shape == (256, 512)
        high, wide = (256, 512) if way == "tensor" else (1, 512) if way == "row" else map(int, way.split("x"))
        for r, c in ((0, 0), (255, 511), (130, 200)):
            assert values[r, c] == float(matrix.exact[r, c].to(torch.float32)) * scale_at(matrix, way, r // high, c // wide)
        assert torch.equal(matrix.wide(torch, torch.tensor([3, 200])), values[[3, 200]])
        assert torch.equal(matrix.transposed().wide(torch), values.t())


def scale_at(matrix, way, block_row, block):
    """Where cuBLAS looks for the scale of a block."""
    scale = matrix.scale
    if way in ("1x32", "1x16"):
        blocks = 512 // int(way[2:])
        tile = (block_row // 128) * (blocks // 4) + block // 4
        scale, place = scale.flatten(), tile * 512 + block_row % 32 * 16 + block_row % 128 // 32 * 4 + block % 4
        return float(scale[place].to(torch.float32))
    if way == "1x128":
        assert scale.stride() == (1, 256)
    return float(scale[block, block_row] if way == "128x128" else scale[block_row, block])


def test_scales_of_128x128_are_filled_up_to_four_along_k():
    scale = Maker(torch, "cpu").scaled(256, 640, "float8_e4m3fn", "128x128", transposed=False).scale
    assert scale.shape == (8, 2)
    assert scale.stride() == (1, 8)


def test_fp4_is_two_to_a_byte():
    matrix = Maker(torch, "cpu").scaled(128, 128, "float4_e2m1fn_x2", "1x16", transposed=False)
    codes = matrix.stored.view(torch.uint8)
    assert codes.shape == (128, 64)
    values = (0, 0.5, 1, 1.5, 2, 3, 4, 6)
    for r, c in ((0, 0), (0, 1), (5, 77)):
        code = (int(codes[r, c // 2]) >> (4 * (c % 2))) & 15
        assert float(matrix.exact[r, c]) == values[code & 7] * (-1 if code & 8 else 1)


@pytest.mark.parametrize("dtype", ["float16", "int8", "float8_e4m3fn"])
def test_two_of_four_are_zero(dtype):
    matrix = Maker(torch, "cpu").pruned(64, 64, dtype).wide(torch)
    zeros = (matrix.reshape(64, 16, 4) == 0).sum(-1)
    assert int(zeros.min()) >= 2
    assert 0.4 < float((matrix != 0).to(torch.float64).mean()) <= 0.5


def test_four_bit_weights_share_scales_in_groups():
    product = OPERATIONS["weight_int4"](Problem(torch, Maker(torch, "cpu"), dtype_row("w4a16"), 4, 64, 128, "nt"))
    weights = product.b.wide(torch)
    scales = product.b.scale.to(torch.float64).repeat_interleave(GROUP, 0)
    codes = weights / scales
    assert torch.equal(codes, codes.round())
    assert (float(codes.min()), float(codes.max())) == (-8, 7)


# tolerances


@given(st.sampled_from(ROWS), st.integers(1, 2**20))
def test_tolerances_grow_with_the_sums_up_to_a_half(row, k):
    tolerance = product_tolerance(row, k)
    assert product_tolerance(row, 4 * k) >= tolerance >= 0
    assert (tolerance == 0) == (float(row["epsilon_out"]) == 0)
    assert tolerance <= 0.5
    assert repeated_tolerance(row, 10) == 10 * float(row["epsilon_accumulate"])


def test_the_recurrence_stays_within_its_tolerance():
    x = b = torch.rand(1000, generator=torch.Generator().manual_seed(1)).to(torch.float16)
    for _ in range(50):
        x = (x.double() * 0.75 + b.double()).to(torch.float16)
    exact = b.double() * (1 - 0.75**51) / 0.25
    error = float((x.double() - exact).norm() / exact.norm())
    assert 0 < error <= recurrence_tolerance(2**-10, 0.75)
    assert math.isclose(recurrence_tolerance(2**-10, 0.75), 2**-8)


def test_switches_are_set_for_each_case():
    switches = torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision(), getattr(switches, "allow_fp16_accumulation", None)
    try:
        set_switches(torch, "mm_acc16")
        assert getattr(switches, "allow_fp16_accumulation", True)
        set_switches(torch, "mm_tf32")
        assert torch.get_float32_matmul_precision() == "high"
        assert not getattr(switches, "allow_fp16_accumulation", False)
        tuple(harness.run([("gemm", Gemm(m=64, n=64, k=64))], CPU, FAST))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before[0])
        if before[1] is not None:
            switches.allow_fp16_accumulation = before[1]


# operations that exist on GPUs only: what the library is handed, multiplied by the book


def by_the_book(left, right, scale_a, recipe_a, scale_b, recipe_b, swizzle_a, swizzle_b, *, output_dtype):
    """What torch.nn.functional.scaled_mm is documented to do."""
    a = codes_of(left) * spread(scale_a, recipe_a, swizzle_a, left.shape[0])
    b = codes_of(right.t()) * spread(scale_b, recipe_b, swizzle_b, right.shape[1])
    return (a @ b.t()).to(output_dtype)


def codes_of(stored):
    if stored.dtype != torch.float4_e2m1fn_x2:
        return stored.to(torch.float32)
    codes = stored.view(torch.uint8) if stored.is_contiguous() else stored.t().view(torch.uint8).t()
    table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    return torch.stack([table[(codes & 15).long()], table[(codes >> 4).long()]], -1).flatten(1)


def spread(scale, recipe, swizzle, rows):
    """A factor for each number, k = 256."""
    name = str(recipe)
    if "1x32" in name or "1x16" in name:
        assert "SWIZZLE_32_4_4" in str(swizzle)
        wide = 32 if "1x32" in name else 16
        tiles = scale.to(torch.float32).reshape(rows // 128, 256 // wide // 4, 32, 4, 4)
        return tiles.permute(0, 3, 2, 1, 4).reshape(rows, 256 // wide).repeat_interleave(wide, 1)
    assert "NO_SWIZZLE" in str(swizzle)
    if "128x128" in name:
        assert scale.stride() == (1, 4)  # two blocks along k, filled up to four
        return scale.t()[:, :2].repeat_interleave(128, 0).repeat_interleave(128, 1)
    assert "1x128" in name
    assert scale.stride() == (1, rows)
    return scale.repeat_interleave(128, 1)


def problem(dtype):
    return Problem(torch, Maker(torch, "cpu"), dtype_row(dtype), 128, 256, 256, "nt")


def off_by(product, result):
    reference = product.a.wide(torch) @ product.b.wide(torch)
    return float((result.to(torch.float64) - reference).norm() / reference.norm())


@pytest.mark.skipif(not hasattr(torch.nn.functional, "scaled_mm"), reason="this PyTorch has no torch.nn.functional.scaled_mm")
@pytest.mark.parametrize("dtype", ["fp8_block", "fp8_block_1x128", "mxfp8", "mxfp4", "nvfp4"])
def test_block_scaled_products_are_handed_over_as_documented(dtype, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "scaled_mm", by_the_book)
    product = OPERATIONS["scaled_mm"](problem(dtype))
    assert off_by(product, product.multiply()) < product_tolerance(dtype_row(dtype), 256)


@pytest.mark.parametrize("dtype", ["fp16_sparse", "bf16_sparse", "int8_sparse", "fp8_sparse"])
def test_sparse_products_are_handed_over_as_documented(dtype, monkeypatch):
    monkeypatch.setattr(torch.backends.cusparselt, "is_available", lambda: True)
    monkeypatch.setattr(torch, "_cslt_compress", lambda dense: dense)
    multiply = lambda a, b, out_dtype: (a.double() @ b.double()).to(out_dtype)  # noqa: E731
    monkeypatch.setattr(torch, "_cslt_sparse_mm", multiply)
    product = OPERATIONS["sparse"](problem(dtype))
    assert product.b.stored.stride() == (1, 256)  # along k, as the library wants it
    assert off_by(product, product.multiply()) <= product_tolerance(dtype_row(dtype), 256)


def test_without_cusparselt_narrow_sparse_formats_are_missing(monkeypatch):
    monkeypatch.setattr(torch.backends.cusparselt, "is_available", lambda: False)
    with pytest.raises(NotImplementedError, match="cuSPARSELt"):
        OPERATIONS["sparse"](problem("int8_sparse"))


def test_an_older_torch_lacks_what_came_later(monkeypatch):
    monkeypatch.delattr(torch.nn.functional, "scaled_mm", raising=False)
    with pytest.raises(NotImplementedError, match=r"came with 2\.10"):
        OPERATIONS["scaled_mm"](problem("mxfp8"))
