"""GPUs that the driver wants to be reset before they work again."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.hardware import events, indices, is_recent, no_gpu, reboot, reset, scope, send, told
from dltool.checks.xids import RECOVERY
from dltool.lang import tr
from dltool.machine import Gpu, KernelEvent, Machine
from dltool.results import Evidence, Finding, Status

_NOTHING_ASKED = re.compile(r"\bto \S+ \(None\)")
"""The end of an Xid 154 that takes back what an earlier one asked for."""


@check(
    "gpu-reset-required",
    caused_by=("gpu-fell-off-bus", "gpu-xid", "ecc-uncorrected"),
    zh="""
    驱动是否要求复位某块 GPU，或重启机器？

    某些错误之后，GPU 看起来一切正常，但每个程序都会得到 `CUDA-capable device(s) is/are busy or unavailable`。
    R570 及以后的驱动通过 NVML 说明需要做什么；更早的驱动只写在内核日志里。

    解决：停止该 GPU 上的所有程序（`sudo fuser -v /dev/nvidia*` 可以列出它们），再运行 `sudo nvidia-smi --gpu-reset -i INDEX`；
    被拒绝或驱动要求重启时，重启机器。随后查看 `dltool doctor --only gpu-xid`，弄清是什么错误引起的。

    预防：监控 Xid；出现要求复位的错误后先停止向该节点调度，复位后再恢复。
    """,
)
def gpu_reset_required(machine: Machine) -> Iterator[Finding]:
    """Does the driver ask for a reset of a GPU, or for a restart of the machine?

    After some errors a GPU is listed as if it were well, yet every program gets "CUDA-capable device(s) is/are busy or
    unavailable". Drivers from R570 on say in NVML what they need; older ones only write it into the kernel's log.

    Mend: Stop all programs on the GPU (`sudo fuser -v /dev/nvidia*` lists them), then `sudo nvidia-smi --gpu-reset -i INDEX`;
    where that is refused, or the driver asks for a restart, restart the machine. `dltool doctor --only gpu-xid` tells which
    error led to it.

    Prevent: Watch for Xids; schedule nothing on a node with an error that asks for a reset until it was reset.

    See: https://docs.nvidia.com/deploy/xid-errors/ https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    inapplicable = no_gpu(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    asked = [gpu for gpu in machine.gpus if gpu.recovery_action not in (None, "none")]
    written = _written(machine)
    if asked or written:
        yield _required(machine, asked, written)
    elif machine.kernel_log is not None or any(gpu.recovery_action for gpu in machine.gpus):
        yield Finding(status=Status.PASS, summary=tr("no GPU needs a reset", "没有 GPU 需要复位"))
    else:
        # Drivers before R570 without a readable log are the rule, not a reason for a question mark: gpu-xid has it already.
        says = tr(
            "whether a GPU needs a reset is not known: neither NVML nor the log tells",
            "不知道是否有 GPU 需要复位：NVML 和日志都没有说明",
        )
        yield Finding(status=Status.SKIP, summary=says)


def _written(machine: Machine) -> list[KernelEvent]:
    """What the log asks for last of each GPU, unless NVML knows that it was done."""
    last: dict[str | None, KernelEvent] = {}
    for event in events(machine, "xid", "reset_required"):  # the newest first: it overrules those before it
        if event.kind == "reset_required" or event.code == RECOVERY:
            last.setdefault(event.pci_bus_id, event)
    return [
        event
        for event in last.values()
        if is_recent(event)
        and not _NOTHING_ASKED.search(event.text)
        and not any(gpu.recovery_action == "none" for gpu in machine.gpus if event.pci_bus_id in (None, gpu.pci_bus_id))
    ]


def _required(machine: Machine, asked: list[Gpu], written: list[KernelEvent]) -> Finding:
    devices = tuple(sorted({gpu.index for gpu in asked} | set(indices(machine, written))))
    restart = any("reboot" in (gpu.recovery_action or "") for gpu in asked) or any("Reboot" in event.text for event in written)
    which = ", ".join(map(str, devices)) or tr("not named", "未指明")
    if restart:
        says = tr(f"the driver asks for a restart of the machine: GPU {which}", f"驱动要求重启机器：GPU {which}")
    else:
        says = tr(f"the driver asks for a reset: GPU {which}", f"驱动要求复位：GPU {which}")
    return Finding(
        status=Status.FAIL,
        summary=says,
        evidence=(
            *(
                Evidence(fact=f"recovery action of GPU {gpu.index}", value=gpu.recovery_action, read_from="NVML field 230")
                for gpu in asked
            ),
            *told(machine, written),
        ),
        remedies=(reboot(), send()) if restart else (reset(devices), reboot()),
        scope=scope(machine),
        devices=devices,
    )
