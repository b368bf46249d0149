"""What the host did to a benchmark while it ran: who else computed, and who took its processors away."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCounters:
    """Counters that only grow, at one moment; None where this system has none."""

    preemptions: int | None = None
    quota_wait_s: float | None = None
    steal_ticks: int | None = None
    all_ticks: int | None = None

    def since(self, before: HostCounters) -> Mapping[str, float | int | None]:
        """What was counted since `before`, under the names of `results.Conditions`."""
        ticks, steal = _less(self.all_ticks, before.all_ticks), _less(self.steal_ticks, before.steal_ticks)
        return {
            "preemptions": _less(self.preemptions, before.preemptions),
            "quota_wait_s": _less(self.quota_wait_s, before.quota_wait_s),
            "steal": None if steal is None or not ticks else steal / ticks,
        }


def _less(after: float | None, before: float | None) -> float | int | None:
    return None if after is None or before is None else after - before


def read(proc: Path = Path("/proc"), cgroup_root: Path = _CGROUP_ROOT) -> HostCounters:
    """The counters now, of this process with all of its threads."""
    steal, total = _processor_ticks(proc / "stat")
    return HostCounters(
        preemptions=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
        quota_wait_s=_quota_wait_s(proc / "self/cgroup", cgroup_root),
        steal_ticks=steal,
        all_ticks=total,
    )


def load_average() -> float | None:
    """Of the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _processor_ticks(stat: Path) -> tuple[int | None, int | None]:
    """(stolen, all) ticks of all processors: user nice system idle iowait irq softirq steal, as proc(5) orders them."""
    try:
        ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None, None
    return (ticks[7], sum(ticks)) if len(ticks) == 8 else (None, None)


def _quota_wait_s(own: Path, root: Path) -> float | None:
    """Version 2 counts microseconds in throttled_usec, version 1 nanoseconds in throttled_time."""
    for folder in _cgroup_folders(own, root):
        try:
            lines = (folder / "cpu.stat").read_text().splitlines()
        except OSError:
            continue
        counted = dict(line.split()[:2] for line in lines if len(line.split()) >= 2)
        for name, per_s in (("throttled_usec", 1e6), ("throttled_time", 1e9)):
            if counted.get(name, "").isdigit():
                return int(counted[name]) / per_s
    return None


def _cgroup_folders(own: Path, root: Path) -> list[Path]:
    """Where this process's own control group may be mounted; inside a container it is the root."""
    try:
        paths = [line.split(":", 2)[1:] for line in own.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        paths = []
    folders = [root / ("cpu" if "cpu" in kinds.split(",") else "") / path.lstrip("/") for kinds, path in paths]
    return [*folders, root / "cpu", root]
