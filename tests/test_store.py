"""Reports on disk."""

from __future__ import annotations

import pytest

from dltool import store
from dltool.errors import UsageError
from dltool.results import Report

FOREIGN_MACHINE = '{"schema": "dltool/report/1", "machine": {"schema": "dltool/machine/99"}}'


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def report(second: int = 0, command: tuple[str, ...] = ("bench", "gemm")) -> Report:
    return Report(dltool="0", created=f"2026-11-21T10:00:{second:02d}+00:00", command=command)


def test_what_is_saved_is_read_back():
    path = store.save(report())
    assert store.load("last") == report()
    assert store.load(str(path)) == report()
    (entry,) = store.entries()
    assert (entry.command, entry.created) == ("bench gemm", "2026-11-21 10:00:00")


def test_newest_first_and_found_by_a_part():
    store.save(report(1))
    store.save(report(2, ("gpu-info",)))
    assert [entry.command for entry in store.entries()] == ["gpu-info", "bench gemm"]
    assert store.find("20261121-100001").command == "bench gemm"


def test_a_part_that_fits_several():
    store.save(report(1))
    store.save(report(2))
    with pytest.raises(UsageError, match="fits 2 reports"):
        store.find("20261121")


def test_unknown_id_is_suggested():
    store.save(report())
    with pytest.raises(UsageError, match="unknown report") as refused:
        store.find("20261121-100000-bench_gem-zzzz")
    assert store.entries()[0].id in refused.value.remedy


def test_nothing_stored_yet():
    assert store.entries() == []
    with pytest.raises(UsageError, match="none is stored yet"):
        store.find("last")


def test_foreign_files_are_not_looked_at(tmp_path):
    store.save(report())
    (store.directory() / "notes.json").write_text("{}")
    (store.directory() / "20261121-100000-half").write_text("x")
    assert len(store.entries()) == 1


def test_a_failed_write_leaves_nothing_behind(monkeypatch):
    store.save(report())
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda self, target: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space left"):
        store.save(report(5))
    assert len(list(store.directory().iterdir())) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "other/1"}', '{"schema": "dltool/report/1", "findings": 3}', FOREIGN_MACHINE]
)
def test_damaged_report_files_are_one_line(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        store.load(str(path))
    assert "\n" not in str(refused.value)
    assert refused.value.remedy
