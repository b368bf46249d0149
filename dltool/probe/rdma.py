"""The ports of InfiniBand and RoCE adapters, as the kernel shows them."""

from __future__ import annotations

import re
from pathlib import Path

from dltool.machine import RdmaPort
from dltool.probe import files


def ports(root: Path = Path("/")) -> tuple[RdmaPort, ...] | None:
    """Every port of the adapters that programs may open; None where the kernel shows no devices at all.

    Source: Documentation/ABI/stable/sysfs-class-infiniband of the kernel.
    """
    classes = root / "sys/class"
    if not files.is_dir(classes):
        return None
    if not files.glob(root / "dev/infiniband", "uverbs*"):  # a container shows the host's, and was given none
        return ()
    return tuple(
        _port(adapter, port)
        for adapter in files.glob(classes / "infiniband", "*")
        for port in files.glob(adapter / "ports", "*")
        if files.number(port.name) is not None
    )


def _port(adapter: Path, port: Path) -> RdmaPort:
    rate = re.match(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) Gb/sec(?: \(([0-9]{1,3})X)?", files.line(port / "rate") or "")
    return RdmaPort(
        adapter=adapter.name,
        port=files.number(port.name) or 0,
        board=files.line(adapter / "board_id") or None,
        link_layer=files.line(port / "link_layer") or None,
        state=_word(port / "state"),
        physical_state=_word(port / "phys_state"),
        gbit_per_s=float(rate[1]) if rate else None,
        width=int(rate[2]) if rate and rate[2] else None,
    )


def _word(path: Path) -> str | None:
    """ "4: ACTIVE" is "active", "2: Polling" is "polling"."""
    line = files.line(path)
    return line.rpartition(": ")[2].lower() if line else None
