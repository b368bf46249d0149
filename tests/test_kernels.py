"""The kernels that dltool brings: they compile, become what the table says, and their reference knows where numbers lie."""

from __future__ import annotations

import ctypes
import itertools
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dltool import tables
from dltool.bench import nvrtc, support
from dltool.bench.devices import Device, host_timer
from dltool.bench.workloads.instruction import Instruction
from dltool.bench.workloads.kernels import KERNELS, THREADS, WARPS
from dltool.catalog import Board, Peak, architecture_of
from dltool.errors import CannotRun, UsageError

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

DTYPES = [row["name"] for row in tables.rows("dtypes") if row["operation"].startswith("kernel_")]
MMA = [dtype for dtype in DTYPES if Instruction(dtype=dtype).kernel.shape]
CODE = tables.rows("kernel_code")


class FakeNvrtc:
    """Compiles whatever does not say `broken`."""

    log = b"measure.cu(3): warning: odd\nmeasure.cu(4): error: no such instruction\n"

    def __init__(self, code: int = 0) -> None:
        self.code, self.source, self.options, self.destroyed = code, b"", [], 0

    def nvrtcCreateProgram(self, program, source, name, count, headers, names):
        self.source = source
        return 0

    def nvrtcCompileProgram(self, program, count, options):
        self.options = list(options)
        return self.code

    def nvrtcGetProgramLogSize(self, program, size):
        size._obj.value = len(self.log) + 1

    def nvrtcGetProgramLog(self, program, text):
        text.value = self.log

    def nvrtcGetCUBINSize(self, program, size):
        size._obj.value = 4
        return 0

    def nvrtcGetCUBIN(self, program, code):
        code.raw = b"\x7fELF"
        return 0

    def nvrtcDestroyProgram(self, program):
        self.destroyed += 1


class FakeGpu:
    """libcuda whose one kernel is computed here, a number at a time, as the PTX manual says where each lies."""

    def __init__(self, compute=None, *, code: int = 0) -> None:
        self.compute, self.code = compute, code

    def cuModuleLoadData(self, module, image):
        return self.code

    def cuModuleGetFunction(self, function, module, name):
        assert name == b"measure"
        return 0

    def cuGetErrorName(self, code, name):
        name._obj.value = b"CUDA_ERROR_NO_BINARY_FOR_GPU"

    def cuLaunchKernel(self, function, bx, by, bz, tx, ty, tz, shared, stream, parameters, extra):
        assert (by.value, bz.value, ty.value, tz.value, shared.value, extra) == (1, 1, 1, 1, 0, None)
        a, b, c = (ctypes.cast(parameters[i], ctypes.POINTER(ctypes.c_void_p))[0] for i in range(3))
        rounds = ctypes.cast(parameters[3], ctypes.POINTER(ctypes.c_int))[0]
        self.compute(a, b, c, rounds, bx.value, tx.value)
        return 0


def array(address: int, kind: str, count: int) -> np.ndarray:
    size = np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_char * (size * count)).from_address(address), dtype=kind)


def number(register: int, place: int, bits: int) -> int:
    """One of the numbers in a register; 4 bits have a sign."""
    code = (int(register) >> (place * bits)) & (2**bits - 1)
    return code - 16 if bits == 4 and code >= 8 else code


def tensor_cores(kernel, *, xor=False, spoil=False):
    """What the kernel leaves, by the fragment tables of the PTX manual."""
    per, bits = kernel.per_register, kernel.bits
    regs_a, regs_b = 16 * kernel.shape[2] // per // 32, 8 * kernel.shape[2] // per // 32
    kind, k = ("float64" if bits == 64 else "int32"), kernel.shape[2]

    def value(register, place):
        return float(register) if bits == 64 else number(int(register) & 0xFFFFFFFF, place, bits)

    def compute(a, b, c, rounds, blocks, threads):
        a = array(a, kind, WARPS * regs_a * 32).reshape(WARPS, regs_a, 32)
        b = array(b, kind, kernel.chains * regs_b * 32).reshape(kernel.chains, regs_b, 32)
        out = array(c, kind, blocks * WARPS * kernel.chains * 4 * 32).reshape(blocks, WARPS, kernel.chains, 4, 32)
        left = np.zeros((WARPS, 16, k))
        right = np.zeros((kernel.chains, k, 8))
        for lane in range(32):
            group, place = lane // 4, lane % 4
            for e in range(per):
                for i in range(regs_a):  # a0: row g; a1: row g + 8; a2: row g, the next columns ...
                    left[:, group + 8 * (i % 2), i // 2 * 4 * per + place * per + e] = [value(x, e) for x in a[:, i, lane]]
                for i in range(regs_b):
                    right[:, i * 4 * per + place * per + e, group] = [value(x, e) for x in b[:, i, lane]]
        for warp in range(WARPS):
            for chain in range(kernel.chains):
                x, y = left[warp], right[chain]
                result = x @ y if not xor else (x[:, :, None] != y[None]).sum(1)
                for lane in range(32):
                    for i in range(4):
                        out[:, warp, chain, i, lane] = rounds * result[lane // 4 + 8 * (i // 2), lane % 4 * 2 + i % 2]
        if spoil:
            out[-1, 0, 0, 1, 5] += 1

    return compute


def ordinary_cores(kernel):
    """x = a x + b in the format's own precision."""
    kind = {"fp64": "float64", "fp32": "float32", "fp16": "float16"}[kernel.name]
    per = kernel.per_register

    def compute(a, b, c, rounds, blocks, threads):
        factor = array(a, kind, threads * per).reshape(threads, per)
        start = array(b, kind, kernel.chains * threads * per).reshape(kernel.chains, threads, per)
        x = start.copy()
        for _ in range(rounds):
            x = (factor * x.astype("float64") + start).astype(kind)
        array(c, kind, blocks * x.size).reshape(blocks, *x.shape)[:] = x

    return compute


def on_fake(dtype, compute, *, blocks=2, rounds=3, **settings):
    loaded = nvrtc.Loaded(FakeGpu(compute), b"\x7fELF", "measure")
    return Instruction(dtype=dtype, blocks=blocks, rounds=rounds).prepared(torch, "cpu", loaded, **settings)


@pytest.mark.parametrize("dtype", MMA)
def test_tensor_core_results_are_known_to_the_reference(dtype):
    kernel = Instruction(dtype=dtype).kernel
    prepared = on_fake(dtype, tensor_cores(kernel))
    assert not prepared.verify().ok  # nothing ran yet
    prepared.step()
    assert prepared.verify().ok, prepared.verify()
    spoiled = on_fake(dtype, tensor_cores(kernel, spoil=True))
    spoiled.step()
    assert not spoiled.verify().ok


def test_bits_before_ampere_are_combined_by_xor():
    kernel = KERNELS["int1"]
    prepared = on_fake("int1", tensor_cores(kernel, xor=True), xor=True)
    prepared.step()
    assert prepared.verify().ok
    prepared = on_fake("int1", tensor_cores(kernel), xor=True)
    prepared.step()
    assert not prepared.verify().ok


@pytest.mark.parametrize("rounds", [1, 40])
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype not in MMA])
def test_multiply_adds_are_known_to_the_reference(dtype, rounds):
    kernel = Instruction(dtype=dtype).kernel
    prepared = on_fake(dtype, ordinary_cores(kernel), rounds=rounds)
    assert not prepared.verify().ok
    prepared.step()
    verdict = prepared.verify()
    assert verdict.ok
    assert verdict.error > verdict.tolerance / 1e4 or verdict.error == 0  # the tolerance is not out of all proportion
    off_by_one = on_fake(dtype, lambda a, b, c, rounds, *rest: ordinary_cores(kernel)(a, b, c, 0, *rest), rounds=rounds)
    off_by_one.step()
    assert not off_by_one.verify().ok


@pytest.mark.parametrize("dtype", DTYPES)
def test_work_is_what_the_threads_do(dtype):
    case = Instruction(dtype=dtype, blocks=3, rounds=5)
    kernel = case.kernel
    if kernel.shape is None:
        per_block = THREADS * kernel.chains * kernel.per_register * 2
    else:
        per_block = WARPS * kernel.chains * 2 * kernel.shape[0] * kernel.shape[1] * kernel.shape[2]
    assert case.work().ops == 3 * 5 * per_block
    assert [size.rounds for size in Instruction(dtype=dtype, rounds=4096).sizes()] == [64, 512, 4096]


def test_a_kernel_is_compiled_for_the_gpu_at_hand():
    fake = FakeNvrtc()
    assert nvrtc.compile_cubin(fake, KERNELS["int4"].source(), (8, 9)) == b"\x7fELF"
    assert fake.options == [b"--gpu-architecture=sm_89"]
    assert b"mma.sync" in fake.source
    assert fake.destroyed == 1


def test_what_does_not_compile_or_load_is_told():
    fake = FakeNvrtc(code=6)
    with pytest.raises(CannotRun, match=r"sm_75: measure.cu\(4\): error: no such instruction"):
        nvrtc.compile_cubin(fake, "", (7, 5))
    assert fake.destroyed == 1
    with pytest.raises(CannotRun, match="cannot load the kernel: CUDA_ERROR_NO_BINARY_FOR_GPU"):
        nvrtc.Loaded(FakeGpu(code=209), b"", "measure")


def test_a_cpu_and_a_dtype_of_a_library_are_refused():
    device = Device(name="cpu", board=Board(name="x"), timer=host_timer)
    with pytest.raises(UsageError, match="CUDA devices only"):
        Instruction(dtype="int4").prepare(device)
    with pytest.raises(UsageError, match="no kernel of its own") as refused:
        Instruction(dtype="bf16").work()
    assert "bench gemm --dtype bf16" in refused.value.remedy


@pytest.mark.parametrize(
    ("dtype", "capability", "state", "word"),
    [
        ("int4", "7.5", "native", ""),
        ("int4", "8.9", "native", ""),
        ("int4", "9.0", "emulated", "IMMA.16832.S8.S8"),
        ("int4", "12.0", "emulated", "IMMA.16832.S8.S8"),
        ("int1", "8.0", "native", ""),
        ("int1", "10.0", "emulated", "IMMA.16832.U8.U8"),
        ("fp64_mma", "8.0", "native", ""),
        ("fp64_mma", "8.9", "emulated", "DMMA.884"),
        ("fp64_vector", "9.0", "native", ""),
        ("fp16_vector", "8.6", "native", ""),
    ],
)
def test_native_or_emulated_by_what_the_compiler_made(dtype, capability, state, word):
    architecture = architecture_of(capability, {"7.5": "TU102"}.get(capability))
    peaks = {key: Peak(dense=1.0) for key in architecture.ops}
    board = Board(name="x", architecture=architecture.name, compute_capability=capability, peaks=peaks)
    device = Device(name="cuda:0", board=board, timer=host_timer)
    verdict = Instruction(dtype=dtype).support(device, kernel="measure")
    assert verdict.state == state
    assert word in verdict.why
    major, minor = map(int, capability.split("."))
    assert support.instruction_of(Instruction(dtype=dtype).kernel.name, (major, minor)) in verdict.kernel


def nvidia_tool(name: str) -> str | None:
    return shutil.which(name) or next((str(p) for path in sys.path for p in Path(path).glob(f"nvidia/*/bin/{name}")), None)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_every_kernel_compiles_and_becomes_what_the_table_says(kernel, tmp_path):
    """On its first architecture, and where the instruction changes."""
    rows = [row for row in CODE if row["kernel"] == kernel.name]
    disassembler = nvidia_tool("nvdisasm")
    listed = {row["compute_capability"] for row in rows}
    assert min(listed, key=float) == ".".join(map(str, max(kernel.first, (7, 5))))
    changes = [row for before, row in itertools.pairwise(rows) if row["instruction"] != before["instruction"]]
    for row in (rows[0], *changes):
        binary = tmp_path / f"{row['compute_capability']}.cubin"
        target = row["compute_capability"].replace(".", "")
        source = Path(support.__file__).parent / "workloads" / "kernels" / f"{kernel.name}.cu"
        done = subprocess.run(
            ["nvcc", "-cubin", f"-arch=sm_{target}", "-Werror", "all-warnings", "-o", str(binary), str(source)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if disassembler:
            text = subprocess.run([disassembler, "-c", str(binary)], capture_output=True, text=True, check=True).stdout
            found = Counter(re.findall(r"\b(?:[DIB]MMA|DFMA|FFMA|HFMA2)[A-Z0-9.]*", text))
            assert row["instruction"] in found, found


def test_kernels_compile_by_nvrtc_too():
    try:
        library = nvrtc.library()
    except CannotRun:
        pytest.skip("no NVRTC")
    for kernel in KERNELS.values():
        for capability in ((8, 0), (9, 0)):
            assert nvrtc.compile_cubin(library, kernel.source(), capability)[:4] == b"\x7fELF"
    with pytest.raises(CannotRun, match="sm_75"):
        nvrtc.compile_cubin(library, KERNELS["fp64_mma"].source(), (7, 5))
