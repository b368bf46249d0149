"""Boards by their traits: what `gpu-info --list` shows, and in which order. Pure functions of boards with peaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from dltool.catalog import PEAK_KEYS, Board
from dltool.errors import UsageError, unknown_name

_COLUMNS: Mapping[str, Callable[[Board], float | None]] = {
    "memory": lambda board: board.memory_gb,
    "bandwidth": lambda board: board.memory_gb_per_s,
    "l2": lambda board: board.l2_mib,
    "nvlink": lambda board: board.nvlink_gb_per_s,
    "tdp": lambda board: board.tdp_w,
    "sms": lambda board: board.sms,
    "cores": lambda board: board.cuda_cores,
    "clock": lambda board: board.boost_mhz or board.shader_mhz or board.base_mhz,
}
_TEXT_COLUMNS: Mapping[str, Callable[[Board], str | None]] = {
    "name": lambda board: board.name.casefold(),
    "launch": lambda board: board.launch,
    "capability": lambda board: f"{float(board.compute_capability):05.1f}" if board.compute_capability else None,
}


def select(
    boards: Iterable[Board],
    *,
    architecture: str | None = None,
    segment: str | None = None,
    min_memory_gb: float | None = None,
    keys: Sequence[str] = (),
    since: str | None = None,
) -> tuple[Board, ...]:
    """The boards that have all the traits asked for; what is not known of a board does not let it pass.

    Args:
        architecture: its name, "Ada Lovelace", or the beginning of it.
        segment: "geforce", "datacenter" ...
        min_memory_gb: as marketed.
        keys: peak keys, of which it must have one.
        since: launched in this month ("2020-05") or year or later.

    Raises:
        UsageError: no board is of this architecture or segment; the month is none.
    """
    chosen = list(boards)
    if architecture is not None:
        chosen = _of_kind(chosen, "architecture", architecture, lambda board: board.architecture)
    if segment is not None:
        chosen = _of_kind(chosen, "segment", segment, lambda board: board.segment)
    if min_memory_gb is not None:
        chosen = [board for board in chosen if board.memory_gb is not None and board.memory_gb >= min_memory_gb]
    if keys:
        chosen = [board for board in chosen if any(key in board.peaks for key in keys)]
    if since is not None:
        if not re.fullmatch(r"\d{4}(-(0[1-9]|1[0-2]))?", since):
            raise UsageError(f"`{since}` is no month", remedy="Write a year or a month: 2020, 2020-05.")
        chosen = [board for board in chosen if board.launch is not None and board.launch >= since]
    return tuple(chosen)


def ordered(boards: Iterable[Board], column: str) -> tuple[Board, ...]:
    """The boards by one column: figures and dates the greatest first, names from A to Z; what is not known comes last.

    Args:
        boards: with peaks, where the column is a peak key.
        column: "name", "launch", "memory" ..., a peak key or the beginning of one ("bf16").

    Raises:
        UsageError: there is no such column.
    """
    held = tuple(boards)
    value: Callable[[Board], float | str | None]
    if column in _TEXT_COLUMNS:
        value = _TEXT_COLUMNS[column]
    elif column in _COLUMNS:
        value = _COLUMNS[column]
    else:
        keys = peak_keys(column, kind="column", also=(*_TEXT_COLUMNS, *_COLUMNS))

        def value(board: Board) -> float | None:
            return max((board.peaks[key].dense or 0 for key in keys if key in board.peaks), default=None)

    known = [(found, board) for board in held if (found := value(board)) is not None]
    known.sort(key=lambda pair: pair[0], reverse=column != "name")
    return (*(board for _, board in known), *(board for board in held if value(board) is None))


def peak_keys(dtype: str, *, kind: str = "dtype", also: Iterable[str] = ()) -> tuple[str, ...]:
    """The peak keys that a number format means: "bf16" -> bf16, bf16_tensor; a key means itself.

    Raises:
        UsageError: there is none.
    """
    wanted = dtype.casefold()
    keys = tuple(key for key in PEAK_KEYS if wanted in (key, key.partition("_")[0]))
    if not keys:
        raise unknown_name(kind, dtype, {*also, *PEAK_KEYS, *(key.partition("_")[0] for key in PEAK_KEYS)})
    return keys


def _of_kind(boards: list[Board], kind: str, wanted: str, fact: Callable[[Board], str | None]) -> list[Board]:
    known = {value for board in boards if (value := fact(board))}
    same = {value for value in known if value.casefold() == wanted.casefold()}
    same = same or {value for value in known if wanted and value.casefold().startswith(wanted.casefold())}
    if not same:
        raise unknown_name(kind, wanted, known)
    return [board for board in boards if fact(board) in same]
