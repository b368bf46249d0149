"""What stands between two GPUs that copy to each other over the PCI bus: IOMMU and access control."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import SYSFS
from dltool.checks.hardware import bare_metal
from dltool.lang import tr
from dltool.live import board_of
from dltool.machine import Gpu, Machine, PciDevice, PciPort
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_REDIRECTS = 0x04 | 0x08
"""ACS P2P Request Redirect and Completion Redirect: what goes between devices is sent up to the processor."""
_CONSUMER = ("geforce", "laptop", "titan", "mining")
_LAST_WITH_P2P = 6
"""Pascal, by its compute capability: later cards for consumers do not copy to each other over PCIe."""


@check(
    "iommu-p2p",
    zh="""
    GPU 之间的拷贝是直接走 PCI 总线，还是要经过做地址转换的 IOMMU？

    在物理机上，做地址转换的 IOMMU 会使 GPU 之间的点对点（P2P）拷贝变慢、挂起或出错；NCCL 会卡在第一次集合通信。
    在虚拟机中则必须开启它。用 NVLink 相连的 GPU 之间的拷贝不经过 PCIe。

    解决：在内核命令行中加上 `iommu=pt`（`sudo grubby --update-kernel=ALL --args=iommu=pt`，或编辑 /etc/default/grub 后运行
    `sudo update-grub`），再重启。在此之前用 `export NCCL_P2P_DISABLE=1` 让 NCCL 不用点对点拷贝。

    预防：在训练用物理机的系统镜像里就设好 `iommu=pt`；上线前用 CUDA samples 中的 p2pBandwidthLatencyTest 测一次。
    """,
)
def iommu_p2p(machine: Machine) -> Iterator[Finding]:
    """Do copies between GPUs go straight over the PCI bus, or through a translating IOMMU?

    On bare metal a translating IOMMU makes peer-to-peer copies between GPUs slow, hang or wrong; NCCL then stops in its first
    collective operation. In virtual machines it has to be on. GPUs that are joined by NVLink do not need PCIe for this.

    Mend: Add `iommu=pt` to the kernel's command line (`sudo grubby --update-kernel=ALL --args=iommu=pt`, or edit
    /etc/default/grub and run `sudo update-grub`), and restart. Until then `export NCCL_P2P_DISABLE=1` keeps NCCL from it.

    Prevent: Have `iommu=pt` in the system image of bare-metal training machines, and run p2pBandwidthLatencyTest of the CUDA
    samples once before they are put to use.

    See: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html
    https://docs.kernel.org/admin-guide/kernel-parameters.html
    """
    inapplicable = _no_peers(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    known = [device for device in _peers(machine) if device.iommu is not None]
    translated = [device for device in known if (device.iommu or "").startswith("dma")]
    if translated:
        yield _translated(translated, grave=_copies_over_pcie(machine))
    elif known:
        mode = known[0].iommu
        says = tr(f"the IOMMU does not translate for the GPUs ({mode})", f"IOMMU 没有为 GPU 做地址转换（{mode}）")
        yield Finding(status=Status.PASS, summary=says)
    else:
        reason = machine.why_missing("pci")
        says = tr(f"how the IOMMU treats the GPUs is not known: {reason}", f"不知道 IOMMU 如何对待 GPU：{reason}")
        yield Finding(status=Status.UNKNOWN, summary=says)


def _translated(devices: list[PciDevice], *, grave: bool) -> Finding:
    count = len(devices)
    if grave:
        says = tr(
            f"the IOMMU translates for {count} GPUs: copies between them may hang or be wrong",
            f"IOMMU 在为 {count} 块 GPU 做地址转换：它们之间的拷贝可能挂起或出错",
        )
    else:
        says = tr(
            f"the IOMMU translates for {count} GPUs: of no matter to GPUs that do not copy over PCIe",
            f"IOMMU 在为 {count} 块 GPU 做地址转换：它们之间不经 PCIe 拷贝，没有影响",
        )
    pass_through = Remedy(
        text=tr(
            "Let the IOMMU pass devices through: add iommu=pt to the kernel's command line, and restart.",
            "让 IOMMU 直通设备：在内核命令行中加上 iommu=pt，再重启。",
        ),
        commands=("sudo grubby --update-kernel=ALL --args=iommu=pt || sudoedit /etc/default/grub", "sudo reboot"),
        risk=Risk.REBOOT,
    )
    until_then = tr("Until then, keep NCCL from it.", "在此之前，让 NCCL 不用点对点拷贝。")
    return Finding(
        status=Status.WARN if grave else Status.INFO,
        summary=says,
        evidence=tuple(
            Evidence(
                fact=f"IOMMU at {device.bus_id}", value=device.iommu, read_from=f"{SYSFS}/{device.bus_id}/iommu_group/type"
            )
            for device in devices
        ),
        remedies=(pass_through, _without_p2p(until_then)) if grave else (),
        scope=Scope.HOST,
    )


def _without_p2p(text: str) -> Remedy:
    return Remedy(text=text, commands=("export NCCL_P2P_DISABLE=1",))


@check(
    "acs-p2p",
    caused_by=("iommu-p2p",),
    zh="""
    同一个 PCI 交换芯片下的 GPU 能否不绕道处理器直接互相拷贝？

    访问控制服务（ACS）会把设备之间的数据先送到处理器：对虚拟机是对的，但会使物理机上的 NCCL 变慢或挂起。

    解决：没有虚拟机需要它时，在固件设置（BIOS）中关闭 ACS，连同 I/O 虚拟化（VT-d 或 AMD-Vi）一起关闭；
    或用 `sudo setpci -s PORT ECAP_ACS+6.w=0000` 逐个端口关闭，下次重启前有效。
    必须保留 ACS 时，用 `export NCCL_P2P_DISABLE=1`。

    预防：物理机装机时就在固件中关闭；若只能用 setpci，就写成开机时运行的 systemd 服务。
    """,
)
def acs_p2p(machine: Machine) -> Iterator[Finding]:
    """May GPUs below one PCI switch copy to each other without the way over the processor?

    Access Control Services (ACS) send what goes from device to device up to the processor first: right for virtual machines,
    slow or hanging for NCCL on bare metal.

    Mend: If no virtual machines need it, switch ACS off in the firmware's setup (BIOS), together with virtualisation of I/O
    (VT-d or AMD-Vi); or at each port until the next restart: `sudo setpci -s PORT ECAP_ACS+6.w=0000`. Where ACS has to stay,
    `export NCCL_P2P_DISABLE=1`.

    Prevent: Switch it off in the firmware when a bare-metal machine is set up; where only setpci does it, make that a systemd
    service that runs at each start.

    See: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html
    """
    inapplicable = _no_peers(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    ports = {port.bus_id: port for device in _peers(machine) for port in device.upstream or ()}
    known = [port for port in ports.values() if port.acs_known]
    redirecting = [port for port in known if (port.acs_control or 0) & _REDIRECTS]
    if redirecting:
        yield _redirecting(machine, redirecting)
    elif known:
        says = tr("no PCI port sends copies between GPUs over the processor", "没有 PCI 端口让 GPU 之间的拷贝绕道处理器")
        yield Finding(status=Status.PASS, summary=says)
    elif _copies_over_pcie(machine):
        look = Remedy(
            text=tr("Look with privilege.", "以 root 身份查看。"),
            commands=("sudo lspci -vvv | grep -E '^[0-9a-f]|ACSCtl'",),
            risk=Risk.ROOT,
        )
        says = tr(
            "whether PCI ports redirect copies between GPUs (ACS) can be read by root only",
            "PCI 端口是否重定向 GPU 之间的拷贝（ACS）只有 root 能读取",
        )
        yield Finding(status=Status.UNKNOWN, summary=says, remedies=(look,))
    else:
        says = tr("the GPUs here do not copy to each other over PCIe", "这里的 GPU 不经 PCIe 互相拷贝")
        yield Finding(status=Status.SKIP, summary=says)


def _redirecting(machine: Machine, ports: list[PciPort]) -> Finding:
    grave = _copies_over_pcie(machine)
    translated = any((device.iommu or "").startswith("dma") for device in _peers(machine))
    return Finding(
        status=Status.WARN if grave else Status.INFO,
        summary=tr(
            f"{len(ports)} PCI ports send copies between GPUs over the processor (ACS)",
            f"{len(ports)} 个 PCI 端口让 GPU 之间的拷贝绕道处理器（ACS）",
        ),
        evidence=tuple(
            Evidence(
                fact=f"ACS control of {port.bus_id}",
                value=f"0x{port.acs_control or 0:04x}",
                read_from=f"{SYSFS}/{port.bus_id}/config",
            )
            for port in ports
        ),
        remedies=_without_acs(ports) if grave else (),
        scope=Scope.HOST,
        caused_by="iommu-p2p" if grave and translated else None,
    )


def _without_acs(ports: list[PciPort]) -> tuple[Remedy, ...]:
    return (
        Remedy(
            text=tr(
                "Switch ACS off in the firmware's setup (with virtualisation of I/O, VT-d or AMD-Vi), if no virtual "
                "machines need it.",
                "没有虚拟机需要 ACS 时，在固件设置中关闭它（连同 I/O 虚拟化，即 VT-d 或 AMD-Vi）。",
            )
        ),
        Remedy(
            text=tr("Or at each port until the next restart.", "或逐个端口关闭，下次重启前有效。"),
            commands=tuple(f"sudo setpci -s {port.bus_id} ECAP_ACS+6.w=0000" for port in ports),
            risk=Risk.ROOT,
        ),
        _without_p2p(tr("Or keep NCCL from it.", "或让 NCCL 不用点对点拷贝。")),
    )


def _no_peers(machine: Machine) -> Finding | None:
    if len(_peers(machine)) < 2:
        says = tr("no two GPUs on the PCI bus that could copy to each other", "PCI 总线上没有两块可以互相拷贝的 GPU")
    elif not bare_metal(machine):
        says = tr("a virtual machine: the host's IOMMU has to stand between", "虚拟机：必须经过宿主机的 IOMMU")
    else:
        return None
    return Finding(status=Status.SKIP, summary=says)


def _peers(machine: Machine) -> list[PciDevice]:
    """The GPUs that answer, on the PCI bus."""
    answering = {gpu.pci_bus_id for gpu in machine.gpus}
    return [device for device in machine.pci or () if device.bus_id in answering]


def _copies_over_pcie(machine: Machine) -> bool:
    """Whether two GPUs here copy to each other over PCIe; those with NVLink to one another use that."""
    return sum(map(_has_p2p, machine.gpus)) > 1


def _has_p2p(gpu: Gpu) -> bool:
    """Boards for professionals copy to each other over PCIe, and GeForce cards up to Pascal."""
    if any(link.active for link in gpu.nvlinks or ()):
        return False
    board = board_of(gpu)
    if board is not None and board.segment not in _CONSUMER:
        return True
    major = (gpu.compute_capability or "").partition(".")[0]
    return major.isdecimal() and int(major) <= _LAST_WITH_P2P
