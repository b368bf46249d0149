"""The way from a GPU to the processor: PCI Express links, ports and switches, IOMMU and access control, from sysfs.

Reading a device's configuration space wakes it if it sleeps, as every question of the driver does; a sleeping one is let be.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from dltool.machine import PcieLink, PciPort
from dltool.probe import files

_BUS_ID = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.IGNORECASE)
_CONFIG_BYTES = 4096
_FOR_EVERYONE = 256
"""Without privilege the kernel shows at most the first 64 or 256 bytes; capabilities of PCI Express come behind them."""
_FIRST_EXTENDED = 0x100
_ACS = 0x000D  # PCI_EXT_CAP_ID_ACS
_ACS_CONTROL = 6
_MOST_CAPABILITIES = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device sits and how it is reached."""

    local_cpus: str | None
    link: PcieLink | None
    upstream: tuple[PciPort, ...] | None
    iommu: str | None
    responds: bool | None


def place(device: Path) -> Place:
    """What sysfs tells of the device in `device`, a directory of /sys/bus/pci/devices."""
    return Place(
        local_cpus=files.line(device / "local_cpulist") or None,
        link=link(device),
        upstream=upstream(device),
        iommu=_iommu(device),
        responds=_responds(device),
    )


def link(device: Path) -> PcieLink | None:
    """The link above a device; None where it has none that can be read."""
    found = PcieLink(
        gt_per_s=_speed(files.line(device / "current_link_speed")),
        gt_per_s_max=_speed(files.line(device / "max_link_speed")),
        width=_width(files.line(device / "current_link_width")),
        width_max=_width(files.line(device / "max_link_width")),
    )
    return None if found == PcieLink() else found


def upstream(device: Path) -> tuple[PciPort, ...] | None:
    """The ports and switches above a device, by its real place in the tree of devices; None where that cannot be seen."""
    whole = Path(os.path.realpath(device))
    if _BUS_ID.fullmatch(whole.name) is None or not whole.parent.name:
        return None
    ports = []
    for above in whole.parents:
        if _BUS_ID.fullmatch(above.name) is None:
            break
        known, control = _acs(above)
        ports.append(PciPort(bus_id=above.name.lower(), link=link(above), acs_control=control, acs_known=known))
    return tuple(ports)


def _acs(port: Path) -> tuple[bool, int | None]:
    """Whether the extended capabilities could be read, and which access control services they say are on."""
    try:
        with (port / "config").open("rb") as file:
            config = file.read(_CONFIG_BYTES)
    except OSError:
        return False, None
    if len(config) <= _FOR_EVERYONE:
        return False, None
    at = _FIRST_EXTENDED
    for _ in range(_MOST_CAPABILITIES):
        if at < _FIRST_EXTENDED or at + _ACS_CONTROL + 2 > len(config):
            break
        (header,) = struct.unpack_from("<I", config, at)
        if header & 0xFFFF == _ACS:
            (control,) = struct.unpack_from("<H", config, at + _ACS_CONTROL)
            return True, int(control)
        at = header >> 20
    return True, None


def _iommu(device: Path) -> str | None:
    group = device / "iommu_group"
    if not os.path.isdir(group):  # noqa: PTH112
        return "off" if os.path.isdir(device) else None  # noqa: PTH112
    kind = files.line(group / "type")
    return kind.lower() if kind else None


def _responds(device: Path) -> bool | None:
    if files.line(device / "power/runtime_status") == "suspended":
        return None
    try:
        with (device / "config").open("rb") as file:
            vendor = file.read(4)
    except OSError:
        return None
    return vendor != b"\xff\xff\xff\xff" if len(vendor) == 4 else None


def _speed(text: str | None) -> float | None:
    """ "16.0 GT/s PCIe" is 16.0; "Unknown" is unknown."""
    match = re.match(r"([0-9]{1,4}(?:\.[0-9]{1,4})?) GT/s", text or "")
    return float(match[1]) if match else None


def _width(text: str | None) -> int | None:
    """0 lanes and 255 are what a link shows that is down or cannot be read."""
    lanes = files.number(text)
    return lanes if lanes and lanes < 255 else None
