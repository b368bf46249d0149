"""Versions as people write them: compared as versions, and completed only where the assumption can be said."""

from __future__ import annotations

import re
from functools import lru_cache

from packaging.version import InvalidVersion, Version

from dltool.errors import UsageError

_LONGEST = 200


@lru_cache(maxsize=2048)
def version(text: str) -> Version:
    """A version to compare: driver, CUDA, Python or package.

    Raises:
        InvalidVersion: the text is none, or longer than any.
    """
    if len(text) > _LONGEST:  # of some thousand digits Python makes no number
        raise InvalidVersion(f"Invalid version: {text[:_LONGEST]!r} ...")
    return Version(text)


def known_version(text: str | None) -> Version | None:
    """`version`, or None where there is no text or no sense in it."""
    try:
        return version(text) if text else None
    except InvalidVersion:
        return None


def is_older(one: str | None, other: str | None) -> bool:
    """Whether one is surely before the other; False where either is not known."""
    first, second = known_version(one), known_version(other)
    return first is not None and second is not None and first < second


def agree(one: str, other: str) -> bool:
    """Equal, or one an abbreviation of the other: a driver says 580.65 for 580.65.00, a wheel 9.1.0.70 for a file's 9.1.0."""
    return all(a == b for a, b in zip(one.split("."), other.split("."), strict=False))


@lru_cache(maxsize=2048)
def accepts(specifier: str, text: str) -> bool:
    """Does a specifier as in package metadata (">=2.0,<3") accept this version? An empty one accepts every one."""
    from packaging.specifiers import SpecifierSet  # five times the import of versions alone

    return SpecifierSet(specifier).contains(version(text), prereleases=True)


def minor(text: str) -> str:
    """`"12.8.1"` -> `"12.8"`."""
    return ".".join(text.split(".")[:2])


def major(text: str) -> int:
    """`"12.8.1"` -> 12."""
    return version(text).major


def parse(kind: str, text: str, *, parts: int, example: str) -> str:
    """A version that a user typed, refused where it is none or says too little.

    Args:
        kind: what it is the version of, for the message.
        parts: how many parts it must have at least.
        example: a good one.

    Raises:
        UsageError: no version, or too few parts.
    """
    cleaned = text.strip().removeprefix("v")
    if len(cleaned) > 60 or not re.match(r"\d[\w.+-]*$", cleaned, re.ASCII) or known_version(cleaned) is None:
        raise UsageError(f"`{text[:60]}` is no version of {kind}", remedy=f"Write it like {example}.")
    if len(version(cleaned).release) < parts:
        raise UsageError(f"`{text}` says too little of {kind}: it needs {parts} parts", remedy=f"Write it like {example}.")
    return cleaned


def compute_capability(text: str) -> str:
    """`"8.6"`, `"86"`, `"sm_86"`, `"sm_100a"` -> `"8.6"`, `"10.0"`.

    Raises:
        UsageError: none of these forms.
    """
    match = re.fullmatch(r"\s*(?:(?:sm|compute)_)?(\d{1,2})\.?(\d)[af]?\s*", text.casefold(), re.ASCII)
    if match is None or int(match[1]) < 2:  # "12" alone is no 1.2: the numbers begin at 2.0 here
        raise UsageError(f"`{text[:60]}` is no compute capability", remedy="Write it like 8.6 or sm_86.")
    return f"{match[1]}.{match[2]}"
