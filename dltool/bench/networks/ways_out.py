"""The ways out of an out-of-memory, each with what it would give; made by `out_of_memory`, which puts them in order.

Each comes with its cost as a number, from nothing to a model that may learn worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dltool.bench.networks.allocator_words import variable
from dltool.bench.networks.batches import nice
from dltool.bench.networks.foretelling import Foretelling, Way
from dltool.model_results import Memory
from dltool.step_results import AllocatorWords, Change
from dltool.zoo.subject import anywhere

Priced = tuple[int, Change]
_FREE, _ROUNDING, _SLOWER, _TWICE, _OTHER, _WORSE = range(6)
_WORTH_BYTES = 2**28
"""Holes and other processes below this are usual."""
_LEAST_GAIN = 0.01
"""Of the peak: what saves less is not worth a line."""
_LEAST_STATE = 0.05
"""Of the peak: from there on smaller optimizer state is worth a line."""
_LEAST_LAYERS = 9
"""With fewer, the rule of the square root saves less than a third."""
_BEYOND = 1.25
"""More than this times what a forward without gradients holds: it may hold a graph of gradients."""


@dataclass(frozen=True)
class Step:
    """The step that did not fit, and what is known of it."""

    told: Foretelling
    way: Way
    batch: int
    now: Memory
    room: int | None
    """Bytes for tensors; None: not known."""
    words: AllocatorWords | None
    text: str

    def after(self, what: str, how: str, cost: str, batch: int, way: Way) -> Change | None:
        """A change, as the memory model sees it; None where it saves next to nothing."""
        return self.to(what, how, cost, "memory model", self.told.memory(batch, way).peak)

    def to(self, what: str, how: str, cost: str, basis: str, peak: int) -> Change | None:
        """A change after which the peak is so high; None where that is hardly lower."""
        if self.now.peak - peak < _LEAST_GAIN * self.now.peak:
            return None
        fits = None if self.room is None else peak <= self.room
        return Change(what=what, how=how, cost=cost, basis=basis, peak=peak, saves=self.now.peak - peak, fits=fits)


def of_message(step: Step) -> Iterator[Priced]:
    """What the allocator's own words point to."""
    words = step.words
    if words is None:
        return
    together = (words.unallocated or 0) + (words.free or 0)
    if (words.unallocated or 0) >= _WORTH_BYTES and together >= (words.tried or 0):
        how = f"export {variable(step.text)}=expandable_segments:True"
        yield _FREE, _given("fewer holes between tensors", how, "nothing, as a rule", words, words.unallocated)
    if (words.others or 0) >= _WORTH_BYTES:
        yield _FREE, _given("end other processes on the GPU", "nvidia-smi shows them", "what they do", words, words.others)
    if words.allowed is not None and words.total is not None and words.allowed < words.total:
        how = "torch.cuda.set_per_process_memory_fraction(1.0)"
        yield _FREE, _given("lift this process's own limit", how, "memory of others", words, words.free)
    if not step.way.training and (words.allocated or 0) > _BEYOND * step.now.peak:
        beyond = (words.allocated or 0) - step.now.peak
        cost = "nothing; or something else keeps tensors"
        yield _FREE, _given("no graph of gradients", "torch.inference_mode() around the forward", cost, words, beyond)


def _given(what: str, how: str, cost: str, words: AllocatorWords, saves: int | None) -> Change:
    """Enough if what was asked for fits into it with what was free; holes and free memory are not one piece, so not surely."""
    enough = None if words.tried is None or not saves else words.tried <= saves + (words.free or 0)
    return Change(what=what, how=how, cost=cost, basis="message", saves=saves, fits=None if enough else enough)


def of_precision(step: Step) -> Iterator[Priced]:
    """Fewer bytes for a number."""
    training, bf16 = step.way.training, replace(step.way, precision="bf16")
    if training and step.way.modelled == "fp32":
        mixed = replace(step.way, precision="amp-bf16")
        how = f'--dtype amp-bf16; torch.autocast("{step.told.device}", torch.bfloat16)'
        yield from _priced(_ROUNDING, step.after("amp-bf16", how, "some rounding", step.batch, mixed))
    if step.way.modelled in ("fp32", "mixed"):
        cost = "weights in bf16 may learn worse" if training else "some rounding"
        change = step.after("bf16", "--dtype bf16; model.to(torch.bfloat16)", cost, step.batch, bf16)
        yield from _priced(_WORSE if training else _ROUNDING, change)


def of_batch(step: Step) -> Iterator[Priced]:
    """Fewer samples at once; half of them where nobody knows what would fit."""
    if step.batch < 2:
        return
    found = nice(step.batch // 2 if step.room is None else min(step.told.largest(step.room, step.way), step.batch - 1))
    if found:
        cost = "another gradient: the learning rate goes with the batch" if step.way.training else "throughput"
        change = step.after(f"batch {found}", f"--batch {found}", cost, found, step.way)
        yield from _priced(_OTHER if step.way.training else _SLOWER, change)
    if step.way.training:
        yield from _priced(_SLOWER, _accumulation(step))


def _accumulation(step: Step) -> Change | None:
    """The same batch in parts, as few as can be; the gradients of the first parts are there while the next are computed."""
    way = replace(step.way, accumulates=True)
    most = step.batch // 2 if step.room is None else min(step.told.largest(step.room, step.way), step.batch - 1)
    if not most:
        return None
    parts = math.ceil(step.batch / most)
    size = math.ceil(step.batch / parts)
    while step.room is not None and size > 1 and step.told.memory(size, way).peak > step.room:
        parts = max(parts + 1, math.ceil(step.batch / (size - max(1, size // 8))))
        size = math.ceil(step.batch / parts)
    how = f"{parts} times (loss / {parts}).backward() over {size} samples, then one optimizer.step()"
    cost = "the rate of the smaller batch; batch norm sees the parts"
    return step.after(f"accumulate {parts} x {size}", how, cost, size, way)


def of_training(step: Step) -> Iterator[Priced]:
    """What only a training step holds: what is kept for the backward, and the optimizer's state."""
    if not step.way.training:
        return
    yield from _priced(_TWICE, _checkpoints(step))
    if step.now.state >= _LEAST_STATE * step.now.peak:
        how = "--optimizer momentum; torch.optim.SGD(..., momentum=0.9)"
        way = replace(step.way, optimizer="momentum")
        if step.way.optimizer != "momentum":
            yield from _priced(_WORSE, step.after("optimizer momentum", how, "needs other learning rates", step.batch, way))
        cost = "an optimizer of another package (bitsandbytes, torchao)"
        yield _OTHER, Change(what="optimizer state in 8 bits", how="such as bitsandbytes.optim.AdamW8bit", cost=cost, basis="")


def _checkpoints(step: Step) -> Change | None:
    """A rule, not the model's word: of n alike layers, every sqrt(n)th is kept, and as many are made again at a time.

    Source: T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
    """
    layers = _layers(step)
    if layers < _LEAST_LAYERS:
        return None
    now = step.now
    saved = int(now.at_peak.get("activations", 0) * (1 - 2 / math.sqrt(layers)))
    peak = max(now.peak - saved, now.weights + now.inputs + now.gradients + now.state)
    cost = "a second forward: about a third more time"
    return step.to("activation checkpointing", "torch.utils.checkpoint around blocks of the model", cost, "estimate", peak)


def _layers(step: Step) -> int:
    """Modules that have none within."""

    def counted(device: str) -> int:
        model = step.told.subject.make(device=device, training=True)
        return sum(1 for module in model.modules() if not list(module.children()))

    return anywhere(counted)[0]


def _priced(cost: int, change: Change | None) -> Iterator[Priced]:
    if change is not None:
        yield cost, change
