"""The reference tables in `catalog/`: flat CSV files, one row a fact. `catalog/README.md` says what they mean."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

Row = dict[str, str]


def directory() -> Path:
    """Where the tables lie: inside an installed dltool, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "_catalog"
    return installed if installed.is_dir() else package.parent / "catalog"


@cache
def rows(table: str) -> tuple[Row, ...]:
    """The rows of one table, `"compat/cuda"` for catalog/compat/cuda.csv. Cells are text; an empty one is unknown."""
    with (directory() / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


@cache
def folder(name: str) -> tuple[Row, ...]:
    """The rows of all tables in one folder, in the order of the file names."""
    tables = sorted((directory() / name).glob("*.csv"))
    return tuple(row for table in tables for row in rows(f"{name}/{table.stem}"))


def number(cell: str) -> float | None:
    """A cell as a number; an empty one is unknown."""
    return float(cell) if cell else None


def integer(cell: str) -> int | None:
    """A cell as a whole number; an empty one is unknown."""
    return int(cell) if cell else None
