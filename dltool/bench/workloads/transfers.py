"""Copies between a host and its GPU, from pinned and pageable memory, one way and both ways at once, and on the GPU itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dltool.bench import Prepared, verified
from dltool.bench.devices import Device
from dltool.bench.workloads.memory_kernels import ramp
from dltool.bench.workloads.streams import Copy, together


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One kind of copy."""

    ways: tuple[str, ...]
    """ "up" (to the GPU), "down", or both at once; none: on the GPU."""
    pinned: bool = True
    arrays: int = 1
    """Counted for each step; a copy over a link counts once, as nvbandwidth does, one on the GPU as read and written."""


TRANSFERS = {
    "h2d": Transfer(ways=("up",)),
    "d2h": Transfer(ways=("down",)),
    "h2d_pageable": Transfer(ways=("up",), pinned=False),
    "d2h_pageable": Transfer(ways=("down",), pinned=False),
    "both_ways": Transfer(ways=("up", "down"), arrays=2),
    "d2d": Transfer(ways=(), arrays=2),
}
LINKED = tuple(name for name, transfer in TRANSFERS.items() if transfer.ways)
"""Those that are bound by the link to the host."""


def prepare(torch: Any, name: str, length: int, device: Device) -> Prepared:
    """The arrays on both sides, and the step that copies."""
    transfer = TRANSFERS[name]
    if transfer.ways:
        copies = [_between(torch, way, length, device, pinned=transfer.pinned) for way in transfer.ways]
    else:
        copies = [(torch.zeros(length, device=device.name), ramp(torch, length, device.name))]
    if len(copies) > 1:
        step = together(torch, device.name, copies)
    else:
        ((target, source),) = copies
        step = lambda: target.copy_(source, non_blocking=transfer.pinned)  # noqa: E731
    return Prepared(step, lambda: verified("every element", sum(wrong(copy) for copy in copies)))


def wrong(copy: Copy) -> int:
    """How many elements of the target are not those of the source."""
    target, source = copy
    return int((target.cpu() != source.cpu()).sum())


def _between(torch: Any, way: str, length: int, device: Device, *, pinned: bool) -> Copy:
    """Target and source of one direction: the numbers on one side, zeros on the other."""
    full = ramp(torch, length, "cpu" if way == "up" else device.name)
    empty = torch.zeros(length, device=device.name if way == "up" else "cpu")
    if not pinned:
        return empty, full
    return (empty, full.pin_memory()) if way == "up" else (empty.pin_memory(), full)
