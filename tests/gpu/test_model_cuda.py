"""Steps of models on a real GPU: half precision, graphs, compiled, memory by torch's own counters."""

from __future__ import annotations

import pytest

from dltool import probe
from dltool.bench import devices, harness
from dltool.bench.plan import Plan
from dltool.bench.workloads.model import Model

pytestmark = pytest.mark.gpu
PLAN = Plan(sampling_s=1.0, warmup_s=1.0, cap_s=60.0)


@pytest.fixture(scope="module")
def gpu() -> devices.Device:
    return devices.find("cuda:0", probe.read())


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "amp-fp16", "amp-bf16"])
def test_resnet50(gpu: devices.Device, precision: str, mode: str) -> None:
    found = harness.measure(
        "model", Model(model="resnet50", mode=mode, precision=precision, batch=16, layout="channels_last"), gpu, PLAN
    )
    assert found.not_run is None
    assert found.verified is not None
    assert found.verified.ok
    step = found.model
    assert step is not None
    assert 0 < (step.mfu or 0) < 1.2
    assert step.memory is not None
    assert (step.memory.allocated or 0) <= (step.memory.reserved or 0)
    assert step.launch_share is not None
    assert 0 <= step.launch_share < 1
    assert [part.name for part in step.parts if not part.inside] == ["data"]


def test_a_graph_gives_the_same_and_is_no_slower(gpu: devices.Device) -> None:
    plain, graph = (
        harness.measure("model", Model(model="resnet18", batch=1, precision="amp-fp16", graph=graph), gpu, PLAN)
        for graph in ("no", "yes")
    )
    assert graph.not_run is None
    assert graph.verified is not None
    assert graph.verified.ok
    assert (graph.median_s or 1) < 1.1 * (plain.median_s or 0)


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_compiled(gpu: devices.Device, mode: str) -> None:
    found = harness.measure("model", Model(model="resnet18", mode=mode, batch=8, compile="default"), gpu, PLAN)
    assert found.not_run is None
    assert found.verified is not None
    assert found.verified.ok


def test_out_of_memory_is_a_row(gpu: devices.Device) -> None:
    found = harness.measure("model", Model(model="unet_padded", mode="train", batch=4096), gpu, PLAN)
    assert "out of memory" in (found.not_run or "").lower()
