"""Why a step did not fit: what holds the memory, what the allocator said, and what each way out would give.

Every gain but that of checkpointing is the memory model's, which makes the changed step; where it has no figure, none is told.
"""

from __future__ import annotations

from dltool import tables
from dltool.bench.networks import ways_out
from dltool.bench.networks.allocator_words import parse
from dltool.bench.networks.foretelling import Foretelling, Way
from dltool.bench.networks.ways_out import Step
from dltool.model_results import Memory
from dltool.step_results import AllocatorWords, Change, Held, OutOfMemory
from dltool.units import gib
from dltool.zoo.subject import Subject

_UNMODELLED = ("fp8", "int8")


def explain(
    subject: Subject,
    *,
    batch: int,
    precision: str = "fp32",
    optimizer: str = "adamw",
    training: bool = True,
    available_bytes: int | None = None,
    error_text: str = "",
    device: str = "cuda",
) -> OutOfMemory:
    """What to change so that a step fits. A dozen steps are made on the meta device: seconds, half a minute for a detector.

    Args:
        subject: the model.
        batch: that did not fit.
        precision: as `dltool bench model` calls it, or as the memory model does.
        optimizer: of `dltool.zoo.memory.OPTIMIZERS`.
        training: whether it trained.
        available_bytes: what its tensors may take; by default what the message tells of it.
        error_text: the message, whole.
        device: "cuda" or "cpu".

    Raises:
        UsageError: an unknown precision or optimizer.
        RuntimeError: torch cannot make the step on the meta device, nor on the CPU.
    """
    told, way, words = Foretelling(subject, device), Way(precision, optimizer, training), parse(error_text)
    available = available_bytes if available_bytes is not None else _available(words)
    now = told.memory(batch, way)
    step = Step(told, way, batch, now, room(available, device), words, error_text)
    found = [*ways_out.of_message(step), *ways_out.of_precision(step), *ways_out.of_batch(step), *ways_out.of_training(step)]
    return OutOfMemory(
        subject=subject.name,
        batch=batch,
        precision=precision,
        optimizer=optimizer if training else None,
        peak=now.peak,
        peak_in=now.peak_in,
        available=available,
        held=_held(now),
        said=words,
        changes=tuple(change for _, change in sorted(found, key=lambda each: _order(*each))),
        notes=tuple(_notes(step, available)),
    )


def room(available: int | None, device: str) -> int | None:
    """What of it tensors can fill: on a GPU, less what is lost between blocks. See catalog/memory_overheads.csv."""
    if available is None or device == "cpu":
        return available
    holes = next(float(row["value"]) for row in tables.rows("memory_overheads") if row["name"] == "holes")
    return int(available / (1 + holes))


def _available(words: AllocatorWords | None) -> int | None:
    """What this process could have had for tensors when it was refused: theirs, the holes, and what was free."""
    if words is None or words.allocated is None:
        return None
    had = words.allocated + (words.unallocated or 0) + (words.free or 0)
    return min(had, words.allowed) if words.allowed is not None else had


def _held(now: Memory) -> tuple[Held, ...]:
    parts = sorted(now.at_peak.items(), key=lambda part: (-part[1], part[0]))
    whole = sum(size for _, size in parts)
    return tuple(Held(name=name, bytes=size, share=size / whole) for name, size in parts if size)


def _order(cost: int, change: Change) -> tuple[int, int, int]:
    """What is enough first, what is not known to be next; then by cost; then by gain."""
    return (0 if change.fits else 1 if change.fits is None else 2), cost, -(change.saves or 0)


def _notes(step: Step, available: int | None) -> list[str]:
    found = []
    if step.room is not None and available is not None and step.now.peak <= step.room:
        found.append(
            f"the step's tensors take {gib(step.now.peak)}, which should fit into {gib(available)}: something else holds "
            "memory, such as tensors kept from earlier steps (a list of losses), a second model, or workspaces of libraries"
        )
    if step.room is not None and step.told.largest(step.room, step.way) < 1:
        found.append("not even one sample is foreseen to fit: the batch alone does not help")
    if step.way.precision in _UNMODELLED:
        found.append(f"{step.way.precision} is reckoned as fp32, which holds more")
    if step.now.found_on == "cpu":
        found.append("this model does not run without real numbers: its memory is drawn as a line from batches of 2 and 4")
    return found
