"""What a compiled file says of itself: the libraries and symbol versions that it needs, and the GPU code that it carries.

Only headers are read, at the places where the file says they are: libtorch_cuda.so has a gigabyte. Every offset is held against
the size of the file and every table has a limit, for these files may be cut off, damaged or made to deceive; what is not a
64-bit little-endian ELF file is no answer, never an error.

Sources: System V ABI and its AMD64 supplement (headers, dynamic section); Linux Standard Base, "Symbol Versioning"; for fat
binaries, which NVIDIA does not publish, the notes named at `fat_entries`.
"""

from __future__ import annotations

import itertools
import os
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

X86_64, AARCH64 = 62, 183
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 14, 15, 29
_MOST_STRINGS = 32 * 2**20
_OF_C10 = (b"_ZN3c105ErrorC2ENS_14SourceLocationE", b"_ZN3c106detail14torchCheckFailEPKcS2_jRK")
"""How the names of functions begin that nearly every extension calls to report an error; what follows is the string's type."""
_DT_FLAGS_1, _DT_VERDEF, _DT_VERDEFNUM, _DT_VERNEED, _DT_VERNEEDNUM = (
    0x6FFFFFFB, 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF,
)  # fmt: skip
_DF_1_NODEFLIB = 0x800
_VER_FLG_WEAK = 2
_MOST_SEGMENTS, _MOST_ENTRIES, _MOST_SECTIONS, _MOST_VERSIONS = 256, 4096, 4096, 2048
_MOST_NAMES = 2**20
_MOST_TEXT = 16 * 2**10

_FATBIN_MAGIC = 0xBA55ED50
_FATBIN_SECTIONS = (".nv_fatbin", "__nv_relfatbin")
_KINDS = {1: "ptx", 2: "elf", 0x10: "elf", 8: "ir"}
_CODE_IS_FOR_THE_CHIP, _CODE_IS_FOR_THE_FAMILY = 1 << 20, 1 << 21
_COMPRESSED = 0x2000 | 0x8000
_ENTRY = struct.Struct("<H2xIQ12xI8xQ")
_LONGEST_GAP = 4096
_MOST_CONTAINERS, _MOST_PIECES = 50_000, 256
_MOST_FATBINS, _MOST_OF_ALL = 64, 500_000


class _Damaged(Exception):
    """The file is not what it says it is, or no ELF file that we read."""


class Dynamic(Struct, frozen=True):
    """What the dynamic loader reads of a file."""

    machine: int
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: str | None = None
    """None where there is a RUNPATH, which makes the loader ignore it."""
    runpath: str | None = None
    no_default: bool = False
    """Linked with `-z nodefaultlib`: neither cache nor default directories are searched for what it needs."""


class FatEntry(Struct, frozen=True):
    """One piece of GPU code in a file."""

    container: int
    """Pieces of one number are the same kernels for several GPUs."""
    kind: str
    """"elf": machine code, "ptx", "ir" (for linking only) or "other"."""
    architecture: str
    """"sm_90a", "compute_120"."""
    compressed: bool
    relocatable: bool
    """An object that is linked again before it runs."""


class GpuCode(Struct, frozen=True, kw_only=True):
    """The GPU code of a file, summed up."""

    machine_code: tuple[str, ...]
    """For which most of its kernels are compiled."""
    machine_code_in_part: tuple[str, ...]
    """For which only some are: kernels that make sense on one chip alone ("sm_90a")."""
    ptx: tuple[str, ...]
    containers: int
    """How many were looked at."""
    complete: bool
    """Whether all were, within the time."""


class _File:
    """Bytes of an open file at offsets that may be lies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def at(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise _Damaged
        data = os.pread(self._descriptor, size, offset)
        if len(data) != size:
            raise _Damaged
        return data

    def skips(self) -> None:
        """Tell the kernel that little of it will be read, here and there: it then reads nothing beside that."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def text(self, offset: int) -> str:
        """The string that ends with a zero byte."""
        for size in (256, 2048, _MOST_TEXT):
            if not 0 <= offset < self.size:
                raise _Damaged
            data = os.pread(self._descriptor, size, offset)
            end = data.find(b"\0")
            if end >= 0:
                return os.fsdecode(data[:end])
        raise _Damaged


class _Header(Struct, frozen=True):
    machine: int
    segments_at: int
    sections_at: int
    segments: int
    sections: int
    names_in: int


def dynamic(path: str) -> Dynamic | None:
    """What the loader reads of the file; None for what it could not load: no ELF file of 64 bits, or a damaged one."""
    try:
        with _Opened(path) as file:
            return _dynamic(file)
    except (OSError, _Damaged, struct.error, ValueError):
        return None


def versions_needed(path: str) -> tuple[str, ...]:
    """The newest version of each family of symbols that the file cannot do without: "GLIBC_2.34", "GLIBCXX_3.4.30"."""
    return _versions(path, _DT_VERNEED, _needed_names)


def cxx11_strings(path: str) -> bool | None:
    """Whether a file passes PyTorch's libc10 C++ strings in the form of GCC 5 and later; None where it passes none."""
    try:
        with _Opened(path) as file:
            entries, loaded = _tables(file, _header(file))
            values = dict(reversed(entries))
            size = min(values[_DT_STRSZ], _MOST_STRINGS)
            names = file.at(_offset(values[_DT_STRTAB], loaded), size)
    except (OSError, _Damaged, struct.error, ValueError, KeyError):
        return None
    new, old = (any(name + kind in names for name in _OF_C10) for kind in (b"NSt7__cxx11", b"Ss"))
    return new if new != old else None


def versions_provided(path: str) -> tuple[str, ...]:
    """The newest version of each family of symbols that the library has."""
    return _versions(path, _DT_VERDEF, _defined_names)


def fat_entries(path: str, *, deadline: float | None = None) -> Iterator[FatEntry]:
    """The GPU code in the file, piece by piece, as far as `deadline` (of time.monotonic) lets.

    A section holds containers, one for each object that was compiled; a container holds an entry for each GPU:

        container  0 u32 magic 0xBA55ED50   4 u16 version   6 u16 size of this header   8 u64 size of all that follows
        entry      0 u16 kind (1 PTX, 2 ELF, 8 NVVM IR, 16 ELF for a later finish)   4 u32 size of this header
                   8 u64 size of the code, which follows   16 u32 its size compressed   28 u32 architecture
                   40 u64 flags: 1<<13 LZ4, 1<<15 Zstandard, 1<<20 suffix `a`, 1<<21 suffix `f`

    Sources: n-eiling/cuda-fatbin-decompression (fatbin-decompress.h), jiegec/fatbinary, vosen/ZLUDA, and
    GrigoryEvko/nvopen-tools (fatbin/FORMAT_SPECIFICATION.md), all by reverse engineering; the bits of the suffixes from files
    that nvcc 13.0 made for one target each (tests/elf/README.md). Held against torch 2.9.1+cu128, cuBLAS, cuDNN and NCCL.
    """
    for container, relocatable, kind, flags, architecture in _pieces(path, deadline):
        name = _KINDS.get(kind, "other")
        yield FatEntry(container, name, _named(name, flags, architecture), bool(flags & _COMPRESSED), relocatable)


def has_gpu_code(path: str) -> bool:
    """Whether the file has a section for GPU code: a matter of two reads."""
    try:
        with _Opened(path) as file:
            return any(size for _, _, size in _fatbin_sections(file))
    except (OSError, _Damaged, struct.error, ValueError):
        return False


def gpu_code(path: str, *, deadline: float | None = None) -> GpuCode | None:
    """The GPUs for which the file has code; None where it has none."""
    counted: Counter[tuple[bool, str, str]] = Counter()
    alike: Counter[tuple[bool, int, int, int]] = Counter()
    containers = set()
    for container, relocatable, kind, flags, architecture in _pieces(path, deadline):
        containers.add(container)
        alike[relocatable, kind, flags, architecture] += 1  # thousands of pieces, some ten kinds
    for (relocatable, number, flags, architecture), count in alike.items():
        what = _KINDS.get(number, "other")
        counted[relocatable, what, _named(what, flags, architecture)] += count
    # What the device linker made of the objects is what runs; the objects themselves stay in the file beside it.
    linked = {name: count for (to_link, what, name), count in counted.items() if what == "elf" and not to_link}
    objects = {name: count for (to_link, what, name), count in counted.items() if what == "elf" and to_link}
    ptx = {name for _, what, name in counted if what == "ptx"}
    if not (linked or objects or ptx):
        return None
    own = linked or objects
    most = max(own.values(), default=0)  # of torch's 397 containers all hold sm_80, four sm_90a, one sm_89
    return GpuCode(
        machine_code=_in_order(name for name, count in own.items() if 2 * count >= most),
        machine_code_in_part=_in_order(name for name, count in own.items() if 2 * count < most),
        ptx=_in_order(ptx),
        containers=len(containers),
        complete=deadline is None or time.monotonic() < deadline,
    )


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """By number: sm_90 before sm_100."""
    return tuple(sorted(names, key=lambda name: (int("".join(filter(str.isdigit, name)) or "0"), name)))


class _Opened:
    """A regular file for the length of a block. A pipe or a device of such a name is not opened: that could wait for ever."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> _File:
        self._descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        return _File(self._descriptor)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _header(file: _File) -> _Header:
    data = file.at(0, 64)
    if data[:7] != b"\x7fELF\x02\x01\x01":  # 64 bits, little-endian, version 1
        raise _Damaged
    (_, machine, _, _, segments_at, sections_at, _, size, segment_size, segments, section_size, sections, names_in) = (
        struct.unpack_from("<HHIQQQIHHHHHH", data, 16)
    )
    if size < 64 or (segments and segment_size != 56) or (sections and section_size != 64):
        raise _Damaged
    return _Header(machine, segments_at, sections_at, segments, sections, names_in)


def _tables(file: _File, header: _Header) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """The entries of the dynamic section, and the (address, size, offset) of each loaded segment."""
    if header.segments > _MOST_SEGMENTS:
        raise _Damaged
    loaded: list[tuple[int, int, int]] = []
    entries: list[tuple[int, int]] = []
    table = file.at(header.segments_at, 56 * header.segments)
    for kind, _, offset, address, _, size, _, _ in struct.iter_unpack("<IIQQQQQQ", table):
        if kind == _PT_LOAD:
            loaded.append((address, size, offset))
        elif kind == _PT_DYNAMIC and not entries:
            size = min(size, 16 * _MOST_ENTRIES, max(file.size - offset, 0))
            for tag, value in struct.iter_unpack("<qQ", file.at(offset, size - size % 16)):
                if tag == 0:
                    break
                entries.append((tag, value))
    return entries, loaded


def _offset(address: int, loaded: list[tuple[int, int, int]]) -> int:
    for start, size, offset in loaded:
        if start <= address < start + size:
            return address - start + offset
    raise _Damaged


def _dynamic(file: _File) -> Dynamic:
    header = _header(file)
    entries, loaded = _tables(file, header)
    first: dict[int, int] = {}
    for tag, value in entries:
        first.setdefault(tag, value)
    if _DT_STRTAB not in first:
        return Dynamic(header.machine)
    strings = _offset(first[_DT_STRTAB], loaded)

    def text(tag: int) -> str | None:
        return file.text(strings + first[tag]) if tag in first else None

    runpath = text(_DT_RUNPATH)
    return Dynamic(
        machine=header.machine,
        soname=text(_DT_SONAME),
        needed=tuple(file.text(strings + value) for tag, value in entries if tag == _DT_NEEDED),
        rpath=text(_DT_RPATH) if runpath is None else None,
        runpath=runpath,
        no_default=bool(first.get(_DT_FLAGS_1, 0) & _DF_1_NODEFLIB),
    )


def _versions(path: str, tag: int, names: Callable[[_File, int], Iterator[int]]) -> tuple[str, ...]:
    try:
        with _Opened(path) as file:
            entries, loaded = _tables(file, _header(file))
            values = dict(reversed(entries))
            if tag not in values or _DT_STRTAB not in values:
                return ()
            at = _offset(values[tag], loaded)
            strings = _offset(values[_DT_STRTAB], loaded)
            return _newest(file.text(strings + name) for name in itertools.islice(names(file, at), _MOST_VERSIONS))
    except (OSError, _Damaged, struct.error, ValueError):
        return ()


def _needed_names(file: _File, at: int) -> Iterator[int]:
    """Where the names of the needed versions lie. A weak one may be missing: the loader only warns."""
    for _ in range(_MOST_VERSIONS):
        _, count, _, aux, following = struct.unpack("<HHIII", file.at(at, 16))
        place = at + aux
        for _ in range(min(count, _MOST_VERSIONS)):
            _, flags, _, name, further = struct.unpack("<IHHII", file.at(place, 16))
            if not flags & _VER_FLG_WEAK:
                yield name
            if not further:
                break
            place += further
        if not following:
            return
        at += following


def _defined_names(file: _File, at: int) -> Iterator[int]:
    for _ in range(_MOST_VERSIONS):
        _, _, _, count, _, aux, following = struct.unpack("<HHHHIII", file.at(at, 20))
        if count:
            yield struct.unpack("<II", file.at(at + aux, 8))[0]
        if not following:
            return
        at += following


def _newest(names: Iterator[str]) -> tuple[str, ...]:
    newest: dict[str, tuple[tuple[int, ...], str]] = {}
    for name in names:
        family, _, number = name.partition("_")
        parts = number.split(".")
        if family in ("GLIBC", "GLIBCXX", "CXXABI") and all(part.isdecimal() and len(part) < 9 for part in parts):
            value = tuple(map(int, parts))
            if family not in newest or newest[family][0] < value:
                newest[family] = (value, name)
    return tuple(name for _, name in sorted(newest.values(), key=lambda pair: pair[1]))


def _fatbin_sections(file: _File) -> list[tuple[str, int, int]]:
    """Name, offset and size of the sections that hold GPU code."""
    header = _header(file)
    count, names_in = header.sections, header.names_in
    if header.sections_at == 0:
        return []
    if count == 0 or names_in == 0xFFFF:  # more than the header's fields can say: section 0 tells
        zero = struct.unpack("<IIQQQQIIQQ", file.at(header.sections_at, 64))
        count, names_in = (count or zero[5]), (zero[6] if names_in == 0xFFFF else names_in)
    if not names_in < count <= _MOST_SECTIONS:
        raise _Damaged
    sections = list(struct.iter_unpack("<IIQQQQIIQQ", file.at(header.sections_at, 64 * count)))
    if sections[names_in][5] > _MOST_NAMES:
        raise _Damaged
    names = file.at(sections[names_in][4], sections[names_in][5])
    found = []
    for name, kind, _, _, offset, size, *_ in sections:
        for wanted in _FATBIN_SECTIONS:
            if kind == 1 and names[name : name + len(wanted) + 1] == wanted.encode() + b"\0":
                found.append((wanted, offset, min(size, max(file.size - offset, 0))))
    return found


def _pieces(path: str, deadline: float | None) -> Iterator[tuple[int, bool, int, int, int]]:
    """Number of the container, whether it is to be linked, kind, flags and architecture of each piece of GPU code."""
    try:
        with _Opened(path) as file:
            file.skips()
            yield from itertools.islice(_pieces_of(file, deadline), _MOST_OF_ALL)
    except (OSError, _Damaged, struct.error, ValueError):
        return


def _pieces_of(file: _File, deadline: float | None) -> Iterator[tuple[int, bool, int, int, int]]:
    first = 0
    for name, offset, size in _fatbin_sections(file)[:_MOST_FATBINS]:
        for number, start, stop in _containers(file, offset, size, deadline):
            for piece in _entries(file, start, stop):
                yield first + number, name != ".nv_fatbin", *piece
        first += _MOST_CONTAINERS


def _containers(file: _File, offset: int, size: int, deadline: float | None) -> Iterator[tuple[int, int, int]]:
    """Number, first entry and end of each container in a section."""
    end, gap, number = offset + size, 0, 0
    while number < _MOST_CONTAINERS and offset + 16 <= end and gap <= _LONGEST_GAP:
        if deadline is not None and time.monotonic() > deadline:
            return
        magic, _, header, length = struct.unpack("<IHHQ", file.at(offset, 16))
        if magic != _FATBIN_MAGIC:  # filled up to a boundary
            offset, gap = offset + 8, gap + 8
            continue
        stop = min(offset + header + length, end)
        yield number, offset + max(header, 16), stop
        offset, gap, number = max(stop, offset + 16), 0, number + 1


def _entries(file: _File, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Kind, flags and architecture of each entry of a container."""
    for _ in range(_MOST_PIECES):
        if offset + 48 > end:
            return
        kind, header, size, architecture, flags = _ENTRY.unpack(file.at(offset, 48))
        if header < 48 or architecture > 9999:
            return
        yield kind, flags, architecture
        offset += header + size


def _named(kind: str, flags: int, architecture: int) -> str:
    suffix = "a" if flags & _CODE_IS_FOR_THE_CHIP else "f" if flags & _CODE_IS_FOR_THE_FAMILY else ""
    return f"{'sm' if kind == 'elf' else 'compute'}_{architecture}{suffix}"
