"""The registry: names of our own modules and of strangers' plugins."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from dltool.errors import UsageError
from dltool.registry import Registry

GROUP = "dltool_test.things"
_number = itertools.count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package with a name of its own: modules that were imported stay imported."""
    directory = tmp_path / f"things_{next(_number)}"
    directory.mkdir()
    (directory / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return directory


def plugin(directory: Path, name: str, code: str) -> None:
    """Install a distribution that offers a module under the entry points of the test."""
    (directory / f"plugin_{name}.py").write_text(code)
    info = directory / f"plugin_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = plugin_{name}\n")


def registry(package: Path) -> Registry[Any]:
    return Registry("thing", package=package.name, entry_points=GROUP)


def test_names_come_in_the_order_of_registration(package: Path) -> None:
    things: Registry[int] = Registry("thing", package=package.name)
    for name in ("one", "two", "a"):
        things.add(name, len(name))
    assert things.names() == ("one", "two", "a")
    assert list(things) == [("one", 3), ("two", 3), ("a", 1)]
    assert things.get("two") == 3


def test_the_decorator_gives_the_thing_back(package: Path) -> None:
    things = registry(package)

    @things.register("first")
    def function() -> int:
        return 7

    assert function() == 7
    assert things.get("first") is function


def test_a_doubled_name_is_refused(package: Path) -> None:
    things = registry(package)
    things.add("one", 1)
    with pytest.raises(ValueError, match="two things are called 'one'"):
        things.add("one", 2)
    assert things.get("one") == 1


def test_an_unknown_name_suggests_the_nearest(package: Path) -> None:
    things = registry(package)
    for name in ("driver.present", "driver.version", "disk.free"):
        things.add(name, 1)
    with pytest.raises(UsageError, match=r"unknown thing `driver\.presnt`") as caught:
        things.get("driver.presnt")
    assert "Did you mean `driver.present`" in caught.value.remedy
    assert "Known: disk.free, driver.present, driver.version" in caught.value.remedy


def test_where_all_names_are_listed_is_told(package: Path) -> None:
    things: Registry[int] = Registry("thing", package=package.name, listing="dltool things --list")
    with pytest.raises(UsageError) as caught:
        things.get("x")
    assert "dltool things --list" in caught.value.remedy


def test_an_empty_registry_knows_no_name(package: Path) -> None:
    assert registry(package).names() == ()
    with pytest.raises(UsageError, match="unknown thing `x`"):
        registry(package).get("x")


def test_the_modules_of_the_package_are_imported_when_first_asked(package: Path) -> None:
    (package / "__init__.py").write_text(
        f"from dltool.registry import Registry\nTHINGS = Registry('thing', package={package.name!r})\n"
    )
    for name in ("b", "a"):
        (package / f"{name}.py").write_text(f"from {package.name} import THINGS\nTHINGS.add({name!r}, 1)\n")
    things = __import__(package.name).THINGS
    assert things.names() == ("a", "b")
    assert things.broken == {}


def test_a_module_of_ours_that_cannot_be_imported_is_raised(package: Path) -> None:
    (package / "bad.py").write_text("raise ImportError('our bug')\n")
    with pytest.raises(ImportError, match="our bug"):
        registry(package).names()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('no module named x')", "ImportError: no module named x"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
    ],
    ids=["import", "error", "syntax", "exit"],
)
def test_a_broken_plugin_is_kept_and_the_others_load(tmp_path: Path, package: Path, code: str, reason: str) -> None:
    name = f"bad{next(_number)}"
    plugin(tmp_path, name, code + "\n")
    things = registry(package)
    things.add("one", 1)
    assert things.names() == ("one",)
    assert things.broken.keys() == {f"{name} (plugin_{name})"}
    assert reason in things.broken[f"{name} (plugin_{name})"]


def test_a_plugin_cannot_replace_what_is_there(tmp_path: Path, package: Path) -> None:
    (package / "__init__.py").write_text(
        f"from dltool.registry import Registry\nTHINGS = Registry('thing', package={package.name!r}, entry_points={GROUP!r})\n"
    )
    (package / "ours.py").write_text(f"from {package.name} import THINGS\nTHINGS.add('one', 'ours')\n")
    name = f"taking{next(_number)}"
    plugin(tmp_path, name, f"from {package.name} import THINGS\nTHINGS.add('two', 2)\nTHINGS.add('one', 'theirs')\n")
    things = __import__(package.name).THINGS
    assert things.get("one") == "ours"
    assert things.get("two") == 2
    assert "two things are called 'one'" in things.broken[f"{name} (plugin_{name})"]
