"""The rules of glibc's dynamic loader: which file a program gets when it asks for a library by name. Nothing is loaded.

The order, from ld.so(8) and glibc's elf/dl-load.c: a library of that name that is already loaded; the RPATHs of what asks, of
what loaded that, and so on, and of the program, unless what asks has a RUNPATH; LD_LIBRARY_PATH; the RUNPATH of what asks
alone; the cache of ldconfig; the default directories. LD_PRELOAD comes before everything. A file for another processor is
passed over. Not followed are directories for newer processors (glibc-hwcaps), which CUDA's libraries do not use, and auditing.
"""

from __future__ import annotations

import os
import platform
import re
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dltool.probe import elf, files

RPATH, RUNPATH, LIBRARY_PATH, PRELOAD = "RPATH", "RUNPATH", "LD_LIBRARY_PATH", "LD_PRELOAD"
CACHE, DEFAULT, BY_PATH = "ld.so.cache", "default directories", "its path"
CACHE_FILE = "/etc/ld.so.cache"
_MACHINE = {"x86_64": elf.X86_64, "aarch64": elf.AARCH64}
_CACHE_FLAGS = {elf.X86_64: 0x0303, elf.AARCH64: 0x0A03}
_MULTIARCH = {elf.X86_64: "x86_64-linux-gnu", elf.AARCH64: "aarch64-linux-gnu"}
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_MOST_CACHE_BYTES = 16 * 2**20
_LONGEST_NAME = 4096
_MOST_OBJECTS = 2000


class Loaded:
    """A file in the address space of a made-up process."""

    __slots__ = ("asked_by", "dynamic", "found_by", "loader", "names", "path")

    def __init__(
        self, path: str, dynamic: elf.Dynamic, *, found_by: str, asked_by: Loaded | None, loader: Loaded | None
    ) -> None:
        self.path = path
        self.dynamic = dynamic
        self.found_by = found_by
        self.asked_by = asked_by
        self.loader = loader
        self.names = {path, dynamic.soname or path}


class Read:
    """What was read from disk, for several processes: each file and each directory once."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._dynamic: dict[str, elf.Dynamic | None] = {}
        self._directories: dict[str, bool] = {}

    def dynamic(self, path: str) -> elf.Dynamic | None:
        """What the loader reads of the file.

        Raises:
            TimeoutError: the time for all of it is over.
        """
        if path not in self._dynamic:
            if time.monotonic() > self._deadline:
                raise TimeoutError
            directory = _directory(path)
            if directory not in self._directories:
                self._directories[directory] = files.is_dir(directory)
            self._dynamic[path] = elf.dynamic(path) if self._directories[directory] else None
        return self._dynamic[path]


class Process:
    """A process as it grows: which files it has loaded, in their order.

    Args:
        executable: the program; its RPATH counts for all that it loads. None where it is not known.
        environment: of which LD_LIBRARY_PATH and LD_PRELOAD count.
        read: what was read from disk already.
        cache: names and paths of ldconfig's cache.
        default_directories: where the loader looks last.
    """

    def __init__(
        self,
        executable: str | None,
        environment: Mapping[str, str],
        read: Read,
        *,
        cache: Mapping[str, str],
        default_directories: Sequence[str] = (),
    ) -> None:
        self._read = read
        self._cache = cache
        self.loaded: list[Loaded] = []
        self.missing: dict[str, Loaded | None] = {}
        """Names that were not found, and what asked for them first."""
        real = os.path.realpath(executable) if executable else None
        dynamic = read.dynamic(real) if real else None
        self.machine = dynamic.machine if dynamic else _MACHINE.get(platform.machine(), 0)
        self._default = tuple(default_directories) or default_places(self.machine)
        self._library_path = tuple(_split(environment.get(LIBRARY_PATH, ""), "[:;]", empty=os.curdir))
        self.program: Loaded | None = None
        if real and dynamic:
            self.program = Loaded(real, dynamic, found_by=BY_PATH, asked_by=None, loader=None)
            self.loaded.append(self.program)
        for name in filter(None, re.split("[: ]", environment.get(PRELOAD, ""))):
            self._add(name, self.program, found_by=PRELOAD)
        self._add_needed(0)

    def open(self, name: str, caller: Loaded | None = None, *, found_by: str | None = None, undo: bool = False) -> bool:
        """Load a library and all that it needs, as dlopen does; says whether everything was found.

        Args:
            name: of the library, or its path.
            caller: what asks; the program by default.
            found_by: how it is said to be found, where it is not by the loader's rules.
            undo: leave the process as it was when something is missing, as dlopen does.
        """
        before, missing = len(self.loaded), len(self.missing)
        if self._add(name, caller or self.program, found_by=found_by) is not None:
            self._add_needed(before)
        complete = len(self.missing) == missing
        if undo and not complete:
            del self.loaded[before:]
            self.missing = dict(list(self.missing.items())[:missing])
        return complete

    def find(self, soname: str) -> Loaded | None:
        """What is loaded under this name, or under one that begins so and goes on with a number."""
        wanted = re.compile(re.escape(soname) + r"(\.\d+)*")
        return next((one for one in self.loaded if wanted.fullmatch(one.dynamic.soname or "")), None)

    def _add_needed(self, first: int) -> None:
        """Breadth first, each asked for by the file that needs it."""
        position = first
        while position < len(self.loaded) < _MOST_OBJECTS:
            asking = self.loaded[position]
            for name in asking.dynamic.needed:
                self._add(name, asking)
            position += 1

    def _add(self, name: str, asking: Loaded | None, *, found_by: str | None = None) -> Loaded | None:
        present = next((one for one in self.loaded if name in one.names), None)
        if present is not None:
            return present
        for how, path in self._places(name, asking):
            dynamic = self._read.dynamic(path)
            if dynamic is None or (self.machine and dynamic.machine != self.machine):
                continue
            same = self._same_file(path)
            if same is not None:
                same.names.add(name)
                return same
            one = Loaded(path, dynamic, found_by=found_by or how, asked_by=asking, loader=asking)
            one.names.add(name)
            self.loaded.append(one)
            return one
        self.missing.setdefault(name, asking)
        return None

    def _same_file(self, path: str) -> Loaded | None:
        """A second name of a file is the same library to the loader."""
        name = path.rpartition("/")[2].partition(".so")[0]
        return next((one for one in self.loaded if name in one.path and files.are_one(one.path, path)), None)

    def _places(self, name: str, asking: Loaded | None) -> Iterator[tuple[str, str]]:
        """How and where the loader looks, in its order."""
        if "/" in name:
            yield BY_PATH, self._expanded(name, asking)
            return
        for how, directory in self._directories(asking):
            yield how, f"{directory}/{name}"
        if asking is None or not asking.dynamic.no_default:
            if name in self._cache:
                yield CACHE, self._cache[name]
            for directory in self._default:
                yield DEFAULT, f"{directory}/{name}"

    def _directories(self, asking: Loaded | None) -> Iterator[tuple[str, str]]:
        if asking is None or asking.dynamic.runpath is None:
            ancestor, seen = asking, []
            while ancestor is not None:
                seen.append(ancestor)
                yield from self._of(RPATH, ancestor.dynamic.rpath, ancestor)
                ancestor = ancestor.loader
            if self.program is not None and self.program not in seen:
                yield from self._of(RPATH, self.program.dynamic.rpath, self.program)
        for directory in self._library_path:
            yield LIBRARY_PATH, self._expanded(directory, self.program)
        if asking is not None:
            yield from self._of(RUNPATH, asking.dynamic.runpath, asking)

    def _of(self, how: str, path: str | None, owner: Loaded) -> Iterator[tuple[str, str]]:
        for directory in _split(path or "", ":", empty=os.curdir):
            yield how, self._expanded(directory, owner)

    def _expanded(self, text: str, owner: Loaded | None) -> str:
        if "$" not in text:
            return text
        values = {
            "ORIGIN": _directory(owner.path) if owner else os.curdir,
            "LIB": f"lib/{_MULTIARCH[self.machine]}" if self._default[:1] and "-linux-gnu" in self._default[0] else "lib64",
            "PLATFORM": platform.machine(),
        }
        return re.sub(r"\$(?:(ORIGIN|LIB|PLATFORM)\b|\{(ORIGIN|LIB|PLATFORM)\})", lambda m: values[m[1] or m[2]], text)


def _directory(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _split(text: str, separators: str, *, empty: str) -> list[str]:
    """The directories of a search path: an empty one is the working directory."""
    return [part or empty for part in re.split(separators, text)] if text else []


def default_places(machine: int) -> tuple[str, ...]:
    """Where the loader looks without being told: Debian's loader in its own directories, others in lib64."""
    name = _MULTIARCH.get(machine)
    if name and files.is_dir(f"/usr/lib/{name}"):
        return (f"/lib/{name}", f"/usr/lib/{name}", "/lib", "/usr/lib")
    return ("/lib64", "/usr/lib64", "/lib", "/usr/lib")


def read_cache(path: str = CACHE_FILE, machine: int | None = None) -> dict[str, str]:
    """The libraries of ldconfig's cache for this processor: name -> path, the first of each name.

    The format is that of glibc 2.2 and later, which may follow an older one in the same file: a header of 48 bytes (magic and
    version in 20, u32 number of entries), entries of 24 (i32 flags, u32 offset of the name, u32 offset of the path, u32 system
    version, u64 processor), offsets from the magic. Source: glibc, sysdeps/generic/dl-cache.h and elf/cache.c.
    """
    wanted = _CACHE_FLAGS.get(machine if machine is not None else _MACHINE.get(platform.machine(), 0))
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_CACHE_BYTES)
    except OSError:
        return {}
    start = data.find(_CACHE_MAGIC)
    if start < 0 or len(data) < start + 48:
        return {}
    data = data[start:]
    count = min(struct.unpack_from("<I", data, 20)[0], (len(data) - 48) // 24)
    found: dict[str, str] = {}
    for flags, name, place, _, processor in struct.iter_unpack("<iIIIQ", data[48 : 48 + 24 * count]):
        if flags == wanted and processor == 0:
            found.setdefault(_text(data, name), _text(data, place))
    return found


def _text(data: bytes, offset: int) -> str:
    return os.fsdecode(data[offset : max(data.find(b"\0", offset, offset + _LONGEST_NAME), offset)])
