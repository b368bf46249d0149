"""GPUs that are in the machine and do not answer."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import SYSFS
from dltool.checks.hardware import read_log, scheduled
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status


@check(
    "gpu-lost",
    caused_by=(
        "driver-not-answering",
        "driver-missing",
        "driver-version-mismatch",
        "gpu-fell-off-bus",
        "kernel-module-flavour",
        "gpu-init-failed",
    ),
    zh="""PCI 总线上的每块 GPU 是否都对驱动有应答？

    在总线上却不在驱动名单里的 GPU，要么初始化失败，要么已从总线上掉线，要么不被该驱动支持。在容器和作业调度系统中，
    只看到一部分 GPU 是正常的。

    解决：用 `sudo dmesg | grep -iE 'xid|nvrm|fallen'` 查看原因，迁走任务，然后重启机器。若 GPU 仍然不见，请彻底断电、重新插拔，
    再换一个插槽试试；还是不行就更换这块 GPU。

    预防：电源和供电线要撑得住各 GPU 的峰值功耗，散热风道保持通畅，固件和驱动保持最新；监视内核日志中的 Xid 错误。
    """,
)
def gpu_lost(machine: Machine) -> Iterator[Finding]:
    """Does every GPU on the PCI bus answer the driver?

    A GPU that is on the bus but not among the driver's has failed to initialise, has fallen off the bus, or is not
    supported by this driver. In containers and job schedulers a part of the GPUs is normal.

    Mend: See why with `sudo dmesg | grep -iE 'xid|nvrm|fallen'`, move work off the machine and restart it. If the GPU stays
    lost, cut the power fully, seat it anew and try it in another slot; if that does not help either, have it replaced.

    Prevent: Have a power supply and cables that carry the peak power of all GPUs, keep the air flowing, and firmware and
    driver up to date; watch the kernel's log for Xid errors.

    See: https://docs.nvidia.com/deploy/gpu-debug-guidelines/ https://docs.nvidia.com/deploy/xid-errors/
    """
    answering = {gpu.pci_bus_id for gpu in machine.gpus}
    told = None not in answering
    bound = {device.bus_id for device in machine.pci or () if device.kernel_driver == "nvidia"}
    driverless = {device.bus_id for device in machine.pci or () if device.kernel_driver is None}
    refusing = [gpu.index for gpu in machine.gpus if f"gpus.{gpu.index}" in machine.gaps]
    missing = sorted(bound - answering) if told else []
    unbound = sorted(driverless - answering) if told else []
    if not machine.gpus:
        yield Finding(status=Status.SKIP, summary=tr("no GPU answers at all", "没有任何 GPU 应答"))
    elif refusing:
        yield _refusing(machine, refusing)
    elif missing and _is_given_a_part(machine, missing):
        yield _a_part(machine, len(bound), missing)
    elif missing:
        yield _missing(machine, bound, missing)
    elif unbound and not _is_given_a_part(machine, missing):
        yield _unbound(unbound)
    else:
        yield Finding(status=Status.PASS, summary=tr("every GPU answers", "所有 GPU 均有应答"))


def _is_given_a_part(machine: Machine, missing: list[str]) -> bool:
    """Whether somebody gave this job a part of the GPUs: a container's runtime, a scheduler, or the files' permissions."""
    closed = sum(not node.accessible for node in machine.driver.device_nodes if node.path[-1:].isdigit())
    return bool(machine.os.container) or scheduled(machine) or closed >= max(1, len(missing))


def _refusing(machine: Machine, indices: list[int]) -> Finding:
    which, count = ", ".join(map(str, indices)), len(machine.gpus)
    return Finding(
        status=Status.FAIL,
        summary=tr(f"GPU {which} of {count} does not answer", f"共 {count} 块 GPU，其中 GPU {which} 没有应答"),
        evidence=tuple(Evidence(fact=f"GPU {i}", value=machine.gaps[f"gpus.{i}"], read_from="NVML") for i in indices),
        remedies=_remedies(),
        scope=Scope.HOST,
        devices=tuple(indices),
    )


def _a_part(machine: Machine, bound: int, missing: list[str]) -> Finding:
    given = len(machine.gpus)
    return Finding(
        status=Status.INFO,
        summary=tr(
            f"{given} of {bound} GPUs of the host are given to this job", f"宿主机共 {bound} 块 GPU，本作业分到 {given} 块"
        ),
        evidence=(Evidence(fact="not given", value=" ".join(missing), read_from=f"{SYSFS} and NVML"),),
    )


def _missing(machine: Machine, bound: set[str], missing: list[str]) -> Finding:
    held, shown, which = len(bound), len(machine.gpus), " ".join(missing)
    answering = sorted(str(gpu.pci_bus_id) for gpu in machine.gpus)
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"the driver holds {held} GPUs but shows {shown}; missing: {which}",
            f"驱动接管了 {held} 块 GPU，却只显示 {shown} 块；缺少 {which}",
        ),
        evidence=(
            Evidence(fact="bound to nvidia", value=" ".join(sorted(bound)), read_from=SYSFS),
            Evidence(fact="answering", value=" ".join(answering), read_from="NVML"),
        ),
        remedies=_remedies(),
        scope=Scope.HOST,
    )


def _unbound(bus_ids: list[str]) -> Finding:
    which = " ".join(bus_ids)
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"no driver took the GPU at {which}: it failed to start, or this driver does not support it",
            f"没有驱动接管位于 {which} 的 GPU：它启动失败，或不被该驱动支持",
        ),
        evidence=(Evidence(fact="without a driver", value=which, read_from=SYSFS),),
        remedies=_remedies(),
        scope=Scope.HOST,
    )


def _remedies() -> tuple[Remedy, ...]:
    return (
        read_log("xid|nvrm|fallen"),
        Remedy(
            text=tr(
                "Move work off the machine and restart it; if the GPU stays lost, power it off fully, then have it replaced.",
                "先把任务迁走，再重启机器；如果 GPU 仍然不见，请彻底断电再试，还是不行就更换。",
            ),
            commands=("sudo reboot",),
            risk=Risk.REBOOT,
        ),
    )
