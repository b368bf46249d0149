"""The search for the largest batch that fits, in a few sentences."""

from __future__ import annotations

import textwrap

from dltool.step_results import BatchSearch, BatchTry

_WHY = 200


def lines(search: BatchSearch, width: int = 100) -> list[str]:
    """What was found, what kept it from more, and how it was found."""
    tries = f"{len(search.tries)} {'try' if len(search.tries) == 1 else 'tries'}"
    foreseen = "" if search.foreseen is None else f"; the memory model foretold {search.foreseen}"
    told = [f"{_found(search)} ({tries}{foreseen})", *(f"note: {note}" for note in search.notes)]
    return [line for text in told for line in textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False)]


def _found(search: BatchSearch) -> str:
    last = next((one for one in reversed(search.tries) if one.batch == search.next_fails and not one.fits), None)
    if last is None:
        return f"batch {search.largest} fits; larger ones were not to be tried"
    if not search.largest:
        return f"no batch runs: batch {last.batch} {_refused(last)}"
    if search.limited_by == "memory":
        return f"the largest batch that fits is {search.largest}: {last.batch} {_refused(last)}"
    return f"the largest batch that runs is {search.largest}: {last.batch} {_refused(last)}"


def _refused(one: BatchTry) -> str:
    if one.stopped_by == "memory":
        return "found no memory"
    why = next((line.strip() for line in one.why.splitlines() if line.strip()), "it failed")
    return ("is " if one.stopped_by == "time" else "fails: ") + textwrap.shorten(why, _WHY, placeholder=" ...")
