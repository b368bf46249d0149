"""GPUs that are cut into instances (MIG)."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.hardware import about, named, no_answer, scope
from dltool.lang import tr
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status


@check(
    "mig-without-instances",
    zh="""
    每块处于 MIG 模式的 GPU 是否都有程序可用的实例？

    打开了 MIG 却没有划分实例时，CUDA 找不到任何设备，尽管 nvidia-smi 列出了这块 GPU。

    解决：用 `sudo nvidia-smi mig -i INDEX -lgip` 列出可用的规格，再用 `sudo nvidia-smi mig -i INDEX -cgi 0 -C` 创建实例；
    或用 `sudo nvidia-smi -i INDEX -mig 0` 关闭 MIG。

    预防：实例在重启后会消失，而 MIG 模式在 Ampere 上会保留：用 nvidia-mig-parted 之类的服务在开机时创建实例。
    """,
)
def mig_without_instances(machine: Machine) -> Iterator[Finding]:
    """Has every GPU in MIG mode an instance that programs can use?

    With MIG on and nothing cut off, CUDA finds no device, though nvidia-smi lists the GPU.

    Mend: `sudo nvidia-smi mig -i INDEX -lgip` lists the profiles, `sudo nvidia-smi mig -i INDEX -cgi 0 -C` makes an instance;
    or switch MIG off with `sudo nvidia-smi -i INDEX -mig 0`.

    Prevent: Instances are gone after a restart, while on Ampere the mode stays: have a service such as nvidia-mig-parted make
    them at each start.

    See: https://docs.nvidia.com/datacenter/tesla/mig-user-guide/ https://github.com/NVIDIA/mig-parted
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    on = [gpu for gpu in machine.gpus if gpu.mig_enabled]
    empty = [gpu for gpu in on if gpu.mig_instances == 0]
    unknown = [gpu for gpu in on if gpu.mig_instances is None]
    if empty:
        yield _empty(machine, empty)
    elif unknown:
        reason = machine.why_missing(f"gpus.{unknown[0].index}.mig_instances")
        says = tr(f"MIG is on, its instances are not known: {reason}", f"MIG 已打开，不知道有哪些实例：{reason}")
        yield Finding(status=Status.UNKNOWN, summary=about(unknown, says))
    elif on:
        count = sum(gpu.mig_instances or 0 for gpu in on)
        says = tr(f"{count} MIG instances on {named(on)}", f"{named(on)} 上有 {count} 个 MIG 实例")
        yield Finding(status=Status.PASS, summary=says)
    else:
        yield Finding(status=Status.SKIP, summary=tr("MIG is not in use", "没有使用 MIG"))


def _empty(machine: Machine, gpus: list[Gpu]) -> Finding:
    first = gpus[0].index
    make = Remedy(
        text=tr(
            "Make instances (the first command lists the profiles), for example one of the whole GPU.",
            "创建实例（第一条命令列出可用的规格），例如创建一个占用整块 GPU 的实例。",
        ),
        commands=(f"sudo timeout 20 nvidia-smi mig -i {first} -lgip", f"sudo timeout 60 nvidia-smi mig -i {first} -cgi 0 -C"),
        risk=Risk.ROOT,
    )
    switch_off = Remedy(
        text=tr("Or switch MIG off.", "或关闭 MIG。"),
        commands=tuple(f"sudo timeout 60 nvidia-smi -i {gpu.index} -mig 0" for gpu in gpus),
        risk=Risk.ROOT,
    )
    return Finding(
        status=Status.FAIL if len(gpus) == len(machine.gpus) else Status.WARN,
        summary=about(
            gpus,
            tr(
                "MIG is on, but no instance was made: CUDA finds no device there",
                "MIG 已打开，但没有创建实例：CUDA 在那里找不到设备",
            ),
        ),
        evidence=tuple(
            Evidence(fact=f"MIG instances of GPU {gpu.index}", value=gpu.mig_instances, read_from="NVML") for gpu in gpus
        ),
        remedies=(make, switch_off),
        scope=scope(machine),
        devices=tuple(gpu.index for gpu in gpus),
    )
