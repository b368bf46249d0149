"""What the device did while the samples were taken: clocks, power, temperature, throttle reasons, other programs."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from msgspec.structs import replace

from dltool import cpu_clock
from dltool.bench import host_conditions
from dltool.bench.devices import Device
from dltool.nvml import Nvml, NvmlError
from dltool.results import Conditions, Span

INTERVAL_S = 0.05
_QUANTITIES = ("sm_mhz", "memory_mhz", "power_w", "temperature_c")


class Sampler:
    """Reads the device's state between `__enter__` and `__exit__`: a GPU's through NVML in a thread of its own.

    On a CPU, counters of the system are read before and after, and the clock is timed right after. Where NVML is not to be had,
    there is nothing to sample.

    Args:
        device: what is measured.
        measure_clock: time the clock of a CPU, which takes some 30 ms.
    """

    def __init__(self, device: Device, *, measure_clock: bool = False) -> None:
        self._device = device
        self._measure_clock = measure_clock and device.kind == "cpu"
        self._seen = Conditions(load_average=host_conditions.load_average(), cpu_mhz=device.cpu_mhz)
        self._before: host_conditions.HostCounters | None = None
        self._gpu: _Gpu | None = None
        self._opened = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="conditions", daemon=True)

    def __enter__(self) -> Sampler:
        if self._open():
            self._thread.start()
        self._before = host_conditions.read() if self._device.kind == "cpu" else None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is not None:
            self._seen = replace(self._seen, **host_conditions.read().since(self._before))
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        if self._gpu is not None:
            self._gpu.end()
        if self._measure_clock and kind is None:
            with suppress(cpu_clock.Unmeasurable):
                self._seen = replace(self._seen, cpu_mhz=round(cpu_clock.measure(), 1))

    def glance(self) -> tuple[float | None, float | None]:
        """The SM clock in MHz and the temperature in °C now; None where they are not known."""
        return self._gpu.glance() if self._open() and self._gpu is not None else (None, None)

    def conditions(self) -> Conditions:
        """What was seen so far."""
        return replace(self._seen, **self._gpu.seen()) if self._gpu is not None else self._seen

    def mean_power_w(self) -> float | None:
        """Of a GPU: by its energy counter where it has one, else the mean of the samples of its power."""
        return self._gpu.mean_power_w() if self._gpu is not None else None

    def _open(self) -> bool:
        if not self._opened and self._device.nvml_index is not None:
            self._opened = True
            with suppress(NvmlError, ImportError):
                self._gpu = _Gpu(Nvml(), self._device.nvml_index)
        return self._gpu is not None

    def _run(self) -> None:
        gpu = self._gpu
        assert gpu is not None
        gpu.read_energy()
        while True:
            gpu.sample()
            if self._stop.wait(INTERVAL_S):
                break


class _Gpu:
    """One GPU through NVML, and what was seen of it."""

    def __init__(self, nvml: Nvml, index: int) -> None:
        self._nvml = nvml
        self._handle: Any = nvml.ask("nvmlDeviceGetHandleByIndex", index)
        self._samples: dict[str, list[float]] = {name: [] for name in _QUANTITIES}
        self._throttle: set[str] | None = None
        self._others: dict[int, str] | None = None
        self._energy: list[tuple[float, float]] = []

    def read_energy(self) -> None:
        """Both ends of the time are read."""
        with suppress(NvmlError):
            millijoules = self._nvml.ask("nvmlDeviceGetTotalEnergyConsumption", self._handle)
            self._energy.append((time.perf_counter(), millijoules / 1000))

    def end(self) -> None:
        """The last reading; NVML is let go."""
        self.read_energy()
        self._nvml.close()

    def glance(self) -> tuple[float | None, float | None]:
        return self._read("sm_mhz"), self._read("temperature_c")

    def sample(self) -> None:
        for name, values in self._samples.items():
            value = self._read(name)
            if value is not None:
                values.append(value)
        with suppress(NvmlError):
            self._throttle = (self._throttle or set()) | (set(self._nvml.throttle_reasons(self._handle)) - {"gpu_idle"})
        with suppress(NvmlError):
            running = self._nvml.ask("nvmlDeviceGetComputeRunningProcesses", self._handle)
            self._others = self._others or {}
            for pid in {process.pid for process in running} - {os.getpid(), *self._others}:
                self._others[pid] = program_name(pid)

    def _read(self, name: str) -> float | None:
        ask, handle = self._nvml.ask, self._handle
        readings: dict[str, Callable[[], float]] = {
            "sm_mhz": lambda: ask("nvmlDeviceGetClockInfo", handle, 1),
            "memory_mhz": lambda: ask("nvmlDeviceGetClockInfo", handle, 2),
            "power_w": lambda: ask("nvmlDeviceGetPowerUsage", handle) / 1000,
            "temperature_c": lambda: ask("nvmlDeviceGetTemperature", handle, 0),
        }
        with suppress(NvmlError):
            return float(readings[name]())
        return None

    def seen(self) -> dict[str, Any]:
        return {
            **{name: _span(values) for name, values in self._samples.items()},
            "throttle": None if self._throttle is None else tuple(sorted(self._throttle)),
            "other_processes": None if self._others is None else len(self._others),
            "other_names": tuple(sorted((self._others or {}).values())),
        }

    def mean_power_w(self) -> float | None:
        if len(self._energy) >= 2:
            (began, before), (ended, after) = self._energy[0], self._energy[-1]
            if ended > began and after > before:
                return (after - before) / (ended - began)
        powers = self._samples["power_w"]
        return statistics.fmean(powers) if powers else None


def program_name(pid: int) -> str:
    """ "python (pid 4711)"; a process outside of this container has a number only."""
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    except OSError:
        return f"pid {pid}"


def _span(values: list[float]) -> Span | None:
    if not values:
        return None
    return Span(minimum=min(values), median=statistics.median(values), maximum=max(values))
