"""How far a long piece of work is, step by step, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dltool.render.terminal.page import visible
from dltool.units import seconds

if TYPE_CHECKING:
    from rich.status import Status

_DETAIL = 60


class Steps:
    """Tells each step when it begins and when it ends; on a terminal also what it says meanwhile."""

    def __init__(self, total: int, *, quiet: bool, status: Status | None = None) -> None:
        self.total = total
        self.quiet = quiet
        self.status = status
        self.number = 0
        self.title = ""

    def begin(self, title: str) -> None:
        """A step begins."""
        self.number += 1
        self.title = visible(title)
        self.detail("")
        if self.status is None:
            self._line(f"[{self.number}/{self.total}] {self.title}")

    def detail(self, text: str) -> None:
        """The newest line of what it says."""
        if self.status is not None:
            from rich.text import Text

            said = visible(text.strip())[:_DETAIL]
            self.status.update(Text(f"[{self.number}/{self.total}] {self.title}" + (f": {said}" if said else "")))

    def end(self, state: str, took_s: float) -> None:
        """It is over."""
        words = "done before" if state == "kept" else f"{state} in {seconds(took_s)}"
        self._line(f"[{self.number}/{self.total}] {self.title}: {words}" if self.status is not None else f"      {words}")

    def _line(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)


@contextmanager
def steps(total: int, *, quiet: bool) -> Iterator[Steps]:
    """Lines on stderr; on a terminal a moving one besides."""
    if quiet or not sys.stderr.isatty():
        yield Steps(total, quiet=quiet)
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield Steps(total, quiet=False, status=status)
