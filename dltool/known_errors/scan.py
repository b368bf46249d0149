"""The search for known errors in a text of any size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache

from msgspec import Struct
from msgspec.structs import replace

from dltool.known_errors import xid
from dltool.known_errors.rows import known, words_of
from dltool.results import LogError

PIECE = 1 << 20
"""Bytes that are looked at together."""
STRETCH = 1000
"""Bytes of a very long line that a pattern may look at on either side of its words."""
SMALL = 1 << 18
"""A text up to this size is also read with its lines joined: terminals and mail wrap them."""
ENOUGH = 5000
"""Lines of one error that are counted."""
TRIES = 200_000
"""Lines with the words of one row that are looked at: the time for a hostile text has an end."""
NEAR = 300
"""Characters: a further row that fits so near to a more specific one tells of the same error."""
SHOWN = 240
PLACES = 16
_FLAGS = re.IGNORECASE | re.ASCII
_NUMBERED = len(xid.RULES)
_ANSI = re.compile(rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\-_])")
_BLANKS = re.compile(rb"  +")
_TO_BLANK = bytes.maketrans(b"\t\v\f", b"   ")


class Reading(Struct, frozen=True, kw_only=True):
    """What was found in a text, and how long it was."""

    lines: int
    errors: tuple[LogError, ...]


def by_name(name: str) -> LogError | None:
    """What is known under a name of the table, or of the form "xid-79", "Xid 79", "sxid-20034"."""
    for row in known():
        if row.id == name.strip().lower():
            return row.found()
    numbered = re.fullmatch(r"\s*(s?xid)[-\s:]{0,3}(\d{1,5})\s*", name, _FLAGS)
    if numbered is None:
        return None
    return (xid.of_gpu if numbered[1].lower() == "xid" else xid.of_switch)(int(numbered[2]), "")


def recognise(text: str | bytes) -> tuple[LogError, ...]:
    """The known errors in a text, in the order of their first lines, each with its count."""
    return read([text.encode("utf-8", "replace") if isinstance(text, str) else text]).errors


def read(pieces: Iterable[bytes]) -> Reading:
    """The known errors in a text that comes in pieces of any size: a log of many gigabytes needs a few megabytes."""
    scan = _Scan()
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            scan.feed(piece[start : start + PIECE])
    return scan.end()


@dataclass(frozen=True, slots=True)
class _Rule:
    """A compiled pattern and what a match of it says. The greater `rank`, the more general."""

    rank: int
    pattern: re.Pattern[str]
    say: Callable[[re.Match[str]], LogError | None]


def _says(place: int) -> Callable[[re.Match[str]], LogError | None]:
    """What the row at this place of the table says, in the language of the moment."""
    return lambda _: known()[place].found()


@cache
def _rules() -> tuple[_Rule, ...]:
    rules = [_Rule(rank, re.compile(pattern, _FLAGS), say) for rank, (pattern, say) in enumerate(xid.RULES)]
    for place, row in enumerate(known()):
        try:
            rules.append(_Rule(len(rules), re.compile(row.pattern, _FLAGS), _says(place)))
        except re.error:
            continue
    return tuple(rules)


@cache
def _words() -> dict[bytes, tuple[int, ...]]:
    """Literal word -> the rules that need it."""
    needed: dict[bytes, list[int]] = {}
    for rule in _rules():
        words = (xid.WORD,) if rule.rank < _NUMBERED else [word.encode() for word in words_of(rule.pattern.pattern)]
        for word in filter(None, words):  # a pattern without a word would have to look at every line
            needed.setdefault(word, []).append(rule.rank)
    return {word: tuple(ranks) for word, ranks in needed.items()}


# --- the search -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """An error while the text is being read."""

    first: LogError
    line: int
    rank: int
    text: str
    count: int = 0
    where: dict[str, None] = field(default_factory=dict)


class _Scan:
    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0
        """Bytes at the start of `_rest` that were looked at already, inside a line that goes on."""
        self._line = 1
        self._found: dict[tuple[str, str], _Found] = {}
        self._tried: dict[int, int] = {}
        self._counted: dict[int, int] = {}
        self._small: bytes | None = b""
        self._ended = True
        """Whether the text so far ends with a line break."""

    def feed(self, piece: bytes) -> None:
        if not piece:
            return
        self._ended = piece.endswith(b"\n")
        if self._small is not None:
            self._small = self._small + piece if len(self._small) + len(piece) <= SMALL else None
        data = self._rest + piece
        cut = data.rfind(b"\n") + 1
        if cut:
            self._search(data[:cut], self._skip, cut)
            self._line += data.count(b"\n", 0, cut)
            self._rest, self._skip = data[cut:], 0
        elif len(data) > PIECE:
            looked_at = len(data) - STRETCH
            self._search(data, self._skip, looked_at)
            keep = min(looked_at, STRETCH)
            self._rest, self._skip = data[looked_at - keep :], keep
        else:
            self._rest = data

    def end(self) -> Reading:
        self._search(self._rest, self._skip, len(self._rest))
        if self._small:
            self._joined(self._small)
        order = sorted(self._found.values(), key=lambda found: (found.line, found.rank))
        errors = tuple(
            replace(
                found.first,
                line=found.line,
                count=found.count,
                more=not self._goes_on(found.rank),
                text=found.text,
                where=tuple(found.where),
            )
            for found in order
        )
        return Reading(lines=self._line - 1 + (not self._ended), errors=errors)

    def _goes_on(self, rank: int) -> bool:
        return self._counted.get(rank, 0) < ENOUGH and self._tried.get(rank, 0) < TRIES

    def _search(self, data: bytes, begin: int, end: int) -> None:
        """Look for all words in data[begin:end], which starts in line `_line`."""
        head, middle = _plain(data[:begin]), _plain(data[begin:end])
        begin, end = len(head), len(head) + len(middle)
        data = head + middle + _plain(data[end:])
        lowered = data.lower()
        stretches: dict[tuple[int, int], set[int]] = {}
        for word, ranks in _words().items():
            self._places(lowered, word, ranks, begin, end, stretches)
        line, counted = self._line, 0
        for (start, stop), wanted in sorted(stretches.items()):
            line += data.count(b"\n", counted, start)
            counted = start
            self._look(data[start:stop].decode("utf-8", "replace").replace("\r", "\n"), line, sorted(wanted))

    def _places(
        self,
        lowered: bytes,
        word: bytes,
        ranks: tuple[int, ...],
        begin: int,
        end: int,
        stretches: dict[tuple[int, int], set[int]],
    ) -> None:
        """The stretches of the text that hold a word: whole lines, or of a very long line some of it."""
        at = lowered.find(word, begin, end)
        while at >= 0:
            live = [rank for rank in ranks if self._goes_on(rank)]
            if not live:
                return
            start, stop = lowered.rfind(b"\n", 0, at) + 1, lowered.find(b"\n", at)
            stop = len(lowered) if stop < 0 else stop
            if stop - start > 2 * STRETCH:
                block = start + (at - start) // STRETCH * STRETCH
                start, stop = max(start, block - STRETCH), min(stop, block + 2 * STRETCH)
                following = block + STRETCH
            else:
                following = stop
            stretches.setdefault((start, stop), set()).update(live)
            for rank in live:
                self._tried[rank] = self._tried.get(rank, 0) + 1
            at = lowered.find(word, max(following, at + 1), end)

    def _look(self, text: str, line: int, ranks: list[int]) -> None:
        """Try rules on one line, the more specific first."""
        taken: list[tuple[int, int]] = []
        rules = _rules()
        for rank in ranks:
            rule = rules[rank]
            for match in rule.pattern.finditer(text):
                begin, end = match.span()
                if rank >= _NUMBERED and any(begin < stop + NEAR and end > start - NEAR for start, stop in taken):
                    break
                error = rule.say(match)
                if error is None:
                    continue
                taken.append((begin, len(text) if rank < _NUMBERED else end))
                self._note(error, rank, line, _around(text, begin, end), match)
                if rank >= _NUMBERED:
                    break

    def _note(self, error: LogError, rank: int, line: int, text: str, match: re.Match[str] | None) -> None:
        found = self._found.setdefault((error.id, error.means), _Found(error, line, rank, text))
        found.count += 1
        self._counted[rank] = self._counted.get(rank, 0) + 1
        place = (match.groupdict().get("place") or "") if match is not None else ""
        if place and len(found.where) < PLACES:
            found.where[place.lower().rstrip(".:")] = None

    def _joined(self, data: bytes) -> None:
        """Texts that were wrapped: rows that no line alone fits may fit lines put together, with a blank or without."""
        lines = [line.strip() for line in _plain(data).decode("utf-8", "replace").replace("\r", " ").split("\n")]
        known_by_now = {key[0] for key in self._found}
        for glue in (" ", ""):
            text = glue.join(lines)
            lowered = text.lower().encode("utf-8", "replace")
            starts = _starts(lines, len(glue))
            ranks = sorted({rank for word, ranks in _words().items() if word in lowered for rank in ranks if rank >= _NUMBERED})
            taken = [(found.line, found.line) for found in self._found.values()]
            for rank in ranks:
                rule = _rules()[rank]
                match = rule.pattern.search(text)
                error = rule.say(match) if match else None
                if match is None or error is None or error.id in known_by_now:
                    continue
                first, last = _line_of(starts, match.start()), _line_of(starts, match.end() - 1)
                if first == last or any(first <= stop and last >= start for start, stop in taken):
                    continue
                known_by_now.add(error.id)
                taken.append((first, last))
                self._note(error, rank, first, _around(text, *match.span()), None)


def _plain(data: bytes) -> bytes:
    """Without colours, NUL bytes, tabs and repeated blanks; line breaks stay where they are."""
    if b"\0" in data:
        data = data.replace(b"\0", b"")
    if b"\x1b" in data:
        data = _ANSI.sub(b"", data)
    if b"\xc2\xa0" in data:
        data = data.replace(b"\xc2\xa0", b" ")
    data = data.translate(_TO_BLANK)
    return _BLANKS.sub(b" ", data) if b"  " in data else data


def _around(text: str, begin: int, end: int) -> str:
    """The line of a match, shortened around it."""
    start = text.rfind("\n", 0, begin) + 1
    stop = text.find("\n", end)
    stop = len(text) if stop < 0 else stop
    if stop - start > SHOWN:
        start = max(start, min(begin - 60, stop - SHOWN))
        stop = min(stop, max(start + SHOWN, min(end, start + 2 * SHOWN)))
    return text[start:stop].strip()


def _starts(lines: list[str], glue: int) -> list[int]:
    starts, at = [], 0
    for line in lines:
        starts.append(at)
        at += len(line) + glue
    return starts


def _line_of(starts: list[int], at: int) -> int:
    from bisect import bisect_right

    return bisect_right(starts, at)
