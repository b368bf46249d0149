"""What the device did while the samples were taken: clocks, power, temperature, throttle reasons, other programs."""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from dltool.bench.devices import Device
from dltool.nvml import Nvml, NvmlError
from dltool.results import Conditions, Span

INTERVAL_S = 0.05


class Sampler:
    """Reads a GPU's state through NVML in a thread of its own between `__enter__` and `__exit__`.

    On a CPU, and where NVML is not to be had, there is nothing to sample: only the load average is kept.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._samples: dict[str, list[float]] = {name: [] for name in ("sm_mhz", "memory_mhz", "power_w", "temperature_c")}
        self._throttle: set[str] | None = None
        self._others: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="conditions", daemon=True)

    def __enter__(self) -> Sampler:
        if self._device.nvml_index is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def conditions(self) -> Conditions:
        """What was seen so far."""
        spans: dict[str, Any] = {name: _span(values) for name, values in self._samples.items()}
        return Conditions(
            **spans,
            throttle=tuple(sorted(self._throttle)) if self._throttle is not None else None,
            other_processes=self._others,
            load_average=self._load,
            cpu_mhz=self._device.cpu_mhz,
        )

    def _run(self) -> None:
        try:
            nvml = Nvml()
            handle = nvml.ask("nvmlDeviceGetHandleByIndex", self._device.nvml_index)
        except (NvmlError, ImportError):
            return
        while True:
            self._sample(nvml, handle)
            if self._stop.wait(INTERVAL_S):
                break
        nvml.close()

    def _sample(self, nvml: Nvml, handle: Any) -> None:
        readings: dict[str, Callable[[], float]] = {
            "sm_mhz": lambda: nvml.ask("nvmlDeviceGetClockInfo", handle, 1),
            "memory_mhz": lambda: nvml.ask("nvmlDeviceGetClockInfo", handle, 2),
            "power_w": lambda: nvml.ask("nvmlDeviceGetPowerUsage", handle) / 1000,
            "temperature_c": lambda: nvml.ask("nvmlDeviceGetTemperature", handle, 0),
        }
        for name, read in readings.items():
            with suppress(NvmlError):
                self._samples[name].append(read())
        with suppress(NvmlError):
            self._throttle = (self._throttle or set()) | (set(nvml.throttle_reasons(handle)) - {"gpu_idle"})
        with suppress(NvmlError):
            running = nvml.ask("nvmlDeviceGetComputeRunningProcesses", handle)
            self._others = max(self._others or 0, sum(process.pid != os.getpid() for process in running))


def _span(values: list[float]) -> Span | None:
    if not values:
        return None
    return Span(minimum=min(values), median=statistics.median(values), maximum=max(values))
