"""How much of a GPU's time goes by between kernels, and what its process holds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from dltool.bench.devices import Device, Step
from dltool.bench.networks.making import Network
from dltool.nvml import Nvml, NvmlError

_STEPS = 3


def waiting_share(made: Network, step: Step) -> float | None:
    """The share of a step in which no kernel ran, by torch's profiler over a few steps; None on a CPU."""
    if made.device.kind != "cuda":
        return None
    torch = made.torch
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        made.wait()
        began = time.perf_counter()
        for _ in range(_STEPS):
            step()
        made.wait()
        took = time.perf_counter() - began
    spans = [(event.time_range.start, event.time_range.end) for event in seen.events() if _on_device(torch, event)]
    return max(0.0, 1 - covered(spans) / 1e6 / took) if spans else None


def _on_device(torch: Any, event: Any) -> bool:
    return bool(event.device_type == torch.autograd.DeviceType.CUDA)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of spans, in their unit: kernels on several streams may overlap."""
    total, reached = 0.0, float("-inf")
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total


def process_bytes(device: Device) -> int | None:
    """What NVML says that this process holds of the GPU, its context and its libraries with it; None where it does not tell."""
    if device.nvml_index is None:
        return None
    try:
        nvml = Nvml()
        handle = nvml.ask("nvmlDeviceGetHandleByIndex", device.nvml_index)
        held = [one for one in nvml.ask("nvmlDeviceGetComputeRunningProcesses", handle) if one.pid == os.getpid()]
    except (NvmlError, ImportError):
        return None
    return next((int(one.usedGpuMemory) for one in held if one.usedGpuMemory), None)
