"""A device whose timer answers as scripted, and a workload that computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from dltool.bench import Prepared
from dltool.bench.devices import Device
from dltool.catalog import Board
from dltool.results import Verified, Work


@dataclass
class FakeTime:
    """A clock that only the timer moves: every step takes what `step_s` says of the workload being timed."""

    now: float = 0.0
    steps_run: int = 0

    def clock(self) -> float:
        return self.now

    def timer(self, step: Callable[[], object], steps: int) -> float:
        began = self.now
        for _ in range(steps):
            self.now += float(step())  # type: ignore[arg-type]
            self.steps_run += 1
        return self.now - began

    def device(self, **changes: Any) -> Device:
        return replace(Device(name="fake", board=Board(name="scripted"), timer=self.timer), **changes)


RIGHT = Verified(reference="script", error=0.0, tolerance=0.0, ok=True)


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """Takes `step_s(size)` seconds a step; `size` operations."""

    size: int = 1000
    dtype: str = "fp32"
    step_s: Callable[[int], float] = field(default=lambda size: size * 1e-5, repr=False)
    verified: Verified = RIGHT
    error: Exception | None = None

    rate_unit = "FLOP/s"

    def work(self) -> Work:
        return Work(ops=self.size, bytes=4 * self.size)

    def sizes(self) -> Iterator[Scripted]:
        for factor in (100, 10):
            if self.size >= factor:
                yield replace(self, size=self.size // factor)
        yield self

    def prepare(self, device: Device) -> Prepared:
        if self.error is not None:
            raise self.error
        return Prepared(lambda: self.step_s(self.size), lambda: self.verified)

    def peak(self, device: Device) -> tuple[float, str] | None:
        return 2e5, "fp32 derived"

    def implementation(self, device: Device) -> str:
        return "native"

    def doubts(self, device: Device) -> list[str]:
        return []
