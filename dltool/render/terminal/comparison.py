"""Boards side by side: what each is and can, its ratio to the first, and the best of each row."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.text import Text

from dltool.catalog import PEAK_KEYS, Board
from dltool.peaks import label, per
from dltool.render.terminal.page import Cell, Page
from dltool.render.terminal.peaks import amount, number

_LABEL = 17
_FIGURE = 9
"""Of a figure with the mark of the best."""
_RATIO = 6
_GAP = 2
_WITH_RATIOS = _LABEL + 2 * (_GAP + _FIGURE) + _RATIO
_FACTS: tuple[tuple[str, Callable[[Board], str]], ...] = (
    ("chip", lambda board: board.chip or "?"),
    ("capability", lambda board: board.compute_capability or "?"),
    ("memory type", lambda board: board.memory_type or "?"),
    ("launched", lambda board: board.launch or "?"),
    ("boost MHz", lambda board: number(board.boost_mhz or board.shader_mhz)),
)
_FIGURES: tuple[tuple[str, Callable[[Board], float | None], bool], ...] = (
    ("SMs", lambda board: board.sms, True),
    ("memory GB", lambda board: board.memory_gb, True),
    ("memory GB/s", lambda board: board.memory_gb_per_s, True),
    ("L2 MiB", lambda board: board.l2_mib, True),
    ("NVLink GB/s", lambda board: board.nvlink_gb_per_s, True),
    ("TDP W", lambda board: board.tdp_w, False),
)
"""Title, figure, and whether more is better."""
_UNITS = {
    None: "Peaks in TFLOP/s (INT: TOP/s)",
    "watt": "Peaks per watt of board power, GFLOP/s (INT: GOP/s)",
    "gb/s": "Peaks per memory bandwidth: operations for each byte",
}


def show(boards: Sequence[Board], page: Page) -> None:
    """All boards, in as many tables as the width of the page asks for; each table begins with the first board."""
    best = _best(boards, page.style.per)
    for block in _that_fit(boards, page.width):
        _side_by_side(block, page, best)
    clocks = {peak.clock_mhz for board in boards for peak in board.peaks.values() if peak.clock_mhz}
    clock = f"{clocks.pop():g} MHz" if len(clocks) == 1 else "boost clock"
    page.line(
        f"{_UNITS[page.style.per]}, dense, at {clock}. 2.0x: of the first board; *: best of its row; -: no such unit; "
        "1?: one source only; ?: not known.",
        style="dim",
    )


def _best(boards: Sequence[Board], what: str | None) -> dict[str, float]:
    """The best figure of each row over all boards, where they differ; of operations per byte none is better."""
    rows = [(title, [figure(board) for board in boards], more) for title, figure, more in _FIGURES]
    if what != "gb/s":
        rows += [(label(key), [_value(board, key, what) for board in boards], True) for key in PEAK_KEYS]
    best = {}
    for title, values, more in rows:
        known = [value for value in values if value is not None]
        if len(set(known)) > 1:
            best[title] = (max if more else min)(known)
    return best


def _value(board: Board, key: str, what: str | None) -> float | None:
    if what:
        return per(board, key, what)
    return board.peaks[key].dense if key in board.peaks else None


def _that_fit(boards: Sequence[Board], width: int) -> Iterator[Sequence[Board]]:
    """The boards in blocks no wider than the page; the first board leads each, for the others are measured by it."""
    first, others = boards[0], boards[1:]
    room = max(1, (width - _LABEL - _GAP - _FIGURE) // (_GAP + _FIGURE + _RATIO))  # one at least, however narrow
    for start in range(0, len(others), room):
        yield (first, *others[start : start + room])


def _side_by_side(boards: Sequence[Board], page: Page, best: Mapping[str, float]) -> None:
    rows = [_facts(title, [fact(board) for board in boards]) for title, fact in _FACTS]
    ratios = page.width >= _WITH_RATIOS
    for title, figure, _ in _FIGURES:
        values = [figure(board) for board in boards]
        if any(value is not None for value in values):
            rows.append(_figures(title, values, [number(value) for value in values], best.get(title), ratios=ratios))
    for key in PEAK_KEYS:
        if any(key in board.peaks for board in boards):
            values, texts = _peaks(key, boards, page.style.per)
            rows.append(_figures(label(key), values, texts, best.get(label(key)), ratios=ratios))
    first, *others = _heads(boards)
    page.table([str(cell) for cell in first], [*others, *rows], right=range(1, len(boards) + 1))


def _heads(boards: Sequence[Board]) -> list[list[Cell]]:
    """The names, each over as many lines as it takes, the last words lowest."""
    widths = [_FIGURE, *[_FIGURE + _RATIO] * (len(boards) - 1)]
    parted = [textwrap.wrap(board.name, width - 1) for board, width in zip(boards, widths, strict=True)]
    height = max(map(len, parted))
    lines = [[""] * (height - len(words)) + words for words in parted]
    return [_facts("", [words[line] for words in lines], style="dim") for line in range(height)]


def _facts(title: str, texts: Sequence[str], style: str = "") -> list[Cell]:
    """A row of words, its ends under those of the figures."""
    room = _FIGURE - 1, *[_FIGURE + _RATIO - 1] * (len(texts) - 1)
    short = (text if len(text) <= width else f"{text[: width - 1]}…" for text, width in zip(texts, room, strict=True))
    return [title, *(Text(f"{text} ", style=style) for text in short)]


def _peaks(key: str, boards: Sequence[Board], what: str | None) -> tuple[list[float | None], list[str]]:
    values, texts = [], []
    for board in boards:
        peak = board.peaks.get(key)
        value = _value(board, key, what)
        mark = "?" if peak is not None and value is not None and peak.basis == "unverified" else ""
        values.append(value)
        texts.append(amount(value) + mark if peak is not None else "-" if board.peaks else "?")
    return values, texts


def _figures(
    title: str, values: Sequence[float | None], texts: Sequence[str], best: float | None, *, ratios: bool
) -> list[Cell]:
    """A row of figures: the best of all boards is marked, and each but the first has its ratio beside it."""
    cells: list[Cell] = [title]
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        is_best = best is not None and value == best
        cell = Text(f"{text}*" if is_best else f"{text} ", style="bold" if is_best else "")
        cells.append(cell.append(_ratio(value, values[0]).rjust(_RATIO), style="dim") if place and ratios else cell)
    return cells


def _ratio(value: float | None, first: float | None) -> str:
    if value is None or not first:
        return ""
    ratio = value / first
    return f"{ratio:.2f}x" if ratio < 9.995 else f"{ratio:.0f}x"
