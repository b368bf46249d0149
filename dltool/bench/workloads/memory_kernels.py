"""The kernels of STREAM and its two halves, each as one operation of torch that writes into an array that is there already.

Every result is checked in every element: the numbers are chosen so that it is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dltool.bench import Prepared, verified
from dltool.bench.devices import Device
from dltool.results import Verified

_SCALAR = 3.0
_CHUNK = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel: what it moves and computes for each element."""

    arrays: int
    ops: int
    prepare: Callable[[Any, int, Device], Prepared]


def ramp(torch: Any, length: int, device: str) -> Any:
    """0, 1, ... 1023, 0, 1 ...: exact in fp32, and different from one cache line to the next.

    Filled by all threads, so that each touches first what it will work on, and its memory is near it.
    """
    return torch.arange(length, device=device, dtype=torch.int32).remainder_(1024).to(torch.float32)


def _read(torch: Any, length: int, device: Device) -> Prepared:
    source = ramp(torch, length, device.name)
    total = torch.zeros((), device=device.name)

    def verify() -> Verified:
        expected = float(source.sum(dtype=torch.float64))
        return verified("float64 sum", abs(float(total) - expected) / max(expected, 1.0), 1e-5)

    return Prepared(lambda: torch.sum(source, dim=0, out=total), verify)


def _write(torch: Any, length: int, device: Device) -> Prepared:
    target = torch.zeros(length, device=device.name)
    return Prepared(lambda: target.fill_(_SCALAR), lambda: verified("every element", (target != _SCALAR).sum()))


def _copy(torch: Any, length: int, device: Device) -> Prepared:
    source, target = ramp(torch, length, device.name), _unwritten(torch, length, device)
    return Prepared(lambda: target.copy_(source), lambda: verified("every element", (target != source).sum()))


def _scale(torch: Any, length: int, device: Device) -> Prepared:
    source, target = ramp(torch, length, device.name), _unwritten(torch, length, device)
    step = lambda: torch.mul(source, _SCALAR, out=target)  # noqa: E731
    return Prepared(step, lambda: _exact(target, (source,), lambda b: _SCALAR * b))


def _add(torch: Any, length: int, device: Device) -> Prepared:
    b, c, a = *_two(torch, length, device), _unwritten(torch, length, device)
    return Prepared(lambda: torch.add(b, c, out=a), lambda: _exact(a, (b, c), lambda b, c: b + c))


def _triad(torch: Any, length: int, device: Device) -> Prepared:
    b, c, a = *_two(torch, length, device), _unwritten(torch, length, device)
    step = lambda: torch.add(b, c, alpha=_SCALAR, out=a)  # noqa: E731
    return Prepared(step, lambda: _exact(a, (b, c), lambda b, c: b + _SCALAR * c))


def _two(torch: Any, length: int, device: Device) -> tuple[Any, Any]:
    return ramp(torch, length, device.name), ramp(torch, length, device.name).flip(0)


def _unwritten(torch: Any, length: int, device: Device) -> Any:
    """An array whose pages are there, filled with what no kernel here leaves behind."""
    return torch.full((length,), -1.0, device=device.name)


def _exact(result: Any, sources: tuple[Any, ...], formula: Callable[..., Any]) -> Verified:
    """Elements that differ from the formula in float64, counted piece by piece."""
    pieces = zip(result.split(_CHUNK), *(source.split(_CHUNK) for source in sources), strict=True)
    wrong = sum(int((piece.double() != formula(*(part.double() for part in parts))).sum()) for piece, *parts in pieces)
    return verified("float64, every element", wrong)


KERNELS: dict[str, Kernel] = {
    "read": Kernel(arrays=1, ops=1, prepare=_read),
    "write": Kernel(arrays=1, ops=0, prepare=_write),
    "copy": Kernel(arrays=2, ops=0, prepare=_copy),
    "scale": Kernel(arrays=2, ops=1, prepare=_scale),
    "add": Kernel(arrays=3, ops=1, prepare=_add),
    "triad": Kernel(arrays=3, ops=2, prepare=_triad),
}
