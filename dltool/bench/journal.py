"""A run on disk while it goes on: each finished case is a line that is there at once, so that kill -9 costs the case in hand.

    {"schema": "dltool/run/1", "key": {...}, "created": "...", "cases": 11}
    {"case": "gemm m=2048 n=2048 k=2048 dtype=fp64", "measurement": {...}}

The writer holds a lock on its file: what nobody holds was left behind, and the next run with the same key may take it over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from dltool.results import Measurement

SCHEMA = "dltool/run/1"
_KEPT_DAYS = 14
_ENDING = ".run.jsonl"


class Head(Struct, frozen=True, kw_only=True):
    """The first line: which run it is."""

    schema: str = SCHEMA
    key: Mapping[str, str]
    """What must be the same for figures to belong together: command, parameters, device, versions."""
    created: str
    cases: int


class Line(Struct, frozen=True, kw_only=True):
    """A finished case."""

    case: str
    """As the harness describes it, with the parameters that were asked for."""
    measurement: Measurement


class Journal:
    """The file of one run.

    A disk that is full or cannot be written costs the journal, not the run: `trouble` then says why.
    """

    def __init__(self, folder: Path, head: Head, taken: tuple[Line, ...] = (), file: IO[bytes] | None = None) -> None:
        self.head = head
        self.done: dict[str, Measurement] = {line.case: line.measurement for line in taken}
        """By case: what an earlier run had finished."""
        self.trouble: str | None = None
        self._file = file
        if file is None:
            with self._noting_trouble():
                folder.mkdir(parents=True, exist_ok=True)
                _forget_old(folder)
                stamp = "".join(letter for letter in head.created if letter.isdigit())[:14]
                self._file = (folder / f"{stamp}-{secrets.token_hex(2)}{_ENDING}").open("ab", buffering=0)
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._write(head)

    @property
    def path(self) -> Path | None:
        """Where it is; None where it could not be made."""
        return None if self._file is None else Path(self._file.name)

    def add(self, case: str, measurement: Measurement) -> None:
        """Append a finished case."""
        with self._noting_trouble():
            self._write(Line(case=case, measurement=measurement))

    def close(self, *, finished: bool) -> None:
        """Let go of the file; what is finished is a report now and needs no journal."""
        if self._file is None:
            return
        with self._noting_trouble():
            if finished:
                Path(self._file.name).unlink(missing_ok=True)
        self._file.close()
        self._file = None

    def _write(self, line: Head | Line) -> None:
        if self._file is None:
            return
        data = msgspec.json.encode(line) + b"\n"
        at = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(data) != len(data):
                raise OSError(28, os.strerror(28))
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(at)  # half a line would spoil the next
            raise

    @contextlib.contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.trouble = self.trouble or (error.strerror or str(error))


def take_over(folder: Path, key: Mapping[str, str]) -> Journal | None:
    """The newest run with this key that nobody is writing, ready to be continued; None where there is none."""
    for path in sorted(folder.glob(f"*{_ENDING}"), reverse=True):
        try:
            file = path.open("r+b", buffering=0)
        except OSError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            head, lines, end = _read(file)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            file.close()
            continue
        if head.schema != SCHEMA or dict(head.key) != dict(key):
            file.close()
            continue
        file.truncate(end)  # the line in which it was killed
        return Journal(folder, head, lines, file)
    return None


def _read(file: IO[bytes]) -> tuple[Head, tuple[Line, ...], int]:
    """The head, the whole lines, and where they end.

    Raises:
        msgspec.DecodeError: the head is damaged.
    """
    data = file.read()
    first, _, rest = data.partition(b"\n")
    head = msgspec.json.decode(first, type=Head)
    lines, end = [], len(first) + 1
    for text in rest.splitlines(keepends=True):
        try:
            if not text.endswith(b"\n"):
                break
            lines.append(msgspec.json.decode(text, type=Line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            break
        end += len(text)
    return head, tuple(lines), end


def _forget_old(folder: Path) -> None:
    for path in folder.glob(f"*{_ENDING}"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT_DAYS * 86400:
                path.unlink()
