"""What memory this process holds, and held at most, as Linux tells."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_FORGET = Path("/proc/self/clear_refs")


def now() -> int | None:
    """Bytes that are resident; None where the system does not tell."""
    return _read("VmRSS")


def peak() -> int | None:
    """The most bytes that were resident at once, since the start or `forget_peak`; None where the system does not tell."""
    return _read("VmHWM")


def beyond(before: int | None) -> int | None:
    """How much more than `before` was resident at most."""
    most = peak()
    return None if most is None or before is None else max(0, most - before)


def forget_peak() -> None:
    """Note the most anew from now on; where the system does not allow that, nothing happens."""
    with suppress(OSError):
        _FORGET.write_text("5", encoding="ascii")


def _read(name: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
    except (OSError, ValueError):
        return None
