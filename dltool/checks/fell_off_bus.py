"""GPUs that are gone from the PCI Express bus."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import SYSFS
from dltool.checks.hardware import answers, events, indices, is_lost, is_recent, no_gpu, read_log, scope, send, told
from dltool.lang import tr
from dltool.machine import Gpu, KernelEvent, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status


@check(
    "gpu-fell-off-bus",
    zh="""
    每块 GPU 是否仍在 PCI Express 总线上应答？

    断电、过热、没插紧或已损坏的 GPU 对驱动来说就消失了（掉卡），要等机器关机再开机才会回来。新版驱动报告掉卡时不带 Xid 编号，
    而驱动加载时就已掉卡的，NVML 只字不提：那里只是少了一块 GPU。

    解决：迁走任务，关机断电，等待片刻再开机；热重启往往不够。回来后又掉的，检查供电线、电源功率、散热、插槽和转接线，
    再把 `sudo nvidia-bug-report.sh` 的结果交给厂商。

    预防：电源按峰值功耗留出余量，每块卡用独立的供电线；不用质量差的转接线；监控温度和内核日志中的 Xid 79。
    """,
)
def gpu_fell_off_bus(machine: Machine) -> Iterator[Finding]:
    """Does every GPU still answer on the PCI Express bus?

    A GPU that lost power, overheated, sits badly or broke is gone for the driver until the machine is switched off and on.
    Newer drivers say so without an Xid number, and at their start without a word to NVML: the GPU is only missing there.

    Mend: Move work off, switch the machine off, wait, and switch it on; a warm restart often does not suffice. If the GPU goes
    again, look at power cables, the supply's rating, cooling, slot and riser, then give what `sudo nvidia-bug-report.sh`
    collects to the vendor.

    Prevent: Size the power supply for peaks, and give each card cables of its own; use no poor risers; watch temperatures, and
    the kernel's log for Xid 79.

    See: https://docs.nvidia.com/deploy/xid-errors/ https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    inapplicable = no_gpu(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    fallen = [*events(machine, "fell_off_bus"), *(event for event in events(machine, "xid") if event.code == 79)]
    back = [event for event in fallen if answers(machine, event.pci_bus_id) and not is_recent(event)]
    gone = [event for event in fallen if event not in back]
    silent = [device.bus_id for device in machine.pci or () if device.responds is False]
    lost = [gpu for gpu in machine.gpus if gpu.pci_bus_id not in silent and is_lost(machine, gpu)]
    if gone or silent or lost:
        yield _gone(machine, gone, silent, lost)
    elif back:
        says = tr("a GPU fell off the bus some time ago and is back", "有 GPU 曾从总线上掉线，现已恢复")
        yield Finding(status=Status.INFO, summary=says, evidence=told(machine, back), devices=indices(machine, back))
    elif machine.kernel_log is not None or any(device.responds for device in machine.pci or ()) or machine.gpus:
        yield Finding(status=Status.PASS, summary=tr("every GPU answers on the PCI bus", "每块 GPU 都在 PCI 总线上应答"))
    else:
        reason = machine.why_missing("pci")
        says = tr(f"neither bus nor log could be read: {reason}", f"总线和日志都无法读取：{reason}")
        yield Finding(status=Status.UNKNOWN, summary=says)


def _gone(machine: Machine, gone: list[KernelEvent], silent: list[str], lost: list[Gpu]) -> Finding:
    """By what the log says, by what does not answer on the bus, and by what NVML refuses."""
    at = [gpu.pci_bus_id or f"index {gpu.index}" for gpu in lost]
    places = dict.fromkeys([*silent, *(event.pci_bus_id for event in gone if event.pci_bus_id), *at])
    where = ", ".join(places) or tr("an unnamed place", "位置未指明")
    switch_off = Remedy(
        text=tr(
            "Move work off the machine, switch it off, wait, and switch it on: a warm restart often does not suffice.",
            "先把任务迁走，关机，等待片刻再开机：热重启往往不够。",
        ),
        commands=("sudo poweroff",),
        risk=Risk.REBOOT,
    )
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"the GPU at {where} fell off the bus: the driver cannot reach it any more",
            f"GPU（{where}）从总线上掉线（掉卡）：驱动已无法访问它",
        ),
        why=tr(
            "Mostly power, heat, a loose card or riser, or a dead board. A reset by software does not bring it back.",
            "多半是供电、过热、板卡或转接线松动，或板卡已损坏。软件复位不能让它恢复。",
        ),
        evidence=(
            *(
                Evidence(fact=f"configuration space of {bus_id}", value="all ones: nothing there", read_from=SYSFS)
                for bus_id in silent
            ),
            *(Evidence(fact=f"answers of GPU {gpu.index}", value="NVML_ERROR_GPU_IS_LOST", read_from="NVML") for gpu in lost),
            *told(machine, gone),
        ),
        remedies=(switch_off, read_log("xid|nvrm|fallen|aer"), send()),
        scope=scope(machine),
        devices=tuple(sorted({*indices(machine, gone), *(gpu.index for gpu in lost)})),
    )
