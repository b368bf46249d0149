"""A CPU to try workloads on: the real one's torch, a known design, little memory."""

from __future__ import annotations

from dltool.bench import devices
from dltool.bench.devices import Device
from dltool.bench.harness import Plan
from dltool.machine import Cpu, Machine, Memory

FAST = Plan(sampling_s=0.02, warmup_s=0.02, step_s=0.5, cap_s=20.0)


def cpu_device(**facts: object) -> Device:
    """Two cores of Zen 4 with its caches and 2 GiB."""
    known = {"cores": 2, "threads": 2, "simd": ("avx2", "fma", "avx512_bf16"), "mhz_measured": 3000, "numa_nodes": 1}
    caches = {"l1d_bytes": 2**16, "l2_bytes": 2**21, "l3_bytes": 2**25}
    cpu = Cpu(vendor="AuthenticAMD", family=25, model_number=17, **{**known, **caches, **facts})  # type: ignore[arg-type]
    return devices.find("cpu", Machine(cpu=cpu, memory=Memory(available_bytes=2**31)))
