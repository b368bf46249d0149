"""The way back: the commands that restore what was installed, and the list that they read. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from dltool.compat import wheel_index
from dltool.results import FrozenPackage
from dltool.setup.fixing.shapes import Pip

Installed = Mapping[str, FrozenPackage]
_BUILD = re.compile(r"\+(cu\d+|cpu|rocm[\d.]+|xpu)$")


def lost(calls: Iterable[Pip], installed: Installed) -> bool:
    """Whether a call would replace what was installed from files of this machine, which nobody can give back."""
    return any(name in installed and pin(installed[name]) is None for call in calls for name in call.names)


def pin(package: FrozenPackage) -> str | None:
    """What pip is told to get exactly this again; None where that cannot be told."""
    if package.source in ("local", "conda"):
        wheel = package.url and package.url.startswith("file:") and package.url.endswith((".whl", ".tar.gz", ".zip"))
        return f"{package.name} @ {package.url}" if wheel else None
    if package.source in ("url", "vcs") and package.url:
        return f"{package.name} @ {package.url}" + (f"@{package.revision}" if package.revision else "")
    return f"{package.name}=={package.version}"


def of_step(calls: Iterable[Pip], installed: Installed) -> Iterator[Pip]:
    """Calls that take back what these do to the distributions that they name."""
    calls = tuple(calls)
    if not calls:
        return
    one = calls[0]
    names = sorted({name for call in calls for name in call.names})
    fresh = tuple(name for name in names if name not in installed)
    if fresh:
        yield Pip(verb="uninstall", python=one.python, uv=one.uv, packages=fresh)
    by_index: dict[str | None, list[str]] = {}
    for name in names:
        if name in installed and installed[name].source in ("index", "pytorch"):
            package = installed[name]
            build = _BUILD.search(package.version)
            by_index.setdefault(wheel_index(build[1]) if build else None, []).append(f"{name}=={package.version}")
    for index, packages in by_index.items():
        yield Pip(verb="install", python=one.python, uv=one.uv, packages=tuple(packages), index=index, force=True, no_deps=True)


def listing(packages: Iterable[FrozenPackage], *, head: str) -> str:
    """A file for `pip install -r`: every distribution exactly as it was, and where the builds of PyTorch are."""
    packages = tuple(packages)
    builds = sorted({match[1] for package in packages if (match := _BUILD.search(package.version))})
    lines = [f"# {head}", *(f"--extra-index-url {wheel_index(build)}" for build in builds)]
    for package in packages:
        wanted = pin(package)
        lines.append(wanted or f"# {package.name}=={package.version}: from {package.url or package.source}, not from an index")
    return "\n".join(lines) + "\n"


def differences(before: Iterable[FrozenPackage], now: Iterable[FrozenPackage]) -> tuple[tuple[FrozenPackage, ...], list[str]]:
    """What was there and is not any more, in this version; and the names of what was not there."""
    was = {package.name: package for package in before}
    have = {package.name: package for package in now}
    gone = tuple(package for name, package in was.items() if have.get(name) != package)
    return gone, sorted(have.keys() - was.keys())
