"""The host round the GPUs: memory to feed them, memory that may be locked, room on disks, and settings of the processor."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.visibility import visible_gpus
from dltool.machine import Disk, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status
from dltool.units import gib

_LOCKED_ENOUGH = 2**30
"""NCCL registers some hundred MB for each connection; what is meant is no limit."""
_FULL = 2**30
_FULL_SHARE = 0.01
_HOLDS_LITTLE = 2**30
"""A file system that is smaller in whole is meant to be."""


@check("memlock-low")
def memlock_low(machine: Machine) -> Iterator[Finding]:
    """May a process lock the memory that InfiniBand needs?

    An RDMA adapter writes into memory that must not move, so NCCL registers its buffers with it. Under a small limit this fails
    with "ibv_reg_mr failed: Cannot allocate memory". limits.conf does not reach services and containers, which have their own.
    """
    limits = machine.limits
    if not machine.rdma or machine.environment.get("NCCL_IB_DISABLE") == "1":
        known = machine.rdma is not None
        yield Finding(
            status=Status.SKIP, summary="no InfiniBand or RoCE adapter in use" if known else "no adapter was looked for"
        )
        return
    evidence = (
        Evidence(fact="RLIMIT_MEMLOCK", value=limits.locked_memory_bytes, read_from="getrlimit"),
        Evidence(fact="RDMA adapters", value=" ".join(machine.rdma), read_from="/sys/class/infiniband"),
    )
    if "limits" in machine.gaps:
        yield Finding(status=Status.UNKNOWN, summary=f"the limits could not be read: {machine.gaps['limits']}")
    elif limits.locked_memory_bytes is None or limits.locks_any_memory or limits.locked_memory_bytes >= _LOCKED_ENOUGH:
        yield Finding(status=Status.PASS, summary="memory may be locked for RDMA", evidence=evidence)
    else:
        container = Remedy(text="Start the container without the limit.", commands=("docker run --ulimit memlock=-1 IMAGE",))
        host = Remedy(
            text="Lift the limit and log in again; for a service, LimitMEMLOCK=infinity in its unit.",
            commands=("echo '* - memlock unlimited' | sudo tee /etc/security/limits.d/memlock.conf",),
            risk=Risk.ROOT,
        )
        yield Finding(
            status=Status.WARN,
            summary=f"only {gib(limits.locked_memory_bytes)} may be locked: NCCL cannot register memory with InfiniBand",
            evidence=evidence,
            remedies=(container, host) if machine.os.container else (host,),
        )


@check("memory-small")
def memory_small(machine: Machine) -> Iterator[Finding]:
    """Is there enough main memory for the GPUs?

    A model is read into main memory before it goes to the GPU, and DataLoader workers each hold batches. With less main
    memory than GPU memory the system kills the process ("Killed", exit code 137), or swaps. Twice the GPUs' memory is the
    usual advice.
    """
    memory = machine.memory
    sizes = [gpu.memory_total_bytes for gpu in visible_gpus(machine) if gpu.memory_total_bytes]
    have = min((size for size in (memory.total_bytes, memory.cgroup_limit_bytes) if size), default=None)
    if have is None:
        yield Finding(status=Status.UNKNOWN, summary=f"main memory: {machine.why_missing('memory.total_bytes')}")
        return
    if not sizes:
        yield Finding(status=Status.SKIP, summary=f"{gib(have)} of main memory; no GPU memory to compare with")
        return
    limited = memory.cgroup_limit_bytes is not None and have == memory.cgroup_limit_bytes
    evidence = (
        Evidence(fact="main memory", value=have, read_from="cgroup memory.max" if limited else "/proc/meminfo"),
        Evidence(fact="GPU memory", value=sum(sizes), read_from="NVML"),
        Evidence(fact="swap", value=memory.swap_total_bytes, read_from="/proc/meminfo"),
    )
    if have >= sum(sizes):
        yield Finding(status=Status.PASS, summary=f"{gib(have)} of main memory for {gib(sum(sizes))} of GPU memory",
                      evidence=evidence)  # fmt: skip
        return
    small = 2 * have < max(sizes)
    yield Finding(
        status=Status.WARN if small else Status.INFO,
        summary=f"{gib(have)} of main memory{' (limit of the control group)' if limited else ''} "
        f"for {gib(sum(sizes))} of GPU memory" + (": loading a model that fills the GPU will be killed" if small else ""),
        evidence=evidence,
        remedies=(
            Remedy(
                text="Give the container or job more memory."
                if limited
                else "Load weights by memory map (safetensors), one shard at a time; add memory or, as a stopgap, swap.",
                commands=("docker run --memory=64g IMAGE",) if limited else (),
            ),
        )
        if small
        else (),
    )


@check("memory-exhausted")
def memory_exhausted(machine: Machine) -> Iterator[Finding]:
    """Is main memory free now, or is the machine swapping?

    When memory and swap are nearly used up, the kernel kills the largest process, which is the training.
    """
    memory = machine.memory
    if memory.total_bytes is None or memory.available_bytes is None:
        yield Finding(status=Status.UNKNOWN, summary=f"main memory: {machine.why_missing('memory.available_bytes')}")
        return
    share = memory.available_bytes / memory.total_bytes if memory.total_bytes else 1.0
    swap_total, swap_free = memory.swap_total_bytes or 0, memory.swap_free_bytes
    swap_full = not swap_total or (swap_free is not None and 10 * swap_free < swap_total)
    evidence = (
        Evidence(fact="available", value=memory.available_bytes, read_from="/proc/meminfo"),
        Evidence(fact="swap free", value=swap_free, read_from="/proc/meminfo"),
    )
    if share < 0.05 and swap_full:
        yield Finding(
            status=Status.WARN,
            summary=f"main memory is used up: {gib(memory.available_bytes)} of {gib(memory.total_bytes)} is available",
            evidence=evidence,
            remedies=(
                Remedy(text="Look what holds it.", commands=("ps -eo pid,rss,comm --sort=-rss | head",), risk=Risk.READ_ONLY),
            ),
        )
    else:
        yield Finding(
            status=Status.PASS, summary=f"{gib(memory.available_bytes)} of main memory is available", evidence=evidence
        )


@check("disk-full")
def disk_full(machine: Machine) -> Iterator[Finding]:
    """Is there room on the disks that hold home, temporary files and the caches?

    Downloads, checkpoints and compiled kernels fill them: "No space left on device", truncated checkpoints, and wheels that
    install in part. A disk can also have room but no free file entries, or refuse writing.
    """
    if not machine.disks:
        unknown = any(name == "disks" or name.startswith("disks.") for name in machine.gaps)
        status = Status.UNKNOWN if unknown else Status.SKIP
        yield Finding(status=status, summary=f"disks: {machine.why_missing('disks')}")
        return
    full = [disk for disk in machine.disks if _is_full(disk)]
    closed = [disk for disk in machine.disks if disk.writable is False and disk.purpose != "working directory"]
    for disk in full:
        what = "has no free file entries" if disk.free_files == 0 else f"has {gib(disk.free_bytes)} free"
        yield Finding(
            status=Status.WARN,
            summary=f"the disk of {disk.purpose} {what}: {disk.path}",
            evidence=(Evidence(fact=disk.path, value=disk.free_bytes, read_from="statvfs"),),
            remedies=(
                Remedy(text="Look what fills it.", commands=(f"du -xh --max-depth=2 {disk.path} | sort -h | tail",),
                       risk=Risk.READ_ONLY),
                Remedy(text="Empty caches, or move them by HF_HOME, PIP_CACHE_DIR, TRITON_CACHE_DIR, TMPDIR.",
                       commands=("pip cache purge",)),
            ),
        )  # fmt: skip
    for disk in closed:
        yield Finding(
            status=Status.WARN,
            summary=f"{disk.purpose} cannot be written to: {disk.path}",
            why="Downloads, compiled kernels and temporary files go there.",
            evidence=(Evidence(fact=disk.path, value="not writable", read_from="access"),),
            remedies=(
                Remedy(text="Name another directory.", commands=("export HF_HOME=DIRECTORY TRITON_CACHE_DIR=DIRECTORY",)),
            ),
        )
    if not full and not closed:
        least = min(machine.disks, key=lambda disk: disk.free_bytes)
        yield Finding(status=Status.PASS, summary=f"the least free: {gib(least.free_bytes)} for {least.purpose}")


def _is_full(disk: Disk) -> bool:
    little = disk.free_bytes < _FULL and disk.free_bytes < disk.total_bytes / 10
    return disk.free_files == 0 or (
        disk.total_bytes > _HOLDS_LITTLE and (little or disk.free_bytes < disk.total_bytes * _FULL_SHARE / 10)
    )


@check("mkl-switch-dead")
def mkl_switch_dead(machine: Machine) -> Iterator[Finding]:
    """Is MKL told to take its fast path on an AMD processor by a switch that no longer works?

    MKL_DEBUG_CPU_TYPE=5 was the way until MKL 2020.0. Later releases ignore it; since 2021 MKL has a path of its own for AMD's
    Zen processors.
    """
    value = machine.environment.get("MKL_DEBUG_CPU_TYPE")
    amd = machine.cpu.vendor == "AuthenticAMD"
    if value and amd:
        yield Finding(
            status=Status.INFO,
            summary=f"MKL_DEBUG_CPU_TYPE={value} does nothing since MKL 2020.1, and PyTorch 1.8 and later have that",
            evidence=(Evidence(fact="MKL_DEBUG_CPU_TYPE", value=value, read_from="environment"),),
        )
    else:
        yield Finding(status=Status.PASS, summary="no such switch is set")


@check("gpu-order-ambiguous", caused_by=("gpus-hidden",))
def gpu_order_ambiguous(machine: Machine) -> Iterator[Finding]:
    """Do the numbers in CUDA_VISIBLE_DEVICES mean the GPUs that nvidia-smi shows under them?

    nvidia-smi counts by the PCI bus. CUDA counts the fastest first, unless CUDA_DEVICE_ORDER=PCI_BUS_ID: on a machine with
    different GPUs "0" may be another board than nvidia-smi's 0.
    """
    names = {gpu.name for gpu in machine.gpus}
    value = machine.environment.get("CUDA_VISIBLE_DEVICES", "")
    order = machine.environment.get("CUDA_DEVICE_ORDER")
    numbered = any(part.strip().isdecimal() for part in value.split(","))
    if len(names) < 2 or order == "PCI_BUS_ID":
        yield Finding(status=Status.PASS, summary="the GPUs have one order" if len(names) > 1 else "no GPUs to mix up")
        return
    yield Finding(
        status=Status.WARN if numbered else Status.INFO,
        summary="different GPUs, and CUDA counts them in another order than nvidia-smi: the fastest first"
        + (f"; CUDA_VISIBLE_DEVICES={value} may mean others" if numbered else ""),
        evidence=(
            Evidence(fact="CUDA_DEVICE_ORDER", value=order, read_from="environment"),
            Evidence(fact="GPUs", value=", ".join(gpu.name or "?" for gpu in machine.gpus), read_from="NVML"),
        ),
        remedies=(Remedy(text="Count by the bus, as nvidia-smi does.", commands=("export CUDA_DEVICE_ORDER=PCI_BUS_ID",)),),
    )
