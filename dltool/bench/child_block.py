"""Run as a file by any Python that has torch: measure what the request says, and write the measurements beside it.

That Python needs neither dltool nor its packages: dltool comes from where the request says, and so does what this Python lacks
of its needs; torch and numpy never do.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType


class Lent(MetaPathFinder):
    """Finds packages of these names in these folders, and no others."""

    def __init__(self, names: Sequence[str], folders: Sequence[str]) -> None:
        self._names, self._folders = set(names), list(folders)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The package, where it is one that is lent."""
        if path is not None or fullname not in self._names:
            return None
        return importlib.machinery.PathFinder.find_spec(fullname, self._folders, target)


def main(request: Path) -> None:
    """Answer a request of `dltool.bench.elsewhere`."""
    sys.path.pop(0)  # the folder of this file, whose names are not meant for all to import
    asked = json.loads(request.read_text(encoding="utf-8"))
    sys.meta_path.insert(0, Lent(["dltool"], asked["dltool"]))
    sys.meta_path.append(Lent(asked["lend"], asked["folders"]))
    from dltool.bench import elsewhere

    request.with_suffix(".answer").write_bytes(elsewhere.answer(asked))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
