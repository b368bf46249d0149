"""The kernel half of the driver and its device files, from /proc, /sys and /dev; the GPUs on the PCI bus without any driver."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from dltool.machine import DeviceNode, PciDevice
from dltool.probe import files

_MODULES = (
    "nvidia",
    "nvidia_uvm",
    "nvidia_drm",
    "nvidia_modeset",
    "nvidia_peermem",
    "nouveau",
    "nova_core",
    "vfio_pci",
)
_NVIDIA = "0x10de"
_DISPLAY = "0x03"  # PCI base class of display controllers


@dataclass(frozen=True, slots=True)
class Reading:
    """What the kernel shows of NVIDIA hardware and its driver."""

    kernel_module_version: str | None
    kernel_module_open: bool | None
    modules: tuple[str, ...] | None
    device_nodes: tuple[DeviceNode, ...]
    pci: tuple[PciDevice, ...] | None
    gaps: dict[str, str] = field(default_factory=dict)


def read(root: Path = Path("/")) -> Reading:
    """Read the kernel's files below `root`."""
    gaps: dict[str, str] = {}
    version, is_open = _kernel_module(root, gaps)
    return Reading(version, is_open, _modules(root, gaps), _device_nodes(root), _pci(root, gaps), gaps)


def _kernel_module(root: Path, gaps: dict[str, str]) -> tuple[str | None, bool | None]:
    """Version and kind of the loaded module.

    Both kinds write a line such as `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build ...`.
    """
    try:
        text = (root / "proc/driver/nvidia/version").read_text(errors="replace")
    except OSError as error:
        gaps["driver.kernel_module_version"] = f"/proc/driver/nvidia/version: {error.strerror}"
        return None, None
    line = next((line for line in text.splitlines() if line.startswith("NVRM")), "")
    match = re.search(r"\s(\d{3,}\.\d+(?:\.\d+)?)\s", line + " ")
    if match is None:
        gaps["driver.kernel_module_version"] = f"/proc/driver/nvidia/version has no version: {line!r}"
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


def _pci(root: Path, gaps: dict[str, str]) -> tuple[PciDevice, ...] | None:
    directory = root / "sys/bus/pci/devices"
    try:
        devices = sorted(directory.iterdir())
    except OSError as error:
        gaps["pci"] = f"/sys/bus/pci/devices: {error.strerror}"
        return None
    return tuple(found for device in devices if (found := _nvidia_display(device)) is not None)


def _nvidia_display(device: Path) -> PciDevice | None:
    vendor, class_code = _line(device / "vendor"), _line(device / "class")
    if vendor != _NVIDIA or class_code is None or not class_code.startswith(_DISPLAY):
        return None
    driver = device / "driver"
    node = _line(device / "numa_node")
    return PciDevice(
        bus_id=device.name.lower(),
        device_id=f"10de:{(_line(device / 'device') or '0x????')[2:]}",
        class_code=class_code,
        kernel_driver=Path(os.path.realpath(driver)).name if files.exists(driver) else None,
        numa_node=int(node) if node and node.isdigit() else None,  # -1 is "no NUMA"
    )


def _line(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
