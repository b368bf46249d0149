"""Trying a batch for real: two steps in a child process with limits, so that what does not fit costs a child and nothing else.

On a CPU each try has a child of its own, whose allocations fail before the machine suffers (`isolation.memory`). On a GPU a
child is kept while batches fit, with torch's cache emptied between them, since a CUDA context takes long to make; after a
failure, and for a batch that is tried again, there is a fresh one.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress

from dltool.bench import Workload, resident
from dltool.bench.devices import Device, import_torch
from dltool.bench.harness import CANNOT, own_precision
from dltool.bench.isolation import memory
from dltool.bench.isolation.workers import Child, Died, Workers
from dltool.bench.networks.batches import ERROR, MEMORY, TIME, Trial
from dltool.bench.sizing import is_out_of_memory
from dltool.units import seconds as in_words

PRELOAD = ("torch", "torch._dynamo", "dltool.zoo.subject", "dltool.bench.networks.trials")
"""For `Workers` that try models. The first optimizer imports torch._dynamo: 2 s and 80 MB, which every try would pay anew."""
_WORDS = ("cannot allocate memory", "alloc_failed", "by the system for lack of memory", "of memory", "left the machine only",
          "memoryerror", "bad_alloc", "nvml_success == ")  # fmt: skip
"""How libraries, and the watcher of a child, say besides torch's allocators that there was no memory."""
_MOST_TEXT = 2000


class Tries:
    """Tries batches of one case, one after the other: the callback of `batches.largest`.

    Args:
        workers: makes the children.
        device: to run on.
        case_at: the workload at a batch; importable in a child, and picklable.
        longest_s: a step that takes longer is "too slow to try", which says nothing of memory.
        start_s: what making the model and the first step (compiling, choosing algorithms) may take beyond that.
        memory_bytes: what a child may hold of the host's memory; by default nearly all that is available.
    """

    def __init__(
        self,
        workers: Workers,
        device: Device,
        case_at: Callable[[int], Workload],
        *,
        longest_s: float = 10.0,
        start_s: float = 60.0,
        memory_bytes: int | None = None,
    ) -> None:
        self._workers, self._device, self._case_at = workers, device, case_at
        self._longest_s, self._start_s, self._memory_bytes = longest_s, start_s, memory_bytes
        self._took: dict[int, float] = {}
        self._tried: set[int] = set()
        self._child: Child | None = None

    def __enter__(self) -> Tries:
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()

    def __call__(self, batch: int) -> Trial:
        """Try it; what is foreseen to take too long is not run.

        Raises:
            isolation.workers.Interrupted: Ctrl-C.
        """
        foreseen = foreseen_s(self._took, batch)
        if foreseen > self._longest_s:
            return Trial(fits=False, stopped_by=TIME, why=_slow(foreseen, self._longest_s, "would take"))
        if batch in self._tried:
            self._end()
        self._tried.add(batch)
        most = self._memory_bytes if self._memory_bytes is not None else memory.limit(memory.available_bytes())
        child, self._child = self._child or self._workers.make_child(), None
        found = try_batch(
            self._workers, self._device, self._case_at(batch), child=child,
            longest_s=self._longest_s, start_s=self._start_s, memory_bytes=most,
        )  # fmt: skip
        if found.seconds is not None:
            self._took[batch] = found.seconds
        if found.fits and self._device.kind == "cuda":
            self._child = child
        else:
            self._workers.end(child)
        return found

    def _end(self) -> None:
        if self._child is not None:
            self._workers.end(self._child)
            self._child = None


def try_batch(
    workers: Workers,
    device: Device,
    workload: Workload,
    *,
    longest_s: float = 10.0,
    start_s: float = 60.0,
    memory_bytes: int | None = None,
    child: Child | None = None,
) -> Trial:
    """Two steps of a workload in a child process: whether it fits, how long the second takes, and what it held at most.

    Raises:
        isolation.workers.Interrupted: Ctrl-C.
    """
    try:
        found: Trial = workers.call(
            try_here, workload, device, memory_bytes, longest_s,
            timeout_s=start_s + 2 * longest_s, memory_bytes=memory_bytes, child=child,
        )  # fmt: skip
    except Died as death:
        text = str(death)
        if text.startswith("was stopped after"):
            return Trial(fits=False, stopped_by=TIME, why=f"too slow to try: its process {text}; whether it fits is not known")
        return Trial(fits=False, stopped_by=MEMORY if _for_memory(text) else ERROR, why=f"its process {text}")
    return found


def try_here(workload: Workload, device: Device, most: int | None, longest_s: float) -> Trial:
    """What the child does; everything that was allocated is let go of in the end."""
    if device.kind == "cpu" and most is not None:
        memory.refuse_beyond(most)
    before = resident.now()
    try:
        with own_precision(device):
            took = _stepped(workload, device)
    except CANNOT as error:
        no_memory = is_out_of_memory(error) or _for_memory(str(error))
        text = str(error)[:_MOST_TEXT] or type(error).__name__
        return Trial(fits=False, stopped_by=MEMORY if no_memory else ERROR, why=text)
    finally:
        gc.collect()
        if device.kind == "cuda":
            with suppress(RuntimeError):  # a GPU that failed cannot give anything back
                import_torch().cuda.empty_cache()
    peak = _peak(device, before)
    if took > longest_s:
        return Trial(fits=False, stopped_by=TIME, seconds=took, peak_bytes=peak, why=_slow(took, longest_s, "takes"))
    return Trial(fits=True, seconds=took, peak_bytes=peak)


def _stepped(workload: Workload, device: Device) -> float:
    """Seconds of the second step; the first compiles, chooses algorithms and makes the optimizer's state."""
    if device.kind == "cuda":
        import_torch().cuda.reset_peak_memory_stats(device.name)
    prepared = workload.prepare(device)
    device.timer(prepared.step, 1)
    return device.timer(prepared.step, 1)


def foreseen_s(took: dict[int, float], batch: int) -> float:
    """Seconds of a step, along the line through the two largest smaller batches; 0 where there are not two.

    One small batch foretells nothing: most of its step is what every step costs.
    """
    smaller = sorted(size for size in took if size < batch)[-2:]
    if len(smaller) < 2:
        return 0.0
    first, last = smaller
    slope = max(0.0, took[last] - took[first]) / (last - first)
    return took[last] + slope * (batch - last)


def _slow(took: float, most: float, verb: str) -> str:
    return f"too slow to try: a step {verb} {in_words(took)}, more than {in_words(most)}; whether it fits is not known"


def _for_memory(text: str) -> bool:
    lower = text.lower()
    return any(words in lower for words in _WORDS)


def _peak(device: Device, before: int | None) -> int | None:
    """Bytes that were held at most: by torch's allocator on a GPU, by the process beyond its start on a CPU."""
    if device.kind == "cuda":
        return int(import_torch().cuda.max_memory_allocated(device.name))
    return resident.beyond(before)
