"""What it costs to start work that is next to nothing: the floor under every small operation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dltool.bench import WORKLOADS, Prepared, verified
from dltool.bench.devices import Device, Step, import_torch
from dltool.bench.workloads.kit import Cases, check_choice
from dltool.errors import CannotRun
from dltool.results import Verified, Work

METHODS = ("op", "kernel", "graph")
_IN_GRAPH = 100
_WAIT_CYCLES = 0


@WORKLOADS.register("launch")
@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Start work again and again: op (torch adds 1 to one number), kernel (an empty one) or graph (100 such ops, replayed).

    On a CPU, `op` is the overhead of torch's dispatch. On a GPU launches are queued, so this is what the next one waits for.
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
        return f"{self.work().ops} launches" if self.method == "graph" else "1 launch"

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)

    def work(self) -> Work:
        """Launches of one step."""
        return Work(ops=_IN_GRAPH if self.method == "graph" else 1)

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
        if self.method == "kernel":
            return Prepared(lambda: torch.cuda._sleep(_WAIT_CYCLES), lambda: _no_error(torch, device))
        number = torch.zeros((), dtype=torch.int64, device=device.name)
        launch: Step = lambda: number.add_(1)  # noqa: E731
        if self.method == "graph":
            launch = _recorded(torch, launch, device)
            number.zero_()
        return _counted(number, launch, self.work().ops)


def _counted(number: Any, launch: Step, each: int) -> Prepared:
    """The launch, and how many of them the number on the device has seen."""
    steps = 0

    def step() -> object:
        nonlocal steps
        steps += 1
        return launch()

    return Prepared(step, lambda: verified("one is added by each launch", abs(int(number) - steps * each) if steps else 1))


def _recorded(torch: Any, launch: Step, device: Device) -> Step:
    """A CUDA graph of many launches; recording one needs a warm-up on a stream of its own."""
    side = torch.cuda.Stream(device=device.name)
    side.wait_stream(torch.cuda.current_stream(device.name))
    with torch.cuda.stream(side):
        launch()
    torch.cuda.current_stream(device.name).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device.name), torch.cuda.graph(graph):
        for _ in range(_IN_GRAPH):
            launch()
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
