"""Shapes from a file: CSV with a header, JSON (an array of objects), or lines `m n k [dtype] [count] [name]`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dltool.bench import dtype_row
from dltool.bench.shapes.own import Own
from dltool.errors import UsageError
from dltool.machine import read_bounded

_LARGEST = 2**24
_FIELDS = ("m", "n", "k", "dtype", "count", "name")
_REMEDY = "Write lines like `4096 50257 768 bf16 1 lm_head`, or CSV or JSON with m, n, k and, where wanted, dtype, count, name."


def read(path: Path) -> tuple[Own, ...]:
    """The shapes of a file, in its order.

    Raises:
        UsageError: unreadable, or a line that holds no shape; says which.
    """
    try:
        text = read_bounded(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text in UTF-8", remedy=_REMEDY) from None
    if text.lstrip().startswith(("[", "{")):
        rows = _json(path, text)
    elif "," in _first_line(text) and "m" in [cell.strip().lower() for cell in _first_line(text).split(",")]:
        rows = _csv(path, text)
    else:
        rows = _lines(path, text)
    found = tuple(_own(place, row) for place, row in rows)
    if not found:
        raise UsageError(f"{path} holds no shapes", remedy=_REMEDY)
    return found


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")


def _lines(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Columns parted by blanks or commas; the dtype may be left out, as it is no number; `#` begins a comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.partition("#")[0].replace(",", " ").split()
        if cells:
            yield f"{path} line {number}", _by_place(f"{path} line {number}", cells)


def _by_place(place: str, cells: Sequence[str]) -> Mapping[str, Any]:
    if len(cells) < 3:
        raise UsageError(f"{place}: {len(cells)} columns where m, n and k are wanted", remedy=_REMEDY)
    row: dict[str, Any] = dict(zip("mnk", cells, strict=False))
    rest = list(cells[3:])
    if rest and not rest[0].lstrip("-").isdigit():
        row["dtype"] = rest.pop(0)
    if rest and rest[0].lstrip("-").isdigit():
        row["count"] = rest.pop(0)
    return {**row, "name": " ".join(rest)}


def _csv(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    head: list[str] | None = None
    try:
        reader = csv.reader(text.splitlines(), strict=True)
        for cells in reader:
            place = f"{path} line {reader.line_num}"
            if not any(cell.strip() for cell in cells) or cells[0].startswith("#"):
                continue
            if head is None:
                head = _head(place, cells)
            elif len(cells) != len(head):
                raise UsageError(f"{place}: {len(cells)} cells where the header has {len(head)}", remedy=_REMEDY)
            else:
                yield place, {name: cell.strip() for name, cell in zip(head, cells, strict=True) if cell.strip()}
    except csv.Error as error:
        raise UsageError(f"{path}: {error}", remedy=_REMEDY) from None


def _head(place: str, cells: Sequence[str]) -> list[str]:
    head = [cell.strip().lower() for cell in cells]
    unknown = [name for name in head if name not in _FIELDS]
    if unknown or len(set(head)) != len(head):
        wrong = f"column `{unknown[0]}` is not known" if unknown else "a column occurs twice"
        raise UsageError(f"{place}: {wrong}", remedy=f"Known columns: {', '.join(_FIELDS)}.")
    return head


def _json(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}", remedy=_REMEDY) from None
    rows = data.get("shapes") if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise UsageError(f"{path}: no array of shapes", remedy=_REMEDY)
    for number, row in enumerate(rows, start=1):
        place = f"{path} shape {number}"
        if isinstance(row, list):
            yield place, _by_place(place, [str(cell) for cell in row])
        elif isinstance(row, dict) and set(row) <= set(_FIELDS):
            yield place, row
        else:
            raise UsageError(f"{place}: not an object with {', '.join(_FIELDS)}", remedy=_REMEDY)


def _own(place: str, row: Mapping[str, Any]) -> Own:
    m, n, k = (_whole(place, side, row.get(side)) for side in "mnk")
    count = _whole(place, "count", row["count"]) if row.get("count") not in (None, "") else 1
    dtype = row.get("dtype") or None
    if dtype is not None:
        try:
            dtype = dtype_row(str(dtype))["name"]
        except UsageError as error:
            raise UsageError(f"{place}: {error}", remedy=error.remedy) from None
    return Own(m=m, n=n, k=k, count=count, dtype=dtype, name=str(row.get("name") or ""))


def _whole(place: str, name: str, value: object) -> int:
    """A positive whole number.

    Raises:
        UsageError: it is none, or too large for any matrix.
    """
    text = str(value).strip()
    number = int(text) if not isinstance(value, bool) and text.isascii() and text.isdigit() and len(text) < 12 else 0
    if not 0 < number < _LARGEST:
        said = "is missing" if value in (None, "") else f"= {text[:40]}"
        raise UsageError(f"{place}: {name} {said}: a whole number from 1 to {_LARGEST - 1} is wanted", remedy=_REMEDY)
    return number
