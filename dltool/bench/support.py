"""Does the device really have this arithmetic? Decided from the architecture table and from the kernel that ran, not from
"it ran". Pure.

native: the units of the device do it. emulated: it runs by way of other units or other instructions. library-missing: the
device has it, the library cannot use it. unsupported: neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from dltool import tables
from dltool.bench.devices import Device

STATES = ("native", "emulated", "library-missing", "unsupported")
_NO_MEMORY = re.compile(r"out of memory|can't allocate|not enough memory|bad_alloc|are free", re.IGNORECASE)
_MADE_FOR = re.compile(r"(?:sm|Sm|cutlass_|sm_)(7[05]|8[0-9]|9[0-9]|1[0-2][0-9])(?!\d)")
_IN_FP32 = re.compile(r"(?<![a-z0-9])sgemm|_ffma_")
"""Kernels whose arithmetic is fp32, whatever they are fed."""
_ERAS: Mapping[str, int] = {"maxwell": 50, "pascal": 60, "volta": 70, "turing": 75, "ampere": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """The verdict on one number format on one device."""

    state: str | None
    """One of `STATES`; None where it cannot be told."""
    why: str
    kernel: str | None = None
    """What ran, where more is known of it than its name."""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.state or "unknown", self.why)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is known of one number format on one device."""

    dtype: str
    device: str
    """In words: "Hopper", "this CPU"."""
    known: bool
    """Whether the device's arithmetic is in the catalogue at all."""
    here: tuple[str, ...]
    """The peak keys of the format that the device has, the best first."""
    capability: tuple[int, int] | None = None
    """Of a GPU."""
    weights_only: bool = False
    kernel: str | None = None
    """What ran, as the profiler or the library calls it."""
    error: str | None = None
    """What was said instead of a result."""


def case_of(row: tables.Row, device: Device, kernel: str | None = None, error: str | None = None) -> Case:
    """What is known of a number format on a device.

    Args:
        row: of catalog/dtypes.csv.
        device: where it runs.
        kernel: what ran.
        error: what was said instead of a result.
    """
    board = device.board
    cpu = device.kind == "cpu"
    parts = (board.compute_capability or "").split(".")
    return Case(
        dtype=row["name"],
        device="this CPU" if cpu else board.architecture or board.name,
        known=bool(board.peaks),
        here=keys_here(row, device),
        capability=None if cpu or len(parts) != 2 else (int(parts[0]), int(parts[1])),
        weights_only=row["operation"].startswith("weight_"),
        kernel=kernel,
        error=error,
    )


def keys_here(row: tables.Row, device: Device) -> tuple[str, ...]:
    """The kinds of arithmetic that a number format may run on and the device has, the best first."""
    peaks = device.board.peaks
    found = [key for key in row.get(f"{device.kind}_peaks", "").split() if key in peaks]
    return tuple(key for key in found if not row["pruned"] or peaks[key].sparse is not None)


def decide(case: Case) -> Support:
    """The one rule."""
    if case.error is not None:
        return _not_run(case)
    if not case.known:
        return Support(state=None, why="the device is not in the catalogue")
    if case.capability is None:
        return _on_cpu(case)
    return _on_gpu(case)


def _not_run(case: Case) -> Support:
    error = case.error or ""
    if _NO_MEMORY.search(error) or not case.known:
        return Support(state=None, why=error)
    if case.capability is None and not case.here:
        return Support(state="unsupported", why=error)
    if case.here:
        return Support(state="library-missing", why=f"{case.device} has it, the library does not: {error}")
    return Support(state="unsupported", why=f"{case.device} has no units for {case.dtype}: {error}")


def _on_cpu(case: Case) -> Support:
    kernel = case.kernel or ""
    if not case.here:
        how = f"by way of {kernel}" if kernel and not _own_loop(kernel) else "naive fallback, a loop of torch's own"
        return Support(state="emulated", why=f"{how}: {case.device} has no instructions for {case.dtype}")
    if _own_loop(kernel):
        how = "weights are widened in a loop of torch's own" if case.weights_only else "a loop of torch's own, no library"
        return Support(state="emulated", why=how)
    return Support(state="native", why=_aside(kernel))


def _aside(kernel: str) -> str:
    """What must be said of a library's path although it is native."""
    if kernel.startswith("MKL") and "AVX2" in kernel:
        return "MKL takes its AVX2 path on this CPU"
    return ""


def _own_loop(kernel: str) -> bool:
    return kernel.startswith("torch")


def _on_gpu(case: Case) -> Support:
    unit = unit_of(case.kernel)
    if not case.here:
        return Support(state="emulated", why=f"{case.device} has no units for {case.dtype}; {_ran(case)}")
    on_tensor = "_tensor" in case.here[0]
    if _IN_FP32.search(case.kernel or "") and "fp32" not in case.here:
        return Support(state="emulated", why=f"by way of fp32 on the ordinary cores; {_ran(case)}")
    if unit == "vector" and on_tensor:
        return _on_ordinary_cores(case)
    older = _older(case) if unit == "tensor" else None
    return Support(state="native", why=f"{_ran(case)}, made for compute capability {older}" if older else "")


def _on_ordinary_cores(case: Case) -> Support:
    """The device has tensor cores for it; the kernel that ran does not use them."""
    has_vector = any("_tensor" not in key for key in case.here)
    why = f"on the ordinary cores, not on tensor cores; {_ran(case)}"
    return Support(state="native" if has_vector else "emulated", why=why)


def _ran(case: Case) -> str:
    return f"ran {case.kernel}" if case.kernel else "what ran is not known"


def _older(case: Case) -> str | None:
    """The compute capability that the kernel was made for, where it is of an older major version than the device."""
    made = made_for(case.kernel)
    if made is None or case.capability is None or made[0] >= case.capability[0]:
        return None
    return ".".join(map(str, made))


def made_for(kernel: str | None) -> tuple[int, int] | None:
    """The compute capability in the name of a kernel."""
    found = _MADE_FOR.search(kernel or "")
    number = int(found[1]) if found else next((number for era, number in _ERAS.items() if era in (kernel or "")), None)
    return None if number is None else divmod(number, 10)


def unit_of(kernel: str | None) -> str | None:
    """ "tensor", "vector", "helper" (sums partial products), "own", or None: a name that the table does not know."""
    return next((unit for pattern, unit in _patterns() if kernel and pattern.search(kernel)), None)


def instruction_of(kernel: str, capability: tuple[int, int]) -> str | None:
    """What the compiler makes of one of our own kernels for a GPU."""
    asked = ".".join(map(str, capability))
    rows = [row for row in tables.rows("kernel_code") if row["kernel"] == kernel]
    return next((row["instruction"] for row in rows if row["compute_capability"] == asked), None)


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(row["pattern"]), row["unit"]) for row in tables.rows("kernel_names"))
