"""Failures that the user can mend.

DltoolError              something is in the way; exit code 3
├── UsageError           wrong usage or unreadable input; exit code 2
└── CannotRun            a package, device or permission is missing here; exit code 3

Anything else that is raised is a bug of ours and keeps its traceback until `cli.main` reports it (exit code 4).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells the shell. Programs rely on these numbers."""

    HEALTHY = 0
    FINDINGS = 1
    USAGE = 2
    CANNOT_RUN = 3
    CRASH = 4
    INTERRUPTED = 130


class DltoolError(Exception):
    """A failure with a remedy: what happened, and what to do next."""

    exit_code = ExitCode.CANNOT_RUN

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class UsageError(DltoolError):
    """The request or a file that it names cannot be understood."""

    exit_code = ExitCode.USAGE


class CannotRun(DltoolError):
    """The request is clear, but this machine lacks what it needs."""


def unknown_name(kind: str, name: str, known: Iterable[str], *, listing: str | None = None) -> UsageError:
    """The error for a name that is not in a table: nearest names, and where to see them all."""
    import difflib

    names = sorted(known)
    folded = {candidate.casefold(): candidate for candidate in names}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    hints = []
    if near:
        hints.append("Did you mean " + " or ".join(f"`{candidate}`" for candidate in near) + "?")
    if listing:
        hints.append(f"All of them: {listing}")
    elif names and (not near or len(names) <= 30):
        hints.append("Known: " + ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else ""))
    return UsageError(f"unknown {kind} `{name}`", remedy=" ".join(hints) or f"No {kind} is known.")
