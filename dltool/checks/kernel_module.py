"""NVIDIA's kernel module: is it there for the running kernel, is it of the right flavour, and does secure boot let it in?"""

from __future__ import annotations

from collections.abc import Iterator

from dltool import names
from dltool.checks import check
from dltool.checks.driver import SYSFS, from_windows, has_gpu
from dltool.checks.hardware import answers, events, told
from dltool.compat.drivers import kernel_module_rule
from dltool.machine import Machine, ModuleFile, PciDevice
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_VENDORS = ("canonical", "red hat", "suse", "debian secure boot", "oracle", "nvidia", "fedora kernel signing")
"""Signers whose keys the firmware or the distribution's boot loader knows."""


def _not_here(machine: Machine) -> Finding | None:
    """Why the file of the module does not matter or cannot be seen here."""
    if not has_gpu(machine) or machine.os.tegra:
        return Finding(status=Status.SKIP, summary="no NVIDIA GPU on the PCI bus")
    if from_windows(machine) or machine.os.wsl:
        return Finding(status=Status.SKIP, summary="the driver is that of the Windows host")
    if machine.os.container:
        return Finding(status=Status.SKIP, summary="the kernel and its modules are the host's")
    if _loaded(machine):
        return Finding(status=Status.PASS, summary="the kernel module is loaded")
    return None


def _loaded(machine: Machine) -> bool:
    driver = machine.driver
    return driver.kernel_module_version is not None or "nvidia" in (driver.modules or ()) or bool(machine.gpus)


@check("dkms-module-missing", caused_by=("nouveau-loaded",))
def dkms_module_missing(machine: Machine) -> Iterator[Finding]:
    """Is there a kernel module of the driver for the kernel that runs?

    After an update of the kernel DKMS has to build the module anew, for which it needs that kernel's headers and a fitting
    compiler. Where that failed, the driver is gone after the next restart. Distributions with ready-built modules need the
    package for the new kernel.
    """
    inapplicable = _not_here(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    driver, kernel = machine.driver, machine.os.kernel or "the running kernel"
    dkms = [module for module in driver.dkms or () if machine.os.kernel not in module.kernels]
    library = driver.nvml_library or driver.libcuda
    if driver.module_file is not None:
        yield Finding(status=Status.PASS, summary=f"{driver.module_file.path} is there for kernel {kernel}")
    elif "driver.module_file" in machine.gaps or (machine.pci is None and driver.dkms is None) or not machine.pci:
        yield Finding(status=Status.UNKNOWN, summary=f"the modules of the kernel: {machine.why_missing('driver.module_file')}")
    elif dkms:
        version = dkms[-1].version
        yield Finding(
            status=Status.FAIL,
            summary=f"DKMS has the driver {version}, but no module of it for the running kernel {kernel}",
            evidence=(
                Evidence(fact="built for", value=" ".join(dkms[-1].kernels) or "no kernel", read_from="/var/lib/dkms"),
                Evidence(fact="running kernel", value=kernel, read_from="uname"),
            ),
            remedies=(
                Remedy(
                    text="Install the kernel's headers and build the module; its log tells why it cannot be built.",
                    commands=(
                        "sudo apt install linux-headers-$(uname -r) || sudo dnf install kernel-devel-$(uname -r)",
                        "sudo dkms autoinstall",
                        "sudo modprobe nvidia",
                        f"tail -40 /var/lib/dkms/nvidia/{version}/build/make.log",
                    ),
                    risk=Risk.ROOT,
                ),
                Remedy(text="Or start the kernel that it was built for, from the boot menu.", risk=Risk.REBOOT),
            ),
            scope=Scope.HOST,
        )
    elif library:
        yield Finding(
            status=Status.FAIL,
            summary=f"the driver's libraries are here, but no kernel module for the running kernel {kernel}",
            evidence=(
                Evidence(fact="nvidia.ko", value="not listed", read_from=f"/lib/modules/{machine.os.kernel}/modules.dep"),
                Evidence(fact="library", value=library, read_from="dynamic loader"),
            ),
            remedies=(
                Remedy(
                    text="Install the module for this kernel; after an update of the kernel, restart first.",
                    commands=("uname -r; ls /lib/modules", "sudo ubuntu-drivers install || sudo dkms autoinstall"),
                    risk=Risk.ROOT,
                ),
            ),
            scope=Scope.HOST,
        )
    else:
        yield Finding(status=Status.SKIP, summary="no driver is installed (see driver-missing)")


@check("secure-boot-blocks-module", caused_by=("nouveau-loaded", "dkms-module-missing"))
def secure_boot_blocks_module(machine: Machine) -> Iterator[Finding]:
    """Does secure boot let the driver's kernel module in?

    With secure boot on, the kernel loads only modules signed with a key that the firmware knows. A module built here (DKMS,
    NVIDIA's installer) is signed with a key of this machine, which its owner has to enrol once, at the screen:
    "Key was rejected by service" is the answer until then.
    """
    inapplicable = _not_here(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    driver, file = machine.driver, machine.driver.module_file
    refused = events(machine, "module_rejected")
    if driver.secure_boot is None:
        reason = machine.why_missing("driver.secure_boot")
        yield Finding(status=Status.UNKNOWN, summary=f"whether secure boot is on: {reason}")
        return
    if not driver.secure_boot and not refused:
        yield Finding(status=Status.PASS, summary="secure boot is off")
        return
    if file is None and not refused:
        yield Finding(status=Status.SKIP, summary="there is no module that could be refused (see dkms-module-missing)")
        return
    evidence = (
        Evidence(fact="secure boot", value=driver.secure_boot, read_from="efivars SecureBoot"),
        Evidence(fact="module", value=file.path if file else None, read_from="modules.dep"),
        Evidence(fact="signed by", value=(file.signer or "nobody") if file and file.signer is not None else None,
                 read_from="modinfo"),
        *told(machine, refused),
    )  # fmt: skip
    if not refused and not _home_made(file):
        yield Finding(
            status=Status.INFO,
            summary="secure boot is on; the module is not loaded and may have been refused",
            evidence=evidence,
        )
        return
    yield Finding(
        status=Status.FAIL,
        summary="secure boot keeps the driver's kernel module out: its key is not enrolled",
        evidence=evidence,
        remedies=(
            Remedy(
                text="Enrol the key with which DKMS signs: choose a password, restart, and confirm at the blue screen.",
                commands=(
                    "sudo mokutil --import /var/lib/shim-signed/mok/MOK.der || sudo mokutil --import /var/lib/dkms/mok.pub",
                    "sudo reboot",
                ),
                risk=Risk.REBOOT,
            ),
            Remedy(
                text="Or use the module that the distribution has signed.",
                commands=("sudo ubuntu-drivers install", "sudo reboot"),
                risk=Risk.REBOOT,
            ),
            Remedy(text="Or, as the last resort, switch secure boot off in the firmware's setup.", risk=Risk.REBOOT),
        ),
        scope=Scope.HOST,
    )


def _home_made(file: ModuleFile | None) -> bool:
    """Whether a module was built on this machine, or carries no signature."""
    if file is None:
        return False
    if file.signer is not None and (not file.signer or any(vendor in file.signer.lower() for vendor in _VENDORS)):
        return not file.signer
    return "dkms" in file.path or "akmod" in file.path or bool(file.signer) or "/extra/" in file.path


@check("kernel-module-flavour")
def kernel_module_flavour(machine: Machine) -> Iterator[Finding]:
    """Is the kernel module of the flavour (open or proprietary) that each GPU needs?

    From Blackwell on GPUs need NVIDIA's open kernel module; Maxwell, Pascal and Volta need the proprietary one; those between
    run with both. With the wrong one the module loads, and nvidia-smi says "No devices were found".
    """
    driver = machine.driver
    is_open = driver.kernel_module_open
    if is_open is None and driver.module_file is not None:
        is_open = driver.module_file.is_open
    if not has_gpu(machine) or machine.os.tegra or from_windows(machine) or machine.os.wsl:
        yield Finding(status=Status.SKIP, summary="no kernel module of NVIDIA's for a GPU on the PCI bus")
        return
    wrong = [
        (device, needed)
        for device in machine.pci or ()
        if device.kernel_driver in (None, "nvidia")
        and not answers(machine, device.bus_id)
        and (needed := _needed(device)) is not None
        and is_open is not None
        and is_open != (needed == "open")
    ]
    said = [
        event
        for event in events(machine, "needs_open_module", "needs_proprietary_module")
        if not answers(machine, event.pci_bus_id) and is_open is not (event.kind == "needs_open_module")
    ]
    if machine.os.container:
        wrong, said = [], []
    if not wrong and not said:
        if is_open is None and not machine.gpus:
            yield Finding(status=Status.SKIP, summary="no kernel module is loaded or installed")
        else:
            kind = {True: "open", False: "proprietary", None: "unknown"}[is_open]
            yield Finding(status=Status.PASS, summary=f"the {kind} kernel module suits the GPUs")
        return
    open_needed = any(needed == "open" for _, needed in wrong) or any(event.kind == "needs_open_module" for event in said)
    needed = "open" if open_needed else "proprietary"
    where = dict.fromkeys([*(device.bus_id for device, _ in wrong), *(event.pci_bus_id or "" for event in said)])
    yield Finding(
        status=Status.FAIL,
        summary=f"the GPU at {', '.join(filter(None, where)) or 'an unnamed place'} needs the {needed} kernel module",
        evidence=(
            Evidence(
                fact="flavour",
                value={True: "open", False: "proprietary", None: None}[is_open],
                read_from="/proc/driver/nvidia/version or modinfo",
            ),
            *(Evidence(fact="GPU without a driver's answer", value=device.device_id, read_from=f"{SYSFS}/{device.bus_id}")
              for device, _ in wrong),
            *told(machine, said),
        ),
        remedies=_other_flavour(machine, needed),
        scope=Scope.HOST,
    )  # fmt: skip


def _needed(device: PciDevice) -> str | None:
    """The flavour that a GPU cannot do without."""
    board = names.identify(name=None, device_id=device.device_id, memory_bytes=None)
    rule = kernel_module_rule(board.compute_capability) if board is not None and board.compute_capability else None
    if rule is None:
        return None
    return next((flavour for flavour in ("open", "proprietary") if rule[flavour] == "required"), None)


def _other_flavour(machine: Machine, needed: str) -> tuple[Remedy, ...]:
    version = machine.driver.kernel_module_version or (
        machine.driver.module_file.version if machine.driver.module_file else None
    )
    branch = (version or "BRANCH").partition(".")[0]
    package = f"nvidia-driver-{branch}{'-open' if needed == 'open' else ''}"
    other = "nvidia-open" if needed == "open" else "cuda-drivers"
    why = "" if needed == "open" else " (branch 580 at most: later ones do not drive GPUs before Turing)"
    return (
        Remedy(
            text=f"Install the same driver with the {needed} module{why}, then restart.",
            commands=(
                f"sudo apt install {package}  # Ubuntu; from NVIDIA's own repository: {other}",
                "sudo reboot",
            ),
            risk=Risk.REBOOT,
        ),
    )
