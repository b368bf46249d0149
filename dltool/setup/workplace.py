"""The directory in which an environment is made: whose it is, how far it is, one run at a time, and back to what it was.

Environments cannot be moved once made, so one is made where it will be. A marker in it says who makes it and which steps are
done; it is written before anything else and replaced as a whole, so that a killed run leaves a directory that the next one can
take up. The lock is held by the running commands too: while what is left of a killed run still writes, no other run begins.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from dltool import __version__
from dltool.errors import CannotRun, UsageError
from dltool.results import Environment

SCHEMA = "dltool/setup/1"
MARKER = ".dltool-setup.json"
LOG = ".dltool-setup.log"
LOCK = ".dltool-setup.lock"
SCRATCH = ".dltool-setup.tmp"
OURS = (MARKER, LOG, LOCK, SCRATCH)
_MANAGERS_NAMES = frozenset({
    "bin", "include", "lib", "lib64", "share", "etc", "pyvenv.cfg", ".gitignore", "CACHEDIR.TAG", ".lock", ".python",
    "conda-meta", "ssl", "man", "sbin", "libexec", "var", "doc", "compiler_compat", "x86_64-conda-linux-gnu",
    "aarch64-conda-linux-gnu", "x86_64-conda_cos6-linux-gnu", "info", ".nonadmin", "Scripts", "Lib", "Include",
})  # fmt: skip
"""What venv, uv and conda put at the top of an environment."""


class Marker(Struct, frozen=True, kw_only=True):
    """What a directory of ours says of itself."""

    schema: str = SCHEMA
    dltool: str = ""
    created: str = ""
    directory: str
    """Where it was made: a copy elsewhere is not ours."""
    state: str = "unfinished"
    """"unfinished", "finished" or "removing"."""
    was_there: bool = False
    """The directory was there, empty, before."""
    environment: Environment
    """As planned, the password of an index left out."""
    dependencies: bool = True
    done: tuple[str, ...] = ()
    """Ids of the steps that are done."""
    made: tuple[str, ...] = ()
    """What the steps made, by name at the top of the directory."""
    others: tuple[str, ...] = ()
    """What somebody else put there before all was done; it is left alone."""


class Workplace:
    """A claimed directory. Use as a context: the claim ends with it."""

    def __init__(self, directory: Path, lock: int, marker: Marker | None, *, was_there: bool) -> None:
        self.directory = directory
        self.lock = lock
        self.found = marker
        """The marker that an earlier run left; None where there was nothing."""
        self.marker = marker
        self.was_there = was_there

    def __enter__(self) -> Workplace:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self.lock)

    @property
    def log(self) -> Path:
        """Where everything that the commands say is written."""
        return self.directory / LOG

    @property
    def scratch(self) -> Path:
        """Downloads and caches, until the end."""
        return self.directory / SCRATCH

    def begin(self, environment: Environment, *, dependencies: bool) -> Marker:
        """Write the marker, or take up the one that is there."""
        if self.marker is None:
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            self._write(
                Marker(
                    dltool=__version__,
                    created=now,
                    directory=os.path.realpath(self.directory),
                    was_there=self.was_there,
                    environment=environment,
                    dependencies=dependencies,
                )
            )
        elif self.marker.state == "unfinished":
            self._write(replace(self.marker, others=tuple(sorted(self._here() - self._named()))))
        for name in ("tmp", "cache"):
            (self.scratch / name).mkdir(parents=True, exist_ok=True)
        assert self.marker is not None
        return self.marker

    def done(self, step: str) -> None:
        """A step is done, and what is there now is its work."""
        assert self.marker is not None
        made = tuple(sorted(self._here() - set(self.marker.others)))
        self._write(replace(self.marker, done=(*self.marker.done, step), made=made))

    def finish(self) -> None:
        """Everything is done and proved: the scratch goes, the marker and the log stay."""
        assert self.marker is not None
        shutil.rmtree(self.scratch, ignore_errors=True)
        if self.marker.state == "finished":  # it was only proved again
            return
        made = tuple(sorted(self._here() - set(self.marker.others)))
        self._write(replace(self.marker, state="finished", made=made))

    def clear(self) -> None:
        """Remove what the steps made, so that the first can begin anew."""
        _remove(self.directory, self._here() & self._named())

    def restore(self) -> None:
        """Leave the directory as it was before this run; one that an earlier run began stays as it is."""
        if self.found is None:
            self.take_away()
        elif self.found.state == "finished":
            shutil.rmtree(self.scratch, ignore_errors=True)

    def take_away(self) -> list[str]:
        """Remove all that was made, and the directory where it was not there before.

        Returns:
            The names of what is not ours and stays.
        """
        marker = self.marker
        if marker is not None:
            made = self._here() & (set(marker.made) if marker.state == "finished" else self._named())
            with contextlib.suppress(OSError):  # on a full disk it is removed all the same
                self._write(replace(marker, state="removing", made=tuple(sorted(made))))
            _remove(self.directory, made)
        _remove(self.directory, (SCRATCH, LOG, MARKER + ".new", MARKER, LOCK))
        left = sorted(_names(self.directory))
        if not left and not (marker.was_there if marker else self.was_there):
            self.directory.rmdir()
        return left

    def _here(self) -> set[str]:
        """What stands in the directory besides our own files."""
        return _names(self.directory) - {*OURS, MARKER + ".new"}

    def _named(self) -> set[str]:
        """What the steps made, and what a step that was broken off may have made: that has a name which the managers give."""
        assert self.marker is not None
        return {*self.marker.made, *_MANAGERS_NAMES} - set(self.marker.others)

    def _write(self, marker: Marker) -> None:
        write_whole(self.directory / MARKER, msgspec.json.format(msgspec.json.encode(marker), indent=2) + b"\n")
        self.marker = marker


def sweep(places: Iterable[Path], *, keep: Collection[str] = ()) -> None:
    """Remove the metadata of packages that were being installed when the installation was broken off: pip takes them for there.

    Args:
        places: directories of packages.
        keep: "name-version" of what was there before, in pip's spelling of names.
    """
    for installed in [path for place in places for path in place.glob("*.dist-info")]:
        name, _, version = installed.stem.partition("-")
        known = f"{name.replace('_', '-').replace('.', '-').lower()}-{version}" in keep
        if not known and not (installed / "INSTALLER").exists():  # written at the end of a package's installation
            shutil.rmtree(installed)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there as a whole or as it was, whatever happens meanwhile.

    Raises:
        OSError: it cannot be written.
    """
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def claim(directory: Path) -> Workplace:
    """Take a directory to make an environment in: one that is not there, an empty one, or one of ours.

    Raises:
        UsageError: it holds something else.
        CannotRun: it cannot be made, or another run is at work on it.
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 - links are kept as they are
    if not directory.parent.is_dir():
        raise UsageError(f"there is no directory {directory.parent}", remedy=f"Make it first: mkdir -p {directory.parent}")
    was_there = os.path.lexists(directory)
    try:
        if not was_there:
            directory.mkdir()
        check_is_ours_or_empty(directory)
        lock = take_lock(directory)
    except OSError as error:
        if not was_there:
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise cannot_write(directory, error) from None
    try:
        return Workplace(directory, lock, read(directory), was_there=was_there)
    except BaseException:
        os.close(lock)
        raise


def cannot_write(directory: Path, error: OSError) -> CannotRun:
    """A file system that refuses, in the user's words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CannotRun(f"the disk that holds {directory} is full", remedy="Free some room, or name a directory elsewhere.")
    where = error.filename or directory
    return CannotRun(f"cannot write {where}: {error.strerror or error}", remedy="Name a directory that you may write.")


def check_is_ours_or_empty(directory: Path) -> None:
    """Refuse what somebody else put there.

    Raises:
        UsageError: no directory, or one with other things in it.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory", remedy="Name a directory that is empty or not there yet.")
    names = _names(directory) - {LOCK, MARKER + ".new"}
    if names and MARKER not in names:
        kind = "a Python environment that dltool did not make" if {"pyvenv.cfg", "conda-meta"} & names else "other things"
        raise UsageError(f"{directory} holds {kind}", remedy="Name a directory that is empty or not there yet.")


def take_lock(directory: Path) -> int:
    """The one run at a time.

    Raises:
        CannotRun: another run holds it.
        OSError: no file can be made there.
    """
    path = directory / LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino == path.stat().st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass  # held, or removed by who held it
    except OSError:  # a file system without locks
        return lock
    os.close(lock)
    raise CannotRun(
        f"another run, or what is left of one, is at work on {directory}",
        remedy="Wait until it ends, then run this again; it takes up where that one stopped.",
    )


def read(directory: Path) -> Marker | None:
    """The marker of a directory; None where there is none.

    Raises:
        UsageError: it is damaged, of another version, or of another place.
    """
    path = directory / MARKER
    try:
        marker = msgspec.json.decode(path.read_bytes(), type=Marker)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is damaged: {error}", remedy="See what is in it, and remove the directory by hand.") from None
    if marker.schema != SCHEMA:
        raise UsageError(f"{path} is of another dltool: {marker.schema!r}", remedy="Use the dltool that made it.")
    if marker.directory != os.path.realpath(directory):
        raise UsageError(
            f"{directory} was made at {marker.directory} and moved or copied: environments do not work elsewhere",
            remedy="Create one anew, and remove this copy by hand.",
        )
    return marker


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def _remove(directory: Path, names: Iterable[str]) -> None:
    """Remove these names from the directory; a link is removed, never what it points to."""
    for name in names:
        path = directory / name
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path)
