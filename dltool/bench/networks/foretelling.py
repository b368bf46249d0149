"""What a step is foretold to hold, in the words of `dltool bench model`: batch, precision, optimizer, device."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from msgspec import structs

from dltool.model_results import Memory
from dltool.zoo import fits, memory
from dltool.zoo.subject import Subject

_MODELLED = {"tf32": "fp32", "amp-fp16": "mixed", "amp-bf16": "mixed", "fp8": "fp32", "int8": "fp32"}
"""Precisions of the benchmark by what the memory model calls them. Eight-bit layers hold less than fp32, so that is no less."""
_FIRST, _SECOND = 2, 4
_PROOFS = 8
"""More than are mostly needed: where the peak of small batches is in the optimizer, the first lines miss by far."""
_SIZES = ("weights", "inputs", "gradients", "state", "activations", "peak")


@dataclass(frozen=True)
class Way:
    """A way to run a model."""

    precision: str = "fp32"
    optimizer: str = "adamw"
    training: bool = True
    accumulates: bool = False
    """Gradients of earlier parts of a batch are kept while the next part is computed."""

    @property
    def modelled(self) -> str:
        """Its precision, as the memory model calls it."""
        return _MODELLED.get(self.precision, self.precision)


@dataclass
class Foretelling:
    """Foretells steps of one model; each is asked for once.

    Args:
        subject: the model.
        device: "cuda" or "cpu": whose habits are meant.
    """

    subject: Subject
    device: str = "cuda"
    _known: dict[tuple[int, Way], Memory] = field(default_factory=dict)

    def memory(self, batch: int, way: Way) -> Memory:
        """What a step holds.

        A model that only runs with real numbers is not run at a large batch here: that may be the very one that did not fit.
        What it holds at two small ones is drawn on as a line.

        Raises:
            UsageError: an unknown precision or optimizer.
            RuntimeError: torch cannot make this step.
        """
        kept = replace(way, precision=way.modelled)
        if (batch, kept) not in self._known:
            self._known[batch, kept] = self._found(batch, kept)
        return self._known[batch, kept]

    def largest(self, room: int, way: Way) -> int:
        """The largest batch whose tensors are foretold to fit into `room` bytes; 0 for none."""
        meta = self._on_meta(way)
        second, proofs = (64, _PROOFS) if meta else (_SECOND, 0)
        return fits.largest(lambda batch: self.memory(batch, way).peak, room, second=second, proofs=proofs).batch

    def _on_meta(self, way: Way) -> bool:
        return self.memory(_FIRST, way).found_on != "cpu"

    def _found(self, batch: int, way: Way) -> Memory:
        if way.accumulates:
            return _accumulating(self.memory(batch, replace(way, accumulates=False)))
        if batch in (_FIRST, _SECOND) or self._on_meta(way):
            return self._asked(batch, way)
        return _drawn(self.memory(_FIRST, way), self.memory(_SECOND, way), batch)

    def _asked(self, batch: int, way: Way) -> Memory:
        habits = memory.CPU if self.device == "cpu" else memory.GPU
        if not way.training:
            return memory.inference(self.subject, batch, dtype=way.precision, habits=habits)
        return memory.training(self.subject, batch, dtype=way.precision, optimizer=way.optimizer, habits=habits)


def _accumulating(one: Memory) -> Memory:
    """With all gradients there from the start: those that the peak did not yet have come to it."""
    more = max(0, one.gradients - one.at_peak.get("gradients", 0))
    return structs.replace(one, peak=one.peak + more, at_peak={**one.at_peak, "gradients": one.gradients})


def _drawn(first: Memory, second: Memory, batch: int) -> Memory:
    """Along the line through two batches.

    Where their peak is in the optimizer, which does not grow, a large batch has its peak elsewhere: it holds no less than what
    is there at the end of the forward.
    """

    def at(low: int, high: int) -> int:
        return max(0, low + (high - low) * (batch - first.batch) // (second.batch - first.batch))

    sizes = {name: at(getattr(first, name), getattr(second, name)) for name in _SIZES}
    parts = sorted({*first.at_peak, *second.at_peak})
    held = {name: at(first.at_peak.get(name, 0), second.at_peak.get(name, 0)) for name in parts}
    found = structs.replace(second, batch=batch, at_peak=held, **sizes)
    left = {name: sizes[name] for name in ("weights", "inputs", "state", "activations")}
    if sum(left.values()) > found.peak:
        return structs.replace(found, peak=sum(left.values()), at_peak=left, peak_in="forward")
    return found
