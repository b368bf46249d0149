#!/usr/bin/env python3
"""The catalogue: what a look-up adds to the start of dltool, and a search among a hundred thousand boards."""

from __future__ import annotations

import csv
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import BIN, alternate, verdict

DLTOOL = str(BIN / "dltool")
PYTHON = str(BIN / "python")
ASKED = ("RTX 4090", "4090", "a100 80g", "NVIDIA H100 80GB HBM3", "GeForce RTX 2070 with Max-Q Design")
MANY = 100_000
COLD_S = 0.015
WARM_S = 0.050


def cold() -> list[bool]:
    """Each form of a name in a process of its own: what finding its board adds to what `dltool --version` loads."""
    started = "import dltool.cli.main"
    commands = {"version": [PYTHON, "-c", started]}
    for name in ASKED:
        commands[name] = [PYTHON, "-c", f"{started}; from dltool import names; names.resolve({name!r})"]
        commands[f"dltool gpu-info {name}"] = [DLTOOL, "gpu-info", name, "--json"]
    took = alternate(commands, rounds=15)
    base = took.pop("version")
    for name in ASKED:
        print(f"      dltool gpu-info {name!r} --json / the start alone: {took[f'dltool gpu-info {name}'] / base:.2f}")
    return [verdict(f"look-up of {name!r}, of 15 ms", (took[name] - base) / COLD_S, 1.0) for name in ASKED]


def warm() -> list[bool]:
    """Searches in a catalogue with made-up boards, after the first of them; the slowest counts."""
    from dltool import names, tables

    real = tables.directory()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "catalog"
        shutil.copytree(real, made)
        _grow(made / "gpus" / "ada.csv")
        tables.directory = lambda: made  # type: ignore[assignment]
        searches = (*ASKED, "RTX 73519 Ti", "NVIDIA RTX 70001 SUPER", "RTX 4O90", "L4", "GTX")
        slowest = max(_search(names.resolve, search) for search in searches)
    return [verdict(f"slowest of {len(searches)} searches among {MANY} boards, of 50 ms", slowest / WARM_S, 1.0)]


def _grow(table: Path) -> None:
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        suffixes = ("", " Ti", " SUPER", " Laptop GPU")
        writer.writerows({**rows[0], "name": f"GeForce RTX {70000 + n // 4}{suffixes[n % 4]}"} for n in range(MANY))


def _search(resolve: object, name: str) -> float:
    from dltool.errors import UsageError

    took = []
    for _ in range(6):
        start = time.perf_counter()
        try:
            resolve(name)  # type: ignore[operator]
        except UsageError:
            pass  # a name that is none is searched for the longest
        took.append(time.perf_counter() - start)
    return median(took[1:])


def main() -> int:
    return 0 if all(cold() + warm()) else 1


if __name__ == "__main__":
    sys.exit(main())
