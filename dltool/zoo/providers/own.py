"""`package.module:callable` and `file.py:callable`: the user's own models."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from dltool.errors import CannotRun, UsageError
from dltool.zoo.providers import Source

_REMEDY = "Name one as package.module:callable or file.py:callable; callable() gives a torch.nn.Module."


def own(module: str, attribute: str) -> Source:
    """A callable whose arguments all have defaults; it makes a module, or a module and its inputs.

    Raises:
        UsageError: there is no such module or file, or nothing in it that can be called.
        CannotRun: its code fails when it is imported.
    """
    found = getattr(_imported(module), attribute, None)
    if not callable(found):
        raise UsageError(f"{module} has no callable `{attribute}`", remedy=_REMEDY)
    return Source(f"{module}:{attribute}", found)


def _imported(module: str) -> Any:
    """The module, found from the working directory, or beside its own file."""
    path = Path(module)
    if path.suffix == ".py":
        if not path.is_file():
            raise UsageError(f"there is no file {module}", remedy=_REMEDY)
        sys.path.insert(0, str(path.resolve().parent))
        module = path.stem
    else:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module.partition(".")[0]:
            raise UsageError(f"there is no module {module}", remedy=_REMEDY) from None
        raise CannotRun(f"{module} cannot be imported: {error}", remedy=f"pip install {error.name}") from None
    except Exception as error:  # the user's code may do anything
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CannotRun(f"{module} cannot be imported: {said}", remedy=f"Try it: python -c 'import {module}'") from None
