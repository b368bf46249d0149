"""The PCI Express links of the GPUs: their lanes, their speed, and the errors on the way."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.catalog import Board
from dltool.checks import check
from dltool.checks.driver import SYSFS
from dltool.checks.hardware import (
    about,
    bare_metal,
    indices,
    is_busy,
    is_laptop,
    is_recent,
    named,
    no_answer,
    no_gpu,
    read_log,
    scope,
    send,
    told,
    why_no_log,
)
from dltool.lang import tr
from dltool.live import board_of
from dltool.machine import Gpu, KernelEvent, Machine, PciDevice, PcieLink
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
"""Of the speed of one lane in GT/s."""
_MANY_REPLAYS = 1000


@check(
    "pcie-degraded",
    zh="""
    每块 GPU 的 PCI Express 链路是否达到了板卡和插槽应有的通道数和速度？

    板卡没插紧、转接线质量差或插槽损坏时，链路会以更少的通道或更低的速度建立，拷贝到 GPU 的速度按同样的比例变慢。
    空闲的 GPU 会主动降低速度，但不会减少通道。笔记本电脑的布线通道少于芯片所支持的，外接 GPU 只有四条通道，
    虚拟机中看到的链路并不是真实的链路。

    解决：关机断电，重新插拔板卡，去掉转接线，或换一个插槽；在固件设置（BIOS）中查看该插槽的通道分配和速度。
    用 `sudo lspci -vv -d 10de:` 比较 LnkCap（应有）和 LnkSta（现状）。

    预防：装机时查主板手册，弄清哪个插槽有全部通道、哪些插槽与 M.2 共用通道；每次动过硬件后再运行一次
    `dltool doctor --only pcie-degraded`。
    """,
)
def pcie_degraded(machine: Machine) -> Iterator[Finding]:
    """Does the PCI Express link of each GPU have the lanes and the speed that board and slot can do?

    A card that sits badly, a poor riser or a damaged slot trains with fewer lanes or lower speed, and copies to the GPU are
    slower by that factor. An idle GPU lowers the speed on purpose, never the lanes. Laptops are wired with fewer lanes than
    the chip has, external GPUs have four, and in a virtual machine the link that is shown is not the real one.

    Mend: Switch the machine off, seat the card anew, leave out the riser, or try another slot; look in the firmware's setup
    (BIOS) at the lanes and the speed of the slot. `sudo lspci -vv -d 10de:` shows what it can do (LnkCap) and what it does
    (LnkSta).

    Prevent: Before building, read in the board's manual which slot has all lanes and which share theirs with M.2; after each
    work on the hardware run `dltool doctor --only pcie-degraded`.

    See: https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    judged = {gpu.index: _link(machine, gpu) for gpu in machine.gpus}
    for status in (Status.WARN, Status.UNKNOWN, Status.INFO):
        these = [gpu for gpu in machine.gpus if judged[gpu.index][0] is status]
        if these:
            yield _of_links(machine, these, status, judged[these[0].index][1])
    if all(status is Status.PASS for status, _ in judged.values()):
        yield Finding(status=Status.PASS, summary=tr("the links have their lanes", "链路的通道数正常"))
    elif all(status in (Status.PASS, Status.SKIP) for status, _ in judged.values()):
        yield Finding(status=Status.SKIP, summary=tr("no link is shown for some GPUs", "部分 GPU 没有给出链路信息"))


def _of_links(machine: Machine, gpus: list[Gpu], status: Status, says: str) -> Finding:
    warns = status is Status.WARN
    seat = Remedy(
        text=tr(
            "Seat the card anew, leave out the riser, try another slot, look at the slot in the firmware's setup.",
            "重新插拔板卡，去掉转接线，换一个插槽，在固件设置中查看该插槽。",
        ),
        commands=("sudo lspci -vv -d 10de: | grep -E '^[0-9a-f]|LnkCap:|LnkSta:'",),
        risk=Risk.ROOT,
    )
    return Finding(
        status=status,
        summary=about(gpus, says),
        evidence=tuple(evidence for gpu in gpus for evidence in _link_evidence(machine, gpu)),
        remedies=(seat, send()) if warns else (),
        scope=scope(machine) if warns else Scope.ENVIRONMENT,
        devices=tuple(gpu.index for gpu in gpus),
    )


def _link(machine: Machine, gpu: Gpu) -> tuple[Status, str]:
    """How one link is, and in what it falls short."""
    width, most = gpu.pcie_width, gpu.pcie_width_max
    if not width or not most:
        return Status.SKIP, ""
    board, slot = board_of(gpu), slot_of(machine, gpu)
    real = bare_metal(machine) and not is_laptop(gpu, board)
    if width < most and not real:
        return Status.INFO, tr(
            f"PCIe x{width} of x{most}: as laptops and virtual machines show it",
            f"PCIe x{width}，上限 x{most}：笔记本电脑和虚拟机就是这样显示的",
        )
    if width < most:
        return _narrow(width, most, slot)
    if real and _slow_under_load(gpu, slot):
        return Status.WARN, tr(
            f"PCIe generation {gpu.pcie_generation} of {gpu.pcie_generation_max} under load",
            f"负载下 PCIe 只运行在第 {gpu.pcie_generation} 代，可达第 {gpu.pcie_generation_max} 代",
        )
    lanes = _published_lanes(board)
    if real and lanes and most < lanes:
        return Status.INFO, tr(
            f"PCIe x{most} in this slot, where the board has x{lanes}", f"在这个插槽中为 PCIe x{most}，而板卡有 x{lanes}"
        )
    return Status.PASS, ""


def _narrow(width: int, most: int, slot: PcieLink | None) -> tuple[Status, str]:
    """Whether a link has fewer lanes than the GPU because of the slot, or in spite of it."""
    says = tr(f"PCIe x{width} of x{most}", f"PCIe x{width}，上限 x{most}")
    if slot is None:
        return Status.UNKNOWN, says + tr("; what the slot could do is not known", "；不知道插槽的能力")
    if slot.width_max is None:
        return Status.UNKNOWN, says + tr("; how many lanes the slot has is not known", "；不知道插槽有多少条通道")
    if slot.width_max > width:
        return Status.WARN, says + tr(f", though the slot has x{slot.width_max}", f"，而插槽有 x{slot.width_max}")
    return Status.INFO, says + tr(": the slot has no more", "：插槽只有这么多")


def _slow_under_load(gpu: Gpu, slot: PcieLink | None) -> bool:
    """Whether the link is below what both ends can do although the GPU works at its highest performance state."""
    best = gpu.pcie_generation_max or 0
    if slot is not None and slot.gt_per_s_max is not None:
        best = min(best, _GENERATIONS.get(slot.gt_per_s_max, best))
    busy = is_busy(gpu) and gpu.performance_state in (0, 1, 2)
    return busy and gpu.pcie_generation is not None and gpu.pcie_generation < best


def slot_of(machine: Machine, gpu: Gpu) -> PcieLink | None:
    """The lower end of the link's other side: the port that the GPU hangs on."""
    device = device_of(machine, gpu)
    return device.upstream[0].link if device is not None and device.upstream else None


def device_of(machine: Machine, gpu: Gpu) -> PciDevice | None:
    """The GPU as the PCI bus shows it."""
    return next((device for device in machine.pci or () if device.bus_id == gpu.pci_bus_id), None)


def _published_lanes(board: Board | None) -> int | None:
    lanes = (board.pcie or "").partition(" x")[2] if board is not None else ""
    return int(lanes) if lanes.isdecimal() else None


def _link_evidence(machine: Machine, gpu: Gpu) -> Iterator[Evidence]:
    state = f"x{gpu.pcie_width} of x{gpu.pcie_width_max}, generation {gpu.pcie_generation} of {gpu.pcie_generation_max}"
    yield Evidence(fact=f"link of GPU {gpu.index}", value=state, read_from="NVML")
    device, slot = device_of(machine, gpu), slot_of(machine, gpu)
    if slot is not None and device is not None and device.upstream:
        value = f"x{slot.width_max}, {slot.gt_per_s_max} GT/s at most"
        yield Evidence(fact=f"port above GPU {gpu.index}", value=value, read_from=f"{SYSFS}/{device.upstream[0].bus_id}")


@check(
    "pcie-errors",
    caused_by=("gpu-fell-off-bus",),
    zh="""
    GPU 的 PCI Express 链路有没有错误？

    已纠正的错误只是让数据包重发一次，数量少时无害。未纠正的错误会丢失数据，接下来 GPU 往往就会掉线。

    解决：关机断电，重新插拔板卡，去掉转接线，换一个插槽，或在固件设置（BIOS）中把该插槽降一代 PCIe 速度。
    先用 `sudo dmesg | grep -iE 'aer|pcie bus error'` 看清是哪个设备；换插槽后错误仍跟着同一块卡，就是卡坏了。

    预防：使用标称速度足够的转接线；不要让板卡悬空受力；定期运行 `dltool doctor --only pcie-errors`，
    留意重发计数是否增长。
    """,
)
def pcie_errors(machine: Machine) -> Iterator[Finding]:
    """Are the PCI Express links of the GPUs free of errors?

    Errors that were corrected cost a repeated packet and are harmless in small numbers. Errors that were not corrected lose
    data, and the GPU is often gone next.

    Mend: Switch the machine off, seat the card anew, leave out the riser, try another slot, or set the slot to a lower PCIe
    generation in the firmware's setup (BIOS). `sudo dmesg | grep -iE 'aer|pcie bus error'` tells which device it is; where the
    errors follow the card to another slot, the card is broken.

    Prevent: Use risers that are rated for the speed, and support heavy cards. Run `dltool doctor --only pcie-errors` now and
    then and see whether the counters grow.

    See: https://docs.kernel.org/PCI/pcieaer-howto.html https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    inapplicable = no_gpu(machine) or (why_no_log(machine) if machine.os.wsl else None)
    if inapplicable is not None:
        yield inapplicable
        return
    log = machine.kernel_log
    ours = _on_the_way(machine)
    lost = [event for event in ours if event.kind == "aer_uncorrected" and is_recent(event)]
    replays = [gpu for gpu in machine.gpus if (gpu.pcie_replays or 0) > _MANY_REPLAYS]
    counters = tuple(
        Evidence(fact=f"packets sent again by GPU {gpu.index}", value=gpu.pcie_replays, read_from="NVML") for gpu in replays
    )
    if lost:
        yield _uncorrected(machine, lost, counters)
    elif ours or replays:
        yield _lived_through(machine, ours, replays, counters)
    elif log is None and not any(gpu.pcie_replays is not None for gpu in machine.gpus):
        yield Finding(
            status=Status.SKIP,
            summary=tr(
                "neither the kernel's log nor counters could be read (see gpu-xid)", "内核日志和计数器都无法读取（见 gpu-xid）"
            ),
        )
    else:
        yield Finding(status=Status.PASS, summary=tr("no error on the links is known", "链路上没有已知的错误"))


def _lived_through(machine: Machine, ours: list[KernelEvent], replays: list[Gpu], counters: tuple[Evidence, ...]) -> Finding:
    """Errors that were corrected, or are long over."""
    where = _places(ours) or named(replays)
    if any(event.kind == "aer_uncorrected" for event in ours):
        summary = tr(
            f"errors on the PCI bus, the uncorrected ones more than a day old: {where}",
            f"PCI 总线上有错误，其中未纠正的发生在一天以前：{where}",
        )
    else:
        summary = tr(f"corrected errors on the PCI bus: {where}", f"PCI 总线上有已纠正的错误：{where}")
    return Finding(
        status=Status.INFO,
        summary=summary,
        evidence=(*told(machine, ours), *counters),
        devices=indices(machine, ours) or tuple(gpu.index for gpu in replays),
    )


def _on_the_way(machine: Machine) -> list[KernelEvent]:
    """The errors that the kernel reported of the GPUs and of the ports above them."""
    ports = {port.bus_id for device in machine.pci or () for port in device.upstream or ()}
    path = ports | {device.bus_id for device in machine.pci or ()} | {gpu.pci_bus_id for gpu in machine.gpus}
    log = machine.kernel_log
    return [event for event in (log.events if log else ()) if event.pci_bus_id in path and event.kind.startswith("aer_")]


def _uncorrected(machine: Machine, lost: list[KernelEvent], counters: tuple[Evidence, ...]) -> Finding:
    seat = Remedy(
        text=tr(
            "Seat the card anew, leave out the riser, try another slot or a lower PCIe generation in the setup.",
            "重新插拔板卡，去掉转接线，换一个插槽，或在固件设置中降低 PCIe 的代数。",
        )
    )
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"errors on the PCI bus on the way to a GPU that were not corrected: {_places(lost)}",
            f"通往 GPU 的 PCI 总线上有未纠正的错误：{_places(lost)}",
        ),
        evidence=(*told(machine, lost), *counters),
        remedies=(seat, read_log("aer|pcie bus error"), send()),
        scope=scope(machine),
        devices=indices(machine, lost),
    )


def _places(found: list[KernelEvent]) -> str:
    return ", ".join(f"{event.pci_bus_id} ({event.count})" for event in found[:5])
