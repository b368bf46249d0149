"""What the message of an allocator says, in numbers: torch's on CUDA in its forms since 1.0, and torch's on a CPU.

Forms seen in issues of public projects; CUDACachingAllocator.cpp and alloc_cpu.cpp of torch print them.
"""

from __future__ import annotations

import re

from dltool.step_results import AllocatorWords
from dltool.units import parse_bytes

_SIZE = r"(\d{1,15}(?:\.\d{1,6})? (?:bytes|[KMGT]iB|[KMGT]B))"
_FORMS = {
    "tried": (rf"Tried to allocate {_SIZE}", r"tried to allocate (\d{1,20}) bytes"),
    "total": (rf"total capac(?:i)?ty of {_SIZE}", rf"{_SIZE} total capacity"),
    "free": (rf"of which {_SIZE} is free", rf"{_SIZE} free"),
    "in_use": (rf"this process has {_SIZE} memory in use",),
    "allocated": (rf"{_SIZE} is allocated by PyTorch", rf"{_SIZE} already allocated"),
    "unallocated": (rf"{_SIZE} is reserved by PyTorch but unallocated",),
    "graphs": (rf"with {_SIZE} allocated in private pools",),
    "allowed": (rf"{_SIZE} allowed",),
}
_RESERVED = re.compile(rf"{_SIZE} (?:reserved in total by PyTorch|cached)")
_OTHERS = re.compile(rf"Process \d{{1,15}} has {_SIZE} memory in use")
_VARIABLE = re.compile(r"PYTORCH_(?:CUDA_|HIP_)?ALLOC_CONF")
_MOST = 100_000


def parse(text: str) -> AllocatorWords | None:
    """The numbers of an out-of-memory message; None where it has none.

    "Process 123 has ..." may name the very process that asks, in a container where it has another number: what its allocator
    holds is taken off it.
    """
    text = text[:_MOST]
    found = {name: _first(forms, text) for name, forms in _FORMS.items()}
    reserved = _RESERVED.search(text)
    if reserved and found["unallocated"] is None and found["allocated"] is not None:
        found["unallocated"] = max(0, _bytes(reserved[1]) - found["allocated"])
    said = [_bytes(each) for each in _OTHERS.findall(text)]
    if said:
        found["others"] = _others(said, found)
    return AllocatorWords(**found) if any(value is not None for value in found.values()) else None


def variable(text: str) -> str:
    """The environment variable of torch's allocator, as the message names it.

    The old name works in all releases; PYTORCH_ALLOC_CONF is not heeded on CUDA by 2.9.1 (pytorch/pytorch issue 183387).
    """
    found = _VARIABLE.search(text[:_MOST])
    return found[0] if found else "PYTORCH_CUDA_ALLOC_CONF"


def _others(said: list[int], found: dict[str, int | None]) -> int:
    if found["in_use"] is not None:
        return sum(said)
    ours = (found["allocated"] or 0) + (found["unallocated"] or 0)
    own = min((size for size in said if size >= ours), default=None)
    return sum(said) - (own if own is not None else 0)


def _first(forms: tuple[str, ...], text: str) -> int | None:
    for form in forms:
        if match := re.search(form, text):
            return _bytes(match[1])
    return None


def _bytes(text: str) -> int:
    """As torch prints them: "GiB" is 2**30; a very old "GB" meant the same."""
    number, _, unit = text.partition(" ")
    return parse_bytes(number if unit in ("", "bytes") else f"{number} {unit[0]}iB")
