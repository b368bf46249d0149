"""What it costs to start work that is next to nothing: the floor under every small operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from dltool.bench import WORKLOADS, Prepared, verified
from dltool.bench.devices import Device, Step, import_torch
from dltool.bench.workloads.kit import Cases, check_choice
from dltool.errors import CannotRun
from dltool.results import Verified, Work

METHODS = ("op", "kernel", "graph", "round_trip")
_LAUNCHES = 100
"""In one step: so many that waiting for the device at its end counts for little, and that no timer takes the step for a short
kernel whose launch is to be hidden."""


@WORKLOADS.register("launch")
@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Start work again and again: op (torch adds 1 to one number), kernel (an empty one), graph (the ops, replayed as one CUDA
    graph) or round_trip (an op, and waiting until it is done).

    A step is 100 of them. On a CPU, `op` is the overhead of torch's dispatch.
    """

    method: str = "op"
    dtype: str = "fp32"

    @property
    def rate_unit(self) -> str:
        """Launches."""
        return "OP/s"

    @property
    def label(self) -> str:
        """The method."""
        return self.method

    @property
    def size(self) -> str:
        """How many make a step."""
        return f"{_LAUNCHES} launches"

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)

    def work(self) -> Work:
        """Launches of one step."""
        return Work(ops=_LAUNCHES)

    def sizes(self) -> Iterator[Launch]:
        """There is but one."""
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """None is known."""
        return None

    def implementation(self, device: Device) -> str:
        """As it is."""
        return "native"

    def doubts(self, device: Device) -> list[str]:
        """None: a launch is a launch."""
        return []

    def prepare(self, device: Device) -> Prepared:
        """A number that each launch counts up, so that none can be lost unseen."""
        torch = import_torch()
        if self.method != "op" and device.kind != "cuda":
            raise CannotRun(f"launch {self.method} needs a CUDA device", remedy="On a CPU: --set method=op")
        wait: Step = (lambda: torch.cuda.synchronize(device.name)) if device.kind == "cuda" else (lambda: None)
        if self.method == "kernel":
            return Prepared(_many(lambda: torch.cuda._sleep(0), wait), lambda: _no_error(torch, device))
        number = torch.zeros((), dtype=torch.int64, device=device.name)
        return _counted(number, self._step(torch, number, wait, device))

    def _step(self, torch: Any, number: Any, wait: Step, device: Device) -> Step:
        """A hundred additions to `number`."""

        def launch() -> object:
            return number.add_(1)

        def round_trip() -> None:
            launch()
            wait()

        if self.method == "graph":
            replay = _recorded(torch, _many(launch, lambda: None), device)
            number.zero_()
            return lambda: (replay(), wait())
        return _many(round_trip if self.method == "round_trip" else launch, wait)


def _many(launch: Callable[[], object], wait: Step) -> Step:
    def step() -> None:
        for _ in repeat(None, _LAUNCHES):
            launch()
        wait()

    return step


def _counted(number: Any, launches: Step) -> Prepared:
    """The step, and whether the number on the device has seen every launch of it."""
    steps = 0

    def step() -> object:
        nonlocal steps
        steps += 1
        return launches()

    reference = "one is added by each launch"
    return Prepared(step, lambda: verified(reference, abs(int(number) - steps * _LAUNCHES) if steps else 1))


def _recorded(torch: Any, launches: Step, device: Device) -> Step:
    """A CUDA graph of a step; recording one needs a warm-up on a stream of its own."""
    side = torch.cuda.Stream(device=device.name)
    side.wait_stream(torch.cuda.current_stream(device.name))
    with torch.cuda.stream(side):
        launches()
    torch.cuda.current_stream(device.name).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device.name), torch.cuda.graph(graph):
        launches()
    replay: Step = graph.replay
    return replay


def _no_error(torch: Any, device: Device) -> Verified:
    """An empty kernel leaves nothing to compare but the device in order."""
    torch.cuda.synchronize(device.name)
    return verified("the device reports no error", 0)


def chosen(device: Device) -> Cases:
    """All that the device can do."""
    return [("launch", Launch(method=method)) for method in METHODS if method == "op" or device.kind == "cuda"]


def default_cases(device: Device, suite: str) -> Cases:
    """All of it, but for a quick look."""
    return [] if suite == "quick" else chosen(device)
