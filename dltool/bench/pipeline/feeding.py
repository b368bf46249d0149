"""Batches on the device, copied while the step before computes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dltool.bench.devices import Device
from dltool.bench.pipeline.dataset import Batch, Recipe, augmented_batch
from dltool.bench.pipeline.loader import Feed


class Fed:
    """A feed whose batches are on a device.

    On a GPU a batch is copied, and augmented where the recipe wants that, on a stream of its own, so that both run beside the
    step. Call `take`, launch the step, then `fetch`: the host waits for the loader while the device computes.
    """

    def __init__(self, feed: Feed, recipe: Recipe, device: Device) -> None:
        self._feed, self._recipe, self._device = feed, recipe, device
        self._stream = _stream(device)
        self.waited_s = 0.0
        """By the host for the loader, since the start."""
        self._ahead = self._moved()

    def take(self) -> Batch:
        """The batch that was fetched, ready for the device's current stream."""
        if self._stream is not None:
            import torch

            current = torch.cuda.current_stream(self._device.name)
            current.wait_stream(self._stream)
            for tensor in self._ahead:
                tensor.record_stream(current)
        return self._ahead

    def fetch(self) -> None:
        """Wait for the next batch, and begin to copy it."""
        self._ahead = self._moved()

    def _moved(self) -> Batch:
        began = time.perf_counter()
        batch = self._feed.next()
        self.waited_s += time.perf_counter() - began
        if self._stream is None:
            return batch
        import torch

        place = int(batch.places[0])
        with torch.cuda.stream(self._stream):
            moved = on_device(batch, self._device.name)
            return augmented_batch(moved, self._recipe.augment, place) if self._recipe.on_device else moved


def on_device(batch: Batch, name: str) -> Batch:
    """Its copy there; from pinned memory the host does not wait for it."""
    return Batch(*(tensor.to(name, non_blocking=True) for tensor in batch))


def _stream(device: Device) -> Any:
    if device.kind != "cuda":
        return None
    import torch

    return torch.cuda.Stream(device=device.name)


def turn(fed: Fed, train: Callable[[Any], object]) -> None:
    """One step of a training with its data."""
    batch = fed.take()
    train(batch.images)
    fed.fetch()
