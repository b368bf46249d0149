"""Everything that is installed in an environment: every distribution on its import path, with where it came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
from packaging.utils import canonicalize_name

from dltool.errors import UsageError
from dltool.probe import files, python_env
from dltool.results import FrozenPackage

_OLD_TAGS = {"manylinux1": "2.5", "manylinux2010": "2.12", "manylinux2014": "2.17"}
"""What the first names of the platform meant, by PEP 600."""
_MANYLINUX = re.compile(r"^Tag: .{0,200}?manylinux_([0-9]{1,3}_[0-9]{1,3})_", re.MULTILINE)
_MOST_BYTES = 4 * 2**20


class _Vcs(msgspec.Struct):
    vcs: str = "git"
    commit_id: str | None = None


class _DirectUrl(msgspec.Struct):
    """`direct_url.json`, as far as it is of use: where a distribution was installed from."""

    url: str
    vcs_info: _Vcs | None = None
    dir_info: Mapping[str, object] | None = None


def count(path: Iterable[str]) -> int:
    """How many distributions are installed there, by the names of their directories alone."""
    return len({info.name.partition("-")[0].lower() for info in _infos(path)})


def packages(path: Iterable[str]) -> tuple[FrozenPackage, ...]:
    """Every distribution on an import path, sorted by name; of two of one name, the one that is imported."""
    found: dict[str, FrozenPackage] = {}
    for info in _infos(path):
        package = _package(info)
        if package is not None:
            found.setdefault(package.name, package)
    return tuple(found[name] for name in sorted(found))


def _infos(path: Iterable[str]) -> Iterator[Path]:
    for entry in dict.fromkeys(filter(None, path)):
        for pattern in ("*.dist-info", "*.egg-info"):
            yield from files.glob(Path(entry), pattern)


def _package(info: Path) -> FrozenPackage | None:
    """None where the metadata is missing: the remains of an installation that was interrupted."""
    headers = _headers(info)
    if "name" not in headers or "version" not in headers:
        return None
    name = str(canonicalize_name(headers["name"]))
    source, url, revision = _origin(info)
    return FrozenPackage(
        name=name, version=headers["version"], source=source, url=url, revision=revision, glibc=_glibc(info / "WHEEL")
    )


def _headers(info: Path) -> dict[str, str]:
    """The first lines of the metadata, up to the description, by lower-case name."""
    text = next(filter(None, map(_read, (info / "METADATA", info / "PKG-INFO", info))), "")
    lines = (line.partition(":") for line in text.split("\n\n", 1)[0].splitlines())
    return {name.strip().lower(): value.strip() for name, colon, value in lines if colon and not name.startswith(" ")}


def _origin(info: Path) -> tuple[str, str | None, str | None]:
    """Kind of source, URL, commit: by `direct_url.json` (PEP 610), else by who installed it."""
    try:
        told = msgspec.json.decode(_read(info / "direct_url.json"), type=_DirectUrl)
        url = _without_credentials(told.url)
    except (ValueError, RecursionError):
        return ("conda" if _read(info / "INSTALLER").strip() == "conda" else "index"), None, None
    if told.vcs_info is not None:
        return "vcs", f"{told.vcs_info.vcs}+{url}", told.vcs_info.commit_id
    return ("local" if told.dir_info is not None or url.startswith("file:") else "url"), url, None


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _glibc(wheel: Path) -> str | None:
    """The oldest glibc by the wheel's tags: of several, the least demanding counts."""
    text = _read(wheel)
    demanded = [match.replace("_", ".") for match in _MANYLINUX.findall(text)]
    demanded += [version for tag, version in _OLD_TAGS.items() if re.search(rf"^Tag: .{{0,200}}{tag}_", text, re.MULTILINE)]
    return min(demanded, key=lambda version: [int(part) for part in version.split(".")], default=None)


def _read(path: Path) -> str:
    """The beginning of a file; nothing where there is none: metadata is text of strangers."""
    return files.text_or_nothing(path, _MOST_BYTES)


def of(executable: str, *, timeout_s: float = 5.0) -> tuple[FrozenPackage, ...]:
    """Everything that an interpreter would import, which it is asked for.

    Raises:
        UsageError: it does not run.
    """
    interpreter = python_env.ask(executable, timeout_s)
    if isinstance(interpreter, str):
        raise UsageError(f"{executable} is not a Python that runs: {interpreter}", remedy="Name one with --python.")
    return packages(interpreter.path)
