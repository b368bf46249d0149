"""The reader of compiled files: what is known to be in the fixtures, and that no bytes break it."""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dltool.probe import elf

FIXTURES = Path(__file__).with_name("elf")
NAMES = sorted(path.name for path in FIXTURES.glob("*.so"))
READERS: tuple[Callable[[str], Any], ...] = (
    elf.dynamic,
    elf.versions_needed,
    elf.versions_provided,
    elf.gpu_code,
    elf.has_gpu_code,
)
NOTHING = (None, (), (), None, False)


def entries(name: str) -> list[elf.FatEntry]:
    return list(elf.fat_entries(str(FIXTURES / name)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sm80.so", [("elf", "sm_80", False)]),
        ("sm80_compressed.so", [("elf", "sm_80", True)]),
        ("sm90a.so", [("elf", "sm_90a", False)]),
        ("sm120.so", [("elf", "sm_120", False)]),
        ("sm100f.so", [("elf", "sm_100f", False)]),
        ("ptx120.so", [("ptx", "compute_120", True)]),
    ],
)
def test_one_target_each(name: str, expected: list[tuple[str, str, bool]]) -> None:
    assert [(entry.kind, entry.architecture, entry.compressed) for entry in entries(name)] == expected
    assert elf.has_gpu_code(str(FIXTURES / name))


def test_several_objects_are_several_containers() -> None:
    found = entries("mixed.so")
    assert [sorted(entry.architecture for entry in found if entry.container == number) for number in range(4)] == [
        ["compute_90", "sm_80", "sm_90"], ["sm_80", "sm_90"], ["sm_80", "sm_90"], ["sm_90a"],
    ]  # fmt: skip
    assert not any(entry.relocatable for entry in found)


def test_what_most_kernels_are_compiled_for_is_told_from_what_some_are() -> None:
    code = elf.gpu_code(str(FIXTURES / "mixed.so"))
    assert code == elf.GpuCode(
        machine_code=("sm_80", "sm_90"), machine_code_in_part=("sm_90a",), ptx=("compute_90",), containers=4, complete=True
    )


def test_time_that_is_over_leaves_the_rest_unread() -> None:
    assert elf.gpu_code(str(FIXTURES / "mixed.so"), deadline=time.monotonic() - 1) is None


def relocatable(data: bytes) -> bytes:
    """The file as one whose GPU code is still to be linked: the name of its section is the other one."""
    return data.replace(b".nv_fatbin\0", b"nv_fatbin_\0", 1)


def test_a_section_of_another_name_is_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(relocatable((FIXTURES / "sm80.so").read_bytes()))
    assert elf.gpu_code(str(path)) is None
    assert elf.dynamic(str(path)) is not None


def test_the_dynamic_section_of_a_fixture() -> None:
    found = elf.dynamic(str(FIXTURES / "mixed.so"))
    assert found == elf.Dynamic(machine=elf.X86_64, soname="mixed.so")


@pytest.mark.skipif(sys.platform != "linux", reason="the interpreter is no ELF file")
def test_the_interpreter_that_runs_the_tests() -> None:
    path = os.path.realpath(sys.executable)
    found = elf.dynamic(path)
    assert found is not None
    assert any(name.startswith("libc.so") for name in found.needed)
    assert any(name.startswith("GLIBC_2.") for name in elf.versions_needed(path))
    assert elf.gpu_code(path) is None


@pytest.mark.parametrize("place", ["missing", "directory", "empty", "fifo", "text"])
def test_what_is_no_elf_file_is_no_answer(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    if place == "directory":
        path.mkdir()
    elif place == "fifo":
        os.mkfifo(path)
    elif place != "missing":
        path.write_text("" if place == "empty" else "/* GNU ld script */ GROUP ( libnccl.so.2 )\n" * 20)
    assert tuple(read(str(path)) for read in READERS) == NOTHING


@pytest.mark.parametrize(("offset", "value"), [(4, 1), (5, 2), (6, 0)], ids=["32-bit", "big-endian", "another version"])
def test_other_kinds_of_elf_are_no_answer(tmp_path: Path, offset: int, value: int) -> None:
    data = bytearray((FIXTURES / "sm80.so").read_bytes())
    data[offset] = value
    (tmp_path / "x.so").write_bytes(data)
    assert tuple(read(str(tmp_path / "x.so")) for read in READERS) == NOTHING


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_off_anywhere_breaks_nothing(tmp_path: Path, name: str) -> None:
    data = (FIXTURES / name).read_bytes()
    path = tmp_path / "x.so"
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        for read in READERS:
            read(str(path))


@given(st.binary(max_size=4096))
def test_no_bytes_break_it(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.so"
    for start in (b"", b"\x7fELF\x02\x01\x01"):
        path.write_bytes(start + data)
        for read in READERS:
            read(str(path))


changes = st.lists(
    st.tuples(st.integers(0, 14_000), st.sampled_from((b"\0", b"\xff", b"\xff" * 8, b"\x7f" * 4, b"\0" * 8, b"\x01\0\0\0"))),
    min_size=1,
    max_size=6,
)


@given(st.sampled_from(NAMES), changes)
@settings(max_examples=400)
def test_no_change_to_a_real_file_breaks_it(
    tmp_path_factory: pytest.TempPathFactory, name: str, at: list[tuple[int, bytes]]
) -> None:
    data = bytearray((FIXTURES / name).read_bytes())
    for offset, value in at:
        data[offset % len(data) : offset % len(data) + len(value)] = value
    path = tmp_path_factory.getbasetemp() / "changed.so"
    path.write_bytes(data)
    began = time.monotonic()
    for read in READERS:
        read(str(path))
    assert time.monotonic() - began < 5


def fat(*containers: bytes, fill: bytes = b"") -> bytes:
    """A file whose only section beside the names is `.nv_fatbin`."""
    code, names = fill.join(containers), b"\0.nv_fatbin\0.shstrtab\0"
    sections = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, 0, 0, 1, 0)
        for name, kind, offset, size in (
            (0, 0, 0, 0),
            (1, 1, 64, len(code)),
            (12, 3, 64 + len(code), len(names)),
        )
    )
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 64 + len(code) + len(names), 0, 64, 56, 0, 64, 3, 2)
    return header + code + names + sections


def container(*pieces: bytes, length: int | None = None) -> bytes:
    body = b"".join(pieces)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body) if length is None else length) + body


def piece(kind: int, architecture: int, flags: int = 0x11, *, header: int = 64, size: int = 8) -> bytes:
    fields = struct.pack("<HHIQIIHHIIIQ", kind, 0x101, header, size, 0, 0, 0, 0, architecture, 0, 0, flags)
    return fields + bytes(16) + bytes(8)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(fat(container(piece(2, 90), piece(1, 90))), ["sm_90", "compute_90"], id="plain"),
        pytest.param(fat(container(piece(2, 90)), container(piece(2, 80)), fill=bytes(24)), ["sm_90", "sm_80"], id="filled up"),
        pytest.param(fat(container(piece(2, 90)), fill=b"") + b"rest", ["sm_90"], id="more behind it"),
        pytest.param(fat(bytes(8192), container(piece(2, 90))), [], id="a gap too long"),
        pytest.param(fat(container(piece(8, 90), piece(99, 90))), ["compute_90", "compute_90"], id="other kinds"),
        pytest.param(fat(container(piece(2, 90, header=0, size=0))), [], id="a piece without size"),
        pytest.param(fat(container(piece(2, 90), length=2**63)), ["sm_90"], id="a container beyond the file"),
        pytest.param(fat(container(piece(2, 90, size=2**63), piece(2, 80))), ["sm_90"], id="a piece beyond the container"),
        pytest.param(fat(container(length=0) * 5), [], id="empty containers"),
        pytest.param(fat(container(piece(2, 2**31))), [], id="no architecture"),
        pytest.param(fat(container(*[piece(2, 90)] * 1000)), ["sm_90"] * 256, id="too many pieces"),
    ],
)
def test_hostile_and_odd_containers(tmp_path: Path, data: bytes, expected: list[str]) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(data)
    assert [entry.architecture for entry in elf.fat_entries(str(path))] == expected
    elf.gpu_code(str(path))


def test_many_sections_are_counted_in_the_first(tmp_path: Path) -> None:
    data = bytearray(fat(container(piece(2, 90))))
    sections = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<HH", data, 60, 0, 0xFFFF)  # e_shnum, e_shstrndx: too many for their fields
    struct.pack_into("<Q", data, sections + 32, 3)
    struct.pack_into("<I", data, sections + 40, 2)
    (tmp_path / "x.so").write_bytes(data)
    assert [entry.architecture for entry in elf.fat_entries(str(tmp_path / "x.so"))] == ["sm_90"]
    struct.pack_into("<Q", data, sections + 32, 2**40)
    (tmp_path / "x.so").write_bytes(data)
    assert not elf.has_gpu_code(str(tmp_path / "x.so"))
