"""Which machine, device and settings a figure belongs to: one short id, and what differs between two. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from dltool.live import board_of
from dltool.machine import Gpu, Machine
from dltool.results import Measurement, Scalar

_OF_A_CASE = ("fp32_precision", "side", "timer")
"""Settings that a workload chooses for itself, or its length: they tell cases apart, not machines."""


def fingerprint(machine: Machine | None, measurement: Measurement) -> dict[str, Scalar]:
    """What the time of an unchanged case depends on, as far as it is known; what is unknown is left out."""
    settings = {key: value for key, value in measurement.settings.items() if key not in _OF_A_CASE}
    found = {"device": measurement.device, **(_of(machine, measurement.device) if machine else {}), **settings}
    return {key: value for key, value in sorted(found.items()) if value is not None}


def short_id(fields: Mapping[str, Scalar]) -> str:
    """Twelve hexadecimal digits, the same wherever the fields are."""
    text = json.dumps(fields, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(a: Mapping[str, Scalar], b: Mapping[str, Scalar]) -> dict[str, tuple[Scalar, Scalar]]:
    """The fields that differ, each with both values; None where one side does not know it."""
    names = sorted({*a, *b})
    return {name: (a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)}


def _of(machine: Machine, device: str) -> dict[str, Scalar]:
    cpu, system = machine.cpu, machine.os
    host: dict[str, Scalar] = {
        "cpu": cpu.model,
        "cpus": cpu.usable_threads,
        "cpu_quota": cpu.quota_cpus,
        "memory_gib": None if machine.memory.total_bytes is None else round(machine.memory.total_bytes / 2**30),
        "kernel": system.kernel,
        "python": machine.python.version if machine.python else None,
        "hypervisor": system.hypervisor,
        "container": system.container,
        "numa_nodes": cpu.numa_nodes,
    }
    gpu = _gpu(machine, device)
    return host if gpu is None else {**host, **_of_gpu(machine, gpu)}


def _gpu(machine: Machine, device: str) -> Gpu | None:
    """The GPU that is meant: the first that is this board; those of one machine that are alike are taken as alike."""
    if not device.startswith("cuda"):
        return None
    name = device.partition(" ")[2]
    boards = [(gpu, board_of(gpu)) for gpu in machine.gpus]
    named = [gpu for gpu, board in boards if name in (gpu.name, board.name if board else None)]
    return next(iter(named or machine.gpus), None)


def _of_gpu(machine: Machine, gpu: Gpu) -> dict[str, Scalar]:
    return {
        "driver": machine.driver.version,
        "driver_cuda": machine.driver.cuda_version,
        "gpu_id": gpu.pci_device_id,
        "vbios": gpu.vbios,
        "power_limit_w": gpu.power_limit_w,
        "max_sm_mhz": gpu.sm_mhz_max,
        "max_memory_mhz": gpu.memory_mhz_max,
        "ecc": gpu.ecc_enabled,
        "mig": gpu.mig_enabled,
        "persistence": gpu.persistence_mode,
        "pcie": f"{gpu.pcie_generation_max} x{gpu.pcie_width_max}" if gpu.pcie_width_max else None,
    }
