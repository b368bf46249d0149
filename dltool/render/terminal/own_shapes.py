"""The user's shapes: what each reaches, what is lost against the ceiling, and where padding pays."""

from __future__ import annotations

from dltool.render.terminal.page import Page
from dltool.results import Report
from dltool.shape_results import OwnShape, OwnShapes, Padding
from dltool.units import percent, rate, seconds

_SHOWN = 20
_IN_VAIN = 3
"""More tries of padding without a gain than these are told together."""
_NEEDS = (100, 84)
"""Columns of text below which the last, the last two columns of the table are left out."""


def show(report: Report, page: Page) -> None:
    """The ceilings, the table with the greatest losses first, the sums, and advice."""
    own = report.own_shapes
    if own is None:
        return
    page.line()
    page.line(f"your shapes: {own.source}", style="bold")
    for top in own.ceilings:
        which = "best found in this run" if top.basis == "search" else "your own, better than the search's best"
        page.line(f"ceiling {top.dtype}: {rate(top.rate, top.rate_unit)} at {top.m}x{top.n}x{top.k} ({which})", indent=2)
    page.line()
    units = {top.dtype: top.rate_unit for top in own.ceilings}
    shown = own.shapes if page.verbose else own.shapes[:_SHOWN]
    titles = ["shape", "dtype", "times", "rate", "of ceiling", "now", "at ceiling", "lost", "name"]
    kept = len(titles) - sum(page.width < least for least in _NEEDS)
    page.table(titles[:kept], [_row(one, units)[:kept] for one in shown], right=range(2, min(kept, 8)))
    if len(shown) < len(own.shapes):
        page.line(f"and {len(own.shapes) - len(shown)} more: --verbose", style="dim")
    page.line()
    for line in _sums(own):
        page.line(line)
    _advice(own, page)
    for note in (*_reasons(own), *own.notes):
        page.labelled("note", note, indent=0)


def _row(one: OwnShape, units: dict[str, str]) -> list[str]:
    sides = f"{one.m}x{one.n}x{one.k}"
    ceiling = seconds(one.ceiling_s) if one.ceiling_s is not None else ""
    name = one.name or (one.kind if one.kind != "gemm" else "")
    if one.total_s is None or one.rate is None:
        return [sides, one.dtype, str(one.count), "", "", "not measured", ceiling, "", name]
    lost = one.total_s - (one.ceiling_s or one.total_s)
    return [
        sides,
        one.dtype,
        str(one.count),
        rate(one.rate, units.get(one.dtype, "FLOP/s")),
        percent(one.share_of_ceiling),
        seconds(one.total_s),
        ceiling,
        seconds(max(0.0, lost)) if lost > 0 else "0 s",
        name,
    ]


def _sums(own: OwnShapes) -> list[str]:
    if not own.measured_s:
        return ["none of them was measured"]
    share = own.measured_at_ceiling_s / own.measured_s
    ceiling = f"{seconds(own.measured_at_ceiling_s)} at the ceiling ({percent(share)} of it is reached)"
    lines = [f"one step: {seconds(own.measured_s)} now, {ceiling}"]
    if own.not_measured_at_ceiling_s:
        lines.append(f"not measured, and not in these sums: {seconds(own.not_measured_at_ceiling_s)} at the ceiling")
    losers = [one for one in own.shapes if one.total_s and one.ceiling_s and one.total_s > one.ceiling_s][:3]
    lost = own.measured_s - own.measured_at_ceiling_s
    if losers and lost > 0:
        parts = (f"{one.name or f'{one.m}x{one.n}x{one.k}'} {percent(_loss(one) / lost)}" for one in losers)
        lines.append(f"of what is lost: {', '.join(parts)}")
    return lines


def _loss(one: OwnShape) -> float:
    return (one.total_s or 0.0) - (one.ceiling_s or 0.0)


def _advice(own: OwnShapes, page: Page) -> None:
    """Padding that pays, with its proof; of many that were tried in vain only how many there are."""
    tried = [(one, one.padding) for one in own.shapes if one.padding is not None]
    untold = [one for one, pad in tried if pad.verdict != "faster"]
    many = len(untold) > _IN_VAIN and not page.verbose
    if tried:
        page.line()
    for one, pad in tried:
        if pad.verdict == "faster" or not many:
            page.labelled(_LABELS[pad.verdict], _padding(one, pad), indent=0, label_style="yellow")
    if many:
        page.line(f"padding of {len(untold)} other shapes was tried and shows no gain: --verbose", style="dim")


_LABELS = {"faster": "pad      ", "slower": "don't pad", "same": "no matter", "can't tell": "can't tell"}


def _padding(one: OwnShape, pad: Padding) -> str:
    before, after = (one.m, one.n, one.k), (pad.m, pad.n, pad.k)
    sides = [f"{side} {old} -> {new}" for side, old, new in zip("mnk", before, after, strict=True) if old != new]
    saved = (1 - 1 / pad.gain) * 100
    change = f"{abs(saved):.1f} % {'less' if saved > 0 else 'more'} time"
    interval = ""
    if pad.gain_ci95:
        low, high = ((1 / end - 1) * 100 for end in reversed(pad.gain_ci95))
        interval = f" (95 %: {low:+.1f} to {high:+.1f} %)"
    return f"{one.dtype} {one.m}x{one.n}x{one.k} with {', '.join(sides)}: {change}{interval}, {pad.pairs} pairs in turn"


def _reasons(own: OwnShapes) -> list[str]:
    reasons: dict[str, int] = {}
    for one in own.shapes:
        if one.not_measured:
            reasons[one.not_measured] = reasons.get(one.not_measured, 0) + 1
    return [f"{count} not measured: {reason}" for reason, count in reasons.items()]
