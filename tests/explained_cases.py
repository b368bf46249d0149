"""Measurements made up from published conditions: no GPU was asked. What they stand for is said by the names."""

from __future__ import annotations

from typing import Any

from dltool import catalog, peaks
from dltool.bench.devices import Device, host_timer
from dltool.catalog import Board
from dltool.machine import Cpu
from dltool.results import Conditions, Measurement, Span, Verified, Work

H100 = peaks.with_peaks(catalog.board("H100 SXM5 80GB"))
RTX4090 = peaks.with_peaks(catalog.board("GeForce RTX 4090"))
RIGHT = Verified(reference="float64", error=1e-3, tolerance=1e-2, ok=True)
WRONG = Verified(reference="float64", error=0.4, tolerance=1e-2, ok=False)


def gpu(board: Board = H100, sm_mhz_max: float | None = 1980) -> Device:
    return Device(name="cuda:0", board=board, timer=host_timer, sm_mhz_max=sm_mhz_max)


def steady(value: float) -> Span:
    return Span(minimum=value, median=value, maximum=value)


def gemm(
    rate: float,
    *,
    mhz: float | None = None,
    throttle: tuple[str, ...] | None = (),
    m: int = 8192,
    n: int = 8192,
    k: int = 8192,
    board: Board = H100,
    key: str = "bf16_tensor",
    **changes: Any,
) -> Measurement:
    """A bf16 product on a GPU as the harness leaves it: not yet explained."""
    dense = board.peaks[key].dense
    assert dense is not None
    ops = 2 * m * n * k
    seen = Conditions(
        sm_mhz=steady(mhz) if mhz else None,
        power_w=steady(699),
        temperature_c=steady(65),
        throttle=throttle,
    )
    fields = {
        "workload": "gemm",
        "params": {"m": m, "n": n, "k": k, "dtype": "bf16"},
        "device": f"cuda:0 {board.name}",
        "dtype": "bf16",
        "seconds": (ops / rate,) * 12,
        "median_s": ops / rate,
        "ci95_s": (0.99 * ops / rate, 1.01 * ops / rate),
        "work": Work(ops=ops, bytes=2 * (m * k + k * n + m * n)),
        "rate": rate,
        "rate_unit": "FLOP/s",
        "peak": dense * 1e12,
        "peak_basis": f"{key} derived",
        "share_of_peak": rate / (dense * 1e12),
        "implementation": "native",
        "conditions": seen,
        "verified": RIGHT,
        "settings": {"torch": "2.13.0", "cuda": "13.0", "harness": 1},
    }
    return Measurement(**{**fields, **changes})


def cpu_of(simd: tuple[str, ...], *, model: int = 2, mhz: float = 4000.0, **changes: Any) -> Board:
    """A Zen 5 of 8 cores: full AVX-512 where the flags have it."""
    fields = {
        "model": "AMD EPYC made up", "vendor": "AuthenticAMD", "family": 26, "model_number": model, "cores": 8, "threads": 8,
        "usable_threads": 8, "simd": simd, "mhz_measured": mhz,
    }  # fmt: skip
    return peaks.cpu_board(Cpu(**{**fields, **changes}))


def on_cpu(rate: float, board: Board, *, key: str = "fp32", **changes: Any) -> Measurement:
    """An fp32 product on a CPU as the harness leaves it."""
    peak = board.peaks.get(key)
    dense = peak.dense * 1e12 if peak and peak.dense else None
    fields: dict[str, Any] = {
        "workload": "gemm",
        "params": {"m": 2048, "n": 2048, "k": 2048, "dtype": key},
        "device": f"cpu {board.name}",
        "dtype": key,
        "seconds": (2 * 2048**3 / rate,) * 12,
        "median_s": 2 * 2048**3 / rate,
        "work": Work(ops=2 * 2048**3, bytes=3 * 4 * 2048**2),
        "rate": rate,
        "rate_unit": "FLOP/s",
        "peak": dense,
        "peak_basis": f"{key} derived" if dense else None,
        "share_of_peak": rate / dense if dense else None,
        "implementation": "native" if dense else f"emulated: this CPU has no instructions for {key}",
        "conditions": Conditions(cpu_mhz=4000.0),
        "verified": RIGHT,
        "settings": {"torch": "2.13.0", "blas": "mkl"},
    }
    return Measurement(**{**fields, **changes})
