"""Take away what `setup create` made, and nothing else."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from dltool.errors import CannotRun, UsageError
from dltool.setup import workplace
from dltool.setup.workplace import Marker, cannot_write, claim


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of a directory."""

    directory: Path
    left: tuple[str, ...]
    """What others put there, by name."""

    @property
    def gone(self) -> bool:
        """Whether the directory itself was removed."""
        return not self.directory.exists()


def check(directory: Path) -> Marker:
    """Refuse what is not ours to remove.

    Raises:
        UsageError: `setup create` did not make it, it is a link, or this very dltool runs from it.
    """
    if directory.is_symlink():
        raise UsageError(f"{directory} is a link", remedy=f"Name the directory itself: {os.path.realpath(directory)}")
    if not directory.is_dir():
        raise UsageError(f"there is no directory {directory}", remedy="dltool setup list shows what there is.")
    marker = workplace.read(directory)
    if marker is None:
        raise UsageError(
            f"{directory} was not made by dltool setup create", remedy="Remove it with the tool that made it, or by hand."
        )
    if Path(sys.prefix).resolve().is_relative_to(directory.resolve()):
        raise UsageError(f"this dltool runs from {directory}", remedy="Run the dltool of another environment.")
    return marker


def remove(directory: Path) -> Removed:
    """Remove what was made, and the directory if nothing else is in it and it was not there before. Links are not followed.

    Raises:
        UsageError: see `check`.
        CannotRun: a run is at work there, or something cannot be removed.
    """
    check(directory)
    with claim(directory) as place:
        check(directory)
        try:
            return Removed(directory, tuple(place.take_away()))
        except OSError as error:
            failure = cannot_write(directory, error)
            raise CannotRun(str(failure).replace("cannot write", "cannot remove"), remedy=failure.remedy) from None
