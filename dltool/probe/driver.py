"""The kernel half of the driver and its device files, from /proc, /sys and /dev; the GPUs on the PCI bus without any driver."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from dltool.machine import DeviceNode, DkmsModule, ModuleFile, PciDevice
from dltool.probe import child, files, kernel_module
from dltool.probe import pci as pci_bus

_MODULES = (
    "nvidia",
    "nvidia_uvm",
    "nvidia_drm",
    "nvidia_modeset",
    "nvidia_peermem",
    "nv_peer_mem",
    "nouveau",
    "nova_core",
    "vfio_pci",
)
_NVIDIA = "0x10de"
_DISPLAY = "0x03"  # PCI base class of display controllers
_NVSWITCH = "0x0680"  # "other bridge"; NVIDIA's chipsets of old had other classes


@dataclass(frozen=True, slots=True)
class Reading:
    """What the kernel shows of NVIDIA hardware and its driver."""

    kernel_module_version: str | None
    kernel_module_open: bool | None
    modules: tuple[str, ...] | None
    device_nodes: tuple[DeviceNode, ...]
    pci: tuple[PciDevice, ...] | None
    nvswitches: int | None = None
    module_file: ModuleFile | None = None
    dkms: tuple[DkmsModule, ...] | None = None
    secure_boot: bool | None = None
    services: dict[str, str] = field(default_factory=dict)
    wsl_libraries: tuple[str, ...] = ()
    gaps: dict[str, str] = field(default_factory=dict)


def read(root: Path = Path("/"), *, run: kernel_module.Run = child.run) -> Reading:
    """Read the kernel's files below `root`; where there is an NVIDIA GPU, also what there is of its module on disk."""
    gaps: dict[str, str] = {}
    version, is_open = _kernel_module(root, gaps)
    pci, nvswitches = _pci(root, gaps)
    more = kernel_module.Reading(None, None, None, {})
    if pci or nvswitches:
        more = kernel_module.read(root, loaded=version is not None, nvswitches=bool(nvswitches), run=run)
    return Reading(
        kernel_module_version=version,
        kernel_module_open=is_open,
        modules=_modules(root, gaps),
        device_nodes=_device_nodes(root),
        pci=pci,
        nvswitches=nvswitches,
        module_file=more.module_file,
        dkms=more.dkms,
        secure_boot=more.secure_boot,
        services=more.services,
        wsl_libraries=tuple(path.name for path in files.glob(root / "usr/lib/wsl/lib", "lib*.so*")),
        gaps=gaps | more.gaps,
    )


def _kernel_module(root: Path, gaps: dict[str, str]) -> tuple[str | None, bool | None]:
    """Version and kind of the loaded module.

    Both kinds write a line such as `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build ...`.
    """
    try:
        text = files.text(root / "proc/driver/nvidia/version")
    except OSError as error:
        gaps["driver.kernel_module_version"] = f"/proc/driver/nvidia/version: {error.strerror}"
        return None, None
    line = next((line for line in text.splitlines() if line.startswith("NVRM")), "")
    match = re.search(r"\s([0-9]{3,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?)\s", line + " ")
    if match is None:
        gaps["driver.kernel_module_version"] = f"/proc/driver/nvidia/version has no version: {line[:200]!r}"
        return None, None
    return match[1], "Open Kernel Module" in line


def _modules(root: Path, gaps: dict[str, str]) -> tuple[str, ...] | None:
    directory = root / "sys/module"
    if not files.is_dir(directory):
        gaps["driver.modules"] = "/sys/module is not there"
        return None
    return tuple(name for name in _MODULES if files.is_dir(directory / name))


def _device_nodes(root: Path) -> tuple[DeviceNode, ...]:
    """The driver's files under /dev; `nvidia-caps/` and other directories hold what MIG needs and are left out."""
    device = root / "dev"
    found = [path for pattern in ("nvidia*", "nvmap", "dxg") for path in files.glob(device, pattern)]
    return tuple(
        DeviceNode(path=f"/dev/{path.name}", accessible=os.access(path, os.R_OK | os.W_OK))
        for path in sorted(found)
        if not files.is_dir(path)
    )


def _pci(root: Path, gaps: dict[str, str]) -> tuple[tuple[PciDevice, ...] | None, int | None]:
    """NVIDIA's display controllers, and how many NVSwitches there are."""
    directory = root / "sys/bus/pci/devices"
    try:
        devices = sorted(directory.iterdir())
    except OSError as error:
        gaps["pci"] = f"/sys/bus/pci/devices: {error.strerror}"
        return None, None
    ours = {device: files.line(device / "class") or "" for device in devices if files.line(device / "vendor") == _NVIDIA}
    gpus = tuple(_display(device, kind) for device, kind in ours.items() if kind.startswith(_DISPLAY))
    return gpus, sum(kind.startswith(_NVSWITCH) for kind in ours.values())


def _display(device: Path, class_code: str) -> PciDevice:
    driver = device / "driver"
    node = files.line(device / "numa_node")
    place = pci_bus.place(device)
    return PciDevice(
        bus_id=device.name.lower(),
        device_id=f"10de:{(files.line(device / 'device') or '0x????')[2:]}",
        class_code=class_code,
        kernel_driver=Path(os.path.realpath(driver)).name if files.exists(driver) else None,
        numa_node=files.number(node),  # -1 is "no NUMA"
        local_cpus=place.local_cpus,
        link=place.link,
        upstream=place.upstream,
        iommu=place.iommu,
        responds=place.responds,
    )
