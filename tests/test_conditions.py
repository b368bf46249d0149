"""The state of a GPU sampled while something runs, from the library that imitates NVML."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from bench_fakes import FakeTime
from fake_nvml import recorded

from dltool.bench.conditions import Sampler
from dltool.results import Span

SAMPLE = """
import json, sys, time
import msgspec
from dltool.bench.conditions import Sampler
from dltool.bench.devices import Device, host_timer
from dltool.catalog import Board
with Sampler(Device(name="cuda:0", board=Board(name="x"), timer=host_timer, nvml_index=0)) as sampler:
    time.sleep(0.3)
print(msgspec.json.encode(sampler.conditions()).decode())
"""


def sample() -> dict[str, object]:
    run = subprocess.run([sys.executable, "-c", SAMPLE], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(run.stdout)


def test_clocks_power_and_reasons_are_sampled(nvml):
    nvml({**recorded.h100_server(1), "nvmlDeviceGetClockInfo 0 1": 1755, "nvmlDeviceGetPowerUsage 0": 690_000})
    seen = sample()
    assert seen["sm_mhz"] == {"minimum": 1755.0, "median": 1755.0, "maximum": 1755.0}
    assert seen["power_w"]["median"] == 690.0
    assert seen["throttle"] == []  # "gpu_idle" is no throttling
    assert seen["other_processes"] == 0


def test_one_call_that_fails_costs_one_quantity(nvml):
    nvml(recorded.h100_server(1), error="nvmlDeviceGetPowerUsage=3")
    seen = sample()
    assert seen["power_w"] is None
    assert seen["sm_mhz"] is not None


def test_no_nvml_no_conditions(nvml):
    nvml(recorded.h100_server(1), error="nvmlInitWithFlags=9")
    seen = sample()
    assert {seen[name] for name in ("sm_mhz", "power_w", "temperature_c", "throttle")} == {None}


def test_a_cpu_has_a_load_average():
    with Sampler(FakeTime().device(cpu_mhz=3500.0)) as sampler:
        pass
    assert sampler.conditions().cpu_mhz == 3500.0
    assert sampler.conditions().sm_mhz is None


@pytest.mark.parametrize("values", [[], [3.0, 1.0, 2.0]])
def test_span(values):
    from dltool.bench.conditions import _span

    assert _span(values) == (Span(minimum=1.0, median=2.0, maximum=3.0) if values else None)
