"""What follows from measured shapes: the ceiling, shares of it, the time that is lost, and whether padding pays. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from dltool.bench import stats
from dltool.bench.search.space import Shape
from dltool.bench.shapes.own import Own
from dltool.results import Measurement
from dltool.shape_results import Ceiling, OwnShape, OwnShapes, Padding, Search

_GRANULES = (64, 32, 16, 8)
_MOST_PADDING = 1 / 8
"""A side may grow by this share: more cannot pay, as the added work is done at best at the ceiling."""
_SAME = 0.02
"""Within this of one another two times are called the same."""


def padded(shape: Shape) -> Shape | None:
    """The neighbour whose sides are multiples of what kernels work in; None where they are already, or would grow too much."""
    neighbour = Shape(*(_rounded(side) for side in shape))
    return neighbour if neighbour != shape else None


def _rounded(side: int) -> int:
    for granule in _GRANULES:
        up = -(-side // granule) * granule
        if up - side <= side * _MOST_PADDING:
            return up
    return side


def padding(neighbour: Shape, own_s: Sequence[float], padded_s: Sequence[float]) -> Padding:
    """The verdict on samples that were taken in turn: only a gain whose whole confidence interval is one is called faster."""
    ratios = [own / other for own, other in zip(own_s, padded_s, strict=True)]
    interval = stats.median_ci95(ratios)
    return Padding(
        m=neighbour.m,
        n=neighbour.n,
        k=neighbour.k,
        gain=statistics.median(ratios),
        gain_ci95=interval,
        pairs=len(ratios),
        verdict=_verdict(interval),
    )


def _verdict(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "can't tell"
    low, high = interval
    if low >= 1 - _SAME and high <= 1 + _SAME:
        return "same"
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "can't tell"


def ceilings(searches: Sequence[Search], measured: Sequence[Measurement]) -> tuple[Ceiling, ...]:
    """The best rate of each dtype: the confirmed winner of the search, or one of the user's shapes that was still better.

    Args:
        searches: for the ceiling, one of each dtype.
        measured: the searches' winners and the user's shapes.
    """
    found: dict[str, Ceiling] = {}
    for search in searches:
        for best in search.finalists[:1]:
            found[search.dtype] = Ceiling(
                dtype=search.dtype, rate=best.rate, rate_unit=search.rate_unit, m=best.m, n=best.n, k=best.k, basis="search"
            )
    for case in measured:
        held = found.get(case.dtype)
        if case.rate is not None and (held is None or case.rate > held.rate):
            m, n, k = (int(case.params[side] or 0) for side in "mnk")
            basis = "search" if held is not None and (m, n, k) == (held.m, held.n, held.k) else "own shape"
            found[case.dtype] = Ceiling(dtype=case.dtype, rate=case.rate, rate_unit=case.rate_unit, m=m, n=n, k=k, basis=basis)
    return tuple(found.values())


def row(own: Own, dtype: str, case: Measurement | None, pad: Padding | None, why_not: str | None) -> OwnShape:
    """One of the user's shapes as measured, or why it was not; its ceiling is not known yet."""
    return OwnShape(
        m=own.m,
        n=own.n,
        k=own.k,
        dtype=dtype,
        name=own.name,
        count=own.count * own.batch,
        kind=own.kind,
        ops=own.ops,
        seconds=case.median_s if case else None,
        ci95_s=case.ci95_s if case else None,
        rate=case.rate if case else None,
        total_s=case.median_s * own.count * own.batch if case and case.median_s else None,
        padding=pad,
        not_measured=why_not,
    )


def table(source: str, rows: Sequence[OwnShape], tops: Sequence[Ceiling], notes: Sequence[str] = ()) -> OwnShapes:
    """All of it: each row against its ceiling, those that lose most time first, and the sums."""
    by_dtype = {top.dtype: top for top in tops}
    judged = [_against(one, by_dtype) for one in rows]
    order = sorted(judged, key=lambda one: (one.total_s is None, -((one.total_s or 0.0) - (one.ceiling_s or 0.0)), -one.ops))
    measured = [one for one in judged if one.total_s is not None]
    return OwnShapes(
        source=source,
        ceilings=tuple(tops),
        shapes=tuple(order),
        measured_s=sum(one.total_s or 0.0 for one in measured),
        measured_at_ceiling_s=sum(one.ceiling_s or 0.0 for one in measured),
        not_measured_at_ceiling_s=sum(one.ceiling_s or 0.0 for one in judged if one.total_s is None),
        notes=tuple(notes),
    )


def _against(one: OwnShape, tops: Mapping[str, Ceiling]) -> OwnShape:
    from msgspec.structs import replace

    top = tops.get(one.dtype)
    if top is None:
        return one
    return replace(one, ceiling_s=one.ops / top.rate, share_of_ceiling=one.rate / top.rate if one.rate else None)
