"""The commands of remedies that may be run for the user: calls of pip and uv on the judged environment, and nothing else.

No command goes through a shell. A line is taken apart, every word of it must be known, and what is run is put together anew
from what was understood; any other line is for people, with the reason.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_FLAGS = {
    "--force-reinstall": "force",
    "--no-deps": "no_deps",
    "-U": "upgrade",
    "--upgrade": "upgrade",
    "-y": "yes",
    "--yes": "yes",
}
_COMPILES = ("--no-build-isolation", "--no-binary")
_SHELL = ("export", "unset", "ulimit", "source", "cd", "env", "alias")
_STARTS_CONTAINERS = ("docker", "podman", "nerdctl")
_PLACEHOLDER = re.compile(r"(?:[\w-]+=)?(?:[A-Z]{3,}|BUS_ID|N|<[^<>]+>)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_OPERATOR = re.compile(r"[();<>|&]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pip:
    """A call of pip, or of uv's pip, that was understood."""

    verb: str
    """"install" or "uninstall"."""
    python: str
    packages: tuple[str, ...]
    """Requirements, or names."""
    uv: bool = False
    index: str | None = None
    """An URL, or a folder of wheels."""
    force: bool = False
    no_deps: bool = False
    upgrade: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The distributions that it names."""
        return frozenset(canonicalize_name(Requirement(text).name) for text in self.packages)

    def argv(self) -> tuple[str, ...]:
        """What is run, word by word."""
        start = ("uv", "pip", self.verb, "--python", self.python) if self.uv else (self.python, "-m", "pip", self.verb)
        if self.verb == "uninstall":
            return (*start, *(() if self.uv else ("-y",)), *self.packages)
        chosen = {"--force-reinstall": self.force, "--no-deps": self.no_deps, "--upgrade": self.upgrade}
        return (*start, *(flag for flag, wanted in chosen.items() if wanted), *self.packages, *source(self.index))

    @property
    def line(self) -> str:
        """The same for people, to be pasted into a shell; a leading ~ stays one."""
        words = [word if re.fullmatch(r"~/[\w./+-]+", word) else shlex.quote(word) for word in self.argv()]
        return " ".join(words)

    def covers(self, other: Pip) -> bool:
        """Whether, when this is done, nothing of the other is left to do."""
        if (self.verb, self.python) != (other.verb, other.python):
            return False
        if self.verb == "uninstall":
            return other.names <= self.names
        pinned = {canonicalize_name(Requirement(text).name): text for text in self.packages}
        named = all(text in self.packages or text in pinned for text in other.packages)
        renewed = self.force or not (other.force or other.upgrade) or (self.upgrade and not other.force)
        return named and renewed and (other.no_deps or not self.no_deps) and other.index in (None, self.index)

    def contradicts(self, other: Pip) -> bool:
        """Whether they want different things of one distribution."""
        if self.verb != other.verb:
            return bool(self.names & other.names)
        if self.verb == "uninstall":
            return False
        mine = {canonicalize_name(Requirement(text).name): str(Requirement(text).specifier) for text in self.packages}
        theirs = {canonicalize_name(Requirement(text).name): str(Requirement(text).specifier) for text in other.packages}
        return any(mine[name] != theirs[name] and mine[name] and theirs[name] for name in mine.keys() & theirs.keys())

    def moved(self, index: str | None) -> Pip:
        """With its packages from another index; "" is wherever pip looks by itself, None leaves it."""
        return self if index is None or self.index is None else replace(self, index=index or None)


def source(index: str | None) -> tuple[str, ...]:
    """The options for an index, or for a folder of wheels."""
    if not index:
        return ()
    return ("--index-url", index) if "://" in index else ("--no-index", "--find-links", index)


def read(command: str, *, python: str) -> Pip | str:
    """What a line of a remedy does to the environment of `python`, or why it is for people: a reason of `FixByHand`."""
    try:
        words = _words(command)
    except ValueError:
        return "other"
    if not words or words[0] in _SHELL or _ASSIGNMENT.fullmatch(words[0]):
        return "shell"
    if words[0] == "sudo":
        return "root"
    if words[0] in _STARTS_CONTAINERS:
        return "container"
    if any(map(_PLACEHOLDER.fullmatch, words)):
        return "placeholder"
    if any(map(_OPERATOR.fullmatch, words)):
        return "other"
    found = _pip_call(words, python)
    if found is None:
        return "other"
    verb, arguments, uv = found
    if any(word.partition("=")[0] in _COMPILES for word in arguments):
        return "build"
    return _understood(verb, arguments, python=python, uv=uv) or "other"


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def _pip_call(words: list[str], python: str) -> tuple[str, list[str], bool] | None:
    """Verb, arguments, and whether it is uv; None where it is no such call, or one of another Python."""
    if words[1:3] == ["-m", "pip"] and words[0] in (python, "python", "python3") and len(words) > 3:
        return words[3], words[4:], False
    if words[:2] == ["uv", "pip"] and words[3:5] == ["--python", python]:
        return words[2], words[5:], True
    return None


def _understood(verb: str, arguments: list[str], *, python: str, uv: bool) -> Pip | None:
    flags: set[str] = set()
    packages: list[str] = []
    index = None
    rest = iter(arguments)
    for word in rest:
        if word in _FLAGS:
            flags.add(_FLAGS[word])
        elif word == "--index-url":
            index = next(rest, "")
        elif word in ("--no-index", "--find-links"):  # as `source` writes them
            index = next(rest, "") if word == "--find-links" else index
        elif not word.startswith("-") and _is_package(word, verb):
            packages.append(word)
        else:
            return None
    fits = {"install": {"force", "no_deps", "upgrade"}, "uninstall": {"yes"}}.get(verb)
    if fits is None or not packages or not flags <= fits or not _is_index(index, verb):
        return None
    return Pip(
        verb=verb, python=python, packages=tuple(packages), uv=uv, index=index,
        force="force" in flags, no_deps="no_deps" in flags, upgrade="upgrade" in flags,
    )  # fmt: skip


def _is_package(word: str, verb: str) -> bool:
    """A name with an optional version: no address, no file, no marker."""
    try:
        wanted = Requirement(word)
    except InvalidRequirement:
        return False
    return not (wanted.url or wanted.marker) and (verb == "install" or word == wanted.name)


def _is_index(index: str | None, verb: str) -> bool:
    if index is None:
        return True
    parts = urlsplit(index)
    known = (parts.scheme in ("https", "http", "file") and not parts.password) or Path(index).is_absolute()
    return verb == "install" and known
