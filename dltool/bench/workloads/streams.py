"""Copies that run at the same time on streams of their own, begun and ended together on the stream that is timed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dltool.bench.devices import Step

Copy = tuple[Any, Any]
"""Target and source."""


def together(torch: Any, timed: str, copies: Sequence[Copy]) -> Step:
    """A step that begins all copies at once and is over when the last one is.

    A copy between two GPUs waits for the streams that are current on both: each copy has its own on either.

    Args:
        torch: the module.
        timed: the device whose current stream carries the timer's events, "cuda:0".
        copies: target and source of each.
    """
    lanes = [[torch.cuda.Stream(device=device) for device in _gpus(copy, timed)] for copy in copies]

    def step() -> None:
        main = torch.cuda.current_stream(timed)
        began = main.record_event()
        for (target, source), streams in zip(copies, lanes, strict=True):
            for stream in streams:
                stream.wait_event(began)
            with torch.cuda.stream(streams[0]), torch.cuda.stream(streams[-1]):
                target.copy_(source, non_blocking=True)
        for streams in lanes:
            for stream in streams:
                main.wait_event(stream.record_event())

    return step


def _gpus(copy: Copy, timed: str) -> list[str]:
    """The GPUs that take part in a copy, each once; the timed one where both ends are on the host."""
    return list(dict.fromkeys(str(array.device) for array in copy if array.device.type == "cuda")) or [timed]
