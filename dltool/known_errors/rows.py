"""The rows of `catalog/errors.csv`, and the words by which their patterns are looked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from msgspec import Struct

from dltool import lang, texts
from dltool.results import LogError, Scope


class KnownError(Struct, frozen=True, kw_only=True):
    """One row of `catalog/errors.csv`."""

    id: str
    pattern: str
    means: str
    why: str
    mend: str
    prevent: str
    checks: tuple[str, ...]
    scope: Scope
    example: str
    source: str

    def found(self) -> LogError:
        """What it says, without a place."""
        return LogError(
            id=self.id,
            means=self.means,
            why=self.why,
            mend=self.mend,
            prevent=self.prevent,
            checks=self.checks,
            scope=self.scope,
        )


def known() -> tuple[KnownError, ...]:
    """The rows of the table, the more specific before the more general."""
    return _known(lang.spoken())


@cache
def _known(_language: str) -> tuple[KnownError, ...]:
    return tuple(
        KnownError(
            id=row["id"],
            pattern=row["pattern"],
            means=row["means"],
            why=row["why"],
            mend=row["mend"],
            prevent=row["prevent"],
            checks=tuple(row["checks"].split()),
            scope=Scope(row["scope"]),
            example=row["example"],
            source=row["source"],
        )
        for row in texts.rows("errors")
    )


def words_of(pattern: str) -> tuple[str, ...]:
    """For each alternative of a pattern the longest literal text that each match of it holds, in lower case.

    Only what stands outside of groups is looked at; the patterns of the table are written so that this is a telling word.
    """
    return tuple(max(_literals(alternative), key=len, default="") for alternative in _alternatives(pattern))


def _alternatives(pattern: str) -> list[str]:
    """The parts between `|` that are in no group or class."""
    parts, depth, in_class, at, start = [], 0, False, 0, 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and not depth:
            parts.append(pattern[start:at])
            start = at + 1
        at += 1
    return [*parts, pattern[start:]]


_TOKEN = re.compile(
    r"\\(?P<escaped>.)|(?P<class>\[\^?\]?(?:\\.|[^\]\\])*\])|(?P<quantifier>[*?+]|\{[^}]*\})|(?P<other>.)", re.DOTALL
)


def _literals(pattern: str) -> Iterator[str]:
    depth, run = 0, ""
    for token in _TOKEN.finditer(pattern):
        kind, char = token.lastgroup, token["escaped"] or token["other"] or ""
        if kind == "other" and char in "()":
            depth += 1 if char == "(" else -1
            yield run
            run = ""
        elif depth:
            continue
        elif kind == "quantifier":
            yield run[:-1]
            run = ""
        elif kind == "class" or (kind == "escaped" and char.isalnum()) or (kind == "other" and char in ".^$"):
            yield run
            run = ""
        else:
            run += char.lower()
    yield run
