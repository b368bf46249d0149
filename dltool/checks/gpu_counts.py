"""How many GPUs there are: on the bus, for the driver, and for a program."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import SYSFS
from dltool.checks.hardware import no_gpu, scheduled
from dltool.checks.visibility import visible_gpus
from dltool.lang import tr
from dltool.machine import Machine, PciDevice
from dltool.results import Evidence, Finding, Remedy, Status

"""Beginnings of the variables that a scheduler sets in its jobs."""


@check(
    "gpu-counts-differ",
    caused_by=("gpu-lost", "gpus-hidden", "driver-not-answering", "driver-missing"),
    zh="""
    CUDA 看到的 GPU 是否与驱动和 PCI 总线显示的一样多？不一样的话，是为什么？

    有三个数目：PCI 总线上的、驱动（NVML、nvidia-smi）看到的、CUDA 程序看到的。容器、调度器、CUDA_VISIBLE_DEVICES、MIG
    和虚拟机都会让正常机器上的这三个数目不同。

    解决：原因符合预期就不用处理。需要更多 GPU 时，改 CUDA_VISIBLE_DEVICES（`unset CUDA_VISIBLE_DEVICES`），
    容器用 `docker run --gpus all`，作业则向调度器多申请。PyTorch 1 不认识 MIG 实例的名字：请使用 PyTorch 2。

    预防：不要在 ~/.bashrc 里固定写 CUDA_VISIBLE_DEVICES，由调度器或启动器来设；程序启动时打印
    `torch.cuda.device_count()`。
    """,
)
def gpu_counts_differ(machine: Machine) -> Iterator[Finding]:
    """Are as many GPUs visible to CUDA as the driver and the PCI bus show, and if not, why?

    Three counts: the PCI bus, the driver (NVML, nvidia-smi), and what CUDA programs see. A container, a scheduler,
    CUDA_VISIBLE_DEVICES, MIG and virtual machines make them differ on healthy machines.

    Mend: Nothing, where the reason is as you want it. For more GPUs change CUDA_VISIBLE_DEVICES (`unset CUDA_VISIBLE_DEVICES`),
    start the container with `docker run --gpus all`, or ask the scheduler for more. PyTorch 1 does not know the names of MIG
    instances: use PyTorch 2.

    Prevent: Leave CUDA_VISIBLE_DEVICES to the scheduler or the launcher, out of ~/.bashrc; let programs print
    `torch.cuda.device_count()` when they start.

    See: https://docs.nvidia.com/cuda/cuda-c-programming-guide/ https://docs.nvidia.com/datacenter/tesla/mig-user-guide/
    """
    inapplicable = no_gpu(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    torch_counts_none = _torch_without_mig(machine)
    if torch_counts_none is not None:
        yield torch_counts_none
        return
    pci = _bound_here(machine)
    visible = _visible(machine)
    slices = sum(gpu.mig_instances or 0 for gpu in machine.gpus)
    bus = tr(f"{len(pci)} on the PCI bus", f"PCI 总线上 {len(pci)} 块")
    if machine.pci is None:
        bus = tr("? on the PCI bus", "PCI 总线上数目未知")
    counts = tr(
        f"{bus}, {len(machine.gpus)} in NVML, {visible} for CUDA",
        f"{bus}，NVML 中 {len(machine.gpus)} 块，CUDA 可见 {visible} 块",
    )
    evidence = (
        Evidence(fact="on the PCI bus", value=len(pci) if machine.pci is not None else None, read_from=SYSFS),
        Evidence(fact="answering the driver", value=len(machine.gpus), read_from="NVML"),
        Evidence(fact="named to CUDA", value=visible, read_from="CUDA_VISIBLE_DEVICES and NVML, by CUDA's rules"),
        Evidence(fact="MIG instances", value=slices, read_from="NVML"),
    )
    same = visible == len(machine.gpus) and (machine.pci is None or machine.os.wsl or len(pci) == len(machine.gpus))
    if same and not slices:
        says = tr(f"the counts agree: {counts}", f"数目一致：{counts}")
        yield Finding(status=Status.PASS, summary=says, evidence=evidence)
        return
    reasons = tr("; ", "；").join(_reasons(machine, visible, slices))
    known = reasons or tr("see gpu-lost and driver-missing", "不明，见 gpu-lost 和 driver-missing")
    yield Finding(status=Status.INFO, summary=tr(f"{counts}: {known}", f"{counts}。原因：{known}"), evidence=evidence)


def _torch_without_mig(machine: Machine) -> Finding | None:
    """A PyTorch that counts GPUs by NVML, where CUDA is given a MIG instance by its name."""
    value = machine.environment.get("CUDA_VISIBLE_DEVICES") or ""
    torch = machine.python.torch if machine.python is not None else None
    if "MIG-" not in value or torch is None or not re.match(r"(0|1)\.", torch.version):
        return None
    newer = Remedy(text=tr("Use PyTorch 2 or later.", "使用 PyTorch 2 或更高版本。"), commands=("dltool compat --torch 2",))
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"PyTorch {torch.version} counts no GPU when CUDA_VISIBLE_DEVICES names a MIG instance",
            f"CUDA_VISIBLE_DEVICES 写的是 MIG 实例时，PyTorch {torch.version} 得到的 GPU 数目为零",
        ),
        why=tr(
            "It counts by NVML and does not know such names; programs that look at the count fall back to the CPU.",
            "它用 NVML 计数，不认识这种名字；依据该数目的程序会退回到 CPU。",
        ),
        evidence=(
            Evidence(fact="CUDA_VISIBLE_DEVICES", value=value, read_from="environment"),
            Evidence(fact="PyTorch", value=torch.version, read_from=torch.location),
        ),
        remedies=(newer,),
    )


def _bound_here(machine: Machine) -> list[PciDevice]:
    """The GPUs on the bus that are not handed to a virtual machine."""
    return [device for device in machine.pci or () if device.kernel_driver != "vfio-pci"]


def _visible(machine: Machine) -> int:
    return len(visible_gpus(machine)) if machine.environment.get("CUDA_VISIBLE_DEVICES") != "" else 0


def _reasons(machine: Machine, visible: int, slices: int) -> Iterator[str]:
    """Why the counts may differ on a healthy machine."""
    value = machine.environment.get("CUDA_VISIBLE_DEVICES")
    if machine.os.container or scheduled(machine):
        yield tr("a container or job is given a part", "容器或作业只分到一部分")
    if value is not None and visible != len(machine.gpus):
        yield f"CUDA_VISIBLE_DEVICES={value}"
    if slices:
        yield tr(f"{slices} MIG instances, of which a program uses one", f"有 {slices} 个 MIG 实例，每个程序只用其中一个")
    if len(_bound_here(machine)) < len(machine.pci or ()):
        yield tr("some are handed to virtual machines", "有些交给了虚拟机")
