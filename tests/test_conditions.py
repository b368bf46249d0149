"""The state of a GPU sampled while something runs, from the library that imitates NVML."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from bench_fakes import FakeTime
from fake_nvml import recorded

from dltool.bench.conditions import Sampler, _Gpu
from dltool.nvml import NvmlError
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


def test_other_programs_are_named(nvml):
    import os

    from dltool.bench.conditions import program_name

    others = {"nvmlDeviceGetComputeRunningProcesses_v3 0": f"{os.getppid()} 1000000 {2**22 + 7} 5000"}
    nvml({**recorded.h100_server(1), **others})
    seen = sample()
    assert seen["other_processes"] == 2
    assert seen["other_names"] == sorted([program_name(os.getppid()), f"pid {2**22 + 7}"])


class CountingNvml:
    """An NVML whose energy counter and clock move with every call."""

    def __init__(self, energy_mj=None):
        self.energy_mj, self.closed = energy_mj, False

    def ask(self, function, *_args):
        if function == "nvmlDeviceGetTotalEnergyConsumption":
            if self.energy_mj is None:
                raise NvmlError("NVML_ERROR_NOT_SUPPORTED", function, "Not Supported")
            self.energy_mj += 30_000
            return self.energy_mj
        if function == "nvmlDeviceGetComputeRunningProcesses":
            return []
        return {"nvmlDeviceGetPowerUsage": 250_000, "nvmlDeviceGetClockInfo": 1500}.get(function, 0) or 40

    def throttle_reasons(self, _handle):
        return ()

    def close(self):
        self.closed = True


@pytest.mark.parametrize(("energy_mj", "watts"), [(0, 300.0), (None, 250.0)], ids=["counter", "samples of power"])
def test_mean_power(energy_mj, watts, monkeypatch):
    ticks = iter([0.0, 0.1])
    monkeypatch.setattr("dltool.bench.conditions.time.perf_counter", lambda: next(ticks))
    gpu = _Gpu(CountingNvml(energy_mj), 0)
    gpu.read_energy()
    gpu.sample()
    gpu.end()
    assert gpu.mean_power_w() == pytest.approx(watts)
    assert gpu.glance() == (1500.0, 40.0)


def test_a_gpu_without_nvml_is_not_watched(nvml):
    nvml(recorded.h100_server(1), error="nvmlInitWithFlags=9")
    device = FakeTime().device(nvml_index=0)
    with Sampler(device) as sampler:
        pass
    assert sampler.glance() == (None, None)
    assert sampler.mean_power_w() is None


def test_a_cpu_is_watched_and_its_clock_timed_after(monkeypatch):
    monkeypatch.setattr("dltool.bench.conditions.cpu_clock.measure", lambda: 4321.04)
    with Sampler(FakeTime().device(name="cpu", cpu_mhz=3000.0), measure_clock=True) as sampler:
        pass
    seen = sampler.conditions()
    assert seen.cpu_mhz == 4321.0
    assert seen.preemptions >= 0
