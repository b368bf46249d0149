"""Pickles of arrays, such as CIFAR-10's, read without running what they name: all but arrays and plain values is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dltool.errors import UsageError

_LARGEST = 2**30
_MAKERS = frozenset({
    ("numpy", "dtype"), ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),
})  # fmt: skip
"""What numpy's own pickles of arrays call."""


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Only what makes an array of numbers.

        Raises:
            pickle.UnpicklingError: anything else.
        """
        if (module, name) == ("_codecs", "encode"):  # bytes, as Python 2 and protocols below 3 write them
            return _latin
        if (module, name) not in _MAKERS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        if name in ("dtype", "ndarray"):
            import numpy

            return _number_type if name == "dtype" else numpy.ndarray
        found: Callable[..., Any] = super().find_class(module.replace("numpy.core", "numpy._core"), name)
        return found


def load(path: Path) -> Any:
    """Arrays, bytes, texts, numbers, lists and dicts.

    Raises:
        UsageError: it holds anything else, is damaged or too large.
    """
    remedy = "Give the files as their authors publish them."
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is larger than {_LARGEST} bytes", remedy=remedy)
        with path.open("rb") as file:
            return _Arrays(file, encoding="bytes").load()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", remedy="Is it the right folder?") from None
    except UsageError:
        raise
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise UsageError(f"{path} is not a pickle of arrays: {str(error)[:200]}", remedy=remedy) from None


def _latin(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode("latin1")


def _number_type(name: Any, *rest: Any) -> Any:
    """A numpy dtype of numbers: one of objects would build anything."""
    import numpy

    made = numpy.dtype(name, *rest)
    if made.kind not in "biuf":
        raise pickle.UnpicklingError(f"an array of {made}")
    return made
