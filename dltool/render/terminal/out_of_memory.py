"""Why a step did not fit, and what to change: lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from dltool.render import zoo
from dltool.step_results import AllocatorWords, Change, OutOfMemory
from dltool.units import percent

_NAMES = {"state": "optimizer state", "temporary": "temporary tensors"}
_BAR = 24
_LEAST = 0.001
_SAID = (
    ("tried", "tried to take {}"),
    ("free", "{} free"),
    ("total", "of {}"),
    ("allocated", "tensors hold {}"),
    ("unallocated", "{} in holes between them"),
    ("graphs", "{} in pools of CUDA graphs"),
    ("others", "other processes hold {}"),
    ("allowed", "{} allowed to this process"),
)


def lines(found: OutOfMemory, width: int = 100) -> list[str]:
    """What holds the memory, what the allocator said, and the ways out in their order."""
    return [*_wrapped(_headline(found), width), *_held(found), *_told(found.said, width), *_changes(found.changes, width),
            *(line for note in found.notes for line in _wrapped(f"note: {note}", width, "  "))]  # fmt: skip


def _headline(found: OutOfMemory) -> str:
    way = f"training with {found.optimizer}" if found.optimizer else "inference"
    room = "" if found.available is None else f"; {zoo.size(found.available)} are there for it"
    return (
        f"{found.subject}, batch {found.batch}, {found.precision}, {way}: its tensors take {zoo.size(found.peak)} at the peak, "
        f"in the {found.peak_in}{room}"
    )


def _held(found: OutOfMemory) -> Iterator[str]:
    worth = [each for each in found.held if each.share >= _LEAST]
    names = [_NAMES.get(each.name, each.name) for each in worth]
    widest = max(map(len, names), default=0)
    for name, each in zip(names, worth, strict=True):
        bar = "█" * max(1, round(each.share * _BAR))
        yield f"  {name.ljust(widest)}  {zoo.size(each.bytes):>9}  {percent(each.share):>5}  {bar}"


def _told(said: AllocatorWords | None, width: int) -> Iterator[str]:
    if said is None:
        return
    parts = [text.format(zoo.size(size)) for name, text in _SAID if (size := getattr(said, name)) is not None]
    yield from _wrapped("the allocator: " + ", ".join(parts), width, "  ")


def _changes(changes: Iterable[Change], width: int) -> Iterator[str]:
    chosen = list(changes)
    if not chosen:
        return
    yield "what to change:"
    widest = max(len(change.what) for change in chosen)
    for change in chosen:
        yield from _wrapped(f"{change.what.ljust(widest)}  {_gain(change)}. {change.how}. Cost: {change.cost}.", width, "  ")


def _gain(change: Change) -> str:
    """What it gives, how that is known, and whether it is enough."""
    if change.saves is None:
        return "no estimate"
    enough = {True: ", fits", False: ", not enough alone", None: ""}[change.fits]
    by = {"estimate": " (an estimate)", "message": " at most (by the message)"}.get(change.basis, "")
    return f"saves {zoo.size(change.saves)}{by}{enough}"


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False)
