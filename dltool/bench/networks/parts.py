"""Where the time of a training step goes: the same step with a look at the clock between its parts."""

from __future__ import annotations

import statistics
import time
from typing import Any

from dltool.bench.networks.making import Network
from dltool.step_results import Part

_STEPS = 9


class Clock:
    """Marks moments on the device: CUDA events on a GPU, the host's clock on a CPU."""

    def __init__(self, made: Network) -> None:
        self._made = made
        self._events = made.device.kind == "cuda"

    def now(self) -> Any:
        """A moment."""
        if not self._events:
            return time.perf_counter()
        event = self._made.torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, began: Any, ended: Any) -> float:
        """Seconds between two moments that have passed."""
        return float(began.elapsed_time(ended)) / 1e3 if self._events else ended - began


class _Stamped:
    """A model that marks when its forward begins and ends; all else is the model's."""

    def __init__(self, model: Any, clock: Clock) -> None:
        self._model = model
        self._clock = clock
        self.spans: list[tuple[Any, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        began = self._clock.now()
        output = self._model(*args, **kwargs)
        self.spans.append((began, self._clock.now()))
        return output


def of_training(made: Network, most_s: float) -> tuple[Part, ...]:
    """Forward, loss, backward and optimizer, the median of each over a few steps.

    Where the task makes its loss inside the model, as detectors do, the forward holds it.

    Args:
        made: the model with its optimizer.
        most_s: what this may take; one step is made whatever it takes.
    """
    began = time.perf_counter()
    found: list[dict[str, float]] = []
    while len(found) < _STEPS and (not found or time.perf_counter() - began < most_s):
        found.append(_once(made))
    return tuple(Part(name=name, seconds=statistics.median(one[name] for one in found)) for name in found[0])


def _once(made: Network) -> dict[str, float]:
    clock = Clock(made)
    model = _Stamped(made.model, clock)
    begin = clock.now()
    loss = made.loss(model)
    after_loss = clock.now()
    made.backward(loss)
    after_backward = clock.now()
    made.update()
    after_update = clock.now()
    made.wait()
    forward = sum(clock.between(*span) for span in model.spans)
    whole = clock.between(begin, after_loss)
    front = {"forward": forward, "loss": max(0.0, whole - forward)} if model.spans else {"forward and loss": whole}
    behind = {"backward": clock.between(after_loss, after_backward), "optimizer": clock.between(after_backward, after_update)}
    return {**front, **behind}


def of_data(made: Network, most_s: float) -> tuple[Part, ...]:
    """Copying the batch from pinned memory of the host to a GPU; nothing on a CPU, where it lies already."""
    if made.device.kind != "cuda":
        return ()
    torch = made.torch
    held = [(one, one.cpu().pin_memory()) for one in made.inputs if isinstance(one, torch.Tensor)]
    times: list[float] = []
    began, clock = time.perf_counter(), Clock(made)
    while len(times) < _STEPS and (not times or time.perf_counter() - began < most_s):
        start = clock.now()
        for here, there in held:
            here.copy_(there, non_blocking=True)
        end = clock.now()
        made.wait()
        times.append(clock.between(start, end))
    return (Part(name="data", seconds=statistics.median(times), inside=False),)
