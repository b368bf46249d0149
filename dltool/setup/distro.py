"""Linux distributions: which one is meant, what it ships, and what the tables call it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from dltool import tables
from dltool.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from dltool.machine import Machine

DEFAULT = "Ubuntu 24.04"
_ALIASES = {
    "red hat enterprise linux": "RHEL", "red hat": "RHEL", "alma": "AlmaLinux", "oracle": "Oracle Linux",
    "suse linux enterprise": "SLES", "opensuse": "openSUSE Leap", "amazon": "Amazon Linux", "rocky": "Rocky Linux",
}  # fmt: skip
_FAMILIES = {
    "RHEL": "Red Hat", "CentOS": "Red Hat", "CentOS Stream": "Red Hat", "Oracle Linux": "Red Hat", "Rocky Linux": "Rocky",
    "openSUSE Leap": "openSUSE", "openSUSE Tumbleweed": "openSUSE",
}  # fmt: skip


class Distro(Struct, frozen=True, kw_only=True):
    """A release of a distribution; None and empty are not known."""

    name: str
    """As in glibc.csv: "RHEL"."""
    family: str
    """As in toolkit_install.csv: "Red Hat"."""
    release: str = ""
    glibc: str | None = None
    musl: bool = False
    python: str | None = None
    gcc: str | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.release}".strip()

    def row(self, task: str) -> tables.Row | None:
        """How a task is done here; the releases of Red Hat's family share its drivers."""
        relatives = (self.family, "Red Hat") if self.family in ("Rocky", "AlmaLinux") else (self.family,)
        rows = {row["distribution"]: row for row in tables.rows("compat/toolkit_install") if row["task"] == task}
        return next((rows[name] for name in relatives if name in rows), None)

    @property
    def repository(self) -> str | None:
        """NVIDIA's name of this release, "ubuntu2404"; None where NVIDIA keeps no packages for it."""
        row = self.row("toolkit")
        pairs = dict(pair.split(":") for pair in row["distro"].split() if ":" in pair) if row else {}
        return pairs.get(self.release) or pairs.get(self.release.partition(".")[0])


def resolve(text: str) -> Distro:
    """The distribution that a user names: "Ubuntu 24.04", "debian12", "rhel 9".

    Raises:
        UsageError: an unknown distribution, or a release that the tables do not know.
    """
    name, release = _parse(text)
    if name is None:
        raise unknown_name("distribution", text, dict.fromkeys(row["distribution"] for row in tables.rows("compat/glibc")))
    known = [row["release"] for row in _rows(name) if row["release"]]
    if not release and known:
        release = _newest(name, known)
    if release and known and _row(name, release) is None:
        raise UsageError(f"{name} {release} is not in the tables", remedy=f"Known: {', '.join(known)}.")
    return _distro(name, release)


def of_machine(machine: Machine) -> Distro | None:
    """The distribution of a machine; None where the tables do not know it."""
    name, release = _parse(machine.os.distribution or "")
    return _distro(name, release) if name else None


def _newest(name: str, known: list[str]) -> str:
    """The newest release for which NVIDIA has packages, else the newest."""
    served = [release for release in known if _distro(name, release).repository]
    return (served or known)[-1]


def _rows(name: str) -> list[tables.Row]:
    return [row for row in tables.rows("compat/glibc") if row["distribution"] == name]


def _row(name: str, release: str) -> tables.Row | None:
    """The row of a release, or of its major: 9 for 9.4."""
    rows = {row["release"]: row for row in _rows(name)}
    parts = release.split(".")
    return next((rows[part] for size in range(len(parts), 0, -1) if (part := ".".join(parts[:size])) in rows), None)


def _parse(text: str) -> tuple[str | None, str]:
    """Name as in glibc.csv, and release: from what users type and from PRETTY_NAME of /etc/os-release."""
    names = dict(_ALIASES)
    for row in tables.rows("compat/glibc"):
        names.setdefault(row["os_release_id"].replace("-", " "), row["distribution"])
        names[row["distribution"].casefold()] = row["distribution"]
    wanted = text.strip().casefold().replace("_", " ").replace("-", " ")
    found = max((name for name in names if wanted.startswith(name)), key=len, default=None)
    if found is None:
        return None, ""
    rest = wanted[len(found) :]
    if pack := re.search(r"(\d+) sp(\d+)", rest):
        return names[found], f"{pack[1]}.{pack[2]}"
    number = re.search(r"\d+(\.\d+)?", rest)
    return names[found], number[0] if number else ""


def _distro(name: str, release: str) -> Distro:
    row = _row(name, release) or (_rows(name)[0] if not release else None)
    cells = row or {}
    return Distro(
        name=name,
        family=_FAMILIES.get(name, name),
        release=release,
        glibc=cells.get("glibc") or None,
        musl=cells.get("libc") == "musl",
        python=cells.get("python") or None,
        gcc=cells.get("gcc") or None,
    )
