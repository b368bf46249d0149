"""What all backends share: what is asked of them, what they give, and how they say that something is in the way."""

from __future__ import annotations

import io
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from dltool.bench.devices import Device
from dltool.errors import CannotRun

if TYPE_CHECKING:
    from torch import Tensor, nn

_NOISE = re.compile(r"\x1b\[[0-9;]*m|\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from \S+ failed: ?")
"""Colours, and what ONNX Runtime puts in front."""
_LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A model that a backend is ready to run."""

    step: Callable[[], object]
    """One inference, of inputs that were bound before."""
    outputs: Callable[[], tuple[Tensor, ...]]
    """Of the last step, or of one made for this; on the CPU, in the order of eager's."""
    note: str
    """What runs it, where, in which arithmetic really, and what a step leaves out."""
    versions: Mapping[str, str]
    build_s: float
    """Exporting, quantising, compiling and loading; not the first step."""
    blocks: bool
    """Whether a step returns only when the device is done. Then the clock of the host tells its time, on a GPU too: what runs
    in a stream of its own is not seen by events of another, nor held up by a kernel that waits in that one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `built` was called with."""

    name: str
    model: nn.Module
    inputs: tuple[Any, ...]
    device: Device
    precision: str

    def wants(self, precisions: Sequence[str], instead: str = "") -> None:
        """That its precision is one of these.

        Raises:
            CannotRun: it is not; `instead` says what to do.
        """
        if self.precision not in precisions:
            told = instead or f"It has {', '.join(precisions)}."
            raise CannotRun(f"the backend {self.name} has no {self.precision} on {self.device.name}", remedy=told)


def package(name: str, backend: str, install: str | None = None) -> Any:
    """A package that a backend needs.

    Args:
        name: of the module.
        backend: that needs it.
        install: what pip calls it, where that is another name.

    Raises:
        CannotRun: it is missing, or cannot be imported.
    """
    pip = install or name.partition(".")[0]
    try:
        with quiet():
            return import_module(name)
    except ModuleNotFoundError as error:
        missing = pip if error.name in (name, name.partition(".")[0]) else str(error.name)
        raise CannotRun(f"the backend {backend} needs the package {missing}", remedy=f"pip install {missing}") from None
    except (ImportError, OSError) as error:  # a library that the package was built against
        told = f"the backend {backend} needs {name}, which cannot be imported: {reason(error)}"
        raise CannotRun(told, remedy=f"pip install --force-reinstall {pip}") from None


def versions_of(*packages: str) -> dict[str, str]:
    """The installed versions of distributions, of those that are there."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def reason(error: BaseException) -> str:
    """The first line of what an error says, or of the one that it was raised from: exporters wrap theirs several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = (line.strip() for line in _NOISE.sub("", str(error)).splitlines())
    first = next((line for line in lines if line), type(error).__name__)
    return first if len(first) <= _LONGEST else first[: _LONGEST - 3] + "..."


@contextmanager
def failing_as(told: str, remedy: str) -> Iterator[None]:
    """Whatever a backend or the model's own code raises inside is `CannotRun`, with one line of the reason.

    Memory that ran out stays what it is: the row of a case says so in its own words.
    """
    try:
        yield
    except (CannotRun, MemoryError):
        raise
    except Exception as error:
        torch = sys.modules["torch"]
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise CannotRun(f"{told}: {reason(error)}", remedy=remedy) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings, the log and the prints of exporters and quantisers, which tell of their own inside.

    Of a model that torch cannot export it prints all that it had got so far.
    """
    nowhere = io.StringIO()
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
