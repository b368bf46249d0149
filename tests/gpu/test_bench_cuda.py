"""Benchmarks on a real GPU: verified, below the peak, with conditions sampled."""

from __future__ import annotations

import pytest

from dltool import probe
from dltool.bench import devices, harness, suites
from dltool.bench.workloads import attention, conv, elementwise, launch, memory, p2p

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def measurements():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    device = devices.find("cuda:0", probe.read())
    cases = suites.quick(device, {})
    return tuple(harness.run(cases, device, harness.Plan.for_budget(60, len(cases))))


def test_every_case_that_ran_is_right(measurements):
    for measurement in measurements:
        if measurement.not_run is None:
            assert measurement.verified.ok, measurement


def test_the_usual_dtypes_ran(measurements):
    ran = {m.dtype for m in measurements if m.workload == "gemm" and m.rate}
    assert {"fp64", "fp32", "tf32", "bf16", "fp16", "int8"} <= ran


def test_shares_of_peak_are_possible(measurements):
    for measurement in measurements:
        if measurement.share_of_peak is not None:
            assert 0.01 < measurement.share_of_peak < 1.1, measurement


def test_clocks_and_power_were_sampled(measurements):
    for measurement in measurements:
        if measurement.rate:
            assert measurement.conditions.sm_mhz.median > 0


def run(chosen, seconds=60):
    device = devices.find("cuda:0", probe.read())
    cases = chosen(device)
    return tuple(harness.run(cases, device, harness.Plan.for_budget(seconds, len(cases))))


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(lambda device: memory.chosen(device, {}), id="memory and transfers"),
        pytest.param(lambda device: memory.sweep(device, {}), id="caches"),
        pytest.param(launch.chosen, id="launch"),
        pytest.param(lambda device: p2p.chosen(device, {}), id="GPU to GPU"),
        pytest.param(lambda device: conv.chosen(device, {"layer": conv._TYPICAL}), id="conv"),
        pytest.param(lambda device: elementwise.chosen(device, {}), id="elementwise"),
    ],
)
def test_all_of_it_runs_and_is_right(chosen):
    for measurement in run(chosen):
        assert measurement.not_run is None, measurement
        assert measurement.verified.ok, measurement
        assert measurement.share_of_peak is None or measurement.share_of_peak < 1.1, measurement


def test_attention_is_right_or_says_who_refuses():
    rows = run(lambda device: attention.chosen(device, {"model": ["gpt2"]}))
    assert {row.params["backend"] for row in rows if row.rate} >= {"math", "flash"}
    for row in rows:
        assert row.verified.ok if row.rate else "refuses" in row.not_run, row


def test_a_launch_takes_microseconds_and_graphs_less():
    seconds = {row.params["method"]: row.median_s / row.work.ops for row in run(launch.chosen, 8)}
    assert 5e-7 < seconds["graph"] < seconds["op"] < seconds["round_trip"] < 1e-3
