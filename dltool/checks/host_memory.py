"""The host's main memory: enough to feed the GPUs, free now, and allowed to be locked for RDMA."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.limits import unread_limits
from dltool.checks.visibility import visible_gpus
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status
from dltool.units import gib

_LOCKED_ENOUGH = 2**30
"""NCCL registers some hundred MB for each connection; what is meant is no limit."""
_NEARLY_NONE = 0.05
"""Share of main memory."""


@check(
    "memlock-low",
    zh="""进程能否锁定 InfiniBand 所需的内存？

    RDMA 网卡直接写内存，这些内存不能被换出或移动，因此 NCCL 要向网卡注册缓冲区。限制太小时会报
    “ibv_reg_mr failed: Cannot allocate memory”。limits.conf 管不到服务和容器，它们有自己的限制。

    解决：用 `docker run --ulimit memlock=-1 IMAGE` 启动容器。在宿主机上把 `* - memlock unlimited` 写入
    /etc/security/limits.d/memlock.conf 并重新登录；`ulimit -l` 应显示 unlimited。对于服务，在其 unit 文件中设置
    `LimitMEMLOCK=infinity`。

    预防：在节点的系统镜像中就设置好，slurmd 和 docker 的 unit 也要设置；Slurm 作业的限制不会高于 slurmd 自己的。
    """,
)
def memlock_low(machine: Machine) -> Iterator[Finding]:
    """May a process lock the memory that InfiniBand needs?

    An RDMA adapter writes into memory that must not move, so NCCL registers its buffers with it. Under a small limit this fails
    with "ibv_reg_mr failed: Cannot allocate memory". limits.conf does not reach services and containers, which have their own.

    Mend: Start the container with `docker run --ulimit memlock=-1 IMAGE`. On the host write `* - memlock unlimited` to
    /etc/security/limits.d/memlock.conf and log in again; `ulimit -l` then says unlimited. A service needs
    `LimitMEMLOCK=infinity` in its unit.

    Prevent: Set it in the image of the nodes, in the units of slurmd and docker too: a job of Slurm gets no more than
    slurmd has.

    See: https://man7.org/linux/man-pages/man5/limits.conf.5.html https://slurm.schedmd.com/faq.html
    """
    limits = machine.limits
    if machine.rdma is None:
        yield Finding(status=Status.SKIP, summary=tr("no adapter was looked for", "没有查找过网卡"))
        return
    if not machine.rdma or machine.environment.get("NCCL_IB_DISABLE") == "1":
        summary = tr("no InfiniBand or RoCE adapter in use", "没有使用 InfiniBand 或 RoCE 网卡")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    evidence = (
        Evidence(fact="RLIMIT_MEMLOCK", value=limits.locked_memory_bytes, read_from="getrlimit"),
        Evidence(fact="RDMA adapters", value=" ".join(machine.rdma), read_from="/sys/class/infiniband"),
    )
    if (unread := unread_limits(machine)) is not None:
        yield unread
    elif limits.locked_memory_bytes is None or limits.locks_any_memory or limits.locked_memory_bytes >= _LOCKED_ENOUGH:
        summary = tr("memory may be locked for RDMA", "可以为 RDMA 锁定内存")
        yield Finding(status=Status.PASS, summary=summary, evidence=evidence)
    else:
        size = gib(limits.locked_memory_bytes)
        yield Finding(
            status=Status.WARN,
            summary=tr(
                f"only {size} may be locked: NCCL cannot register memory with InfiniBand",
                f"只允许锁定 {size} 内存：NCCL 无法向 InfiniBand 网卡注册内存",
            ),
            evidence=evidence,
            remedies=_lift_limit(machine),
        )


def _lift_limit(machine: Machine) -> tuple[Remedy, ...]:
    container = Remedy(
        text=tr("Start the container without the limit.", "启动容器时去掉该限制。"),
        commands=("docker run --ulimit memlock=-1 IMAGE",),
    )
    host = Remedy(
        text=tr(
            "Lift the limit and log in again; for a service, LimitMEMLOCK=infinity in its unit.",
            "取消限制后重新登录；对于服务，在其 unit 文件中设置 LimitMEMLOCK=infinity。",
        ),
        commands=("echo '* - memlock unlimited' | sudo tee /etc/security/limits.d/memlock.conf",),
        risk=Risk.ROOT,
    )
    return (container, host) if machine.os.container else (host,)


@check(
    "memory-small",
    zh="""内存相对于 GPU 的显存够不够？

    模型先读入内存，再送到 GPU，DataLoader 的每个 worker 也存着批次。内存比显存小时，系统会杀死进程（“Killed”，退出码 137），
    或者开始使用交换空间。通常建议内存为显存的两倍。

    解决：给容器或作业更多内存（`docker run --memory=64g IMAGE`，Slurm 用 `--mem`）。减少 DataLoader 的 worker；
    用内存映射加载 safetensors 权重，一次一个分片。

    预防：选择内存约为显存两倍的机器；不要给容器设比这更小的限制。
    """,
)
def memory_small(machine: Machine) -> Iterator[Finding]:
    """Is there enough main memory for the GPUs?

    A model is read into main memory before it goes to the GPU, and DataLoader workers each hold batches. With less main
    memory than GPU memory the system kills the process ("Killed", exit code 137), or swaps. Twice the GPUs' memory is the
    usual advice.

    Mend: Give the container or job more memory (`docker run --memory=64g IMAGE`, Slurm `--mem`). Take fewer DataLoader workers,
    and load safetensors weights by memory map, one shard at a time.

    Prevent: Choose machines with about twice as much main memory as GPU memory, and no smaller limits of containers.

    See: https://huggingface.co/docs/safetensors/ https://docs.docker.com/engine/containers/resource_constraints/
    """
    memory = machine.memory
    sizes = [gpu.memory_total_bytes for gpu in visible_gpus(machine) if gpu.memory_total_bytes]
    have = min((size for size in (memory.total_bytes, memory.cgroup_limit_bytes) if size), default=None)
    if have is None:
        reason = machine.why_missing("memory.total_bytes")
        yield Finding(status=Status.UNKNOWN, summary=tr(f"main memory: {reason}", f"内存大小未知：{reason}"))
        return
    own, gpus = gib(have), gib(sum(sizes))
    if not sizes:
        summary = tr(f"{own} of main memory; no GPU memory to compare with", f"内存 {own}；没有可比较的显存")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    limited = memory.cgroup_limit_bytes is not None and have == memory.cgroup_limit_bytes
    evidence = (
        Evidence(fact="main memory", value=have, read_from="cgroup memory.max" if limited else "/proc/meminfo"),
        Evidence(fact="GPU memory", value=sum(sizes), read_from="NVML"),
        Evidence(fact="swap", value=memory.swap_total_bytes, read_from="/proc/meminfo"),
    )
    limit = tr(" (limit of the control group)", "（控制组的限制）") if limited else ""
    less = tr(f"{own} of main memory{limit} for {gpus} of GPU memory", f"内存 {own}{limit}，显存 {gpus}")
    if have >= sum(sizes):
        summary = tr(f"{own} of main memory for {gpus} of GPU memory", f"内存 {own}，显存 {gpus}")
        yield Finding(status=Status.PASS, summary=summary, evidence=evidence)
    elif 2 * have >= max(sizes):
        yield Finding(status=Status.INFO, summary=less, evidence=evidence)
    else:
        killed = tr(": loading a model that fills the GPU will be killed", "：加载占满显存的模型时进程会被杀掉")
        yield Finding(status=Status.WARN, summary=less + killed, evidence=evidence, remedies=(_more(limited=limited),))


def _more(*, limited: bool) -> Remedy:
    if limited:
        text = tr("Give the container or job more memory.", "给容器或作业更多内存。")
        return Remedy(text=text, commands=("docker run --memory=64g IMAGE",))
    return Remedy(
        text=tr(
            "Load weights by memory map (safetensors), one shard at a time; add memory or, as a stopgap, swap.",
            "用内存映射加载权重（safetensors），一次一个分片；增加内存，或暂时增加交换空间。",
        )
    )


@check(
    "memory-exhausted",
    zh="""内存现在是否有空闲，机器是否在使用交换空间？

    内存和交换空间快用完时，内核会杀掉最大的进程，而那通常就是训练进程。

    解决：用 `ps -eo pid,rss,comm --sort=-rss | head` 看是谁占用了内存，结束不需要的进程；减少 DataLoader 的 worker。
    `sudo dmesg | grep -i 'killed process'` 显示内核已经杀掉了谁。

    预防：给每个作业设内存上限（`docker run --memory=64g IMAGE`，Slurm 用 `--mem`），免得一个作业拖垮其他作业；Dataset 里的
    大列表改用 numpy 数组或 Arrow，否则每个 worker 都会慢慢复制一份。
    """,
)
def memory_exhausted(machine: Machine) -> Iterator[Finding]:
    """Is main memory free now, or is the machine swapping?

    When memory and swap are nearly used up, the kernel kills the largest process, which is the training.

    Mend: `ps -eo pid,rss,comm --sort=-rss | head` shows what holds it: end what is not needed, and take fewer DataLoader
    workers. `sudo dmesg | grep -i 'killed process'` shows what the kernel has killed.

    Prevent: Give each job a limit (`docker run --memory=64g IMAGE`, Slurm `--mem`), so that one does not take down the others.
    Keep large lists of a Dataset in NumPy arrays or Arrow: of Python objects each worker makes a copy in time.

    See: https://docs.kernel.org/admin-guide/mm/concepts.html https://github.com/pytorch/pytorch/issues/13246
    """
    memory = machine.memory
    if memory.total_bytes is None or memory.available_bytes is None:
        reason = machine.why_missing("memory.available_bytes")
        yield Finding(status=Status.UNKNOWN, summary=tr(f"main memory: {reason}", f"可用内存未知：{reason}"))
        return
    share = memory.available_bytes / memory.total_bytes if memory.total_bytes else 1.0
    swap_total, swap_free = memory.swap_total_bytes or 0, memory.swap_free_bytes
    swap_full = not swap_total or (swap_free is not None and 10 * swap_free < swap_total)
    evidence = (
        Evidence(fact="available", value=memory.available_bytes, read_from="/proc/meminfo"),
        Evidence(fact="swap free", value=swap_free, read_from="/proc/meminfo"),
    )
    free, total = gib(memory.available_bytes), gib(memory.total_bytes)
    if share >= _NEARLY_NONE or not swap_full:
        summary = tr(f"{free} of main memory is available", f"可用内存 {free}")
        yield Finding(status=Status.PASS, summary=summary, evidence=evidence)
        return
    yield Finding(
        status=Status.WARN,
        summary=tr(f"main memory is used up: {free} of {total} is available", f"内存即将耗尽：可用 {free}，共 {total}"),
        evidence=evidence,
        remedies=(
            Remedy(
                text=tr("See what holds it.", "看看是谁占用了内存。"),
                commands=("ps -eo pid,rss,comm --sort=-rss | head",),
                risk=Risk.READ_ONLY,
            ),
        ),
    )
