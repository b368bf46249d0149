"""What workloads share: choices, peaks by dtype and of memory, room, random data, the error of a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dltool.bench import WORKLOADS, Workload, cases, dtype_row
from dltool.bench.devices import Device
from dltool.errors import CannotRun, UsageError, unknown_name
from dltool.units import gib

Cases = list[tuple[str, Workload]]
FLOATING = ("fp64", "fp32", "tf32", "bf16", "fp16")
"""Formats in which all of torch's operations take their operands as they are, without scales."""


def chosen(name: str, axes: Mapping[str, Sequence[str]], defaults: Mapping[str, Sequence[str]]) -> Cases:
    """Every combination of `axes`, and of `defaults` where `axes` do not say, as cases of the workload `name`."""
    return [(name, case) for case in cases(WORKLOADS.get(name), {**defaults, **axes})]


def check_choice(kind: str, value: str, known: Iterable[str]) -> None:
    """Refuse what is not among `known`.

    Raises:
        UsageError: with the nearest ones.
    """
    if value not in tuple(known):
        raise unknown_name(kind, value, known)


def check_floating(workload: str, dtype: str) -> None:
    """Refuse formats that the operations of `workload` have no kernels for.

    Raises:
        UsageError: with those that they have.
    """
    dtype_row(dtype)
    if dtype not in FLOATING:
        raise UsageError(f"{workload} has no kernels for {dtype}", remedy=f"Choose among: {', '.join(FLOATING)}.")


def dtypes(device: Device) -> list[str]:
    """The formats that are worth a row by default: those that networks are trained and run in."""
    return ["tf32", "bf16", "fp16"] if device.kind == "cuda" else ["fp32", "bf16"]


def memory_peak(device: Device) -> tuple[float, str] | None:
    """Bytes per second of the board's memory; that of a host is not known."""
    if device.board.memory_gb_per_s is None:
        return None
    return device.board.memory_gb_per_s * 1e9, "datasheet"


def compute_peak(dtype: str, device: Device) -> tuple[float, str] | None:
    """Operations per second of the units that `dtype` runs on, and how that is known."""
    for key in dtype_row(dtype).get(f"{device.kind}_peaks", "").split():
        peak = device.board.peaks.get(key)
        if peak is not None and peak.dense is not None:
            return peak.dense * 1e12, f"{key} {peak.basis}"
    return None


def implementation(dtype: str, device: Device) -> str:
    """ "native" where the device has arithmetic for `dtype`, or why not."""
    if not device.board.peaks:
        return "unknown: the device is not in the catalogue"
    if any(key in device.board.peaks for key in dtype_row(dtype).get(f"{device.kind}_peaks", "").split()):
        return "native"
    return f"emulated: this {'CPU has no instructions' if device.kind == 'cpu' else 'GPU has no units'} for {dtype}"


def check_room(device: Device, needed: int, remedy: str) -> None:
    """Refuse what takes more than half of the memory that is free.

    Args:
        device: where.
        needed: bytes.
        remedy: what to choose smaller.

    Raises:
        CannotRun: it does not fit; says how much would.
    """
    if needed > device.free_bytes // 2:
        raise CannotRun(
            f"{gib(needed)} do not fit in half of the free memory ({gib(device.free_bytes // 2)} fit): {remedy}", remedy=remedy
        )


def check_device(dtype: str, device: Device) -> None:
    """Refuse a format that exists on other devices only.

    Raises:
        UsageError: `dtype` needs CUDA.
    """
    if dtype_row(dtype)["needs_cuda"] and device.kind != "cuda":
        raise UsageError(f"{dtype} exists on CUDA devices only", remedy="Leave it out of --dtype.")


def normal(torch: Any, shape: Sequence[int], dtype: str, device: Device, seed: int = 0) -> Any:
    """Standard normal numbers: zeros draw less power and run faster."""
    generator = torch.Generator(device=device.name).manual_seed(seed)
    kind = getattr(torch, dtype_row(dtype)["torch"])
    wide = torch.float64 if kind == torch.float64 else torch.float32
    return torch.randn(shape, dtype=wide, device=device.name, generator=generator).to(kind)


def relative_error(found: Any, reference: Any) -> float:
    """The Frobenius norm of the difference over that of the reference."""
    norm = float(reference.norm())
    return float((found.to(reference.dtype) - reference).norm()) / (norm or 1.0)


def dispatch_precision(torch: Any, dtype: str) -> None:
    """In one process these switches decide whether fp32 is fp32 or TF32, in products and in cuDNN; each case sets them anew."""
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"
