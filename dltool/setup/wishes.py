"""What is wanted of an environment, beyond what must work together: purpose, manager, mirrors, place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from msgspec import Struct

from dltool import tables
from dltool.compat.builds import wheel_index
from dltool.errors import UsageError, unknown_name
from dltool.setup.distro import Distro

PURPOSES = ("training", "inference", "building-extensions")
MANAGERS = ("venv", "conda", "uv", "pixi")
_PLACES = {"venv": ".venv", "uv": ".venv", "conda": "dl", "pixi": "dl"}
_SAFE_URL = re.compile(r"[A-Za-z0-9:/?&=#%+~@.,_\-\[\]{}]+")


class Mirror(Struct, frozen=True, kw_only=True):
    """Other places for the same packages; None is the usual one."""

    names: tuple[str, ...] = ()
    index: str | None = None
    """Of everything but torch."""
    torch: str | None = None
    """Of torch and its companions; `{build}` stands for cu126 and the like."""
    torch_kind: str = "index"
    """"index", or "links" for a flat list of wheels."""
    conda: str | None = None
    """Folder of conda channels."""

    def torch_index(self, build: str) -> str:
        """Where the wheels of a build are."""
        return self.torch.replace("{build}", build) if self.torch else wheel_index(build)


class Wishes(Struct, frozen=True, kw_only=True):
    """How the environment is to be made, and what for."""

    purpose: str = "training"
    manager: str = "venv"
    mirror: Mirror = Mirror()
    distro: Distro | None = None
    directory: str | None = None

    @property
    def place(self) -> str:
        """The directory, or for conda the name, of the environment."""
        return self.directory or _PLACES[self.manager]


def wishes(
    *,
    purpose: str = "training",
    manager: str = "venv",
    mirrors: Iterable[str] = (),
    distro: Distro | None = None,
    directory: str | None = None,
) -> Wishes:
    """Wishes as a user typed them.

    Args:
        mirrors: names of `catalog/mirrors.csv`, or addresses.

    Raises:
        UsageError: an unknown purpose, manager or mirror, or two mirrors of the same thing.
    """
    return Wishes(
        purpose=_one_of("purpose", purpose, PURPOSES),
        manager=_one_of("environment manager", manager, MANAGERS),
        mirror=mirror(mirrors),
        distro=distro,
        directory=directory,
    )


def _one_of(kind: str, name: str, known: tuple[str, ...]) -> str:
    if name.casefold() in known:
        return name.casefold()
    raise unknown_name(kind, name, known)


def mirror(texts: Iterable[str]) -> Mirror:
    """One mirror out of names and addresses; an address with `{build}` in it is one of torch's wheels.

    Raises:
        UsageError: an unknown name, no address, or two that contradict one another.
    """
    found: dict[str, str] = {}
    names: list[str] = []
    for text in texts:
        name, parts = _parts(text)
        if doubled := found.keys() & parts.keys() - {"torch_kind"}:
            raise UsageError(f"two mirrors of the same thing ({', '.join(sorted(doubled))})", remedy="Leave one of them out.")
        names.append(name)
        found.update(parts)
    return Mirror(names=tuple(names), **found)


def _parts(text: str) -> tuple[str, dict[str, str]]:
    if ":" in text or "/" in text:
        return text, {"torch" if "{build}" in text else "index": _address(text)}
    rows = tables.rows("mirrors")
    row = next((row for row in rows if row["name"] == text.casefold()), None)
    if row is None:
        raise unknown_name("mirror", text, [row["name"] for row in rows])
    cells = {"index": row["pypi"], "torch": row["torch"], "torch_kind": row["torch_kind"], "conda": row["conda"]}
    return row["name"], {field: cell for field, cell in cells.items() if cell}


def _address(text: str) -> str:
    """An address that can stand in commands and files as it is, without a password."""
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https", "file") or not (host or parts.scheme == "file") or not _SAFE_URL.fullmatch(text):
        raise UsageError(
            f"`{text}` is no address of a package index", remedy="Write it like https://mirror.example.org/simple."
        )
    if parts.username or parts.password:
        raise UsageError(
            "the mirror's address holds a user name or password, which would end up in files and commands",
            remedy="Leave them out of the address and put them into ~/.netrc, which pip and uv read.",
        )
    return text
