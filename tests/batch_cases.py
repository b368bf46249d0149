"""Workloads that child processes of the tests run at any batch: one that allocates, one that runs a small model of the zoo."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dltool.bench import Prepared
from dltool.bench.devices import Device, host_timer
from dltool.catalog import Board
from dltool.results import Verified, Work

CPU = Device(name="cpu", board=Board(name="scripted"), timer=host_timer)
_RIGHT = Verified(reference="none", error=0.0, tolerance=0.0, ok=True)


@dataclass(frozen=True, kw_only=True)
class _Case:
    batch: int
    dtype: str = "fp32"
    rate_unit = "FLOP/s"

    def work(self) -> Work:
        return Work(ops=self.batch, bytes=self.batch)

    def sizes(self) -> Iterator[Any]:
        yield self

    def prepare(self, device: Device) -> Prepared:
        return Prepared(step=self.step(device), verify=lambda: _RIGHT)

    def step(self, device: Device) -> Callable[[], object]:
        raise NotImplementedError

    def peak(self, device: Device) -> None:
        return None

    def implementation(self, device: Device) -> str:
        return "native"

    def doubts(self, device: Device) -> list[str]:
        return []


@dataclass(frozen=True, kw_only=True)
class Allocates(_Case):
    """Its step fills `each` bytes for every sample, and lets go of them."""

    each: int = 2**20

    def step(self, device: Device) -> Callable[[], object]:
        import torch

        return lambda: torch.ones(self.batch * self.each // 4, device=device.name)


@dataclass(frozen=True, kw_only=True)
class Slow(_Case):
    each_s: float = 0.01

    def step(self, device: Device) -> Callable[[], object]:
        return lambda: time.sleep(self.batch * self.each_s)


@dataclass(frozen=True, kw_only=True)
class Refuses(_Case):
    """As batch norm does of one value in each channel; dies of what it is told to from `dies_at` on."""

    least: int = 2
    dies_at: int = 2**30

    def step(self, device: Device) -> Callable[[], object]:
        if self.batch < self.least:
            raise ValueError("Expected more than 1 value per channel when training")
        if self.batch >= self.dies_at:
            os.abort()
        return lambda: None


@dataclass(frozen=True, kw_only=True)
class Trains(_Case):
    """Trains a small model of the zoo, by hand: the first optimizer of a process imports for seconds."""

    name: str = "lenet5"

    def step(self, device: Device) -> Callable[[], object]:
        import torch

        from dltool.zoo.subject import of_zoo, step_of

        torch.set_num_threads(1)
        made = step_of(of_zoo(self.name), self.batch, device.name)
        parameters = [one for one in made.model.parameters() if one.requires_grad]

        def step() -> None:
            made.loss().backward()
            with torch.no_grad():
                for one in parameters:
                    if one.grad is not None:
                        one -= 0.01 * one.grad
                    one.grad = None

        return step
