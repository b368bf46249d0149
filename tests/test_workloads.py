"""Workloads on the CPU at small sizes: the right result, the right work, the right words for what cannot be done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool import bench
from dltool.bench import WORKLOADS, devices, harness, suites
from dltool.bench.harness import Plan
from dltool.bench.workloads.gemm import Gemm
from dltool.bench.workloads.memory import Memory
from dltool.catalog import Board, Peak
from dltool.errors import CannotRun, UsageError
from dltool.machine import Cpu, Machine
from dltool.machine import Memory as HostMemory

torch = pytest.importorskip("torch")

FAST = Plan(sampling_s=0.02, warmup_s=0.02, step_s=0.2, cap_s=5.0)
QUICK = ["fp64", "fp32", "bf16", "fp16", "fp8_e4m3", "int8"]
CPU_DTYPES = [*QUICK, "fp8_e5m2", "fp8_rowwise", "w8a16", "w4a16"]
SIDES = st.integers(1, 300)


@pytest.fixture(scope="module")
def cpu():
    cpu = Cpu(
        vendor="AuthenticAMD", family=25, model_number=17, cores=2, simd=("avx2", "fma", "avx512_bf16"), mhz_measured=3000
    )
    return devices.find("cpu", Machine(cpu=cpu, memory=HostMemory(available_bytes=2**31)))


@pytest.mark.parametrize("dtype", CPU_DTYPES)
def test_every_cpu_dtype_runs_and_is_verified(cpu, dtype):
    result = harness.measure("gemm", Gemm(m=96, n=64, k=128, dtype=dtype), cpu, FAST)
    assert result.not_run is None
    assert result.verified.ok, result.verified
    assert result.rate > 0
    assert result.settings["fp32_precision"] == "highest"


def test_native_or_emulated_is_told(cpu):
    assert Gemm(dtype="bf16").implementation(cpu) == "native"
    assert Gemm(dtype="fp16").implementation(cpu).startswith("emulated")
    assert Gemm(dtype="fp32").peak(cpu) == (2 * 32 * 3000e6, "fp32 derived")
    assert Gemm(dtype="fp16").peak(cpu) is None


def test_a_wrong_product_is_found(cpu):
    prepared = Gemm(m=64, n=64, k=64).prepare(cpu)
    prepared.step()
    assert prepared.verify().ok
    broken = Gemm(m=64, n=64, k=64).prepare(cpu)  # its output was never computed
    assert not broken.verify().ok


@pytest.mark.parametrize("kernel", ["read", "write", "copy", "scale", "add", "triad"])
def test_memory_kernels_move_what_they_say(cpu, kernel):
    result = harness.measure("memory", Memory(kernel=kernel, bytes=2**20), cpu, FAST)
    assert result.verified.ok
    assert result.rate_unit == "B/s"
    assert result.work.bytes == {"read": 1, "write": 1, "copy": 2, "scale": 2, "add": 3, "triad": 3}[kernel] * 2**20


@pytest.mark.parametrize("kernel", ["read", "write", "copy", "scale", "add", "triad"])
def test_memory_kernels_that_did_nothing_are_found(cpu, kernel):
    assert not Memory(kernel=kernel, bytes=2**16).prepare(cpu).verify().ok


@pytest.mark.parametrize(
    ("workload", "word"),
    [
        pytest.param(Gemm(dtype="tf32", m=64, n=64, k=64), "CUDA", id="tf32"),
        pytest.param(Memory(kernel="h2d"), "CUDA", id="h2d"),
        pytest.param(Memory(bytes=2**45), "do not fit", id="too large"),
    ],
)
def test_what_cannot_run_here_is_a_row(cpu, workload, word):
    assert word in harness.measure("any", workload, cpu, FAST).not_run


@given(SIDES, SIDES, SIDES)
def test_gemm_sizes_climb_to_what_was_asked(m, n, k):
    workload = Gemm(m=m, n=n, k=k)
    sizes = list(workload.sizes())
    assert sizes[-1] == workload
    assert [size.work().ops for size in sizes] == sorted({size.work().ops for size in sizes})


def test_gemm_work_by_hand():
    work = Gemm(m=2, n=3, k=5, dtype="bf16").work()
    assert (work.ops, work.bytes) == (60, (10 + 15) * 2 + 6 * 2)


def test_cases_are_every_combination():
    found = bench.cases(Gemm, {"dtype": ["fp32", "bf16"], "m": ["64", "128"]})
    assert [(case.dtype, case.m) for case in found] == [("fp32", 64), ("fp32", 128), ("bf16", 64), ("bf16", 128)]


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        pytest.param({"dtype": ["bf61"]}, "unknown dtype `bf61`", id="dtype"),
        pytest.param({"q": ["1"]}, "unknown parameter `q`", id="parameter"),
        pytest.param({"m": ["-4"]}, "positive whole number", id="negative"),
        pytest.param({"m": ["big"]}, "positive whole number", id="text"),
        pytest.param({"m": ["0"]}, "positive whole number", id="zero"),
    ],
)
def test_bad_parameters_are_refused(axes, text):
    with pytest.raises(UsageError, match=text) as refused:
        bench.cases(Gemm, axes)
    assert refused.value.remedy


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 0.5])
def test_a_result_that_is_no_number_is_wrong_and_can_be_stored(wrong):
    import msgspec

    from dltool.results import Verified

    verdict = bench.verified("float64", wrong, 0.1)
    assert not verdict.ok
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verified) == verdict


def test_arrays_in_the_cache_are_called_so(cpu):
    small = devices.Device(name="cpu", board=cpu.board, timer=cpu.timer, llc_bytes=2**25, free_bytes=2**31, threads=2)
    result = harness.measure("memory", Memory(kernel="copy", bytes=2**16), small, FAST)
    assert any("last-level cache" in warning for warning in result.warnings)


def test_the_callers_precision_is_left_as_it_was(cpu):
    torch.set_float32_matmul_precision("medium")
    try:
        tuple(harness.run([("gemm", Gemm(m=64, n=64, k=64))], cpu, FAST))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_unknown_workload_and_kernel():
    with pytest.raises(UsageError, match="unknown workload `gem`") as refused:
        WORKLOADS.get("gem")
    assert "gemm" in refused.value.remedy
    with pytest.raises(UsageError, match="unknown kernel `cpy`"):
        Memory(kernel="cpy")


@pytest.mark.parametrize(("name", "error"), [("tpu", UsageError), ("cuda:x", UsageError), ("cuda:7", CannotRun)])
def test_unknown_devices(name, error):
    with pytest.raises(error) as refused:
        devices.find(name, Machine())
    assert refused.value.remedy


def test_quick_holds_products_memory_and_a_model(cpu):
    told = {"gemm": "dtype", "memory": "kernel", "model": "model"}
    names = [(name, getattr(case, told[name])) for name, case in suites.quick(cpu, {})]
    kernels = [("memory", kernel) for kernel in ("read", "write", "copy", "triad")]
    assert names == [("gemm", dtype) for dtype in QUICK] + kernels + [("model", "resnet50")]


def test_a_gpu_board_peak_of_each_dtype():
    board = Board(name="x", peaks={"fp64": Peak(dense=1.0), "bf16_tensor": Peak(dense=100.0), "int8_tensor": Peak(dense=200.0)})
    device = devices.Device(name="cuda:0", board=board, timer=devices.host_timer)
    assert Gemm(dtype="bf16").peak(device) == (1e14, "bf16_tensor derived")
    assert Gemm(dtype="fp64").peak(device) == (1e12, "fp64 derived")
    assert Gemm(dtype="fp8_e4m3").implementation(device).startswith("emulated")
