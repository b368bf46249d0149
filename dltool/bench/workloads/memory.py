"""Memory bandwidth: the ceiling of everything that computes little for each byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dltool.bench import WORKLOADS, Prepared, verified
from dltool.bench.devices import Device, Step, import_torch
from dltool.errors import CannotRun, UsageError, unknown_name
from dltool.results import Verified, Work
from dltool.units import gib

_ARRAYS = {"read": 1, "write": 1, "copy": 2, "triad": 3, "h2d": 1, "d2h": 1}
"""Arrays that one step moves, counted as STREAM does: what is read and what is written, not the line that a cache fetches
before a write. Source: J. McCalpin, STREAM: Sustainable Memory Bandwidth in High Performance Computers."""
KERNELS = ("read", "write", "copy", "triad")
TRANSFERS = ("h2d", "d2h")
_SCALAR = 3.0


@WORKLOADS.register("memory")
@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Move an array: read (sum), write (fill), copy, triad (a = b + s c), or transfers from and to a GPU (pinned memory)."""

    kernel: str = "copy"
    bytes: int = 2**28
    """Size of one array, in bytes."""
    dtype: str = "fp32"

    @property
    def rate_unit(self) -> str:
        """Bytes moved."""
        return "B/s"

    def __post_init__(self) -> None:
        if self.kernel not in _ARRAYS:
            raise unknown_name("kernel", self.kernel, _ARRAYS)
        if self.dtype != "fp32":
            raise UsageError(f"memory moves fp32, not {self.dtype}", remedy="Leave --dtype out: bytes are bytes.")

    def work(self) -> Work:
        """Every byte of every array once; the additions of read and triad are listed but not what is measured."""
        per_element = {"read": 1, "triad": 2}.get(self.kernel, 0)
        return Work(ops=per_element * self._length, bytes=_ARRAYS[self.kernel] * self._length * 4)

    @property
    def _length(self) -> int:
        return max(1, self.bytes // 4)

    def sizes(self) -> Iterator[Memory]:
        """A sixteenth, then all: bandwidth does not collapse with size as arithmetic can."""
        if self.bytes >= 2**20:
            yield replace(self, bytes=self.bytes // 16)
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """The board's memory bandwidth; that of a host, and of its link to a GPU, is not known."""
        if self.kernel in TRANSFERS or device.board.memory_gb_per_s is None:
            return None
        return device.board.memory_gb_per_s * 1e9, "datasheet"

    def implementation(self, device: Device) -> str:
        """Bytes are moved natively everywhere."""
        return "native"

    def doubts(self, device: Device) -> list[str]:
        """Arrays that a cache holds measure the cache."""
        if self.bytes >= 4 * device.llc_bytes:
            return []
        return [f"an array is less than four times the last-level cache of {gib(device.llc_bytes)}: this may be its bandwidth"]

    def prepare(self, device: Device) -> Prepared:
        """Allocate the arrays and touch every page, so that the first step pays for none."""
        torch = import_torch()
        if self.kernel in TRANSFERS and device.kind != "cuda":
            raise CannotRun(f"{self.kernel} needs a CUDA device", remedy="Leave it out, or choose one with --device.")
        if _ARRAYS[self.kernel] * self.bytes > device.free_bytes // 2:
            raise CannotRun(
                f"{_ARRAYS[self.kernel]} arrays of {self.bytes} bytes do not fit in half of the free memory",
                remedy="Choose less: --set bytes=67108864",
            )
        return _PREPARE[self.kernel](torch, self._length, device)


def array_bytes(device: Device) -> int:
    """Size of one array that no cache can hold: four times the last-level cache, as STREAM demands, and at least 64 MiB."""
    wanted = max(4 * device.llc_bytes, 2**26)
    return min(wanted, device.free_bytes // 8) // 4 * 4


def _ramp(torch: Any, length: int, device: Device) -> Any:
    """0, 1, ... 1023, 0, 1 ...: exact in fp32, and different from one cache line to the next."""
    return torch.arange(length, device=device.name, dtype=torch.int32).remainder_(1024).to(torch.float32)


def _read(torch: Any, length: int, device: Device) -> Prepared:
    source = _ramp(torch, length, device)
    total = torch.zeros((), device=device.name)

    def verify() -> Verified:
        expected = float(source.sum(dtype=torch.float64))
        return verified("float64 sum", abs(float(total) - expected) / max(expected, 1.0), 1e-5)

    return Prepared(lambda: torch.sum(source, dim=0, out=total), verify)


def _write(torch: Any, length: int, device: Device) -> Prepared:
    target = torch.zeros(length, device=device.name)
    return Prepared(lambda: target.fill_(_SCALAR), lambda: verified("every element", (target != _SCALAR).sum()))


def _copy(torch: Any, length: int, device: Device) -> Prepared:
    source = _ramp(torch, length, device)
    target = torch.zeros_like(source)
    return Prepared(lambda: target.copy_(source), lambda: verified("every element", (target != source).sum()))


def _triad(torch: Any, length: int, device: Device) -> Prepared:
    b, c = _ramp(torch, length, device), _ramp(torch, length, device).flip(0)
    a = torch.zeros_like(b)

    def verify() -> Verified:
        wrong = sum(int((part_a.double() != part_b.double() + _SCALAR * part_c.double()).sum())
                    for part_a, part_b, part_c in zip(a.split(2**20), b.split(2**20), c.split(2**20), strict=True))  # fmt: skip
        return verified("float64, every element", wrong)

    return Prepared(lambda: torch.add(b, c, alpha=_SCALAR, out=a), verify)


def _transfer(torch: Any, length: int, device: Device, *, to_device: bool) -> Prepared:
    host = torch.arange(length, dtype=torch.int32).remainder_(1024).to(torch.float32).pin_memory()
    there = torch.zeros(length, device=device.name) if to_device else host.to(device.name)
    source, target = (host, there) if to_device else (there, torch.zeros(length).pin_memory())
    step: Step = lambda: target.copy_(source, non_blocking=True)  # noqa: E731
    return Prepared(step, lambda: verified("every element", (target.cpu() != host).sum()))


_PREPARE: dict[str, Callable[[Any, int, Device], Prepared]] = {
    "read": _read,
    "write": _write,
    "copy": _copy,
    "triad": _triad,
    "h2d": lambda torch, length, device: _transfer(torch, length, device, to_device=True),
    "d2h": lambda torch, length, device: _transfer(torch, length, device, to_device=False),
}
