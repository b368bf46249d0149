"""The harness on a real GPU: timers, flush, children."""

from __future__ import annotations

import pytest

from dltool import probe
from dltool.bench import devices, harness
from dltool.bench.isolation import runs
from dltool.bench.isolation.workers import Workers
from dltool.bench.plan import Plan
from dltool.bench.timers import CudaTimer, flusher
from dltool.bench.workloads.gemm import Gemm

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def workers():
    with Workers() as workers:
        yield workers


@pytest.fixture(scope="module")
def device(workers):
    if not torch.cuda.device_count():
        pytest.skip("torch sees no CUDA device")
    return workers.call(devices.find, "cuda:0", probe.read(), timeout_s=120)


def short_kernel() -> tuple[float, float]:
    """Seconds of an addition of a few elements: behind a waiting kernel, and as a graph of a hundred."""
    numbers = torch.zeros(1024, device="cuda")
    step = lambda: numbers.add_(1)  # noqa: E731
    CudaTimer(0)(step, 100)
    spun = min(CudaTimer(0, behind_spin=True)(step, 100) for _ in range(20)) / 100
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(100):
            step()
    return spun, min(CudaTimer(0)(graph.replay, 10) for _ in range(20)) / 1000


def flushed() -> tuple[int, int]:
    """Bytes of the flush buffer, and of the L2."""
    buffer = flusher("cuda:0", torch.cuda.get_device_properties(0).L2_cache_size)()
    return buffer.numel() * buffer.element_size(), torch.cuda.get_device_properties(0).L2_cache_size


def illegal_access() -> None:
    torch.zeros(1, device="cuda")[torch.tensor([10**6], device="cuda")] = 1
    torch.cuda.synchronize()


def test_no_launch_gaps_behind_the_waiting_kernel(workers, device):
    spun, graph = workers.call(short_kernel, timeout_s=120)
    assert spun < 2 * graph + 2e-6


def test_the_flush_has_the_size_of_the_l2(workers, device):
    size, l2 = workers.call(flushed, timeout_s=120)
    assert abs(size - l2) < 4


def test_a_poisoned_context_is_a_row_and_the_next_case_runs(workers, device):
    from dltool.bench.isolation.workers import Died

    with pytest.raises(Died):
        workers.call(illegal_access, timeout_s=120)
    (row,) = runs.run([("gemm", Gemm(dtype="bf16"))], device, Plan(sampling_s=1.0), workers)
    assert row.verified.ok
    assert row.energy_j > 0


def test_this_process_holds_no_context(workers, device):
    assert not torch.cuda.is_initialized()
    assert harness.HARNESS_VERSION >= 2
