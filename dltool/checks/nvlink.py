"""The NVLinks of the GPUs, from one to another or to NVSwitches."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.fabric import start_fabric_manager
from dltool.checks.hardware import about, bare_metal, is_sxm, no_answer, reboot, scope, send
from dltool.lang import tr
from dltool.live import board_of
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status


@check(
    "nvlinks-down",
    caused_by=("gpu-fell-off-bus", "fabric-not-ready", "nvswitch-sxid"),
    zh="""
    GPU 的所有 NVLink 是否都已建立？

    SXM 模组彼此相连或连到 NVSwitch，所有链路都必须处于连接状态：否则集合通信只能走 PCIe，速度只有十分之一。
    插卡只有在两块之间装了桥接器时才有链路；没有桥接器时全部断开是正常的。

    解决：用 `nvidia-smi nvlink -s` 看是哪几条链路，用 `nvidia-smi nvlink -e` 看错误计数是否增长。有 NVSwitch 的机器先确认
    Fabric Manager 在运行；然后停止所有任务，重启机器。若仍是同样的链路断开，请管理方检查模组、底板或桥接器。

    预防：让 Fabric Manager 开机自启动，且与驱动一起升级；在任务开始前用 `dltool doctor --only nvlinks-down` 检查节点。
    """,
)
def nvlinks_down(machine: Machine) -> Iterator[Finding]:
    """Are all NVLinks of the GPUs up?

    Modules (SXM) are wired to one another or to NVSwitches, and all their links must be up: without them collective
    operations go over PCIe, at a tenth of the rate. Cards have links only where a bridge joins two of them; without a bridge
    all are down, and that is how it should be.

    Mend: See with `nvidia-smi nvlink -s` which links it is, and with `nvidia-smi nvlink -e` whether their errors grow. Where
    there are NVSwitches, see first that Fabric Manager runs; then stop all work and restart the machine. If the same links are
    down again, have whoever runs the machine look at the module, the baseboard or the bridge.

    Prevent: Let Fabric Manager start with the machine and update it together with the driver; look at a node with
    `dltool doctor --only nvlinks-down` before a job starts on it.

    See: https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/
    https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    linked = [gpu for gpu in machine.gpus if gpu.nvlinks]
    down = [gpu for gpu in linked if any(link.active is False for link in gpu.nvlinks or ())]
    unread = [gpu for gpu in linked if any(link.active is None for link in gpu.nvlinks or ())]
    broken = [gpu for gpu in down if is_sxm(gpu, board_of(gpu)) and not gpu.mig_enabled]
    if not linked:
        yield _no_links(machine)
    elif not down and not unread:
        summary = tr(f"all NVLinks of {len(linked)} GPU(s) are up", f"{len(linked)} 块 GPU 的 NVLink 全部已连接")
        yield Finding(status=Status.PASS, summary=summary)
    elif not down:
        says = tr("the driver does not tell whether all NVLinks are up", "驱动没有说明 NVLink 是否全部已连接")
        yield Finding(status=Status.UNKNOWN, summary=about(unread, says), evidence=_states(unread))
    elif not broken or not bare_metal(machine) or _modules(machine) < 2:
        yield _unconnected(down)
    else:
        yield _broken(machine, broken)


def _no_links(machine: Machine) -> Finding:
    unknown = [gpu for gpu in machine.gpus if gpu.nvlinks is None and is_sxm(gpu, board_of(gpu))]
    if not unknown:
        return Finding(status=Status.SKIP, summary=tr("no GPU here has NVLink", "这里没有带 NVLink 的 GPU"))
    reason = machine.why_missing(f"gpus.{unknown[0].index}.nvlinks")
    says = tr(f"whether the NVLinks are up could not be read: {reason}", f"无法读取 NVLink 的状态：{reason}")
    return Finding(status=Status.UNKNOWN, summary=about(unknown, says))


def _unconnected(down: list[Gpu]) -> Finding:
    """Links that have no partner, as with cards without a bridge."""
    up, of = _up(down[0]), len(down[0].nvlinks or ())
    none = all(_up(gpu) == 0 for gpu in down)
    if none:
        says = tr(
            "no NVLinks up: no bridge, no partner, or not given to this machine",
            "没有已连接的 NVLink：没有桥接器、没有对端，或没有分配给本机",
        )
    else:
        says = tr(f"{up} of {of} NVLinks up: the others are not connected", f"{up} 条 NVLink 已连接，共 {of} 条：其余没有接线")
    return Finding(
        status=Status.PASS if none else Status.INFO,
        summary=about(down, says),
        evidence=_states(down),
        devices=tuple(gpu.index for gpu in down),
    )


def _broken(machine: Machine, gpus: list[Gpu]) -> Finding:
    up, of = _up(gpus[0]), len(gpus[0].nvlinks or ())
    look = Remedy(
        text=tr("See which links, and whether their errors grow.", "查看是哪几条链路，错误计数是否增长。"),
        commands=("timeout 20 nvidia-smi nvlink -s", "timeout 20 nvidia-smi nvlink -e"),
        risk=Risk.READ_ONLY,
    )
    return Finding(
        status=Status.FAIL,
        summary=about(gpus, tr(f"{up} of {of} NVLinks are up", f"只有 {up} 条 NVLink 已连接，共 {of} 条")),
        why=tr(
            "On these modules every link has a partner. NCCL goes over PCIe or fails where links are down.",
            "这类模组的每条链路都有对端。链路断开时，NCCL 会改走 PCIe 或直接失败。",
        ),
        evidence=_states(gpus),
        remedies=(look, *(start_fabric_manager(machine),) * bool(machine.nvswitches), reboot(), send()),
        scope=scope(machine),
        devices=tuple(gpu.index for gpu in gpus),
    )


def _modules(machine: Machine) -> int:
    """How many GPUs there are to be linked, with those that do not answer."""
    return max(len(machine.gpus), sum(device.kernel_driver == "nvidia" for device in machine.pci or ()))


def _states(gpus: list[Gpu]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(fact=f"links of GPU {gpu.index}", value=f"{_up(gpu)} of {len(gpu.nvlinks or ())} up", read_from="NVML")
        for gpu in gpus
    )


def _up(gpu: Gpu) -> int:
    return sum(link.active is True for link in gpu.nvlinks or ())
