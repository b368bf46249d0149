"""How much memory a child may take, and how much it has. Linux; elsewhere nothing is known and nothing limited."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_SPARED = 0.08
"""Of the memory that is free at the start: left to the rest of the machine."""
_FLOOR_BYTES = 2**28
"""When less than this is available on the whole machine, the kernel is about to choose a victim by itself."""


def available_bytes(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What programs may still take without swapping: of the machine, or of the control group where that is less."""
    found = [size for size in (_machine_available(proc / "meminfo"), _group_available(cgroup)) if size is not None]
    return min(found, default=None)


def _machine_available(meminfo: Path) -> int | None:
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _group_available(cgroup: Path) -> int | None:
    """Version 2 and 1; pages of files that the group holds could be given back, so they count as free."""
    for folder, most, used in ((cgroup, "memory.max", "memory.current"),
                               (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")):  # fmt: skip
        try:
            limit = int((folder / most).read_text())
            held = int((folder / used).read_text()) - _file_pages(folder / "memory.stat")
        except (OSError, ValueError):  # "max": no limit
            continue
        return max(0, limit - held)
    return None


def _file_pages(stat: Path) -> int:
    words = dict(line.split()[:2] for line in stat.read_text().splitlines() if len(line.split()) >= 2)
    return int(words.get("inactive_file", words.get("total_inactive_file", 0)))


def limit(available: int | None) -> int | None:
    """What a child may hold for itself."""
    return None if available is None else int(available * (1 - _SPARED))


def held_bytes(pid: int) -> int | None:
    """What a process holds for itself; None once it is gone."""
    try:
        resident, shared = Path("/proc", str(pid), "statm").read_text().split()[1:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def watcher(pid: int, most: int | None, available: Callable[[], int | None] = available_bytes) -> Callable[[], str | None]:
    """A function that tells why the process must be ended for its memory, in words; None while it need not.

    What it holds at first is not counted: it shares most of that with the process that it was forked from.
    """
    at_first = held_bytes(pid) or 0

    def look() -> str | None:
        now = held_bytes(pid)
        if now is None or most is None:
            return None
        held = now - at_first
        if held > most:
            return f"took more than {most / 2**30:.1f} GiB of memory"
        left = available()
        if left is not None and left < _FLOOR_BYTES and held > left:
            return f"took {held / 2**30:.1f} GiB and left the machine only {left / 2**20:.0f} MiB"
        return None

    return look


def refuse_beyond(most: int) -> None:
    """Let allocations of this process fail beyond `most` bytes, which says more than being killed for them."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data_bytes() + most
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _data_bytes() -> int:
    """What counts for RLIMIT_DATA already: private writable pages, touched or not."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
