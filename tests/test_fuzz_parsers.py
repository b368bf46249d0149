"""No text of the system breaks what reads it: files of the kernel, of packages and of the loader, answers of commands.

Each row of `system_texts.READ` names a file (in a made-up root) or the answer of a command, an honest content, and what is
asked. The content is changed in every way, and what is asked must answer with facts that JSON can hold, or with a
`DltoolError`. A test sees to it that every function of dltool/probe that opens a file or asks a command is run by some row.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import recorded
from fuzz import targets
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import ABSURD, examples
from system_texts import ELF, READ, TORCH, VENV, Row, put

from dltool import known_errors, machine, names, probe, results, tables, toml, units
from dltool.compat import versions
from dltool.errors import CannotRun, DltoolError
from dltool.machine import Machine
from dltool.policy.reading import from_toml

IDS = [f"{row.at.rpartition('/')[2]}-{number}" for number, row in enumerate(READ)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system of which every file is there."""
    place = tmp_path_factory.mktemp("root")
    for row in reversed(READ):
        put(place, row, row.honest)
    for directory in (
        "sys/module/nvidia",
        "run/systemd/system",
        "usr/local/cuda-12.8/bin",
        f"{VENV}/bin",
        f"{VENV}/conda-meta",
    ):
        (place / directory).mkdir(parents=True, exist_ok=True)
    (place / VENV / "bin/python").symlink_to(sys.executable)
    for name in ("__init__.py", "_C.cpython-312-x86_64-linux-gnu.so", "lib/libtorch_global_deps.so"):
        path = place / TORCH / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            shutil.copy(ELF / "sm80.so", path)
    return place


# --- what is done to it -------------------------------------------------------------------------------------------------------

_PIECES = (
    *(text.encode("utf-8", "replace") for text in ABSURD),
    *(
        b"\xff\xfe",
        b"\0" * 8,
        b"\xff" * 8,
        b"\x01\0\0\0",
        b"\x7f" * 4,
        b"\n",
        b"\r",
        b"\n\n",
        b":",
        b"=",
        b'"',
        b"{",
        b"[" * 3000,
    ),
    *(
        b"0" * 30,
        b"18446744073709551616",
        b"-9223372036854775809",
        b"9" * 400,
        b"1e400",
        b"\\ud800",
        b"\xed\xa0\x80",
        b"../" * 40,
    ),
)


@st.composite
def changed(draw: st.DrawFn, honest: bytes) -> bytes:
    """An honest content, cut, overwritten, with numbers that are others, pieces put in, or something else altogether."""
    kind = draw(st.sampled_from(("pieces", "pieces", "numbers", "cut", "any", "twice")))
    if kind == "any":
        return draw(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
    if kind == "cut":
        return honest[draw(st.integers(0, len(honest))) : draw(st.integers(0, len(honest)))]
    if kind == "twice":
        return honest * draw(st.integers(2, 50))
    if kind == "numbers":
        parts = _numbers(honest)
        for at in draw(st.lists(st.integers(0, len(parts) - 1), min_size=1, max_size=3)):
            parts[at] = draw(st.sampled_from(_PIECES))
        return b"".join(parts)
    data = bytearray(honest)
    for at, piece, over in draw(
        st.lists(st.tuples(st.integers(0, len(honest)), st.sampled_from(_PIECES), st.booleans()), min_size=1, max_size=6)
    ):
        data[at : at + len(piece) * over] = piece
    return bytes(data)


def _numbers(honest: bytes) -> list[bytes]:
    """The content in parts: its words and numbers, and what is between them."""
    return re.split(rb"(\w+)", honest)


def facts(of: Any) -> None:
    """Facts are held by JSON, come back from it equal, and have no number that only Python could hold."""
    plain = probe._replaced(msgspec.to_builtins(of))
    msgspec.msgpack.encode(plain)
    if hasattr(of, "__dataclass_fields__") or isinstance(of, msgspec.Struct):
        back = msgspec.json.decode(msgspec.json.encode(plain), type=type(of))
        assert back == msgspec.convert(plain, type(of))  # a NaN comes back as nothing


def helps(error: DltoolError) -> None:
    assert error.remedy
    assert str(error)


@pytest.mark.parametrize("row", READ, ids=IDS)
def test_no_content_breaks_a_reader(row: Row, root: Path) -> None:
    @given(changed(row.honest))
    @example(row.honest)
    @example(b"")
    @examples(25)
    def read(content: bytes) -> None:
        put(root, row, content)
        try:
            facts(row.ask(root))
        except DltoolError as error:
            helps(error)

    try:
        read()
    finally:
        put(root, row, row.honest)


# --- that none is forgotten ---------------------------------------------------------------------------------------------------

_DOORS = {
    "read",
    "pread",
    "text",
    "text_or_nothing",
    "line",
    "read_text",
    "read_bytes",
    "run",
    "python",
    "loads",
    "scandir",
    "open",
}
"""Names of the functions through which a probe gets text of the system."""
_ELSEWHERE = {
    "probe/__init__.py": "composes the others; test_probe_read.py",
    "probe/child.py": "starts a Python of ours",
    "probe/nvml_child.py": "asks NVML; test_probe_nvml.py with a library that answers anything",
    "probe/files.py": "the doors themselves",
}
_OTHERWISE = {
    "probe/nvml.py:read": "starts the child; its parts are rows",
    "probe/loader.py:_preload": "opens nothing but what the loader would",
}


def readers() -> Iterator[str]:
    """Every function of dltool/probe that goes through a door, as FILE:NAME."""
    folder = Path(probe.__file__).parent
    for path in sorted(folder.glob("*.py")):
        file = f"probe/{path.name}"
        if file in _ELSEWHERE:
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and any(map(_is_door, ast.walk(function))):
                yield f"{file}:{function.name}"


def _is_door(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    return getattr(node.func, "attr", getattr(node.func, "id", "")) in _DOORS


@cache
def _run_by_rows(root: Path) -> frozenset[str]:
    """The functions of dltool/probe that are called while every row is asked once."""
    called: set[str] = set()

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call":
            place = Path(frame.f_code.co_filename)
            if place.parent.name == "probe":
                called.add(f"probe/{place.name}:{frame.f_code.co_name}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for row in READ:
            row.ask(root)
    finally:
        sys.setprofile(before)
    return frozenset(called)


def test_every_reader_of_the_system_is_in_the_table(root: Path) -> None:
    assert set(readers()) - _run_by_rows(root) - set(_OTHERWISE) == set()


def test_what_is_excused_is_there() -> None:
    assert set(_OTHERWISE) <= set(readers())


FOUND = sorted(Path(targets.__file__).with_name("found").iterdir())


@pytest.mark.parametrize("path", FOUND, ids=[path.name for path in FOUND])
def test_what_broke_a_reader_once_breaks_it_no_more(path: Path) -> None:
    (name,) = (name for name in targets.TARGETS if path.name.startswith(f"{name}-"))
    targets.run(name, path.read_bytes())


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_targets_of_atheris_read_what_they_begin_with(name: str) -> None:
    for seed in targets.TARGETS[name].seeds:
        targets.TARGETS[name].ask(seed)


# --- files and texts that people give -----------------------------------------------------------------------------------------

_SNAPSHOT = recorded.load("laptop_rtx4060").to_json()
_POLICY = b"""schema = "dltool/policy/1"
[gpu]
model = ["H100 SXM", "A100"]
min_memory_gb = 80.0
[driver]
min = "550.54.14"
[host]
min_shm_gb = 64
[checks]
deny = ["driver-too-old"]
[[waiver]]
id = "gpu-xid"
reason = \"\"\"a board
is ordered\"\"\"
expires = 2027-01-31
[bench.gemm]
bf16 = "600 TFLOP/s"
"""
_LOG = b"""Traceback (most recent call last):
RuntimeError: CUDA error: no kernel image is available for execution on the device
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
[ 99.0] NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus.
ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory
"""


def report(data: bytes, place: Path) -> Any:
    file = place / "report.json"
    file.write_bytes(data)
    return results.load(file)


GIVEN: dict[str, tuple[bytes, Callable[[bytes, Path], Any]]] = {
    "snapshot": (_SNAPSHOT, lambda data, _: machine.from_json(data, source="test")),
    "report": (b'{"schema": "dltool/report/1", "findings": [], "machine": ' + _SNAPSHOT + b"}", report),
    "toml": (_POLICY, lambda data, _: toml.read(data, source="test")),
    "policy": (_POLICY, lambda data, _: from_toml(data, source="test", ids=("driver-too-old", "gpu-xid"))),
    "log": (_LOG, lambda data, _: known_errors.recognise(data)),
    "name of an error": (b"xid-79", lambda data, _: known_errors.by_name(data.decode("utf-8", "replace"))),
    **{
        reads.__name__: (sample, lambda data, _, reads=reads: reads(data.decode("utf-8", "replace")))  # type: ignore[misc]
        for reads, sample in (
            (units.parse_bytes, b"1.5 GiB"), (units.parse_mhz, b"1.83GHz"), (units.parse_memory_gb, b"24GiB"),
            (units.parse_seconds, b"500ms"), (names.resolve, b"NVIDIA H100 80GB HBM3"),
            (versions.known_version, b"2.9.1+cu128"), (versions.compute_capability, b"sm_90a"),
        )
    },
    "version": (b"12.8.1", lambda data, _: versions.parse("CUDA", data.decode("utf-8", "replace"), parts=2, example="12.8")),
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_what_people_give_is_read_or_refused(name: str, tmp_path: Path) -> None:
    honest, reads = GIVEN[name]

    @given(changed(honest))
    @example(honest)
    @examples(80)
    def read(data: bytes) -> None:
        try:
            reads(data, tmp_path)
        except DltoolError as error:
            helps(error)

    read()


@given(changed(b'name,sms,memory_gb\n"RTX 4090",128,24\nH100,132,80\n'))
@examples(80)
def test_no_table_breaks_the_catalogue(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    place = tmp_path_factory.getbasetemp() / "tables"
    place.mkdir(exist_ok=True)
    (place / "boards.csv").write_bytes(data)
    patch = pytest.MonkeyPatch()
    patch.setattr(tables, "directory", lambda: place)
    patch.setattr(tables, "_problems", {})
    try:
        table = tables.Table("boards")
        rows = table.rows()
        assert [row for number in range(len(table.lines)) if (row := table.row(number)) is not None] == list(rows)
        table.named("H100")
        assert all(isinstance(tables.number(row["sms"]), float | int | None) for row in rows if "sms" in row)
    except CannotRun as error:
        helps(error)
    finally:
        patch.undo()


def test_the_machine_has_no_names_that_json_cannot_hold() -> None:
    found = probe._writable(Machine(environment={"A": "\udc80\udcff"}, gaps={"disks.\udcff": "b\udcffd"}))
    assert found.environment == {"A": "\ufffd\ufffd"}
    assert machine.from_json(found.to_json(), source="test") == found
