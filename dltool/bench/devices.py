"""The devices that a benchmark runs on."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dltool.bench.timers import Step, Timer, cuda_timer, host_timer
from dltool.catalog import Board
from dltool.errors import CannotRun, UsageError
from dltool.live import live_board, part_of
from dltool.machine import Cpu, Gpu, Machine
from dltool.peaks import cpu_board
from dltool.results import Scalar

__all__ = ["Device", "Step", "Timer", "cuda_timer", "find", "host_timer", "import_torch", "settings", "visible_gpus"]


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
    sm_mhz_max: float | None = None
    """The highest clock that the driver allows a GPU."""

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


def visible_gpus(machine: Machine) -> tuple[Device, ...]:
    """Every GPU that torch can use, as CUDA_VISIBLE_DEVICES leaves and orders them; a MIG instance is one.

    Raises:
        CannotRun: there is none.
    """
    torch = import_torch()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise CannotRun("torch sees no CUDA device", remedy="dltool doctor tells why.")
    return tuple(_cuda(torch, index, machine) for index in range(count))


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
    gpu = _same_gpu(properties, machine.gpus)
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
        sm_mhz_max=gpu.sm_mhz_max if gpu else None,
        llc_bytes=getattr(properties, "L2_cache_size", 0),
        free_bytes=free,
        caches=(("L2", properties.L2_cache_size),) if getattr(properties, "L2_cache_size", 0) else (),
        gpus=torch.cuda.device_count(),
        threads=torch.get_num_threads(),
    )


def _same_gpu(properties: Any, gpus: Sequence[Gpu]) -> Gpu | None:
    """The GPU at the PCI address that torch tells; what an older torch does not tell of it is not compared."""
    parts = [getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
    if parts[1] is None:
        return gpus[0] if len(gpus) == 1 else None
    found = [
        gpu
        for gpu in gpus
        if (address := _address(gpu.pci_bus_id)) is not None
        and all(told is None or told == here for told, here in zip(parts, address, strict=True))
    ]
    return found[0] if len(found) == 1 else (gpus[0] if len(gpus) == 1 else None)


def _address(bus_id: str | None) -> tuple[int, int, int] | None:
    """Domain, bus and device of "00000000:1b:00.0"."""
    match = re.fullmatch(r"(?:([0-9a-fA-F]+):)?([0-9a-fA-F]+):([0-9a-fA-F]+)(?:\.[0-9a-fA-F]+)?", bus_id or "")
    return (int(match[1] or "0", 16), int(match[2], 16), int(match[3], 16)) if match else None


def settings(device: Device) -> Mapping[str, Scalar]:
    """The versions and switches that a figure from this device depends on."""
    if device.kind not in ("cpu", "cuda"):
        return {}
    torch = import_torch()
    common: dict[str, Scalar] = {"torch": str(torch.__version__), "fp32_precision": torch.get_float32_matmul_precision()}
    if device.kind == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        return {**common, "threads": device.threads, "numa": device.numa, "isa": capability, "blas": _blas(torch)}
    return {
        **common,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "fp16_reduced_precision_reduction": bool(torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction),
        "bf16_reduced_precision_reduction": bool(torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction),
    }


def _blas(torch: Any) -> str | None:
    """The library behind fp32 and fp64 products on a CPU: "mkl", "open"."""
    found = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return found[1] if found else None
