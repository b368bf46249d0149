"""Every trial on disk as it happens, as lines of JSON: a kill loses nothing, and `--resume` goes on from there."""

from __future__ import annotations

import os
import re
from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from dltool.bench.search.space import Shape
from dltool.bench.search.strategy import Trier
from dltool.errors import CannotRun, UsageError
from dltool.results import Scalar
from dltool.shape_results import Trial

SCHEMA = "dltool/search/1"


class Head(Struct, frozen=True, kw_only=True):
    """The first line: what the trials below are trials of. Trials of anything else are not gone on with."""

    schema: str = SCHEMA
    device: str
    dtype: str
    lowest: int
    highest: int
    settings: Mapping[str, Scalar] = {}


class Journal:
    """The file of one search."""

    def __init__(self, path: Path, head: Head) -> None:
        self.path = path
        self.head = head
        self.resumed_s = 0.0
        self._earlier: defaultdict[tuple[Shape, str], deque[Trial]] = defaultdict(deque)
        self._file: int | None = None

    def open(self, *, resume: bool) -> None:
        """Begin anew, or go on with what is there.

        Raises:
            UsageError: `resume`, and the file is of another device, dtype or setting, or of no search.
            CannotRun: the file cannot be written.
        """
        whole = self._read() if resume else 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, whole)  # a line that a kill cut short
            if not whole:
                self._write(self.head)
        except OSError as error:
            raise CannotRun(
                f"cannot write {self.path}: {error.strerror}",
                remedy="Free some space, or set XDG_STATE_HOME to another folder.",
            ) from None

    def _read(self) -> int:
        """Take up the trials of the file; how many bytes of it are whole lines."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}", remedy="Search anew, without --resume.") from None
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        if not lines:
            return 0
        self._check(lines[0])
        whole = len(lines[0]) + 1
        for number, line in enumerate(lines[1:], start=2):
            try:
                trial = msgspec.json.decode(line, type=Trial)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise UsageError(f"{self.path} line {number} is no trial", remedy="Search anew, without --resume.") from None
            self._earlier[Shape(trial.m, trial.n, trial.k), trial.stage].append(trial)
            whole += len(line) + 1
        return whole

    def _check(self, line: bytes) -> None:
        try:
            found = msgspec.json.decode(line, type=Head)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UsageError(f"{self.path} is no record of a search", remedy="Search anew, without --resume.") from None
        other = [name for name in Head.__struct_fields__ if getattr(found, name) != getattr(self.head, name)]
        if other:
            name = other[0]
            before, now = getattr(found, name), getattr(self.head, name)
            raise UsageError(
                f"the interrupted search had another {name}: {before}, now {now}",
                remedy="Search with the same options, or anew, without --resume.",
            )

    def through(self, trier: Trier) -> Trier:
        """A trier that answers with the recorded trials first, and records the others."""

        def tried(shape: Shape, stage: str, samples: int) -> Trial:
            earlier = self._earlier.get((shape, stage))
            if earlier:
                trial = earlier.popleft()
                self.resumed_s += trial.cost_s
                return trial
            trial = trier(shape, stage, samples)
            self._write(trial)
            return trial

        return tried

    def _write(self, line: Struct) -> None:
        """Whole lines in one call: another program's lines cannot come in between, nor ours be torn by our own end."""
        if self._file is None:
            return
        try:
            os.write(self._file, msgspec.json.encode(line) + b"\n")
        except OSError:  # a full disk costs the record, not the search
            self.close()

    def close(self) -> None:
        """No more is recorded."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def file_name(device: str, dtype: str) -> str:
    """The name of the journal of a device and a dtype: one search of each can be gone on with."""
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")[:60]
    return f"{slug}-{dtype}.jsonl"
