"""What a policy asks of driver and host."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.compat import versions
from dltool.lang import tr
from dltool.machine import Disk, Machine
from dltool.policy.model import Policy
from dltool.policy.verdicts import GB, elsewhere, verdict
from dltool.results import Finding, Remedy, Risk, Scope


def _plan() -> Remedy:
    return Remedy(
        text=tr("Plan the driver that is needed, with its steps and undo.", "规划所需的驱动，包括步骤和撤销方法。"),
        commands=("dltool setup plan",),
        risk=Risk.READ_ONLY,
    )


def _start_with_more() -> str:
    return tr("Start the container with more.", "启动容器时给更多。")


def _more_files(wanted: int, *, container: bool) -> Remedy:
    if container:
        return Remedy(text=_start_with_more(), commands=(f"docker run --ulimit nofile={wanted}:{wanted} IMAGE",))
    raise_it = tr("Raise it in the shell that starts the job.", "在启动作业的 shell 中提高它。")
    return Remedy(text=raise_it, commands=(f"ulimit -n {wanted}",))


def driver(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """The driver is as new as is asked for."""
    if policy.driver.min is not None:
        seen = machine.driver.version or machine.driver.kernel_module_version
        yield _version("policy-driver", tr("driver", "驱动"), machine, policy.driver.min, seen, "driver.version")


def cuda(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """The driver implements the CUDA that is asked for."""
    if policy.cuda.min is not None:
        seen = machine.driver.cuda_version
        yield _version(
            "policy-cuda", tr("CUDA of the driver", "驱动的 CUDA"), machine, policy.cuda.min, seen, "driver.cuda_version"
        )


def _version(name: str, what: str, machine: Machine, wanted: str, seen: str | None, fact: str) -> Finding:
    found, least = versions.known_version(seen), versions.known_version(wanted.strip().removeprefix("v"))
    gap = machine.why_missing(fact if fact in machine.gaps else "driver" if "driver" in machine.gaps else "gpus")
    return verdict(
        name,
        found >= least if found and least else None,
        tr(f"{what} {seen}, the policy asks for {wanted} or newer", f"{what} {seen}，策略要求 {wanted} 或更新"),
        asked=(f"{name.removeprefix('policy-')}.min", wanted),
        seen=(seen, "NVML"),
        unknown=tr(f"`{seen}` is no version", f"`{seen}` 不是版本号") if seen else gap,
        remedies=(_plan(), elsewhere()),
    )


def shm(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """/dev/shm is as large as is asked for."""
    wanted = policy.host.min_shm_gb
    if wanted is not None:
        size = f"{wanted:g}g" if wanted >= 1 else f"{wanted * 1000:g}m"
        start = Remedy(text=_start_with_more(), commands=(f"docker run --shm-size={size} IMAGE",))
        mount = Remedy(
            text=tr("Enlarge it.", "把它加大。"), commands=(f"sudo mount -o remount,size={size} /dev/shm",), risk=Risk.ROOT
        )
        yield _size(
            "policy-shm",
            tr("/dev/shm holds", "/dev/shm 的容量为"),
            ("host.min_shm_gb", wanted),
            machine.memory.shm_total_bytes,
            "statvfs of /dev/shm",
            machine.why_missing("memory.shm_total_bytes"),
            start if machine.os.container else mount,
        )


def disk(machine: Machine) -> Disk | None:
    """The file system where a job writes: that of the working directory, else of the home directory."""
    found = {disk.purpose: disk for disk in machine.disks}
    return found.get("working directory") or found.get("home")


def room(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """As much room is free as is asked for."""
    wanted = policy.host.min_disk_gb
    if wanted is not None:
        where = disk(machine)
        path = where.path if where else "."
        yield _size(
            "policy-disk",
            tr(f"{path} has room for", f"{path} 剩余空间为"),
            ("host.min_disk_gb", wanted),
            where.free_bytes if where else None,
            f"statvfs of {path}",
            machine.why_missing("disks"),
            Remedy(
                text=tr("Make room, or start where there is more.", "腾出空间，或在空间更大的地方启动。"),
                commands=("df -h",),
                risk=Risk.READ_ONLY,
            ),
        )


def memory_bytes(machine: Machine) -> int | None:
    """Main memory, or what the control group grants of it; None where either is not known."""
    total, granted = machine.memory.total_bytes, machine.memory.cgroup_limit_bytes
    if total is None or "memory.cgroup_limit_bytes" in machine.gaps:
        return None
    return total if granted is None else min(total, granted)


def memory(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """There is as much main memory as is asked for."""
    wanted = policy.host.min_memory_gb
    if wanted is not None:
        missing = "memory.total_bytes" if machine.memory.total_bytes is None else "memory.cgroup_limit_bytes"
        yield _size(
            "policy-memory",
            tr("main memory is", "内存为"),
            ("host.min_memory_gb", wanted),
            memory_bytes(machine),
            "/proc/meminfo and cgroup",
            machine.why_missing(missing),
            Remedy(
                text=tr(
                    "Grant more where the job is started (docker --memory, Slurm --mem, Kubernetes limits).",
                    "在启动作业的地方给更多内存（docker --memory、Slurm --mem、Kubernetes limits）。",
                )
            ),
        )


def _size(
    name: str, what: str, asked: tuple[str, float], seen: int | None, read_from: str, unknown: str, remedy: Remedy
) -> Finding:
    here = f"{(seen or 0) / GB:.4g}"
    return verdict(
        name,
        None if seen is None else seen >= asked[1] * GB,
        tr(f"{what} {here} GB, the policy asks for {asked[1]:g}", f"{what} {here} GB，策略要求 {asked[1]:g}"),
        asked=asked,
        seen=(seen, read_from),
        unknown=unknown,
        remedies=(remedy, elsewhere()),
    )


def open_files(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """A process may open as many files as is asked for."""
    wanted = policy.host.min_open_files
    if wanted is None:
        return
    soft = machine.limits.open_files_soft
    gap = {"limits", "limits.open_files_soft"} & machine.gaps.keys()
    reason = machine.why_missing("limits.open_files_soft")
    here = tr("any number of", "不限") if soft is None else str(soft)
    yield verdict(
        "policy-open-files",
        None if gap else soft is None or soft >= wanted,
        tr(
            f"a process may open {here} files, the policy asks for {wanted}",
            f"一个进程可打开的文件数：{here}，策略要求 {wanted}",
        ),
        asked=("host.min_open_files", wanted),
        seen=("unlimited" if soft is None and not gap else soft, "getrlimit"),
        unknown=reason,
        remedies=(_more_files(wanted, container=bool(machine.os.container)),),
        scope=Scope.ENVIRONMENT,
    )
