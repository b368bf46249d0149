"""How far the GPUs that a program sees are from one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import SYSFS
from dltool.checks.hardware import bare_metal
from dltool.checks.visibility import visible_gpus
from dltool.lang import tr
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Status


@check(
    "gpus-far-apart",
    zh="""选中的几块 GPU 是否彼此靠近？

    没有 NVLink 时，两块 GPU 若接在不同的处理器插槽上（`nvidia-smi topo -m` 中的 SYS），之间的数据要跨过插槽互连，
    比接在同一处理器上的慢，延迟也高。如果本机另有一组同样数量的 GPU 都在一个插槽上，选它们更好。只作提示。

    解决：`nvidia-smi topo -m` 查看拓扑，然后用 CUDA_VISIBLE_DEVICES 选同一插槽的 GPU。

    预防：在作业系统里按 NUMA 节点分配 GPU。""",
)
def gpus_far_apart(machine: Machine) -> Iterator[Finding]:
    """Are the GPUs that were chosen near to one another?

    Without NVLink, what goes between two GPUs at different processors (SYS in `nvidia-smi topo -m`) crosses the link
    between the sockets, slower and later than between GPUs at one processor. Where as many others are at one processor
    these are the better choice. It is only noted.

    Mend: look at `nvidia-smi topo -m`, and choose GPUs of one processor by CUDA_VISIBLE_DEVICES.

    Prevent: let the scheduler give out GPUs by NUMA node.

    See: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html
    """
    seen = visible_gpus(machine)
    nodes = {device.bus_id: device.numa_node for device in machine.pci or ()}
    places = {gpu.index: nodes.get(gpu.pci_bus_id or "") for gpu in machine.gpus}
    linked = any(link.active for gpu in seen for link in gpu.nvlinks or ())
    if not 1 < len(seen) < len(machine.gpus) or linked or not bare_metal(machine) or None in places.values():
        summary = tr("no choice of several GPUs without NVLink", "没有在无 NVLink 的多块 GPU 中做选择")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    better = _together(machine.gpus, places, len(seen))
    where = {places[gpu.index] for gpu in seen}
    if len(where) == 1 or better is None:
        yield Finding(status=Status.PASS, summary=tr("the chosen GPUs are as near as they can be", "所选 GPU 已尽可能靠近"))
        return
    chosen, instead = (",".join(str(index) for index in group) for group in ([gpu.index for gpu in seen], better))
    yield Finding(
        status=Status.INFO,
        summary=tr(
            f"GPUs {chosen} are at {len(where)} processors; {instead} are at one",
            f"GPU {chosen} 分布在 {len(where)} 个处理器上；{instead} 在同一个上",
        ),
        why=tr(f"`CUDA_VISIBLE_DEVICES={instead}` takes those.", f"`CUDA_VISIBLE_DEVICES={instead}` 可选用它们。"),
        evidence=tuple(
            Evidence(fact=f"NUMA node of GPU {gpu.index}", value=places[gpu.index], read_from=SYSFS) for gpu in seen
        ),
        devices=tuple(gpu.index for gpu in seen),
    )


def _together(gpus: tuple[Gpu, ...], places: dict[int, int | None], count: int) -> list[int] | None:
    """So many GPUs at one processor, if there are."""
    at: dict[int | None, list[int]] = defaultdict(list)
    for gpu in gpus:
        at[places[gpu.index]].append(gpu.index)
    return next((group[:count] for group in at.values() if len(group) >= count), None)
