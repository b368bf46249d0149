"""Bytes per second beside what the triad of the same run reached: the ceiling that this machine showed."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from dltool.results import Measurement


def against_triad(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements, those in bytes per second on memory with their share of the triad.

    Where no datasheet tells the peak (a host), the triad stands for it, and says so. A triad in a cache is no ceiling; neither
    is one that was not right. Links and caches are not compared.
    """
    triad = next((case.rate for case in measurements if _is_triad(case)), None)
    if triad is None:
        return list(measurements)
    return [_beside(case, triad) if case.workload == "elementwise" and case.rate else case for case in measurements]


def _is_triad(case: Measurement) -> bool:
    right = case.verified is not None and case.verified.ok
    return case.params.get("kernel") == "triad" and case.params.get("level") in ("", "DRAM") and bool(case.rate) and right


def _beside(case: Measurement, triad: float) -> Measurement:
    share = (case.rate or 0.0) / triad
    if case.peak is not None:
        return replace(case, share_of_triad=share)
    return replace(case, share_of_triad=share, peak=triad, peak_basis="measured triad", share_of_peak=share)
