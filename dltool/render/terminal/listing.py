"""Many boards, a line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dltool.catalog import Board
from dltool.peaks import label
from dltool.render.terminal.page import Page
from dltool.render.terminal.peaks import amount, number

_COLUMNS: tuple[tuple[str, Callable[[Board], str], bool], ...] = (
    ("name", lambda board: board.name, False),
    ("chip", lambda board: board.chip or "", False),
    ("cc", lambda board: board.compute_capability or "", False),
    ("segment", lambda board: board.segment or "", False),
    ("launch", lambda board: board.launch or "?", False),
    ("GB", lambda board: number(board.memory_gb), True),
    ("GB/s", lambda board: number(board.memory_gb_per_s), True),
    ("W", lambda board: number(board.tdp_w), True),
)
"""Title, cell, and whether it is a figure."""


def show(boards: Sequence[Board], page: Page) -> None:
    """One line a board, with the peaks that were asked for, else FP32."""
    keys = page.style.keys or ("fp32",)
    head = [title for title, _, _ in _COLUMNS] + [f"{label(key)} T" for key in keys]
    rows = [[*(cell(board) for _, cell, _ in _COLUMNS), *(_peak(board, key) for key in keys)] for board in boards]
    figures = {place for place, (_, _, figure) in enumerate(_COLUMNS) if figure}
    page.columns(head, rows, right=figures | set(range(len(_COLUMNS), len(head))))


def _peak(board: Board, key: str) -> str:
    if key not in board.peaks:
        return "-" if board.peaks else "?"
    peak = board.peaks[key]
    return amount(peak.dense) + ("?" if peak.dense is not None and peak.basis == "unverified" else "")
