"""Language inference on a real GPU: graphs, backends and caches are right, and a graph saves launches."""

from __future__ import annotations

import pytest

from dltool import probe
from dltool.bench import devices, harness
from dltool.bench.workloads import generate
from dltool.bench.workloads.generate import Generate

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")
NAMES = ["gpt2", "llama_3.2_1b"]


@pytest.fixture(scope="module")
def device():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    return devices.find("cuda:0", probe.read())


def measured(device, **case):
    return harness.measure("generate", Generate(**case), device, harness.Plan(sampling_s=0.5, warmup_s=0.5))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("phase", generate.PHASES)
@pytest.mark.parametrize("how", [{}, {"cache": "dynamic"}, {"graph": "yes"}, {"compile": "default"}], ids=str)
def test_it_is_right(device, name, phase, how):
    row = measured(device, name=name, phase=phase, dtype="bf16", batch=2, context=256, options="layers=2", **how)
    assert row.not_run is None
    assert row.verified.ok, row.verified
    assert row.model.memory.allocated > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cache", ["static", "dynamic"])
@pytest.mark.parametrize("sdpa", ["math", "flash", "efficient", "cudnn"])
def test_backends_are_right_or_say_why_not(device, name, cache, sdpa):
    row = measured(device, name=name, dtype="bf16", batch=2, context=256, options="layers=2", cache=cache, sdpa=sdpa)
    assert row.verified.ok if row.not_run is None else "refuses" in row.not_run, row


def test_a_graph_is_no_slower_than_launches_and_below_the_boards_bandwidth(device):
    rows = {how: measured(device, name="gpt2", dtype="bf16", context=512, graph=how) for how in ("yes", "no")}
    assert rows["yes"].median_s < rows["no"].median_s
    if device.board.memory_gb_per_s:
        assert rows["yes"].work.bytes / rows["yes"].median_s < 1.1e9 * device.board.memory_gb_per_s
    note = next(note for note in rows["yes"].model.notes if note.startswith("reads"))
    assert "of the board's" in note or device.board.memory_gb_per_s is None


def test_the_estimate_of_memory_holds(device):
    row = measured(device, name="gpt2", phase="prefill", dtype="fp32", batch=8, context=512)
    assert row.model.memory.foreseen == pytest.approx(row.model.memory.allocated, rel=0.25)
