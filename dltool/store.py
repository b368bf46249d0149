"""Reports, and the noise that selftests measured, on disk: JSON files in the user's data directory, for any program to read."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dltool import results
from dltool.differences import Selftest
from dltool.errors import UsageError, unknown_name
from dltool.results import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A stored report as its file name tells."""

    id: str
    """Date, time, command and four random hex digits: "20261121-131443-bench_gemm-1f3a"."""
    path: Path

    @property
    def command(self) -> str:
        """The command that made it: "bench gemm"."""
        return self._parts()[2].replace("_", " ")

    @property
    def created(self) -> str:
        """When, in UTC: "2026-11-21 13:14:43"."""
        day, clock = self._parts()[:2]
        return f"{day[:4]}-{day[4:6]}-{day[6:8]} {clock[:2]}:{clock[2:4]}:{clock[4:6]}"

    def _parts(self) -> tuple[str, ...]:
        match = _ID.fullmatch(self.id)
        return match.groups() if match else ("", "", self.id, "")


_ID = re.compile(r"(\d{8})-(\d{6})-([a-z0-9_-]+)-([0-9a-f]{4})")


def directory() -> Path:
    """Where reports are kept."""
    import platformdirs

    return platformdirs.user_data_path("dltool") / "reports"


def searches() -> Path:
    """Where the trials of searches are recorded, so that an interrupted one can be gone on with."""
    import platformdirs

    return platformdirs.user_state_path("dltool") / "search"


def save(report: Report) -> Path:
    """Keep a report. The file appears whole or not at all, whatever happens meanwhile.

    Raises:
        OSError: the directory cannot be written or the disk is full.
    """
    folder = directory()
    folder.mkdir(parents=True, exist_ok=True)
    stamp = re.sub(r"\D", "", report.created)[:14]
    words = "_".join(re.sub(r"[^a-z0-9-]+", "", word) for word in report.command) or "report"
    name = f"{stamp[:8]}-{stamp[8:]}-{words}-{secrets.token_hex(2)}"
    return _write(folder / f"{name}.json", report.to_json())


def _write(target: Path, data: bytes) -> Path:
    """Whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(target)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _selftests() -> Path:
    return directory().parent / "selftest"


def save_selftest(selftest: Selftest) -> Path:
    """Keep the noise of a machine, in place of an older one of the same fingerprint.

    Raises:
        OSError: the directory cannot be written or the disk is full.
    """
    _selftests().mkdir(parents=True, exist_ok=True)
    return _write(_selftests() / f"{selftest.id}.json", msgspec.json.format(msgspec.json.encode(selftest), indent=2) + b"\n")


def selftest(fingerprint_id: str) -> Selftest | None:
    """The noise that was measured under this fingerprint; None where there is none, or its file is damaged."""
    try:
        data = (_selftests() / f"{fingerprint_id}.json").read_bytes()
        return msgspec.json.decode(data, type=Selftest)
    except (OSError, msgspec.DecodeError):
        return None


def entries() -> list[Entry]:
    """All stored reports, newest first. Files that dltool did not name are not looked at."""
    try:
        files = [(path.stat().st_mtime_ns, path) for path in directory().glob("*.json") if _ID.fullmatch(path.stem)]
    except OSError:  # no directory yet, or a report that is just being removed
        files = []
    return [Entry(id=path.stem, path=path) for _, path in sorted(files, reverse=True)]


def find(name: str) -> Entry:
    """The report called `name`: its id, the beginning or end of it that fits only one, or "last".

    Raises:
        UsageError: none or several fit.
    """
    known = entries()
    if name == "last" and known:
        return known[0]
    exact = [entry for entry in known if entry.id == name]
    near = exact or [entry for entry in known if entry.id.startswith(name) or entry.id.endswith(name)]
    if len(near) == 1:
        return near[0]
    if near:
        some = ", ".join(entry.id for entry in near[:3])
        raise UsageError(f"`{name}` fits {len(near)} reports", remedy=f"Write more of the id: {some}")
    if not known:
        raise UsageError(f"there is no report `{name}`: none is stored yet", remedy="Make one: dltool doctor")
    raise unknown_name("report", name, [entry.id for entry in known], listing="dltool report list")


def load(name: str) -> Report:
    """Read a stored report, or the report file at a path.

    Raises:
        UsageError: there is no such report, or it cannot be read.
    """
    path = Path(name)
    if path.suffix == ".json" or path.is_file():
        return results.load(path)
    return results.load(find(name).path)
