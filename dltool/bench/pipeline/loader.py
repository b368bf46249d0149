"""A DataLoader of a recipe, and what its failures mean."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dltool.bench.pipeline.dataset import Batch, Collate, Order, Pictures, Recipe
from dltool.errors import CannotRun
from dltool.units import gib

_PATIENCE_S = 30.0
"""For one batch: a worker that could not hand it over, for lack of shared memory, never says so."""
_SHARED = "/dev/shm"
_LACKING = ("bus error", "no space left", "shared memory", "unable to write to file")
_REMEDY = (
    "give it more (docker run --ipc=host or --shm-size=8g; in Kubernetes an emptyDir of medium Memory at /dev/shm), or take "
    "fewer workers, a smaller batch or prefetch 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How batches come."""

    workers: int = 0
    prefetch: int = 2
    """Batches that each worker makes ahead."""
    pin: bool = False
    batches: int | None = None
    """Of an epoch, after which all workers end and others are started; None: the first ones go on for ever."""


class Feed:
    """Batches one after the other, epoch after epoch.

    Raises:
        CannotRun: workers cannot hand over batches through the shared memory that there is.
    """

    def __init__(self, recipe: Recipe, how: How, shared: str = _SHARED) -> None:
        self._how, self._recipe, self._shared = how, recipe, shared
        refuse_without_room(recipe, how, shared)
        self._loader = _loader(recipe, how)
        self._batches: Iterator[Batch] | None = None
        self.last: Batch | None = None
        """The one that came last."""
        began = time.perf_counter()
        self.next()
        self.started_s = time.perf_counter() - began
        """Starting the workers, and the first batch."""

    def next(self) -> Batch:
        """Wait for a batch.

        Raises:
            CannotRun: there is too little shared memory for it.
            RuntimeError: a worker died, or failed.
        """
        try:
            self.last = self._next()
        except (EOFError, ConnectionError):  # its end of a pipe was closed
            raise RuntimeError("a worker of the loader died") from None
        except (RuntimeError, OSError, ValueError) as error:
            text = str(error).strip() or type(error).__name__
            late = "timed out" in text
            if any(word in text.lower() for word in _LACKING) or (late and not has_room(self._recipe, self._how, self._shared)):
                raise CannotRun(lacking(self._recipe, self._how, self._shared, text), remedy=_REMEDY) from None
            raise RuntimeError(text.splitlines()[-1]) from None  # the first lines say which worker, the last what happened
        return self.last

    def _next(self) -> Batch:
        if self._batches is None:
            self._batches = iter(self._loader)
        try:
            return next(self._batches)
        except StopIteration:
            self._batches = None
        return self._next()

    def epoch(self) -> None:
        """One epoch from its start, workers started and ended with it."""
        self._batches = None
        for _ in range(self._how.batches or 0):
            self.next()


def _loader(recipe: Recipe, how: How) -> Any:
    from torch.utils.data import DataLoader

    of_workers = (
        {"prefetch_factor": how.prefetch, "persistent_workers": how.batches is None, "timeout": _PATIENCE_S}
        if how.workers
        else {}
    )
    return DataLoader(
        Pictures(recipe),
        batch_sampler=Order(recipe.batch, how.batches),
        collate_fn=Collate(recipe),
        num_workers=how.workers,
        pin_memory=how.pin,
        **of_workers,
    )


def needed_bytes(recipe: Recipe, how: How) -> int:
    """Shared memory of the batches that wait, when the training is slower than the workers."""
    return how.workers * how.prefetch * recipe.batch_bytes


def refuse_without_room(recipe: Recipe, how: How, shared: str = _SHARED) -> None:
    """Not to be tried where the batches in flight cannot all be held: a worker then dies, or hangs without a word.

    Raises:
        CannotRun: says how much is needed.
    """
    if not has_room(recipe, how, shared):
        raise CannotRun(lacking(recipe, how, shared), remedy=_REMEDY)


def has_room(recipe: Recipe, how: How, shared: str = _SHARED) -> bool:
    """Whether the batches in flight fit into what is free; so it is said where that is not known."""
    free = free_bytes(shared)
    return free is None or needed_bytes(recipe, how) <= free


def free_bytes(shared: str) -> int | None:
    """What is free of a file system; None where there is none."""
    try:
        about = os.statvfs(shared)
    except OSError:
        return None
    return about.f_bavail * about.f_frsize


def lacking(recipe: Recipe, how: How, shared: str, error: str = "") -> str:
    """Why batches cannot be handed over, and what to do: in a row there is no room for a remedy apart."""
    free = free_bytes(shared)
    has = "" if free is None else f"; {shared} has {gib(free)} free"
    said = f" ({error.strip().splitlines()[0][:120]})" if error.strip() else ""
    flying = f"{how.workers} x {how.prefetch} batches in flight (workers x prefetch)"
    return f"{flying} need {gib(needed_bytes(recipe, how))} of shared memory{has}{said}: {_REMEDY}"
