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
        if port.name.isdecimal()
    )


def _port(adapter: Path, port: Path) -> RdmaPort:
    rate = re.match(r"([\d.]+) Gb/sec(?: \((\d+)X)?", _line(port / "rate") or "")
    return RdmaPort(
        adapter=adapter.name,
        port=int(port.name),
        board=_line(adapter / "board_id"),
        link_layer=_line(port / "link_layer"),
        state=_word(port / "state"),
        physical_state=_word(port / "phys_state"),
        gbit_per_s=float(rate[1]) if rate else None,
        width=int(rate[2]) if rate and rate[2] else None,
    )


def _word(path: Path) -> str | None:
    """ "4: ACTIVE" is "active", "2: Polling" is "polling"."""
    line = _line(path)
    return line.rpartition(": ")[2].lower() if line else None


def _line(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None
