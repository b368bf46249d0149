"""TOML that somebody wrote by hand: read with the line of every mistake, and written."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

from dltool.errors import UsageError

Path = tuple[str | int, ...]
"""Where a value is: ("waiver", 0, "expires")."""

_LONGEST = 256 * 1024
_MOST_DOTS = 100
"""In a line: readers take time with the square of a key's parts, and nothing that dltool reads has more than a few."""
_DEEPEST = 6
"""Longer paths have no line of their own: nothing that dltool reads is nested so deep."""
_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_TOKEN = re.compile(
    r"""(?P<string>\"{3}(?:\\.|(?!\"{3})[^\\])*\"{3,5}|'{3}(?:(?!'{3}).)*'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
    r"|(?P<newline>\n)|(?P<mark>[\[\]{}=,.])|(?P<bare>[\w+:-]+)|(?P<ignored>\#[^\n]*|[ \t\r]+)",
    re.DOTALL | re.ASCII,
)
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Document(NamedTuple):
    """What a file says, and in which line it says each thing."""

    source: str
    values: dict[str, Any]
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int | None:
        """The line of a value, or of the nearest thing around it that has one."""
        places = (self.lines.get(path[:length]) for length in range(len(path), 0, -1))
        return next((line for line in places if line is not None), None)

    def error(self, path: Path, message: str, *, remedy: str) -> UsageError:
        """A mistake in the value at `path`, with its line."""
        line = self.line(path)
        where = f"{self.source}, line {line}" if line else self.source
        return UsageError(f"{where}: {dotted(path)}: {message}" if path else f"{where}: {message}", remedy=remedy)


def dotted(path: Path) -> str:
    """`("waiver", 0, "id")` -> `"waiver[0].id"`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' * bool(text)}{key(part)}"
    return text


def read(data: bytes, *, source: str) -> Document:
    """What a TOML file says.

    Raises:
        UsageError: not UTF-8 or not TOML; names the line and the column.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    remedy = 'TOML is sections in brackets and lines like: name = "text", number = 3. See https://toml.io'
    if len(data) > _LONGEST:
        raise UsageError(f"{source} is larger than {_LONGEST // 1024} KiB", remedy="This is another kind of file.")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line, column = _place(data[: error.start].decode("utf-8", errors="replace"))
        raise UsageError(
            f"{source}, line {line}, column {column}: this is not UTF-8: {error.reason}", remedy="Save the file as UTF-8."
        ) from None
    for number, written in enumerate(text.splitlines(), 1):
        if written.count(".") > _MOST_DOTS and not written.lstrip().startswith("#"):
            raise UsageError(f"{source}, line {number}: more than {_MOST_DOTS} dots in one line", remedy=remedy)
    try:
        values = tomllib.loads(text)
        return Document(source, values, dict(_first(_Scanner(text).places())))
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _PLACE.search(message)
        line, column = (int(found[1]), int(found[2])) if found and found[1] else _place(text)
        told = _PLACE.sub("", message)
        raise UsageError(f"{source}, line {line}, column {column}: {told[:1].lower()}{told[1:]}", remedy=remedy) from None
    except RecursionError:
        raise UsageError(f"{source} is nested too deep", remedy=remedy) from None
    except ValueError as error:  # an integer of some thousand digits
        raise UsageError(f"{source} cannot be read: {error}", remedy=remedy) from None


def _place(before: str) -> tuple[int, int]:
    """The line and the column, from 1, of what comes after this text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _first(places: Iterable[tuple[Path, int]]) -> Mapping[Path, int]:
    lines: dict[Path, int] = {}
    for path, line in places:
        lines.setdefault(path, line)
    return lines


class _Scanner:
    """Walks over a text that is known to be TOML, and tells the line of each table, key and element."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        line = 1
        for match in _TOKEN.finditer(text):
            if match.lastgroup != "ignored":
                self._tokens.append((match.lastgroup or "", match[0], line))
            line += match[0].count("\n")
        self._at = 0
        self._arrays: dict[Path, int] = {}

    def places(self) -> Iterator[tuple[Path, int]]:
        """Every path with its line, in the order of the text."""
        table: Path = ()
        while self._at < len(self._tokens):
            line = self._tokens[self._at][2]
            if self._skip("\n"):
                continue
            if self._skip("["):
                several = self._skip("[")
                table = self._inside(self._keys())
                if several:
                    self._arrays[table] = self._arrays.get(table, -1) + 1
                    yield table, line
                    table = (*table, self._arrays[table])
                self._skip("]")
                self._skip("]")
                yield from _prefixes((), table, line)
            else:
                yield from self._pair(table)

    def _inside(self, keys: Path) -> Path:
        """The path that a header means: what is below an array of tables is in its last one."""
        path: Path = ()
        for number, name in enumerate(keys):
            path = (*path, name)
            if number < len(keys) - 1 and path in self._arrays:
                path = (*path, self._arrays[path])
        return path

    def _pair(self, table: Path) -> Iterator[tuple[Path, int]]:
        line = self._tokens[self._at][2]
        path = (*table, *self._keys())
        yield from _prefixes(table, path, line)
        if not self._skip("="):
            self._at += 1  # cannot be: the text is TOML
        yield from self._value(path)

    def _value(self, path: Path) -> Iterator[tuple[Path, int]]:
        if self._skip("["):
            number = 0
            while not self._skip("]") and self._at < len(self._tokens):
                if not (self._skip("\n") or self._skip(",")):
                    yield from _prefixes(path, (*path, number), self._tokens[self._at][2])
                    yield from self._value((*path, number))
                    number += 1
        elif self._skip("{"):
            while not self._skip("}") and self._at < len(self._tokens):
                if not (self._skip("\n") or self._skip(",")):
                    yield from self._pair(path)
        else:
            while self._at < len(self._tokens) and (self._tokens[self._at][0] in ("string", "bare") or self._is(".")):
                self._at += 1

    def _keys(self) -> Path:
        parts: list[str] = []
        while self._at < len(self._tokens):
            kind, text, _ = self._tokens[self._at]
            if kind == "string":
                parts.append(_unquoted(text))
            elif kind == "bare":
                parts.append(text)
            elif text != ".":
                break
            self._at += 1
        return tuple(parts)

    def _is(self, text: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at][0] != "string" and self._tokens[self._at][1] == text

    def _skip(self, text: str) -> bool:
        found = self._is(text)
        self._at += found
        return found


def _prefixes(start: Path, path: Path, line: int) -> Iterator[tuple[Path, int]]:
    for length in range(len(start) + 1, min(len(path), _DEEPEST) + 1):
        yield path[:length], line


def _unquoted(text: str) -> str:
    if text.startswith("'"):
        return text[1:-1]
    try:
        return str(json.loads(text))
    except ValueError:  # TOML's \UXXXXXXXX
        return text[1:-1]


def key(name: str) -> str:
    """A key as TOML writes it: bare where it may be."""
    return name if _BARE.fullmatch(name) else value(name)


def value(of: Any) -> str:
    """A text, number, truth, day or list of these as TOML writes it."""
    if isinstance(of, str):
        return json.dumps(of, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(of, bool):
        return str(of).lower()
    if isinstance(of, float):
        return f"{of:.0f}" if of.is_integer() and abs(of) < 2**53 else repr(of) if math.isfinite(of) else str(of)
    if isinstance(of, date):
        return of.isoformat()
    if isinstance(of, list | tuple):
        return "[" + ", ".join(value(element) for element in of) + "]"
    return str(of)
