"""Every number format on a real GPU: what ran is right, has a name, and is native only where the architecture has the units."""

from __future__ import annotations

import pytest

from dltool import probe, tables
from dltool.bench import devices, harness, matrix, witness
from dltool.bench.support import STATES, unit_of
from dltool.bench.workloads.gemm import Gemm
from dltool.bench.workloads.instruction import Instruction
from dltool.bench.workloads.kernels import KERNELS

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")

FAST = harness.Plan(sampling_s=0.2, warmup_s=0.5, cap_s=20.0)
DTYPES = [row["name"] for row in tables.rows("dtypes")]
BY_KERNEL = [row["name"] for row in tables.rows("dtypes") if row["operation"].startswith("kernel_")]


@pytest.fixture(scope="module")
def device():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    return devices.find("cuda:0", probe.read())


@pytest.fixture(scope="module")
def cells(device):
    return tuple(matrix.probe(device, matrix.workloads(device)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_the_matrix_says_of_a_dtype(device, cells, dtype):
    mine = [cell for cell in cells if cell.dtype == dtype]
    assert mine
    for cell in mine:
        assert cell.state in STATES, cell
        if cell.state in ("native", "emulated"):
            assert cell.verified.ok, cell
            assert cell.kernel, cell


def test_kernel_names_are_in_the_table(cells):
    """A name that no pattern knows needs a row in catalog/kernel_names.csv."""
    strange = {cell.kernel for cell in cells if cell.kernel and unit_of(cell.kernel) is None}
    assert strange == set()


@pytest.mark.parametrize("dtype", BY_KERNEL)
def test_our_kernels_compute_what_their_reference_says(device, dtype):
    """The fragment layouts of `mma.sync`, and NVRTC and the driver behind them."""
    capability = torch.cuda.get_device_capability(0)
    if capability < Instruction(dtype=dtype).kernel.first:
        pytest.skip("not on this GPU")
    case = Instruction(dtype=dtype, blocks=2 * device.board.sms, rounds=4096)
    result = harness.measure("instruction", case, device, FAST)
    assert result.not_run is None
    assert result.verified.ok, result.verified
    if result.support == "native":
        assert 0.3 < result.share_of_peak < 1.1, result


def test_the_profiler_names_the_kernel(device):
    prepared = Gemm(m=2048, n=2048, k=2048, dtype="fp16").prepare(device)
    prepared.step()
    assert unit_of(witness.watch(device, prepared.step)) == "tensor"


def test_fp32_is_not_tf32_and_tf32_is(device):
    if torch.cuda.get_device_capability(0) < (8, 0):
        pytest.skip("no TF32")
    errors = {}
    for dtype in ("fp32", "tf32"):
        prepared = Gemm(m=1024, n=1024, k=1024, dtype=dtype).prepare(device)
        prepared.step()
        errors[dtype] = prepared.verify().error
    assert errors["tf32"] > 20 * errors["fp32"]


def test_zeros_are_measured_beside_random_numbers(device):
    rates = {
        data: harness.measure("gemm", Gemm(m=8192, n=8192, k=8192, dtype="bf16", data=data), device, FAST).rate
        for data in ("random", "zeros")
    }
    assert rates["zeros"] > 0.95 * rates["random"]


def test_every_kernel_is_tried():
    assert {Instruction(dtype=dtype).kernel.name for dtype in BY_KERNEL} == set(KERNELS)
