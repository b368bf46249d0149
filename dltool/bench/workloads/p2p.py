"""Copies from GPU to GPU: each pair, one way and both ways at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dltool.bench import WORKLOADS, Prepared, verified
from dltool.bench.devices import Device, import_torch
from dltool.bench.workloads.kit import Cases, check_choice, check_room
from dltool.bench.workloads.memory_kernels import ramp
from dltool.bench.workloads.streams import together
from dltool.bench.workloads.transfers import wrong
from dltool.errors import CannotRun, UsageError
from dltool.results import Work
from dltool.units import gib, parse_bytes

_WAYS = ("one", "both")


@WORKLOADS.register("p2p")
@dataclass(frozen=True, slots=True, kw_only=True)
class P2p:
    """Copy an array from one GPU to another, or both ways at once; `both` counts what moves in the two directions."""

    source: str = "0"
    target: str = "1"
    """Numbers of two GPUs as torch counts them."""
    ways: str = "one"
    bytes: int = 2**28
    dtype: str = "fp32"

    @property
    def rate_unit(self) -> str:
        """Bytes over the link."""
        return "B/s"

    @property
    def label(self) -> str:
        """ "0 to 1", "0 and 1"."""
        return f"{self.source} {'to' if self.ways == 'one' else 'and'} {self.target}"

    @property
    def size(self) -> str:
        """Of the array."""
        return gib(self.bytes)

    def __post_init__(self) -> None:
        check_choice("ways", self.ways, _WAYS)
        for number in (self.source, self.target):
            if not (number.isascii() and number.isdigit() and len(number) < 4):
                raise UsageError(f"`{number}` is no number of a GPU", remedy="For example: --set source=0 --set target=1")
        if int(self.source) == int(self.target):
            raise UsageError(f"GPU {self.source} to itself", remedy="A copy on one GPU: dltool bench memory --set kernel=d2d")
        if self.bytes < 4:
            raise UsageError(f"an array of {self.bytes} bytes holds no fp32 number", remedy="For example: --set bytes=256MiB")

    def work(self) -> Work:
        """A byte that crosses the link counts once."""
        return Work(bytes=self.bytes // 4 * 4 * (2 if self.ways == "both" else 1))

    def sizes(self) -> Iterator[P2p]:
        """A sixteenth, then all."""
        if self.bytes >= 2**20:
            yield replace(self, bytes=self.bytes // 16)
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """Not known: NVLink, PCIe or the way through the host."""
        return None

    def implementation(self, device: Device) -> str:
        """Whether one GPU reaches the memory of the other, or every byte goes through the host."""
        direct = import_torch().cuda.can_device_access_peer(int(self.source), int(self.target))
        return "native" if direct else "through the host: the driver grants no peer access between these two"

    def doubts(self, device: Device) -> list[str]:
        """None: the two arrays are in no common cache."""
        return []

    def prepare(self, device: Device) -> Prepared:
        """An array on each side for each direction."""
        torch = import_torch()
        highest = max(int(self.source), int(self.target))
        if device.kind != "cuda" or highest >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise CannotRun(f"p2p {self.label} needs {highest + 1} CUDA devices; torch sees {count}", remedy="Leave it out.")
        check_room(device, 2 * self.bytes, "choose less with --set bytes=64MiB")
        pairs = [(self.source, self.target), (self.target, self.source)][: 2 if self.ways == "both" else 1]
        copies = [self._copy(torch, *pair) for pair in pairs]
        for number in (self.source, self.target):
            torch.cuda.synchronize(int(number))  # the arrays are filled on streams that the copies do not wait for
        step = together(torch, device.name, copies)
        return Prepared(step, lambda: verified("every element", sum(wrong(copy) for copy in copies)))

    def _copy(self, torch: Any, source: str, target: str) -> tuple[Any, Any]:
        length = self.bytes // 4
        return torch.zeros(length, device=f"cuda:{target}"), ramp(torch, length, f"cuda:{source}")


def chosen(device: Device, axes: Mapping[str, Sequence[str]]) -> Cases:
    """The whole matrix: each ordered pair one way, each pair once both ways; nothing where there is one GPU.

    `axes` may give `bytes`.
    """
    sizes = [parse_bytes(text) for text in axes.get("bytes", ())] or [2**28]
    numbers = range(device.gpus)
    one = [(source, target, "one") for source in numbers for target in numbers if source != target]
    both = [(source, target, "both") for source in numbers for target in numbers if source < target]
    return [("p2p", P2p(source=str(source), target=str(target), ways=ways, bytes=size))
            for size in sizes for source, target, ways in (*one, *both)]  # fmt: skip


def default_cases(device: Device, suite: str) -> Cases:
    """The matrix, but for a quick look."""
    return [] if suite == "quick" else chosen(device, {})
