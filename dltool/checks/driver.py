"""The driver: is there one, is it whole, does it answer?"""

from __future__ import annotations

from collections.abc import Iterator

from dltool import tables
from dltool.checks import check
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

SYSFS = "/sys/bus/pci/devices"


def pci_text(machine: Machine) -> str:
    """The NVIDIA devices on the PCI bus in one line."""
    return ", ".join(f"{device.bus_id} ({device.device_id})" for device in machine.pci or ())


def _host_gpus(machine: Machine) -> list[str]:
    """Bus ids of the GPUs that are meant for this system: one bound to vfio-pci belongs to a virtual machine."""
    return [device.bus_id for device in machine.pci or () if device.kernel_driver != "vfio-pci"]


def has_gpu(machine: Machine) -> bool:
    """Whether anything says that there is an NVIDIA GPU for this system."""
    kernel_module = machine.driver.kernel_module_version is not None
    return bool(machine.gpus or _host_gpus(machine) or machine.os.tegra or kernel_module or from_windows(machine))


def from_windows(machine: Machine) -> bool:
    """Whether this is WSL with NVIDIA's driver on the Windows side: its libraries are here, its module and the GPU are not."""
    return machine.os.wsl and bool(machine.driver.nvml_library or machine.driver.libcuda)


def install_driver(machine: Machine) -> tuple[Remedy, ...]:
    """How to get a driver, as far as the distribution is known."""
    if machine.os.container:
        return (
            Remedy(
                text="Start the container with the host's GPUs (the host needs the driver and nvidia-container-toolkit).",
                commands=("docker run --rm --gpus all IMAGE nvidia-smi",),
            ),
        )
    name = machine.os.distribution or ""
    row = next((row for row in tables.rows("driver_install") if name.startswith(row["distribution"])), None)
    if row is None:
        return (Remedy(text="Install NVIDIA's driver as your distribution documents it, then restart.", risk=Risk.REBOOT),)
    return (
        Remedy(
            text=f"Install the driver ({row['note']}), then restart.",
            commands=(row["commands"], "sudo reboot"),
            risk=Risk.REBOOT,
        ),
    )


@check("nouveau-loaded")
def nouveau_loaded(machine: Machine) -> Iterator[Finding]:
    """Does the open-source nouveau (or nova) driver hold the GPU?

    Only one kernel driver can own a GPU, and CUDA needs NVIDIA's. While nouveau holds it, NVIDIA's module loads without a
    device or not at all.
    """
    others = {"nouveau", "nova_core", "nova"}
    held = [device for device in machine.pci or () if device.kernel_driver in others]
    if not held:
        yield Finding(status=Status.PASS, summary="no GPU is held by nouveau")
        return
    evidence = tuple(
        Evidence(fact=f"driver of {device.bus_id}", value=device.kernel_driver, read_from=f"{SYSFS}/{device.bus_id}/driver")
        for device in held
    )
    if machine.gpus:  # a display card beside the GPUs that compute
        yield Finding(
            status=Status.INFO,
            summary=f"{held[0].kernel_driver} holds {len(held)} GPU(s), which CUDA cannot use; the others have NVIDIA's driver",
            evidence=evidence,
        )
        return
    yield Finding(
        status=Status.FAIL,
        summary=f"{held[0].kernel_driver} holds the GPU, so NVIDIA's driver cannot: CUDA will find no device",
        why="The kernel gave the GPU to its own display driver when it started.",
        evidence=evidence,
        remedies=(
            Remedy(
                text="Keep nouveau from loading, then restart (install NVIDIA's driver first if it is not there).",
                commands=(
                    r"printf 'blacklist nouveau\noptions nouveau modeset=0\n' | sudo tee /etc/modprobe.d/no-nouveau.conf",
                    "sudo update-initramfs -u || sudo dracut --force",
                    "sudo reboot",
                ),
                risk=Risk.REBOOT,
            ),
        ),
        scope=Scope.HOST,
    )


@check(
    "driver-missing",
    caused_by=(
        "container-without-gpu",
        "nouveau-loaded",
        "dkms-module-missing",
        "secure-boot-blocks-module",
        "kernel-module-flavour",
    ),
)
def driver_missing(machine: Machine) -> Iterator[Finding]:
    """Is NVIDIA's driver installed, its kernel module and its libraries?

    A GPU without its driver is a device that nothing can use. `nvidia-smi` is then missing or says that it cannot
    communicate with the driver.
    """
    driver = machine.driver
    if not has_gpu(machine) or machine.os.tegra:
        yield Finding(status=Status.SKIP, summary="no NVIDIA GPU on the PCI bus")
        return
    if machine.gpus or driver.version:
        yield Finding(status=Status.PASS, summary=f"driver {driver.version or 'of unknown version'} is installed")
        return
    if from_windows(machine):
        yield Finding(status=Status.SKIP, summary="the driver is that of the Windows host")
        return
    if driver.modules is None and driver.kernel_module_version is None and "driver.kernel_module_version" not in machine.gaps:
        reason = machine.why_missing("driver.kernel_module_version")
        yield Finding(status=Status.UNKNOWN, summary=f"the kernel could not be asked: {reason}")
        return
    module = driver.kernel_module_version is not None or "nvidia" in (driver.modules or ())
    library = driver.nvml_error != "NVML_ERROR_LIBRARY_NOT_FOUND"
    why_no_module = machine.why_missing("driver.kernel_module_version")
    evidence = (
        Evidence(fact="GPU", value=pci_text(machine) or "behind a loaded kernel module", read_from=SYSFS),
        Evidence(
            fact="kernel module", value=driver.kernel_module_version or why_no_module, read_from="/proc/driver/nvidia/version"
        ),
        Evidence(
            fact="libnvidia-ml.so.1", value="found" if library else machine.why_missing("gpus"), read_from="dynamic loader"
        ),
    )
    if not module and not library:
        yield Finding(
            status=Status.FAIL,
            summary="there is an NVIDIA GPU, but no NVIDIA driver is installed",
            evidence=evidence,
            remedies=install_driver(machine),
            scope=Scope.HOST,
        )
    elif not module:
        yield Finding(
            status=Status.FAIL,
            summary="the driver's libraries are installed, but its kernel module is not loaded",
            why="The module failed to build for the running kernel, was not signed for secure boot, or was never loaded.",
            evidence=evidence,
            remedies=(
                Remedy(
                    text="Load it; the kernel's answer tells why it cannot (key rejected: secure boot; not found: not built).",
                    commands=("sudo modprobe nvidia", "sudo dmesg | grep -iE 'nvrm|nvidia' | tail -20", "dkms status"),
                    risk=Risk.ROOT,
                ),
            ),
            scope=Scope.HOST,
        )
    elif not library:
        yield _no_library(machine, evidence)
    else:
        yield Finding(status=Status.PASS, summary=f"kernel module {driver.kernel_module_version} and libraries are installed")


def _no_library(machine: Machine, evidence: tuple[Evidence, ...]) -> Finding:
    """NVML is absent although the kernel module runs: harmless for CUDA itself if libcuda is there."""
    if machine.os.container:
        remedies: tuple[Remedy, ...] = (
            Remedy(
                text="Give the container the driver's libraries.",
                commands=("docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility IMAGE",),
            ),
        )
    else:
        remedies = install_driver(machine)  # the module's version may be one that the package source no longer has
    cuda = machine.driver.libcuda is not None
    return Finding(
        status=Status.WARN if cuda else Status.FAIL,
        summary="the kernel module is loaded, but the driver's libraries are missing"
        if not cuda
        else "CUDA's library is here but NVML's is not: nvidia-smi and monitoring do not work",
        evidence=evidence,
        remedies=remedies,
        scope=Scope.ENVIRONMENT if machine.os.container else Scope.HOST,
    )


@check("driver-version-mismatch", caused_by=("driver-missing",))
def driver_version_mismatch(machine: Machine) -> Iterator[Finding]:
    """Are the loaded kernel module and the driver's libraries of one version?

    After an update of the driver packages the old module stays loaded until it is replaced; until then every call fails with
    "Driver/library version mismatch" (NVML) or error 803 (CUDA).
    """
    driver = machine.driver
    module, library = driver.kernel_module_version, driver.nvml_library_version or driver.version
    refused = driver.nvml_error == "NVML_ERROR_LIB_RM_VERSION_MISMATCH"
    if module is None and not refused:
        yield Finding(status=Status.SKIP, summary="no loaded kernel module to compare with")
        return
    if library is None and not refused:
        yield Finding(status=Status.UNKNOWN, summary="the version of the driver's libraries is not known")
        return
    if not refused and _same_version(module, library):
        yield Finding(status=Status.PASS, summary=f"kernel module and libraries are both {module}")
        return
    yield Finding(
        status=Status.FAIL,
        summary=f"kernel module {module or 'of another version'} and driver libraries {library or 'beside it'} do not fit",
        why="The driver was updated under the running kernel module. CUDA refuses until both halves are of one version.",
        evidence=(
            Evidence(fact="kernel module", value=module, read_from="/proc/driver/nvidia/version"),
            Evidence(fact="libnvidia-ml", value=library, read_from=driver.nvml_library or "NVML"),
            Evidence(fact="NVML", value=driver.nvml_error or "started", read_from="nvmlInit"),
        ),
        remedies=_reload(machine),
        scope=Scope.HOST,
    )


def _same_version(module: str | None, library: str | None) -> bool:
    """Equal, or one an abbreviation of the other: newer drivers call 580.65.00 just 580.65."""
    one, other = (module or "").split("."), (library or "").split(".")
    return all(a == b for a, b in zip(one, other, strict=False))


def _reload(machine: Machine) -> tuple[Remedy, ...]:
    if machine.os.container:
        return (Remedy(text="The host's driver was updated while this container ran: start the container anew (or the host)."),)
    unload = "sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia"
    return (
        Remedy(text="Restart the machine.", commands=("sudo reboot",), risk=Risk.REBOOT),
        Remedy(
            text="Or replace the module after every program on the GPUs, the desktop included, has ended.",
            commands=(unload,),
            risk=Risk.ROOT,
        ),
        Remedy(
            text="If a restart does not help, module and libraries come from two package sources: remove one of them.",
            commands=("modinfo -F version nvidia", "dpkg -l '*nvidia*' | grep ^ii"),
            risk=Risk.READ_ONLY,
        ),
    )


@check(
    "driver-not-answering",
    caused_by=(
        "driver-version-mismatch",
        "container-lost-gpu",
        "container-without-gpu",
        "nouveau-loaded",
        "driver-missing",
        "device-nodes-missing",
        "kernel-module-flavour",
        "gpu-fell-off-bus",
        "gpu-init-failed",
        "gsp-failed",
        "libcuda-mismatched",
    ),
)
def driver_not_answering(machine: Machine) -> Iterator[Finding]:
    """Does the driver answer through NVML?

    A driver that refuses, hangs or crashes when asked for the GPUs' state is broken for CUDA as well, or soon will be.
    """
    driver = machine.driver
    if driver.nvml_error is None and "gpus" not in machine.gaps:
        yield Finding(status=Status.PASS, summary="the driver answers")
        return
    if not has_gpu(machine) or machine.os.tegra:
        yield Finding(status=Status.SKIP, summary="no NVIDIA GPU to answer for")
        return
    if driver.nvml_error is None:
        yield Finding(status=Status.UNKNOWN, summary=f"NVML could not be asked: {machine.why_missing('gpus')}")
        return
    if driver.nvml_error == "NVML_ERROR_LIBRARY_NOT_FOUND":
        yield Finding(status=Status.SKIP, summary="no NVML library to ask (see driver-missing)")
        return
    hung = driver.nvml_error == "timeout"
    how = {
        "timeout": "the driver hangs when it is asked for the GPUs",
        "crash": "the driver's library crashes when it is asked for the GPUs",
    }
    yield Finding(
        status=Status.FAIL,
        summary=how.get(driver.nvml_error, f"the driver does not answer: {driver.nvml_error}"),
        why="A GPU that hangs its driver has usually fallen off the bus or stopped with an Xid error."
        if hung
        else "NVML started with an error, so nothing is known about the GPUs.",
        evidence=(Evidence(fact="NVML", value=machine.why_missing("gpus"), read_from="NVML in a child process"),),
        remedies=_not_answering_remedies(machine),
        scope=Scope.HOST,
    )


def _wsl_remedies(machine: Machine) -> tuple[Remedy, ...]:
    library = machine.driver.nvml_library or machine.driver.libcuda or ""
    windows = Remedy(
        text="In Windows: update WSL and NVIDIA's driver, then start WSL anew.", commands=("wsl --update", "wsl --shutdown")
    )
    if "/wsl/" in library:
        return (windows,)
    linux = Remedy(
        text=f"Remove the Linux driver inside WSL, whose {library} hides that of Windows.",
        commands=("sudo apt purge '*nvidia-driver*' 'libnvidia-compute*'", "sudo ldconfig"),
        risk=Risk.ROOT,
    )
    return (linux, windows)


def _not_answering_remedies(machine: Machine) -> tuple[Remedy, ...]:
    if machine.os.wsl:
        return _wsl_remedies(machine)
    kernel_log = Remedy(
        text="Read what the kernel says of it (Xid, NVRM).",
        commands=("sudo dmesg | grep -iE 'xid|nvrm' | tail -20",),
        risk=Risk.ROOT,
    )
    if machine.os.container and machine.driver.nvml_error == "NVML_ERROR_UNKNOWN":
        return (
            Remedy(
                text="The container lost its devices (a daemon-reload on the host does that): start it anew.",
                commands=("docker restart CONTAINER",),
            ),
            kernel_log,
        )
    return (kernel_log, Remedy(text="Restart the machine.", commands=("sudo reboot",), risk=Risk.REBOOT))
