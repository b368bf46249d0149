"""The GPUs themselves: are there any, can they be opened, do they all answer?"""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import SYSFS, from_windows, has_gpu, pci_text
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status


@check("gpu-absent")
def gpu_absent(machine: Machine) -> Iterator[Finding]:
    """Is there an NVIDIA GPU?

    A machine without one is healthy: everything runs on the CPU. If there should be one, it is not on the PCI bus: check that
    it is seated and powered, that the firmware enables it, or that the virtual machine or container was given it.
    """
    if machine.gpus:
        yield Finding(status=Status.PASS, summary=f"{len(machine.gpus)} NVIDIA GPU(s) answer")
        return
    if machine.os.tegra:
        yield Finding(status=Status.PASS, summary=f"{machine.os.tegra}: the GPU is part of the chip, not on the PCI bus")
        return
    if machine.pci:
        passed_on = [device.bus_id for device in machine.pci if device.kernel_driver == "vfio-pci"]
        if len(passed_on) == len(machine.pci):
            yield Finding(
                status=Status.INFO,
                summary="no NVIDIA GPU for this system: all are handed to virtual machines (vfio-pci)",
                evidence=(Evidence(fact="PCI devices", value=pci_text(machine), read_from=SYSFS),),
            )
        else:
            yield Finding(status=Status.PASS, summary=f"NVIDIA GPU on the PCI bus: {pci_text(machine)}")
        return
    if from_windows(machine):
        yield Finding(status=Status.PASS, summary="WSL with NVIDIA's driver on the Windows side")
        return
    if has_gpu(machine):
        yield Finding(status=Status.PASS, summary="NVIDIA's kernel module is loaded")
        return
    if machine.pci is None and not machine.os.wsl:
        yield Finding(
            status=Status.UNKNOWN,
            summary="cannot tell whether there is a GPU: neither NVML nor the PCI bus could be read",
            evidence=(Evidence(fact="pci", value=machine.why_missing("pci"), read_from=SYSFS),),
        )
        return
    yield Finding(
        status=Status.INFO,
        summary="no NVIDIA GPU: CPU only",
        evidence=(Evidence(fact="NVIDIA display devices", value=0, read_from=SYSFS if machine.pci is not None else "NVML"),),
    )


@check("device-nodes-missing", caused_by=("container-without-gpu", "nouveau-loaded", "driver-missing"))
def device_nodes_missing(machine: Machine) -> Iterator[Finding]:
    """Are the files under /dev there that CUDA opens, and may this user open them?

    NVML needs nvidiactl and nvidia0; CUDA also needs nvidia-uvm. A container started without the NVIDIA runtime often has
    the first two only: nvidia-smi works and CUDA finds no device.
    """
    driver = machine.driver
    if machine.os.wsl or machine.os.tegra or (driver.kernel_module_version is None and not machine.gpus):
        yield Finding(status=Status.SKIP, summary="no loaded kernel module that would use them")
        return
    if not driver.device_nodes and {"driver", "driver.device_nodes"} & machine.gaps.keys():
        yield Finding(
            status=Status.UNKNOWN, summary=f"/dev could not be looked at: {machine.why_missing('driver.device_nodes')}"
        )
        return
    nodes = {node.path: node for node in driver.device_nodes}
    wanted = ["/dev/nvidiactl", "/dev/nvidia-uvm"]
    numbered = [path for path in nodes if path.removeprefix("/dev/nvidia").isdigit()]
    missing = [path for path in wanted if path not in nodes] + ([] if numbered else ["/dev/nvidia0"])
    closed = [node.path for node in nodes.values() if not node.accessible and node.path in (*wanted, *numbered)]
    evidence = (Evidence(fact="device nodes", value=" ".join(nodes) or "none", read_from="/dev"),)
    if missing and machine.os.container:
        yield Finding(
            status=Status.FAIL,
            summary=f"missing in this container: {' '.join(missing)}; CUDA will find no device",
            evidence=evidence,
            remedies=(
                Remedy(text="Start the container through the NVIDIA runtime.", commands=("docker run --gpus all IMAGE",)),
                Remedy(
                    text="If the host lacks it too, create it there.",
                    commands=("sudo nvidia-modprobe -u -c=0",),
                    risk=Risk.ROOT,
                ),
            ),
            scope=Scope.HOST,
        )
    elif missing:
        yield Finding(
            status=Status.INFO,
            summary=f"{' and '.join(missing)} not there yet: the driver creates it at the first use of CUDA",
            evidence=evidence,
        )
    if set(closed) & set(wanted) or (numbered and set(numbered) <= set(closed)):
        yield Finding(
            status=Status.FAIL,
            summary=f"this user may not open {' '.join(closed)}",
            evidence=evidence,
            remedies=(
                Remedy(text="Join the group that owns them (often video or render) and log in again.",
                       commands=("ls -l /dev/nvidia*", "sudo usermod -aG video $USER"), risk=Risk.ROOT),
            ),
            scope=Scope.HOST,
        )  # fmt: skip
    elif closed:  # on shared machines a job is given a part of the GPUs
        yield Finding(
            status=Status.INFO, summary=f"{len(closed)} of {len(numbered)} GPUs are not for this user", evidence=evidence
        )
    elif not missing:
        yield Finding(status=Status.PASS, summary="the device nodes are there and may be opened")


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
)
def gpu_lost(machine: Machine) -> Iterator[Finding]:
    """Does every GPU on the PCI bus answer the driver?

    A GPU that is on the bus but not among the driver's has failed to initialise, has fallen off the bus, or is not
    supported by this driver. In containers and job schedulers a part of the GPUs is normal.
    """
    lost = [gpu.index for gpu in machine.gpus if f"gpus.{gpu.index}" in machine.gaps]
    answering = {gpu.pci_bus_id for gpu in machine.gpus}
    bound = {device.bus_id for device in machine.pci or () if device.kernel_driver == "nvidia"}
    missing = sorted(bound - answering) if machine.gpus and None not in answering else []
    driverless = sorted(device.bus_id for device in machine.pci or () if device.kernel_driver is None)
    unbound = [bus_id for bus_id in driverless if bus_id not in answering] if None not in answering else []
    closed = sum(not node.accessible for node in machine.driver.device_nodes if node.path[-1:].isdigit())
    scheduled = any(name.startswith(("SLURM_", "PBS_", "LSB_", "SGE_")) for name in machine.environment)
    restricted = machine.os.container or scheduled or closed >= max(1, len(missing))
    if not machine.gpus:
        yield Finding(status=Status.SKIP, summary="no GPU answers at all")
    elif lost:
        yield Finding(
            status=Status.FAIL,
            summary=f"GPU {', '.join(map(str, lost))} of {len(machine.gpus)} does not answer",
            evidence=tuple(Evidence(fact=f"GPU {i}", value=machine.gaps[f"gpus.{i}"], read_from="NVML") for i in lost),
            remedies=_lost_remedies(),
            scope=Scope.HOST,
            devices=tuple(lost),
        )
    elif missing and restricted:
        yield Finding(
            status=Status.INFO,
            summary=f"{len(machine.gpus)} of {len(bound)} GPUs of the host are given to this job",
            evidence=(Evidence(fact="not given", value=" ".join(missing), read_from=f"{SYSFS} and NVML"),),
        )
    elif missing:
        yield Finding(
            status=Status.FAIL,
            summary=f"the driver holds {len(bound)} GPUs but shows {len(machine.gpus)}; missing: {' '.join(missing)}",
            evidence=(
                Evidence(fact="bound to nvidia", value=" ".join(sorted(bound)), read_from=SYSFS),
                Evidence(fact="answering", value=" ".join(sorted(map(str, answering))), read_from="NVML"),
            ),
            remedies=_lost_remedies(),
            scope=Scope.HOST,
        )
    elif unbound and not restricted:
        yield Finding(
            status=Status.WARN,
            summary=f"no driver took the GPU at {' '.join(unbound)}: it failed to start, or this driver does not support it",
            evidence=(Evidence(fact="without a driver", value=" ".join(unbound), read_from=SYSFS),),
            remedies=_lost_remedies(),
            scope=Scope.HOST,
        )
    else:
        yield Finding(status=Status.PASS, summary="every GPU answers")


def _lost_remedies() -> tuple[Remedy, ...]:
    return (
        Remedy(
            text="Read what the kernel says of it.",
            commands=("sudo dmesg | grep -iE 'xid|nvrm|fallen' | tail -20",),
            risk=Risk.ROOT,
        ),
        Remedy(
            text="Move work off the machine and restart it; if the GPU stays lost, power it off fully, then have it replaced.",
            commands=("sudo reboot",),
            risk=Risk.REBOOT,
        ),
    )
