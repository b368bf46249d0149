"""The table of a board's peaks: what it can reach, how that follows, and what the maker prints."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from dltool.catalog import Board, Peak
from dltool.peaks import label, per
from dltool.render.terminal.page import Page
from dltool.units import significant

_WIDE = 100
_NARROW = 72
"""Below, the derivations stand under the table, not in it."""
_PER = {"watt": "G/s per W", "gb/s": "op per byte"}


def show(board: Board, page: Page) -> None:
    """Dense and sparse peaks; with --explain the derivation of each, and why the published figure is another."""
    explain = page.style.explain and page.width >= _NARROW
    columns = _columns(board, page)
    peaks = {key: _scaled(peak, board) for key, peak in board.peaks.items()}
    rows = [
        [
            label(key),
            *(figure(key, peak) for _, figure in columns),
            peak.unit,
            _how(peak) if explain else _mark(peak, short=page.width < _NARROW),
        ]
        for key, peak in peaks.items()
    ]
    head = ["peak", *(title for title, _ in columns), "unit", "how" if explain else ""]
    (page.table if explain else page.columns)(head, rows, right=range(1, len(columns) + 1), indent=2)
    if page.style.explain and not explain:
        for key, peak in peaks.items():
            page.labelled(label(key), _how(peak), indent=2)
    for key, peak in peaks.items():
        if peak.difference:
            page.line(f"{label(key)}: {_amount_of(peak)} is published: {peak.difference}", style="dim", indent=2)


def _columns(board: Board, page: Page) -> list[tuple[str, Callable[[str, Peak], str]]]:
    columns: list[tuple[str, Callable[[str, Peak], str]]] = [("dense", lambda _key, peak: amount(peak.dense))]
    if any(peak.sparse for peak in board.peaks.values()):
        columns.append(("2:4 sparse", lambda _key, peak: amount(peak.sparse, "")))
    now = next((peak.clock_mhz for peak in board.peaks_now.values()), None)
    if now:
        columns.append((f"at {now:.0f} MHz now", lambda key, _peak: amount(board.peaks_now[key].dense)))
    if (not page.style.explain or page.width >= _WIDE) and any(peak.published for peak in board.peaks.values()):
        columns.append(("published", lambda _key, peak: amount(peak.published, "")))
    if page.style.per:
        what = page.style.per
        columns.append((_PER[what], lambda key, _peak: amount(per(board, key, what), "?")))
    return columns


def amount(value: float | None, missing: str = "?") -> str:
    """Four figures."""
    return missing if value is None else significant(value, 4)


def number(value: float | None) -> str:
    """As stored, without noughts behind the point."""
    return "?" if value is None else f"{value:g}" if value < 1e5 else f"{value:.0f}"


def _amount_of(peak: Peak) -> str:
    return f"{amount(peak.published)} {peak.unit}"


def _scaled(peak: Peak, board: Board) -> Peak:
    """In giga where the whole board is below one tera, as processors are."""
    if any((other.dense or 0) >= 1 for other in board.peaks.values()) or peak.dense is None:
        return peak
    thousand = {"dense": peak.dense * 1000, "sparse": peak.sparse * 1000 if peak.sparse else None}
    published = peak.published * 1000 if peak.published else None
    return replace(peak, **thousand, published=published, unit=peak.unit.replace("T", "G", 1))


def _how(peak: Peak) -> str:
    return peak.formula.replace(" op/clock/SM", "").replace(" op/clock/core", "") + _mark(peak)


def _mark(peak: Peak, *, short: bool = False) -> str:
    if peak.basis == "derived":
        return ""
    return {"unverified": "?", "published": "cut"}.get(peak.basis, "") if short else f" [{peak.basis}]"
