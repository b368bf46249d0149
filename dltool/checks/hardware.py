"""What the checks of hardware share: the kernel's log on the GPUs here, their boards, and who can mend them."""

from __future__ import annotations

import re

from dltool.catalog import Board
from dltool.checks.driver import from_windows, has_gpu
from dltool.lang import tr
from dltool.machine import Gpu, KernelEvent, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

DAY_S = 86400.0
"""What happened longer ago and was lived through since is told, but does not fail a machine."""

_BEFORE_LOADED_S = {"module_rejected": float("inf")} | dict.fromkeys(
    ("fell_off_bus", "probe_failed", "init_failed", "bar_invalid", "gsp_failed",
     "needs_open_module", "needs_proprietary_module", "unsupported_gpu"), 60.0,
)  # fmt: skip
"""The driver says that it is loaded only after it has looked at the GPUs: what it said of them before belongs to that start."""

_BUSY_PERCENT = 50
_SCHEDULERS = ("SLURM_", "PBS_", "LSB_", "SGE_")
_REFUSALS = 5
"""One question that is refused is a whim of the driver."""


def send() -> Remedy:
    """Hand the matter to those who can mend it."""
    return Remedy(
        text=tr(
            "Send this to whoever runs the machine (the provider, or the vendor for a replacement), "
            "with the driver's own report.",
            "把本报告连同驱动自带的错误报告发给机器的管理方（云服务商；若需更换硬件，则是厂商）。",
        ),
        commands=("dltool snapshot -o machine.json", "sudo nvidia-bug-report.sh"),
        risk=Risk.ROOT,
    )


def reboot() -> Remedy:
    """Restart the machine."""
    return Remedy(
        text=tr("Move work off the machine and restart it.", "先把任务迁走，再重启机器。"),
        commands=("sudo reboot",),
        risk=Risk.REBOOT,
    )


def reset(devices: tuple[int, ...]) -> Remedy:
    """Reset some GPUs without restarting the machine."""
    which = f" -i {','.join(map(str, devices))}" if devices else ""
    return Remedy(
        text=tr(
            "Stop what runs on the GPU and reset it (with NVLink all connected ones together), or restart the machine.",
            "停止该 GPU 上的程序后复位它（有 NVLink 时须把相连的 GPU 一起复位），或重启机器。",
        ),
        commands=(f"sudo timeout 120 nvidia-smi --gpu-reset{which}",),
        risk=Risk.ROOT,
    )


def read_log(words: str) -> Remedy:
    """See the kernel's own words."""
    return Remedy(
        text=tr("Read what the kernel says of it.", "查看内核日志中的相关记录。"),
        commands=(f"sudo dmesg | grep -iE '{words}' | tail -20",),
        risk=Risk.ROOT,
    )


def scope(machine: Machine) -> Scope:
    """Who mends hardware: in a virtual machine or a cluster's container only those who run what is below."""
    rented = machine.os.hypervisor is not None or machine.os.container == "kubernetes"
    return Scope.PROVIDER if rented else Scope.HOST


def bare_metal(machine: Machine) -> bool:
    """Whether what PCI shows is the real bus."""
    return machine.os.hypervisor is None and not machine.os.wsl and not machine.os.tegra


def no_gpu(machine: Machine) -> Finding | None:
    """Why a check of the hardware does not apply here; None where it does."""
    if not has_gpu(machine):
        return Finding(status=Status.SKIP, summary=tr("no NVIDIA GPU", "没有 NVIDIA GPU"))
    if machine.os.tegra:
        return Finding(
            status=Status.SKIP,
            summary=tr(f"{machine.os.tegra}: the GPU is part of the chip", f"{machine.os.tegra}：GPU 集成在芯片中"),
        )
    return None


def no_answer(machine: Machine) -> Finding | None:
    """The same for checks that judge what NVML says of each GPU."""
    if machine.gpus or not has_gpu(machine):
        return no_gpu(machine)
    return Finding(status=Status.SKIP, summary=tr("no GPU answers", "没有 GPU 应答"))


def why_no_log(machine: Machine) -> Finding | None:
    """Why the kernel's log cannot be judged: it is Windows that has it, or it could not be read. None where it can."""
    if from_windows(machine) or machine.os.wsl:
        return Finding(
            status=Status.SKIP,
            summary=tr(
                "the driver is that of Windows, and so is the log of its errors", "驱动在 Windows 一侧，其错误日志也在那里"
            ),
        )
    if machine.kernel_log is not None:
        return None
    reason = machine.why_missing("kernel_log")
    return Finding(
        status=Status.UNKNOWN,
        summary=tr(
            "the kernel's log could not be read: whether it holds errors of the GPUs is not known",
            "无法读取内核日志：不知道其中是否有 GPU 的错误",
        ),
        evidence=(Evidence(fact="kernel log", value=reason, read_from="/dev/kmsg, dmesg, journalctl"),),
        remedies=(
            Remedy(
                text=tr(
                    "Read it with privilege, or let this user read it (group adm or systemd-journal).",
                    "以 root 身份读取，或让当前用户有权读取（加入 adm 或 systemd-journal 组）。",
                ),
                commands=("sudo dmesg | grep -E 'NVRM|SXid|AER'",),
                risk=Risk.ROOT,
            ),
        ),
    )


def events(machine: Machine, *kinds: str) -> list[KernelEvent]:
    """Events of these kinds, newest first, since the driver was last loaded, at GPUs of this machine or at none in particular.

    In a container the log is that of the host, with the GPUs of others in it.
    """
    log = machine.kernel_log
    if log is None:
        return []
    loads = [event.age_s for event in log.events if event.kind == "driver_loaded" and event.age_s is not None]
    loaded = min(loads, default=float("inf"))
    return [
        event
        for event in log.events
        if event.kind in kinds
        and (event.age_s is None or event.age_s <= loaded + _BEFORE_LOADED_S.get(event.kind, 0.0))
        and (event.pci_bus_id is None or not _buses(machine) or event.pci_bus_id in _buses(machine))
    ]


def _buses(machine: Machine) -> set[str]:
    """Bus ids of the GPUs meant for this job: those that answer, and on a whole machine also those that only PCI shows."""
    answering = {gpu.pci_bus_id for gpu in machine.gpus if gpu.pci_bus_id}
    if machine.os.container and answering:
        return answering
    return answering | {device.bus_id for device in machine.pci or ()}


def is_recent(event: KernelEvent) -> bool:
    """Within the last day; one whose age is not known counts as recent."""
    return event.age_s is None or event.age_s <= DAY_S


def index_at(machine: Machine, bus_id: str | None) -> int | None:
    """The index of the GPU at a bus id."""
    return next((gpu.index for gpu in machine.gpus if bus_id is not None and gpu.pci_bus_id == bus_id), None)


def indices(machine: Machine, found: list[KernelEvent]) -> tuple[int, ...]:
    """The GPUs that events are about, as far as they answer."""
    at = {index_at(machine, event.pci_bus_id) for event in found}
    return tuple(sorted(index for index in at if index is not None))


def answers(machine: Machine, bus_id: str | None) -> bool:
    """Whether the GPU at a bus id answers NVML now. A lost one is still listed, and every question to it is refused."""
    index = index_at(machine, bus_id)
    if index is None or f"gpus.{index}" in machine.gaps or "gpus" in machine.gaps:
        return False
    return not any(is_lost(machine, gpu) for gpu in machine.gpus if gpu.index == index)


def is_lost(machine: Machine, gpu: Gpu) -> bool:
    """Whether NVML lists a GPU, and refuses whatever it is asked of it because the GPU is gone."""
    reasons = [reason for path, reason in machine.gaps.items() if path.startswith(f"gpus.{gpu.index}.")]
    return sum("GPU_IS_LOST" in reason for reason in reasons) >= _REFUSALS


def told(machine: Machine, found: list[KernelEvent]) -> tuple[Evidence, ...]:
    """Events as evidence, the newest first, five at most."""
    source = machine.kernel_log.source if machine.kernel_log is not None else "kernel log"
    return tuple(Evidence(fact=_what(event), value=event.text, read_from=source) for event in found[:5])


def _what(event: KernelEvent) -> str:
    code = f" {event.code}" if event.code is not None else ""
    place = f" at {event.pci_bus_id}" if event.pci_bus_id else ""
    times = f", {event.count} times" if event.count > 1 else ""
    return f"{event.kind.replace('_', ' ')}{code}{place}{times}{'' if event.age_s is None else f', {ago(event.age_s)} ago'}"


def ago(seconds: float) -> str:
    """A length of time, roughly: "40 s", "3 h", "12 days"."""
    for unit, length in (("days", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def is_busy(gpu: Gpu) -> bool:
    """Whether the GPU works enough that its clocks and its link should be up."""
    return (gpu.utilization_percent or 0) >= _BUSY_PERCENT


def scheduled(machine: Machine) -> bool:
    """Whether a scheduler started this job, which gives it a part of the GPUs."""
    return any(name.startswith(_SCHEDULERS) for name in machine.environment)


def is_laptop(gpu: Gpu, board: Board | None) -> bool:
    """Whether the GPU is one of a laptop, whose maker decides on power, lanes and heat."""
    mobile = board is not None and board.segment in ("laptop", "mobile-workstation")
    return mobile or re.search(r"laptop|mobile|max-q", gpu.name or "", re.IGNORECASE) is not None


def is_sxm(gpu: Gpu, board: Board | None) -> bool:
    """Whether the GPU is a module on a board with NVLink, rather than a card."""
    if board is not None and board.form_factor:
        return board.form_factor.startswith("SXM")
    return "SXM" in (gpu.name or "")


def named(gpus: list[Gpu]) -> str:
    """ "GPU 0, 3" of some GPUs."""
    return f"GPU {', '.join(str(gpu.index) for gpu in gpus)}"


def about(gpus: list[Gpu], says: str) -> str:
    """ "GPU 0, 3: says", with the colon of the language."""
    return f"{named(gpus)}{tr(': ', '：')}{says}"
