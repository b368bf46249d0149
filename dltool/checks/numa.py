"""On machines with several sockets: whether a program runs near its GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import SYSFS
from dltool.checks.hardware import named, no_answer
from dltool.checks.pcie import device_of
from dltool.checks.visibility import visible_gpus
from dltool.lang import tr
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Status

_MOST_CPUS = 65536


@check(
    "numa-affinity",
    zh="""
    本进程能否在离其 GPU 最近的处理器上运行？

    在多路服务器上，每块 GPU 只挂在其中一路处理器上。绑定到另一路的进程，每个字节都要经过处理器之间的互连：
    拷贝变慢，数据加载也与之争抢带宽。

    解决：用 `nvidia-smi topo -m` 查看每块 GPU 的 CPU Affinity，再用 `taskset -c` 或 `numactl --cpunodebind --membind` 把进程
    绑定过去；容器用 `docker run --cpuset-cpus`，在 Slurm 中用 `--gpu-bind=closest`。

    预防：每块 GPU 起一个进程，由启动器按拓扑绑定处理器；让调度器把同一路的 GPU 和处理器一起分配。
    """,
)
def numa_affinity(machine: Machine) -> Iterator[Finding]:
    """May this process run on the processors that are nearest to its GPUs?

    On machines with several sockets a GPU hangs on one of them. A process that is bound to the other sends every byte over the
    link between the sockets: slower copies, and data loading that competes with it.

    Mend: `nvidia-smi topo -m` shows the CPU affinity of each GPU; bind the process there with `taskset -c` or
    `numactl --cpunodebind --membind`, a container with `docker run --cpuset-cpus`, a Slurm job with `--gpu-bind=closest`.

    Prevent: Start one process for each GPU and let the launcher bind it by the topology; have the scheduler give GPUs and
    processors of one socket together.

    See: https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html
    https://docs.kernel.org/admin-guide/mm/numaperf.html
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    if (machine.cpu.numa_nodes or 1) < 2:
        says = tr("one NUMA node: every processor is as near", "只有一个 NUMA 节点：所有处理器的距离都相同")
        yield Finding(status=Status.SKIP, summary=says)
        return
    usable = cpus(machine.cpu.usable_cpus)
    near = {gpu.index: cpus(local) for gpu in visible_gpus(machine) if (local := _local_cpus(machine, gpu))}
    placed = [gpu for gpu in machine.gpus if near.get(gpu.index)]
    far = [gpu for gpu in placed if not near[gpu.index] & usable]
    if not usable or not placed:
        reason = machine.why_missing("pci" if usable else "cpu.usable_cpus")
        says = tr(f"processors and GPUs could not be compared: {reason}", f"无法比较处理器与 GPU 的位置：{reason}")
        yield Finding(status=Status.UNKNOWN, summary=says)
    elif not far:
        yield Finding(status=Status.PASS, summary=tr("this process may run near every GPU", "本进程可以在每块 GPU 附近运行"))
    elif len(far) < len(placed):
        says = tr(
            f"this process may not run near {named(far)}; use one process for each GPU, bound to its socket",
            f"本进程不能在 {named(far)} 附近运行；请为每块 GPU 单独起一个进程，并绑定到它所在的那路处理器",
        )
        devices = tuple(gpu.index for gpu in far)
        yield Finding(status=Status.INFO, summary=says, evidence=_places(machine, far), devices=devices)
    else:
        yield _elsewhere(machine, far)


def _elsewhere(machine: Machine, far: list[Gpu]) -> Finding:
    bind = Remedy(
        text=tr(
            "Bind it to the GPU's own processors and memory, or ask the scheduler or container runtime for them.",
            "把它绑定到 GPU 所在一路的处理器和内存，或向调度器、容器运行时申请这些处理器。",
        ),
        commands=(
            f"taskset -c {_local_cpus(machine, far[0]) or 'CPUS'} COMMAND",
            "docker run --cpuset-cpus=CPUS IMAGE",
        ),
    )
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"this process is bound to processors of another socket than {named(far)}",
            f"本进程绑定的处理器与 {named(far)} 不在同一路",
        ),
        evidence=_places(machine, far),
        remedies=(bind,),
        devices=tuple(gpu.index for gpu in far),
    )


def _places(machine: Machine, far: list[Gpu]) -> tuple[Evidence, ...]:
    """Where the process may run, and what is near the GPUs that it is far from."""
    return (
        Evidence(fact="processors of this process", value=machine.cpu.usable_cpus, read_from="affinity mask"),
        *(
            Evidence(
                fact=f"processors near GPU {gpu.index}",
                value=_local_cpus(machine, gpu),
                read_from=f"{SYSFS}/{gpu.pci_bus_id}",
            )
            for gpu in far
        ),
    )


def _local_cpus(machine: Machine, gpu: Gpu) -> str | None:
    device = device_of(machine, gpu)
    return device.local_cpus if device is not None else None


def cpus(listed: str | None) -> frozenset[int]:
    """The processors of a list as the kernel writes it: "0-3,8"; empty where it is none."""
    found: set[int] = set()
    for part in (listed or "").split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or len(first) > 6 or len(last) > 6:
            continue
        found.update(range(int(first), min(int(last or first), int(first) + _MOST_CPUS) + 1))
    return frozenset(found)
