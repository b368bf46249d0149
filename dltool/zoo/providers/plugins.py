"""Models that other distributions bring: entry points of the group `dltool.models`, each a callable as of a user's own."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from dltool.errors import CannotRun, UsageError
from dltool.zoo.providers import Source

GROUP = "dltool.models"


@cache
def brought() -> dict[str, EntryPoint]:
    """Entry points by name; nothing is imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def plugged(name: str) -> Source:
    """The model that an entry point brings.

    Raises:
        CannotRun: its code fails when it is imported; names the distribution.
        UsageError: it is no callable.
    """
    point = brought()[name]
    owner = point.dist.name if point.dist is not None else point.value
    try:
        found = point.load()
    except Exception as error:  # a stranger's code may do anything
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CannotRun(
            f"the model {name} of {owner} cannot be imported: {said}", remedy=f"Tell its authors, or: pip uninstall {owner}"
        ) from None
    if not callable(found):
        raise UsageError(f"the model {name} of {owner} is no callable", remedy="Tell its authors.")
    return Source(name, found)
