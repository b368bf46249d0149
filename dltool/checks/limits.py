"""Limits of the host that training meets: shared memory, open files, processor time."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dltool.checks import check
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status
from dltool.units import gib

_SHM_ENOUGH = 512 * 2**20
"""Docker gives 64 MiB; a few DataLoader workers with a batch of images each need some hundred."""
_SMALL_HOST = 4 * 2**30
_FILES_ENOUGH = 1024
"""The usual default; below it DataLoader workers run into "Too many open files" soon."""
_FILES_PLENTY = 65536
_QUOTA_WARNS = 0.75


@check(
    "shm-small",
    zh="""
    /dev/shm 对 DataLoader 的 worker 来说够大吗？

    worker 通过共享内存传递批次数据。写满时它们会因 `Bus error` 或 `DataLoader worker is killed` 而终止；NCCL 也要用它。
    Docker 默认只给容器 64 MiB。

    解决：启动容器时加上 `--shm-size=8g` 或 `--ipc=host`；在 Kubernetes 中把 medium 为 Memory 的 emptyDir 挂载到 /dev/shm；
    在宿主机上用 `sudo mount -o remount,size=50% /dev/shm`。实在改不了时，用 `num_workers=0`。

    预防：把 `--shm-size` 写进 compose 文件（`shm_size: 8gb`）或作业模板；大致按 worker 数 × 预取批次数 × 每批大小来估算。
    """,
)
def shm_small(machine: Machine) -> Iterator[Finding]:
    """Is /dev/shm large enough for DataLoader workers?

    Workers hand batches over in shared memory. When it is full they die with "Bus error" or "DataLoader worker is killed";
    NCCL uses it too. Docker gives a container 64 MiB unless told otherwise.

    Mend: Start the container with `--shm-size=8g` or `--ipc=host`; in Kubernetes mount an emptyDir of medium Memory at
    /dev/shm; on a host `sudo mount -o remount,size=50% /dev/shm`. Where nothing can be changed, `num_workers=0`.

    Prevent: Write `--shm-size` into the compose file (`shm_size: 8gb`) or the job's template; reckon with workers x batches
    that are fetched ahead x bytes of a batch.

    See: https://docs.pytorch.org/docs/stable/data.html
    https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html
    """
    memory, inside = machine.memory, bool(machine.os.container)
    size = memory.shm_total_bytes
    evidence = (Evidence(fact="/dev/shm", value=size, read_from="statvfs"),)
    if size is None:
        reason = machine.why_missing("memory.shm_total_bytes")
        yield Finding(status=Status.UNKNOWN, summary=tr(f"/dev/shm: {reason}", f"无法读取 /dev/shm 的大小：{reason}"))
    elif size >= _SHM_ENOUGH or (not inside and (memory.total_bytes or 0) < _SMALL_HOST):
        says = tr(f"/dev/shm holds {gib(size)}", f"/dev/shm 的容量为 {gib(size)}")
        yield Finding(status=Status.PASS, summary=says, evidence=evidence)
    else:
        says = tr(
            f"/dev/shm holds only {gib(size)}: DataLoader workers and NCCL will run out of it",
            f"/dev/shm 只有 {gib(size)}：DataLoader 的 worker 和 NCCL 会把它用完",
        )
        yield Finding(status=Status.WARN, summary=says, evidence=evidence, remedies=_more_shm(inside=inside))


def _more_shm(*, inside: bool) -> tuple[Remedy, ...]:
    """Different in a container, which gets its own from whoever starts it."""
    if not inside:
        enlarge = tr("Enlarge it.", "将其扩大。")
        return (Remedy(text=enlarge, commands=("sudo mount -o remount,size=50% /dev/shm",), risk=Risk.ROOT),)
    return (
        Remedy(
            text=tr("Start the container with more.", "启动容器时给它更多。"),
            commands=("docker run --shm-size=8g IMAGE",),
        ),
        Remedy(text=tr("Or share the host's.", "或与宿主机共用。"), commands=("docker run --ipc=host IMAGE",)),
    )


@check(
    "open-files-low",
    zh="""
    一个进程能否打开足够多的文件？

    DataLoader 的 worker 传递的每个张量都可能占用一个打开的文件；分布式训练会打开许多套接字。

    解决：在启动作业的 shell 中运行 `ulimit -n 65536`；容器用 `docker run --ulimit nofile=65536:65536`；systemd 服务用
    `LimitNOFILE=65536`。不能提高时，在程序开头调用 `torch.multiprocessing.set_sharing_strategy('file_system')`。

    预防：在 /etc/security/limits.d 或作业模板中统一提高上限；训练程序启动时打印 `ulimit -n`。
    """,
)
def open_files_low(machine: Machine) -> Iterator[Finding]:
    """May a process open enough files?

    Every tensor that a DataLoader worker hands over can hold a file open; distributed training opens many sockets.

    Mend: `ulimit -n 65536` in the shell that starts the job; `docker run --ulimit nofile=65536:65536` for a container;
    `LimitNOFILE=65536` in a systemd service. Where it cannot be raised, call
    `torch.multiprocessing.set_sharing_strategy('file_system')` at the start of the program.

    Prevent: Raise the limit for all in /etc/security/limits.d or in the job's template; let trainings print `ulimit -n` when
    they start.

    See: https://docs.pytorch.org/docs/stable/multiprocessing.html
    """
    soft, hard = machine.limits.open_files_soft, machine.limits.open_files_hard
    evidence = (Evidence(fact="RLIMIT_NOFILE", value=soft, read_from="getrlimit"),)
    if (unread := unread_limits(machine)) is not None:
        yield unread
    elif soft is None:
        says = tr("a process may open any number of files", "一个进程可以打开任意多的文件")
        yield Finding(status=Status.PASS, summary=says)
    elif soft == _FILES_ENOUGH and (hard or soft + 1) > soft:
        yield _default_of_files(machine, soft, evidence)
    elif soft >= _FILES_ENOUGH:
        yield Finding(status=Status.PASS, summary=tr(f"a process may open {soft} files", f"一个进程可以打开 {soft} 个文件"))
    else:
        says = tr(
            f"a process may open only {soft} files: DataLoader workers will fail with too many open files",
            f"一个进程只能打开 {soft} 个文件：DataLoader 的 worker 会因打开的文件过多而失败",
        )
        yield Finding(status=Status.WARN, summary=says, evidence=evidence, remedies=_more_files(machine, soft))


def unread_limits(machine: Machine) -> Finding | None:
    """That the limits of this process could not be read; None where they could."""
    reason = machine.gaps.get("limits")
    if reason is None:
        return None
    says = tr(f"the limits could not be read: {reason}", f"无法读取资源限制：{reason}")
    return Finding(status=Status.UNKNOWN, summary=says)


def _default_of_files(machine: Machine, soft: int, evidence: tuple[Evidence, ...]) -> Finding:
    return Finding(
        status=Status.INFO,
        summary=tr(
            f"a process may open {soft} files, the usual default: many DataLoader workers need more (ulimit -n 65536)",
            f"一个进程可以打开 {soft} 个文件，这是常见的默认值：worker 很多时不够用（ulimit -n 65536）",
        ),
        why=tr(
            'Each tensor that is handed over holds a file ("received 0 items of ancdata", "Too many open files").',
            "每个传递的张量都会占用一个文件（报错 received 0 items of ancdata 或 Too many open files）。",
        ),
        evidence=evidence,
        remedies=_more_files(machine, soft),
    )


def _more_files(machine: Machine, soft: int) -> tuple[Remedy, ...]:
    hard = machine.limits.open_files_hard
    if hard is None or hard > soft:
        most = min(hard or _FILES_PLENTY, _FILES_PLENTY)
        text = tr("Raise it in the shell that starts the job.", "在启动作业的 shell 中提高它。")
        return (Remedy(text=text, commands=(f"ulimit -n {most}",)),)
    if machine.os.container:
        text = tr("Start the container with more.", "启动容器时给它更多。")
        return (Remedy(text=text, commands=(f"docker run --ulimit nofile={_FILES_PLENTY}:{_FILES_PLENTY} IMAGE",)),)
    return (
        Remedy(
            text=tr("Raise the hard limit, then log in again.", "提高硬限制，然后重新登录。"),
            commands=(f"echo '* - nofile {_FILES_PLENTY}' | sudo tee /etc/security/limits.d/nofile.conf",),
            risk=Risk.ROOT,
        ),
    )


@check(
    "cpu-quota-low",
    zh="""
    控制组（cgroup）给的处理器时间是否与进程看到的处理器数量相称？

    各种库会按看到的处理器数量启动线程。配额更小时，内核会在每个周期的一部分时间里让它们全部停下：
    比用较少的线程更慢，而且会卡顿。

    解决：按配额设置线程数：`export OMP_NUM_THREADS=QUOTA`，DataLoader 的 `num_workers` 也不要超过它；
    或给容器更多处理器时间：`docker run --cpus=N`，在 Kubernetes 中提高 `limits.cpu`。

    预防：在作业模板中让 OMP_NUM_THREADS 与 CPU 配额一起设置；需要稳定性能时用 `--cpuset-cpus` 绑定处理器，而不是配额。
    """,
)
def cpu_quota_low(machine: Machine) -> Iterator[Finding]:
    """Does the control group grant as much processor time as the process sees processors?

    Libraries start one thread for each processor that they see. Under a smaller quota the kernel stops them all for part of
    every period: slower than with fewer threads, and with stutters.

    Mend: Start as many threads as the quota grants, `export OMP_NUM_THREADS=QUOTA`, and no more DataLoader workers than that;
    or give the container more processor time: `docker run --cpus=N`, in Kubernetes `limits.cpu`.

    Prevent: Set OMP_NUM_THREADS together with the quota in the job's template; for steady speed give whole processors
    (`--cpuset-cpus`) rather than a quota.

    See: https://docs.docker.com/engine/containers/resource_constraints/
    https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    cpu = machine.cpu
    threads, quota = cpu.usable_threads, cpu.quota_cpus
    if "cpu.quota_cpus" in machine.gaps or threads is None:
        reason = machine.why_missing("cpu.quota_cpus" if threads else "cpu.usable_threads")
        says = tr(f"the CPU quota could not be read: {reason}", f"无法读取 CPU 配额：{reason}")
        yield Finding(status=Status.UNKNOWN, summary=says)
    elif quota is None:
        says = tr(f"{threads} CPUs are usable, quota: no limit", f"可用 {threads} 个 CPU，没有配额限制")
        yield Finding(status=Status.PASS, summary=says)
    elif not quota < _QUOTA_WARNS * threads:
        says = tr(f"{threads} CPUs are usable, quota: {quota:g}", f"可用 {threads} 个 CPU，配额为 {quota:g}")
        yield Finding(status=Status.PASS, summary=says)
    else:
        yield _small_quota(threads, quota, chosen=bool(machine.environment.get("OMP_NUM_THREADS")))


def _small_quota(threads: int, quota: float, *, chosen: bool) -> Finding:
    evidence = (
        Evidence(fact="quota", value=quota, read_from="cgroup cpu.max"),
        Evidence(fact="usable CPUs", value=threads, read_from="affinity mask"),
    )
    if chosen:
        says = tr(
            f"the quota is {quota:g} of {threads} CPUs; OMP_NUM_THREADS is set",
            f"{threads} 个 CPU 的配额为 {quota:g}；已设置 OMP_NUM_THREADS",
        )
        return Finding(status=Status.INFO, summary=says, evidence=evidence)
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"{threads} CPUs are visible but the quota is {quota:g}: threads will be throttled",
            f"看得到 {threads} 个 CPU，但配额只有 {quota:g}：线程会被限流",
        ),
        evidence=evidence,
        remedies=(
            Remedy(
                text=tr("Start as many threads as the quota grants.", "启动的线程数不要超过配额。"),
                commands=(f"export OMP_NUM_THREADS={math.floor(max(1.0, quota))}",),
            ),
            Remedy(
                text=tr("Or give the container more processor time.", "或给容器更多处理器时间。"),
                commands=("docker run --cpus=N IMAGE",),
            ),
        ),
    )
