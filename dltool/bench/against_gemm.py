"""Operations per second of a model beside the best product measured in the same run: the ceiling that this machine showed."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from dltool.results import Measurement


def against_gemm(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements, steps of models with their share of the best right product of the same dtype on the same device."""
    return [_beside(case, measurements) if case.model is not None and case.rate else case for case in measurements]


def _beside(case: Measurement, others: Sequence[Measurement]) -> Measurement:
    ceilings = [one.rate for one in others if _is_ceiling(one, case) and one.rate]
    if not ceilings:
        return case
    assert case.model is not None
    assert case.rate is not None
    return replace(case, model=replace(case.model, mamfu=case.rate / max(ceilings)))


def _is_ceiling(one: Measurement, case: Measurement) -> bool:
    right = one.verified is not None and one.verified.ok
    return one.workload == "gemm" and right and (one.dtype, one.device) == (case.dtype, case.device)
