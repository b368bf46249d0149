"""Benchmarks on a real GPU: verified, below the peak, with conditions sampled."""

from __future__ import annotations

import pytest

from dltool import probe
from dltool.bench import devices, harness, suites

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
