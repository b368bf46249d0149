"""Limits of the host that training meets: shared memory, open files, processor time."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dltool.checks import check
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status
from dltool.units import gib

_SHM_ENOUGH = 512 * 2**20
"""Docker gives 64 MiB; a few DataLoader workers with a batch of images each need some hundred."""
_SMALL_HOST = 4 * 2**30
_FILES_ENOUGH = 1024
"""The usual default; below it DataLoader workers run into "Too many open files" soon."""
_QUOTA_WARNS = 0.75


@check("shm-small")
def shm_small(machine: Machine) -> Iterator[Finding]:
    """Is /dev/shm large enough for DataLoader workers?

    Workers hand batches over in shared memory. When it is full they die with "Bus error" or "DataLoader worker is killed";
    NCCL uses it too. Docker gives a container 64 MiB unless told otherwise.
    """
    memory = machine.memory
    size = memory.shm_total_bytes
    evidence = (Evidence(fact="/dev/shm", value=size, read_from="statvfs"),)
    if size is None:
        yield Finding(status=Status.UNKNOWN, summary=f"/dev/shm: {machine.why_missing('memory.shm_total_bytes')}")
    elif size >= _SHM_ENOUGH or (not machine.os.container and (memory.total_bytes or 0) < _SMALL_HOST):
        yield Finding(status=Status.PASS, summary=f"/dev/shm holds {gib(size)}", evidence=evidence)
    else:
        remedies = (
            Remedy(text="Start the container with more.", commands=("docker run --shm-size=8g IMAGE",)),
            Remedy(text="Or share the host's.", commands=("docker run --ipc=host IMAGE",)),
        )
        mount = Remedy(text="Enlarge it.", commands=("sudo mount -o remount,size=50% /dev/shm",), risk=Risk.ROOT)
        yield Finding(
            status=Status.WARN,
            summary=f"/dev/shm holds only {gib(size)}: DataLoader workers and NCCL will run out of it",
            evidence=evidence,
            remedies=remedies if machine.os.container else (mount,),
        )


@check("open-files-low")
def open_files_low(machine: Machine) -> Iterator[Finding]:
    """May a process open enough files?

    Every tensor that a DataLoader worker hands over can hold a file open; distributed training opens many sockets.
    """
    soft = machine.limits.open_files_soft
    if "limits" in machine.gaps:
        yield Finding(status=Status.UNKNOWN, summary=f"the limits could not be read: {machine.gaps['limits']}")
    elif soft == _FILES_ENOUGH and (machine.limits.open_files_hard or soft + 1) > soft:
        yield Finding(
            status=Status.INFO,
            summary=f"a process may open {soft} files, the usual default: many DataLoader workers need more (ulimit -n 65536)",
            why='Each tensor that is handed over holds a file ("received 0 items of ancdata", "Too many open files").',
            evidence=(Evidence(fact="RLIMIT_NOFILE", value=soft, read_from="getrlimit"),),
            remedies=_more_files(machine, soft),
        )
    elif soft is None or soft >= _FILES_ENOUGH:
        yield Finding(status=Status.PASS, summary=f"a process may open {soft or 'any number of'} files")
    else:
        yield Finding(
            status=Status.WARN,
            summary=f"a process may open only {soft} files: DataLoader workers will fail with too many open files",
            evidence=(Evidence(fact="RLIMIT_NOFILE", value=soft, read_from="getrlimit"),),
            remedies=_more_files(machine, soft),
        )


def _more_files(machine: Machine, soft: int) -> tuple[Remedy, ...]:
    hard = machine.limits.open_files_hard
    if hard is None or hard > soft:
        most = min(hard or 65536, 65536)
        return (Remedy(text="Raise it in the shell that starts the job.", commands=(f"ulimit -n {most}",)),)
    if machine.os.container:
        return (Remedy(text="Start the container with more.", commands=("docker run --ulimit nofile=65536:65536 IMAGE",)),)
    return (
        Remedy(
            text="Raise the hard limit, then log in again.",
            commands=("echo '* - nofile 65536' | sudo tee /etc/security/limits.d/nofile.conf",),
            risk=Risk.ROOT,
        ),
    )


@check("cpu-quota-low")
def cpu_quota_low(machine: Machine) -> Iterator[Finding]:
    """Does the control group grant as much processor time as the process sees processors?

    Libraries start one thread for each processor that they see. Under a smaller quota the kernel stops them all for part of
    every period: slower than with fewer threads, and with stutters.
    """
    cpu = machine.cpu
    if "cpu.quota_cpus" in machine.gaps or cpu.usable_threads is None:
        reason = machine.why_missing("cpu.quota_cpus" if cpu.usable_threads else "cpu.usable_threads")
        yield Finding(status=Status.UNKNOWN, summary=f"the CPU quota could not be read: {reason}")
        return
    if cpu.quota_cpus is None or cpu.quota_cpus >= _QUOTA_WARNS * cpu.usable_threads:
        granted = "no limit" if cpu.quota_cpus is None else f"{cpu.quota_cpus:g}"
        yield Finding(status=Status.PASS, summary=f"{cpu.usable_threads} CPUs are usable, quota: {granted}")
        return
    threads = max(1, math.floor(cpu.quota_cpus))
    evidence = (
        Evidence(fact="quota", value=cpu.quota_cpus, read_from="cgroup cpu.max"),
        Evidence(fact="usable CPUs", value=cpu.usable_threads, read_from="affinity mask"),
    )
    if machine.environment.get("OMP_NUM_THREADS"):
        yield Finding(
            status=Status.INFO,
            summary=f"the quota is {cpu.quota_cpus:g} of {cpu.usable_threads} CPUs; OMP_NUM_THREADS is set",
            evidence=evidence,
        )
        return
    yield Finding(
        status=Status.WARN,
        summary=f"{cpu.usable_threads} CPUs are visible but the quota is {cpu.quota_cpus:g}: threads will be throttled",
        evidence=evidence,
        remedies=(
            Remedy(text="Start as many threads as the quota grants.", commands=(f"export OMP_NUM_THREADS={threads}",)),
            Remedy(text="Or give the container more processor time.", commands=("docker run --cpus=N IMAGE",)),
        ),
    )
