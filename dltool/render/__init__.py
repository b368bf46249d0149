"""Faces of a report: one function per format, each from a `Report` to text. None of them judges or measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dltool.registry import Registry
from dltool.results import Report, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How the output may look."""

    width: int = 80
    color: bool = False
    verbose: bool = False
    explain: bool = False
    """Say how each figure follows and where it is from."""
    layout: str = "sheet"
    """"sheet", or "list": a line for each board."""
    per: str | None = None
    """Show peaks per "watt" or per "gb/s"."""
    keys: tuple[str, ...] = ()
    """Peak keys that a list shows."""
    bar: Status = Status.FAIL
    """What counts as a failure, as for the exit code."""
    folded: bool = False
    """To be pasted into an issue, where it takes one line until it is opened."""


Renderer = Callable[[Report, Style], str]
FORMATS: Registry[Renderer] = Registry("format", package="dltool.render", entry_points="dltool.renderers")
