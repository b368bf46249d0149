"""What is on disk before the first step of a fix: what was installed, what is to be done, how far it is, and the way back.

One directory per fix, below the user's state. A fix that did not come to its end is found there by the next one, which goes on
with it; whoever was killed left everything that is needed to take it back.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from dltool import __version__
from dltool.lang import tr
from dltool.results import FixPlace, FixStep, FixUnfinished, FrozenPackage
from dltool.setup import workplace
from dltool.setup.fixing import putting_back
from dltool.setup.recipe import shown

SCHEMA = "dltool/fix/1"
RECORD, LOG, BEFORE, UNDO = "record.json", "log.txt", "before.txt", "undo.txt"


class Record(Struct, frozen=True, kw_only=True):
    """One fix as its directory tells of it."""

    schema: str = SCHEMA
    dltool: str = ""
    created: str = ""
    python: str
    prefix: str
    state: str = "unfinished"
    """"unfinished", "finished", or "continued" by a later one."""
    uv: bool = False
    """Its packages are uv's, and pip is not there."""
    steps: tuple[FixStep, ...] = ()
    before: tuple[FrozenPackage, ...] = ()
    """Everything that was installed."""


class Keeper:
    """The record of the fix that is going on."""

    def __init__(self, directory: Path, record: Record, *, goes_on: bool = False) -> None:
        self.directory = directory
        self.record = record
        self.goes_on = goes_on
        """An earlier fix was broken off, and may have left a package half installed."""

    @property
    def log(self) -> Path:
        """Where everything that the commands say is written."""
        return self.directory / LOG

    def step(self, number: int, step: FixStep) -> None:
        """A step came to an end."""
        steps = list(self.record.steps)
        steps[number] = step
        self._write(replace(self.record, steps=tuple(steps)))

    def finish(self) -> None:
        """All steps are done."""
        self._write(replace(self.record, state="finished"))

    def _write(self, record: Record) -> None:
        workplace.write_whole(self.directory / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
        self.record = record

    def way_back(self, now: Iterable[FrozenPackage]) -> tuple[str, ...]:
        """Commands that put back what was installed before; none where it is installed now."""
        return way_back(self.directory, self.record, now)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[int]:
    """One fix at a time: the lock, which the commands hold too.

    Raises:
        CannotRun: another fix, or what is left of a killed one, is at work, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = workplace.take_lock(folder)
    except OSError as error:
        raise workplace.cannot_write(folder, error) from None
    try:
        yield lock
    finally:
        os.close(lock)


def begin(folder: Path, place: FixPlace, steps: tuple[FixStep, ...], before: tuple[FrozenPackage, ...]) -> Keeper:
    """Write everything down. An unfinished fix of the same environment is gone on with: its list of what was is kept.

    Raises:
        OSError: it cannot be written.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    earlier = _newest_unfinished(folder, place)
    record = Record(
        dltool=__version__,
        created=now.isoformat(timespec="seconds"),
        python=os.path.expanduser(place.python),  # noqa: PTH111 - a string in, a string out
        prefix=place.prefix or "",
        uv=place.has_pip is False,
        steps=steps,
        before=earlier[1].before if earlier else before,
    )
    directory = folder / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    directory.mkdir()
    keeper = Keeper(directory, record, goes_on=earlier is not None)
    head = tr(f"installed in {place.prefix} before dltool mended it, {record.created}",
              f"dltool 修复 {place.prefix} 之前已安装的软件包，{record.created}")  # fmt: skip
    workplace.write_whole(directory / BEFORE, putting_back.listing(record.before, head=head).encode())
    keeper._write(record)
    if earlier:
        Keeper(*earlier)._write(replace(earlier[1], state="continued"))
    return keeper


def unfinished(folder: Path, place: FixPlace, now: Iterable[FrozenPackage]) -> tuple[FixUnfinished, Record] | None:
    """The last fix of this environment, if it did not come to its end and was not taken back."""
    found = _newest_unfinished(folder, place)
    if found is None:
        return None
    directory, record = found
    undo = way_back(directory, record, now)
    if not undo:
        return None
    told = FixUnfinished(
        created=record.created,
        record=str(directory),
        done=sum(step.state == "done" for step in record.steps),
        total=len(record.steps),
        undo=undo,
    )
    return told, record


def _newest_unfinished(folder: Path, place: FixPlace) -> tuple[Path, Record] | None:
    """A damaged record is none: there is nothing to go on with."""
    for path in sorted(folder.glob(f"*/{RECORD}"), reverse=True):
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            record = msgspec.json.decode(path.read_bytes(), type=Record)
            if record.schema == SCHEMA and record.prefix == (place.prefix or ""):
                return (path.parent, record) if record.state == "unfinished" else None
    return None


def way_back(directory: Path, record: Record, now: Iterable[FrozenPackage]) -> tuple[str, ...]:
    """Remove what came, then install what went: by a list of just that, or of everything where that cannot be written."""
    gone, come = putting_back.differences(record.before, now)
    pip = ("uv", "pip") if record.uv else (record.python, "-m", "pip")
    of_uv = ("--python", record.python) if record.uv else ()
    commands = []
    if come:
        commands.append((*pip, "uninstall", *of_uv, *(() if record.uv else ("-y",)), *come))
    if gone:
        path, again = directory / UNDO, ["--force-reinstall"]
        try:
            head = tr(f"what the fix of {record.created} replaced", f"{record.created} 的修复所替换的软件包")
            workplace.write_whole(path, putting_back.listing(gone, head=head).encode())
        except OSError:
            path, again = directory / BEFORE, []
        commands.append((*pip, "install", *of_uv, "--no-deps", *again, "-r", str(path)))
    return tuple(map(shown, commands))
