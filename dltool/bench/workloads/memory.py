"""Memory bandwidth: the ceiling of everything that computes little for each byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dltool.bench import WORKLOADS, Prepared
from dltool.bench.devices import Device, import_torch
from dltool.bench.workloads import memory_kernels, transfers
from dltool.bench.workloads.kit import Cases, check_choice, memory_peak
from dltool.bench.workloads.kit import chosen as combined
from dltool.errors import CannotRun, UsageError
from dltool.results import Work
from dltool.units import gib

KERNELS = tuple(memory_kernels.KERNELS)
TRANSFERS = tuple(transfers.TRANSFERS)
_ARRAYS = {name: kernel.arrays for name, kernel in memory_kernels.KERNELS.items()} | {
    name: transfer.arrays for name, transfer in transfers.TRANSFERS.items()
}
"""Arrays that one step moves, counted as STREAM does: what is read and what is written, not the line that a cache fetches
before a write. Source: J. McCalpin, STREAM: Sustainable Memory Bandwidth in High Performance Computers."""
_DISPATCHED = 2**20
"""Bytes of a step below which torch's own way to the kernel, some microseconds, is a good part of it on a CPU."""


@WORKLOADS.register("memory")
@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Move arrays: read (sum), write (fill), copy, scale, add, triad (a = b + s c), or transfers from, to and on a GPU."""

    kernel: str = "copy"
    bytes: int = 2**28
    """Size of one array, in bytes."""
    dtype: str = "fp32"
    level: str = ""
    """The cache that holds all arrays of a step, as `--sweep` names it; empty: not told."""

    @property
    def rate_unit(self) -> str:
        """Bytes moved."""
        return "B/s"

    @property
    def label(self) -> str:
        """The kernel, and where its arrays lie."""
        return f"{self.kernel} {self.level}".strip()

    @property
    def size(self) -> str:
        """Of one array."""
        return gib(self.bytes) if self.bytes >= 2**20 else f"{self.bytes // 2**10} KiB"

    def __post_init__(self) -> None:
        check_choice("kernel", self.kernel, _ARRAYS)
        if self.dtype != "fp32":
            raise UsageError(f"memory moves fp32, not {self.dtype}", remedy="Leave --dtype out: bytes are bytes.")
        if self.bytes < 4:
            raise UsageError(f"an array of {self.bytes} bytes holds no fp32 number", remedy="For example: --set bytes=64MiB")

    def work(self) -> Work:
        """Every byte of every array once; the arithmetic of a kernel is listed but not what is measured."""
        kernel = memory_kernels.KERNELS.get(self.kernel)
        return Work(ops=(kernel.ops if kernel else 0) * self._length, bytes=_ARRAYS[self.kernel] * self._length * 4)

    @property
    def _length(self) -> int:
        return self.bytes // 4

    def sizes(self) -> Iterator[Memory]:
        """A sixteenth, then all: bandwidth does not collapse with size as arithmetic can."""
        if self.bytes >= 2**20:
            yield replace(self, bytes=self.bytes // 16)
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """The board's memory bandwidth; that of a host, of its link to a GPU, and of a cache is not known."""
        in_cache = bool(self.level) and self.level != "DRAM"
        return None if self.kernel in transfers.LINKED or in_cache else memory_peak(device)

    def implementation(self, device: Device) -> str:
        """Bytes are moved natively everywhere."""
        return "native"

    def doubts(self, device: Device) -> list[str]:
        """Arrays that a cache holds measure the cache; tiny ones measure torch."""
        found = []
        if not self.level and self.kernel not in transfers.LINKED and self.bytes < 4 * device.llc_bytes:
            found.append(f"an array is less than four times the last-level cache of {gib(device.llc_bytes)}: "
                         "this may be its bandwidth")  # fmt: skip
        if device.kind == "cpu" and self.work().bytes < _DISPATCHED:
            found.append("so few bytes take about as long as torch needs to start an operation: the cache itself is faster")
        return found

    def prepare(self, device: Device) -> Prepared:
        """Allocate the arrays and touch every page, so that the first step pays for none."""
        torch = import_torch()
        if self.kernel in transfers.TRANSFERS and device.kind != "cuda":
            raise CannotRun(f"{self.kernel} needs a CUDA device", remedy="Leave it out, or choose one with --device.")
        arrays, room = _ARRAYS[self.kernel], device.free_bytes // 2
        if arrays * self.bytes > room:
            raise CannotRun(
                f"{arrays} arrays of this size do not fit in half of the free memory: bytes={room // arrays // 2**20}MiB would",
                remedy=f"Choose less: --set bytes={room // arrays // 2**20}MiB",
            )
        if self.kernel in transfers.TRANSFERS:
            return transfers.prepare(torch, self.kernel, self._length, device)
        return memory_kernels.KERNELS[self.kernel].prepare(torch, self._length, device)


def array_bytes(device: Device) -> int:
    """Size of one array that no cache can hold: four times the last-level cache, as STREAM demands, and at least 64 MiB."""
    wanted = max(4 * device.llc_bytes, 2**26)
    return min(wanted, device.free_bytes // 8) // 4 * 4


def chosen(device: Device, axes: Mapping[str, Sequence[str]]) -> Cases:
    """Every kernel, and the transfers of a GPU, with arrays that no cache can hold, as far as `axes` do not say."""
    kernels = [*KERNELS, *(TRANSFERS if device.kind == "cuda" else ())]
    return combined("memory", axes, {"kernel": kernels, "bytes": [str(array_bytes(device))]})


def sweep(device: Device, axes: Mapping[str, Sequence[str]]) -> Cases:
    """From half of the first cache to eight times the last in steps of two, each named by the cache that holds all arrays.

    Raises:
        CannotRun: the caches of the device are not known.
        UsageError: `axes` give sizes, or name a transfer.
    """
    if not device.caches:
        raise CannotRun("the sizes of the caches are not known", remedy="Give the sizes: --set bytes=64KiB,1MiB,64MiB")
    if "bytes" in axes or "level" in axes:
        raise UsageError("--sweep chooses the sizes", remedy="Leave out --sweep or --set bytes=...")
    kernels = axes.get("kernel", ["triad"])
    for kernel in kernels:
        check_choice("kernel of --sweep", kernel, KERNELS)
    first = device.caches[0][1] // (2 if device.kind == "cpu" else 32)  # a GPU's first level belongs to single SMs
    last = min(8 * device.caches[-1][1], device.free_bytes // 2)
    totals = [first * 2**step for step in range(64) if first * 2**step <= last]
    return [("memory", Memory(kernel=kernel, bytes=max(4, total // _ARRAYS[kernel] // 64 * 64), level=level_of(device, total)))
            for kernel in kernels for total in totals]  # fmt: skip


def level_of(device: Device, total: int) -> str:
    """The first cache of the device that holds `total` bytes, "L2"; "DRAM" where none does."""
    return next((name for name, size in device.caches if total <= size), "DRAM")


def default_cases(device: Device, suite: str) -> Cases:
    """Four kernels for a quick look, all with the transfers otherwise; the way through the caches in the full suite."""
    if suite == "quick":
        return chosen(
            device, {"kernel": ["read", "write", "copy", "triad", *(("h2d", "d2h") if device.kind == "cuda" else ())]}
        )
    return [*chosen(device, {}), *(sweep(device, {}) if suite == "full" and device.caches else ())]
