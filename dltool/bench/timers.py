"""How time is told on each device, and how its cache is emptied.

A timer is any callable from a step and how often to run it to the seconds that all of them took. Those here hold no handle of a
device, so that they can be sent to another process.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Step = Callable[[], object]
Timer = Callable[[Step, int], float]
"""Runs a step so many times, back to back, and tells the seconds that all of them took."""

SHORT_S = 50e-6
"""A kernel that takes less is over before the host has launched the next: the gaps would be measured."""
_PATIENCE_S = 0.2
_LOOKS = 64
"""How often a sample looks at the clock: 3 microseconds of its hundredth of a second."""
_LAUNCH_S = 10e-6
"""What a launch takes at first guess; later calls know their own."""
_MOST_SPIN_S = 0.05
_CYCLES_PER_S = 2.1e9
"""`torch.cuda._sleep` counts cycles of the SM clock, which is lower than this: it spins longer than asked, never shorter."""


def host_timer(step: Step, steps: int) -> float:
    """Seconds by the clock of the host, less what the loop itself takes; right for what runs on the CPU.

    Where other programs compute, steps that wait for their threads may take a thousand times as long as they did just before.
    Samples are planned for some hundredths of a second: after many times that, the rest of one is reckoned by what was done.
    """
    block, done = max(1, steps // _LOOKS), 0
    began = time.perf_counter()
    while done < steps:
        for _ in range(block if steps - done >= block else steps - done):
            step()
        done = min(steps, done + block)
        if done < steps and time.perf_counter() - began > _PATIENCE_S:
            break
    took = (time.perf_counter() - began) * (steps / done)
    return max(took - steps * loop_s(), took / 2)


@functools.cache
def loop_s() -> float:
    """Seconds of one turn of the timing loop with a step that does nothing: some 50 ns."""
    return statistics.median(_empty_loop(1000) for _ in range(9)) / 1000


def _empty_loop(turns: int) -> float:
    def nothing() -> None:
        return None

    began = time.perf_counter()
    for _ in range(turns):
        nothing()
    return time.perf_counter() - began


@dataclass(slots=True)
class CudaTimer:
    """CUDA events on the device's own stream.

    With `behind_spin`, a kernel that only waits is put in front, long enough for the host to launch all of the steps meanwhile:
    they then run back to back, and no gap between launches is measured. The wait is bounded, so that nothing can hang on it.
    """

    index: int
    behind_spin: bool = False
    launch_s: float = _LAUNCH_S
    """What launching one step took the host the last time."""

    @property
    def name(self) -> str:
        """As it stands in the settings of a result."""
        return "CUDA events behind a waiting kernel" if self.behind_spin else "CUDA events"

    def __call__(self, step: Step, steps: int) -> float:
        """Seconds on the device."""
        import torch

        with torch.cuda.device(self.index):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            if self.behind_spin:
                torch.cuda._sleep(int(min(1.5 * steps * self.launch_s, _MOST_SPIN_S) * _CYCLES_PER_S))
            began.record()
            launching = time.perf_counter()
            for _ in range(steps):
                step()
            self.launch_s = (time.perf_counter() - launching) / steps
            ended.record()
            ended.synchronize()
            return float(began.elapsed_time(ended)) / 1e3


def cuda_timer(_torch: Any, index: int) -> Timer:
    """A timer of the GPU that torch counts as `index`."""
    return CudaTimer(index)


def for_step(timer: Timer, step_s: float) -> Timer:
    """The timer that suits steps of this length."""
    if isinstance(timer, CudaTimer) and step_s < SHORT_S:
        return CudaTimer(timer.index, behind_spin=True)
    return timer


def name_of(timer: Timer) -> str:
    """What a timer is called in the settings of a result."""
    return timer.name if isinstance(timer, CudaTimer) else "host clock"


def flusher(device_name: str, cache_bytes: int) -> Callable[[], object]:
    """A function that fills the last-level cache, of exactly this size, with data that nobody needs."""
    import torch

    buffer = torch.zeros(max(1, cache_bytes // 4), dtype=torch.int32, device=device_name)
    # A GPU's memset allocates in its L2. A CPU may write past its caches: there it is read and written.
    return buffer.zero_ if device_name.startswith("cuda") else lambda: buffer.add_(1)
