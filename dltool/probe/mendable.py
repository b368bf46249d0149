"""Whether packages may be installed into an environment: asked of its interpreter, and of the file system."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from dltool import child
from dltool.machine import PythonEnv
from dltool.probe import files
from dltool.results import FixPlace

_ASK = (
    "import sys; sys.path = [*filter(None, sys.path)]; import importlib.util, json, sysconfig; "
    "print(json.dumps([sysconfig.get_path('stdlib'), sysconfig.get_path('purelib'), sys.prefix, sys.base_prefix, "
    "importlib.util.find_spec('pip') is not None]))"
)


def place(python: PythonEnv, *, timeout_s: float = 5.0) -> FixPlace:
    """Where its packages go and who owns it; what the interpreter does not say is unknown."""
    try:
        answer = child.run([python.executable, "-c", _ASK], timeout_s=timeout_s)
        library, packages, prefix, base, has_pip = msgspec.json.decode(answer.output, type=tuple[str, str, str, str, bool])
    except (OSError, ValueError):
        return recorded(python)
    return FixPlace(
        python=python.executable,
        prefix=prefix,
        kind=python.kind,
        packages=packages,
        writable=_writable(Path(packages)),
        # An environment inside such a Python is its maker's own.
        externally_managed=prefix == base and files.is_file(Path(library) / "EXTERNALLY-MANAGED"),
        has_pip=has_pip,
    )


def recorded(python: PythonEnv) -> FixPlace:
    """As far as a snapshot tells."""
    return FixPlace(python=python.executable, prefix=python.prefix, kind=python.kind)


def _writable(directory: Path) -> bool:
    """Whether a file could be made there, or the directory itself."""
    there = next((path for path in (directory, *directory.parents) if files.exists(path)), directory)
    return os.access(there, os.W_OK | os.X_OK)
