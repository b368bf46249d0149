"""A step recorded once as a CUDA graph and replayed: the host launches one thing in place of hundreds."""

from __future__ import annotations

from dltool.bench.devices import Step
from dltool.bench.networks.making import Network

_WARM = 3
"""Steps on a side stream before the capture: they make what is made lazily. Source: PyTorch documentation, CUDA Graphs."""


def captured(made: Network, step: Step) -> Step:
    """The replay of a step; its results lie in the same memory each time.

    Raises:
        RuntimeError: the step cannot be captured, as one that waits for the device or whose shapes hang on what it finds.
    """
    torch = made.torch
    side = torch.cuda.Stream(made.device.name)
    side.wait_stream(torch.cuda.current_stream(made.device.name))
    with torch.cuda.stream(side):
        for _ in range(_WARM):
            step()
    torch.cuda.current_stream(made.device.name).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Step = graph.replay
    return replay
