"""How far a search is, on the terminal only and never in its output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def searching(name: str, budget_s: float, *, quiet: bool) -> Iterator[Callable[[float, str], None]]:
    """A line on stderr that tells the time spent of the budget and the best so far; nothing where stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _spent_s, _text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(name), BarColumn(bar_width=20), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=budget_s)
        yield lambda spent_s, text: bar.update(task, completed=spent_s, description=text)
