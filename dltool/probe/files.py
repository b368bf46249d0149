"""Questions about files, answered with "no" where they may not be asked.

pathlib raises when a directory on the way is closed: one unreadable entry of a search path would cost us all the others.
"""

from __future__ import annotations

import os
from pathlib import Path


def is_dir(path: Path | str) -> bool:
    """Whether there is a directory that can be seen."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path | str) -> bool:
    """Whether there is a file that can be seen."""
    return os.path.isfile(path)  # noqa: PTH113


def exists(path: Path | str) -> bool:
    """Whether there is anything that can be seen."""
    return os.path.exists(path)  # noqa: PTH110


def glob(directory: Path, pattern: str) -> list[Path]:
    """What matches in a directory, sorted; nothing where it may not be entered."""
    return sorted(directory.glob(pattern)) if is_dir(directory) else []
