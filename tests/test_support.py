"""Native, emulated, library-missing, unsupported: from recorded kernel names, errors and verbose lines."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dltool import tables
from dltool.bench import support, witness
from dltool.bench.devices import Device, host_timer
from dltool.bench.workloads.gemm import Gemm
from dltool.catalog import Board, Peak, architectures

ROWS = tables.rows("kernel_names")
AMPERE_BF16 = "ampere_bf16_s16816gemm_bf16_128x128_ldg8_f2f_stages_32x5_nn"
HOPPER_FP8 = (
    "sm90_xmma_gemm_e4m3bf16_e4m3f32_f32_tn_n_tilesize128x128x128_warpgroupsize2x1x1_execute_segment_k_off_kernel__5x_cublas"
)
AMPERE_INT8 = "cutlass_80_tensorop_i16832gemm_s8_256x128_64x3_tn_align16"
SGEMM = "ampere_sgemm_128x64_nn"
FFMA = next(row["example"] for row in ROWS if "_ffma_" in row["example"])


def gpu(capability, *, tensor_cores=True):
    """A board of one compute capability, with all that its architecture has."""
    found = [one for one in architectures() if one.compute_capability == capability]
    architecture = found[0] if tensor_cores else found[-1]
    sparse = 2.0 if architecture.sparsity else None
    peaks = {key: Peak(dense=1.0, sparse=sparse if "_tensor" in key else None) for key in architecture.ops}
    board = Board(name="board", architecture=architecture.name, compute_capability=capability, peaks=peaks)
    return Device(name="cuda:0", board=board, timer=host_timer)


def cpu(*keys):
    return Device(name="cpu", board=Board(name="CPU", peaks={key: Peak(dense=1.0) for key in keys}), timer=host_timer)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["example"][:40])
def test_the_example_of_each_pattern_is_known_by_it(row):
    assert support.unit_of(row["example"]) == row["unit"]


@pytest.mark.parametrize(
    ("dtype", "device", "kernel", "state", "word"),
    [
        pytest.param("bf16", gpu("8.0"), AMPERE_BF16, "native", "", id="bf16 on A100"),
        pytest.param("bf16", gpu("7.0"), "volta_sgemm_128x64_tn", "emulated", "no units for bf16", id="bf16 on V100"),
        pytest.param("fp16", gpu("7.0"), "volta_fp16_s884gemm_fp16_128x128_ldg8_f2f_nn", "native", "", id="fp16 on V100"),
        pytest.param("fp16", gpu("7.5", tensor_cores=False), "turing_hgemm_128x64_nn", "native", "", id="fp16 on GTX 16"),
        pytest.param("fp16", gpu("9.0"), SGEMM, "emulated", "ordinary cores", id="fp16 not on tensor cores"),
        pytest.param("fp32", gpu("8.0"), SGEMM, "native", "", id="fp32"),
        pytest.param("tf32", gpu("8.0"), FFMA, "emulated", "ordinary cores", id="tf32 that was switched off"),
        pytest.param("tf32", gpu("7.5"), "volta_sgemm_128x64_tn", "emulated", "Turing has no units", id="tf32 on T4"),
        pytest.param("fp64", gpu("8.0"), "cutlass_80_tensorop_d884gemm_64x64_16x4_nn_align1", "native", "", id="fp64 tensor"),
        pytest.param("fp64", gpu("8.0"), "volta_dgemm_64x64_nn", "native", "ordinary cores", id="fp64 vector on A100"),
        pytest.param("fp64", gpu("8.9"), "volta_dgemm_64x64_nn", "native", "", id="fp64 on GeForce"),
        pytest.param("fp8_e4m3", gpu("9.0"), HOPPER_FP8, "native", "", id="fp8 on H100"),
        pytest.param("fp8_e4m3", gpu("10.0"), HOPPER_FP8, "native", "capability 9.0", id="an older kernel"),
        pytest.param("int8", gpu("10.0"), AMPERE_INT8, "native", "made for compute capability 8.0", id="int8 on B200"),
        pytest.param("int8", gpu("8.6"), AMPERE_INT8, "native", "", id="same major version"),
        pytest.param("nvfp4", gpu("10.0"), "nvjet_sm100_ootst_128x256x256_64x4", "native", "", id="nvfp4 on B200"),
        pytest.param("fp16_sparse", gpu("8.0"), "sm80_xmma_sparse_gemm_f16f16_f16f32_f32_tn_n", "native", "", id="sparse"),
        pytest.param("fp16_sparse", gpu("7.5"), "x", "emulated", "no units", id="sparse on Turing"),
        pytest.param("bf16", gpu("9.0"), None, "native", "", id="no profiler"),
        pytest.param("bf16", gpu("9.0"), "a_kernel_of_tomorrow", "native", "", id="a name not in the table"),
        pytest.param("bf16", cpu("bf16"), "oneDNN matmul brg_matmul:avx512_core_bf16", "native", "", id="bf16 on CPU"),
        pytest.param("fp32", cpu("fp32"), "MKL SGEMM AVX2", "native", "AVX2 path", id="MKL on AMD"),
        pytest.param("fp32", cpu("fp32"), "MKL SGEMM AVX-512", "native", "", id="MKL on Intel"),
        pytest.param("fp16", cpu("fp32"), "torch, no library", "emulated", "naive fallback", id="fp16 on CPU"),
        pytest.param("fp8_e4m3", cpu("fp32"), "MKL SGEMM AVX2", "emulated", "by way of MKL SGEMM", id="fp8 on CPU"),
        pytest.param("bf16", cpu("bf16"), "torch, no library", "emulated", "no library", id="bf16 without oneDNN"),
        pytest.param("w4a16", cpu("bf16"), "torch, no library", "emulated", "widened", id="weights on CPU"),
    ],
)
def test_what_ran(dtype, device, kernel, state, word):
    verdict = Gemm(dtype=dtype).support(device, kernel)
    assert verdict.state == state, verdict
    assert word in verdict.why
    assert bool(word) == bool(verdict.why)


@pytest.mark.parametrize(
    ("dtype", "device", "error", "state", "word"),
    [
        pytest.param("mxfp4", gpu("10.0"), "RuntimeError: built without", "library-missing", "built without", id="mxfp4"),
        pytest.param("nvfp4", gpu("9.0"), "needs 10.0", "unsupported", "Hopper has no units for nvfp4", id="nvfp4"),
        pytest.param("fp8_e4m3", gpu("8.0"), "only on 8.9 or later", "unsupported", "Ampere has no units", id="fp8 on A100"),
        pytest.param("bf16", gpu("9.0"), "OutOfMemoryError: CUDA out of memory.", None, "out of memory", id="memory"),
        pytest.param("bf16", cpu(), "RuntimeError: x", None, "x", id="unknown CPU"),
        pytest.param("tf32", cpu("fp32"), "this exists on CUDA devices only", "unsupported", "CUDA", id="tf32 on CPU"),
        pytest.param("bf16", cpu("bf16"), "RuntimeError: x", "library-missing", "x", id="bf16 refused on CPU"),
    ],
)
def test_what_did_not_run(dtype, device, error, state, word):
    verdict = Gemm(dtype=dtype).support(device, None, error)
    assert verdict.state == state
    assert word in verdict.why


def test_a_device_that_is_not_in_the_catalogue_is_not_judged():
    assert Gemm(dtype="bf16").implementation(cpu()) == "unknown: the device is not in the catalogue"
    assert Gemm(dtype="bf16").implementation(cpu("bf16")) == "native"


@pytest.mark.parametrize(
    ("kernel", "made"),
    [(AMPERE_BF16, (8, 0)), (HOPPER_FP8, (9, 0)), ("turing_h1688gemm_128x128_nn", (7, 5)), ("nvjet_sm103_x", (10, 3)),
     ("cutlass_80_simt_sgemm", (8, 0)), ("nvjet_hsh_128x256_64x4", None), (None, None)],
)  # fmt: skip
def test_what_a_kernel_was_made_for(kernel, made):
    assert support.made_for(kernel) == made


BUILD = "MKL_VERBOSE oneMKL 2024.0 Update 2 Product build 20240605 for Intel(R) 64 architecture "
AMD = BUILD + "Intel(R) Architecture processors, Lnx 2.60GHz lp64 gnu_thread"
INTEL = (
    f"{BUILD}Intel(R) Advanced Vector Extensions 512 (Intel(R) AVX-512) with support for INT8, BF16 instructions,"
    " and Intel(R) Advanced Matrix Extensions (Intel(R) AMX) with INT8 and BF16, Lnx 2.00GHz"
)
INTEL_AVX2 = BUILD + "Intel(R) Advanced Vector Extensions 2 (Intel(R) AVX2) enabled processors, Lnx 2.40GHz"
SGEMM_LINE = "MKL_VERBOSE SGEMM(T,N,256,256,256,0x7ffd,0x55e3,256,0x55e3,256,0x7ffd,0x55e3,256) 365.03us CNR:OFF Dyn:1"
ISA = "onednn_verbose,v1,info,cpu,isa:Intel AVX-512 with Intel DL Boost"
MATMUL = "onednn_verbose,v1,primitive,exec,cpu,matmul,brg_matmul:avx512_core_bf16,undef,src:bf16::blocked:ab::f0,,,64x64,2.3"
INT8 = "onednn_verbose,v1,primitive,exec,cpu,gemm_api,,undef,src_s8::blocked:ab:f0,,,256x256:256x256,6.08594"


@pytest.mark.parametrize(
    ("said", "headers", "path"),
    [
        pytest.param("", AMD, "torch, no library", id="nothing"),
        pytest.param(SGEMM_LINE, AMD, "MKL SGEMM AVX2", id="MKL on AMD"),
        pytest.param(SGEMM_LINE, INTEL, "MKL SGEMM AVX-512", id="MKL with AVX-512"),
        pytest.param(SGEMM_LINE, INTEL_AVX2, "MKL SGEMM AVX2", id="MKL on a client CPU"),
        pytest.param(SGEMM_LINE, "", "MKL SGEMM instructions unknown", id="no header"),
        pytest.param(MATMUL, ISA, "oneDNN matmul brg_matmul:avx512_core_bf16", id="oneDNN"),
        pytest.param(INT8, ISA, "oneDNN gemm_api Intel AVX-512 with Intel DL Boost", id="oneDNN without a name"),
    ],
)
def test_the_library_tells_its_path(said, headers, path):
    assert witness.path_of(said, headers) == path


@dataclass
class Event:
    """As torch.profiler lists them."""

    name: str
    took_us: int
    device_type: str = "DeviceType.CUDA"

    @property
    def time_range(self):
        return self

    def elapsed_us(self):
        return self.took_us


def test_the_kernel_with_the_most_time_is_named():
    helper = "void cublasLt::splitKreduce_kernel<32, 16>"
    on_cpu = "DeviceType.CPU"
    events = [
        Event("aten::mm", 90, on_cpu),
        Event(AMPERE_BF16, 15),
        Event(helper, 50),
        Event(SGEMM, 20),
        Event(AMPERE_BF16, 15),
    ]
    assert witness.heaviest(events) == AMPERE_BF16
    assert witness.heaviest([Event(helper, 5)]) == helper
    assert witness.heaviest([]) is None


def test_what_really_runs_on_this_cpu_is_told(capfd):
    torch = pytest.importorskip("torch")
    device = Device(name="cpu", board=Board(name="x"), timer=host_timer)
    step = Gemm(m=64, n=64, k=64, dtype="fp32").prepare(device).step
    path = witness.watch(device, step)
    if torch.backends.mkl.is_available():
        assert path.startswith("MKL SGEMM")
    assert witness.watch(Device(name="fake", board=Board(name="x"), timer=host_timer), step) is None
    assert capfd.readouterr().out == ""  # what the libraries print is kept out of our output


def test_without_standard_output_nothing_is_told(monkeypatch):
    def closed(descriptor):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(witness.os, "dup", closed)
    assert witness.watch(Device(name="cpu", board=Board(name="x"), timer=host_timer), lambda: None) is None


def test_our_own_output_is_not_swallowed(capfd):
    device = Device(name="cpu", board=Board(name="x"), timer=host_timer)
    print("before")
    witness.watch(device, lambda: None)
    print("after")
    assert capfd.readouterr().out == "before\nafter\n"


def test_on_a_gpu_the_profiler_is_asked(monkeypatch, capfd):
    """A profiler that tells its stages on stderr, as Kineto does."""
    torch = pytest.importorskip("torch")
    ran = []

    class Profile:
        def __init__(self, *, activities):
            assert activities == [torch.profiler.ProfilerActivity.CUDA]

        def __enter__(self):
            witness.os.write(2, b"STAGE: warm up")
            return self

        def __exit__(self, *_):
            ran.append("closed")

        def events(self):
            return [Event(SGEMM, 1)]

    monkeypatch.setattr(torch.profiler, "profile", Profile)
    monkeypatch.setattr(torch.cuda, "synchronize", ran.append)
    device = Device(name="cuda:1", board=Board(name="x"), timer=host_timer)
    assert witness.watch(device, lambda: ran.append("step")) == SGEMM
    assert ran == ["step", "cuda:1", "closed"]
    assert capfd.readouterr().err == ""

    def refused(**_):
        raise RuntimeError("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES")

    monkeypatch.setattr(torch.profiler, "profile", refused)
    assert witness.watch(device, lambda: None) is None
