"""The devices that a benchmark runs on, and how time is told on each."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dltool.catalog import Board
from dltool.errors import CannotRun, UsageError
from dltool.live import live_board, part_of
from dltool.machine import Cpu, Machine
from dltool.peaks import cpu_board
from dltool.results import Scalar

Step = Callable[[], object]
Timer = Callable[[Step, int], float]
"""Runs a step so many times, back to back, and tells the seconds that all of them took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where a workload runs."""

    name: str
    """As torch calls it: "cpu", "cuda:0"."""
    board: Board
    timer: Timer
    nvml_index: int | None = None
    llc_bytes: int = 0
    """The last-level cache: what a memory benchmark must exceed."""
    free_bytes: int = 0
    """Memory that may be taken."""
    caches: tuple[tuple[str, int], ...] = ()
    """Name and bytes of each level of cache, nearest first; all caches of a CPU's level together."""
    gpus: int = 0
    """CUDA devices that torch sees beside this one and with it."""
    numa: str | None = None
    """Memory nodes, and whether the process is bound to processors of some."""
    threads: int = 1
    cpu_mhz: float | None = None

    @property
    def kind(self) -> str:
        """ "cpu" or "cuda"."""
        return self.name.partition(":")[0]


def import_torch() -> Any:
    """The torch module.

    Raises:
        CannotRun: it is not installed, or its import fails; a package missing inside torch is not called a missing torch.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise CannotRun(f"torch cannot be imported: {error}", remedy="dltool doctor tells what is wrong with it.") from None
        raise CannotRun(
            "benchmarks need PyTorch, which is not installed here",
            remedy=f"Install it: {sys.executable} -m pip install torch numpy (for a GPU, the build that suits its driver).",
        ) from None
    except (ImportError, OSError) as error:
        raise CannotRun(f"torch cannot be imported: {error}", remedy="dltool doctor tells what is wrong with it.") from None
    return torch


def find(name: str | None, machine: Machine) -> Device:
    """The device called `name`; by default the first GPU that torch can use, else the CPU.

    Raises:
        UsageError: no such device is known to torch.
        CannotRun: it is known but cannot be used here.
    """
    torch = import_torch()
    wanted = name or ("cuda:0" if torch.cuda.is_available() else "cpu")
    if wanted == "cpu":
        return _cpu(torch, machine)
    kind, _, index = wanted.partition(":")
    if kind != "cuda" or not re.fullmatch(r"[0-9]{0,4}", index):
        raise UsageError(f"unknown device `{wanted}`", remedy="Known: cpu, cuda, cuda:0, cuda:1 ...")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise CannotRun(f"torch sees {count} CUDA devices, `{wanted}` is not one", remedy="dltool doctor tells why.")
    return _cuda(torch, int(index or 0), machine)


def _cpu(torch: Any, machine: Machine) -> Device:
    return Device(
        name="cpu",
        board=cpu_board(machine.cpu),
        timer=host_timer,
        llc_bytes=machine.cpu.l3_bytes or machine.cpu.l2_bytes or 0,
        free_bytes=min(filter(None, (machine.memory.available_bytes, machine.memory.cgroup_limit_bytes)), default=2**30),
        caches=_caches(machine.cpu),
        numa=_numa(machine.cpu),
        threads=torch.get_num_threads(),
        cpu_mhz=machine.cpu.mhz_measured or machine.cpu.mhz_max,
    )


def _caches(cpu: Cpu) -> tuple[tuple[str, int], ...]:
    levels = (("L1", cpu.l1d_bytes), ("L2", cpu.l2_bytes), ("L3", cpu.l3_bytes))
    return tuple((name, size) for name, size in levels if size)


def _numa(cpu: Cpu) -> str | None:
    if cpu.numa_nodes is None:
        return None
    if cpu.numa_nodes == 1:
        return "1 node"
    bound = cpu.usable_threads is not None and cpu.threads is not None and cpu.usable_threads < cpu.threads
    return f"{cpu.numa_nodes} nodes, {f'bound to CPUs {cpu.usable_cpus}' if bound else 'not bound'}"


def _cuda(torch: Any, index: int, machine: Machine) -> Device:
    """CUDA counts what CUDA_VISIBLE_DEVICES leaves, NVML all: the PCI bus id tells which is which."""
    from dltool import names

    properties = torch.cuda.get_device_properties(index)
    bus = getattr(properties, "pci_bus_id", None)
    gpus = [gpu for gpu in machine.gpus if bus is not None and _bus_number(gpu.pci_bus_id) == bus]
    gpu = gpus[0] if len(gpus) == 1 else (machine.gpus[0] if len(machine.gpus) == 1 else None)
    known = names.identify(
        name=properties.name,
        device_id=gpu.pci_device_id if gpu else None,
        memory_bytes=properties.total_memory,
        power_limit_w=gpu.power_limit_default_w if gpu else None,
    )
    board = live_board(gpu, known) if gpu else None
    if board is not None and board.sms and properties.multi_processor_count < board.sms:
        board = part_of(board, properties.multi_processor_count)
    free, _ = torch.cuda.mem_get_info(index)
    return Device(
        name=f"cuda:{index}",
        board=board or Board(name=properties.name),
        timer=cuda_timer(torch, index),
        nvml_index=gpu.index if gpu else None,
        llc_bytes=getattr(properties, "L2_cache_size", 0),
        free_bytes=free,
        caches=(("L2", properties.L2_cache_size),) if getattr(properties, "L2_cache_size", 0) else (),
        gpus=torch.cuda.device_count(),
        threads=torch.get_num_threads(),
    )


def _bus_number(bus_id: str | None) -> int | None:
    """The bus in "0000:1b:00.0"."""
    parts = (bus_id or "").split(":")
    return int(parts[-2], 16) if len(parts) >= 2 else None


def host_timer(step: Step, steps: int) -> float:
    """Seconds by the clock of the host; right for what runs on the CPU."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - began


def cuda_timer(torch: Any, index: int) -> Timer:
    """A timer by CUDA events on the device's own stream, so that the launches of the host are not counted."""

    def timer(step: Step, steps: int) -> float:
        with torch.cuda.device(index):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            for _ in range(steps):
                step()
            ended.record()
            ended.synchronize()
            return float(began.elapsed_time(ended)) / 1e3

    return timer


def settings(device: Device) -> Mapping[str, Scalar]:
    """The versions and switches that a figure from this device depends on."""
    torch = import_torch()
    common: dict[str, Scalar] = {"torch": str(torch.__version__), "fp32_precision": torch.get_float32_matmul_precision()}
    if device.kind == "cpu":
        return {**common, "threads": device.threads, "numa": device.numa, "isa": torch.backends.cpu.get_cpu_capability()}
    return {
        **common,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "fp16_reduced_precision_reduction": bool(torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction),
        "bf16_reduced_precision_reduction": bool(torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction),
    }
