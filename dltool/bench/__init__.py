"""Benchmarks: the registry of workloads, and what one must offer.

A workload is a frozen dataclass whose fields are its parameters, under the same names from the command line to the column of
the table. It declares the work that it cannot avoid; the harness times, checks and divides. Importing one imports no torch.

The module of a workload says by a function `default_cases(device, suite)` what it adds to `dltool bench quick`, `standard` and
`full`: see `dltool.bench.suites`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_type_hints, runtime_checkable

from dltool import tables, units
from dltool.bench.devices import Device, Step
from dltool.bench.support import Support
from dltool.callable_module import make_callable
from dltool.errors import UsageError, unknown_name
from dltool.registry import Registry
from dltool.results import Verified, Work
from dltool.step_results import ModelStep


@dataclass(frozen=True, slots=True)
class Prepared:
    """A workload with its data on the device."""

    step: Step
    """Does the work once. What it leaves behind is what `verify` looks at."""
    verify: Callable[[], Verified]
    work: Work | None = None
    """Where it is known only once the data is there; else the workload tells."""
    on_host: bool = False
    """Whether the step returns only when it is done, on streams that are not torch's: then the host's clock times it."""
    examine: Callable[[Sequence[float]], ModelStep] | None = None
    """What is found out of a step of a model after it was timed; takes the samples in seconds."""


def verified(reference: str, error: Any, tolerance: float = 0.0) -> Verified:
    """The verdict on a result; an error that is no number (NaN, infinity) is wrong and is kept as None, which JSON can hold."""
    value = float(error)
    finite = math.isfinite(value)
    return Verified(reference=reference, error=value if finite else None, tolerance=tolerance, ok=finite and value <= tolerance)


@runtime_checkable
class Workload(Protocol):
    """One kind of benchmark with its parameters.

    It may have properties more: `label` and `size`, what tells a case from its neighbours and how large it is, in short, where
    its dtype and its parameters do not say so by themselves; `extra_s`, seconds that it may take beyond its plan, as compiling;
    `threads`, how many of a CPU's processors it keeps busy where that is not all: 0 where other processes do the work; and
    `out_of_memory(device, text)`, which explains that there was no memory for it.
    """

    @property
    def rate_unit(self) -> str:
        """ "FLOP/s", "OP/s" or "B/s": what work over time is here."""

    @property
    def dtype(self) -> str:
        """Name of a row in catalog/dtypes.csv."""

    def work(self) -> Work:
        """The operations and bytes that one step cannot avoid."""

    def sizes(self) -> Iterator[Workload]:
        """This workload from tiny to itself, so that a slow one is found out before it takes minutes."""

    def prepare(self, device: Device) -> Prepared:
        """Allocate and fill.

        Raises:
            RuntimeError: torch cannot do this on this device.
        """

    def peak(self, device: Device) -> tuple[float, str] | None:
        """The greatest possible rate in operations or bytes per second, and its basis; None where it is not known."""

    def implementation(self, device: Device) -> str:
        """How the device does it: native, or emulated and why."""

    def doubts(self, device: Device) -> list[str]:
        """Why a figure of these parameters may not mean what it seems to, before anything is measured."""


def support_of(workload: Any, device: Device, kernel: str | None = None, error: str | None = None) -> Support | None:
    """Whether the device really has this arithmetic; None for a workload that does not judge it.

    A workload may have `support(device, kernel, error)`, which the protocol does not ask for.
    """
    judge = getattr(workload, "support", None)
    return None if judge is None else judge(device, kernel, error)


_LARGEST = 2**40
_MAY_BE_NONE = ("padding", "workers", "cpus")
WORKLOADS: Registry[type[Any]] = Registry("workload", package="dltool.bench.workloads", entry_points="dltool.workloads")


def dtype_row(name: str) -> tables.Row:
    """The row of a number format.

    Raises:
        UsageError: unknown.
    """
    found = {row["name"]: row for row in tables.rows("dtypes")}
    if name.lower() not in found:
        raise unknown_name("dtype", name, found)
    return found[name.lower()]


def cases(kind: type[Any], axes: Mapping[str, Sequence[str]]) -> list[Any]:
    """Every combination of the given values, as workloads; what is not given has its default.

    Args:
        kind: a registered workload class.
        axes: parameter name to texts, {"m": ["1024", "2048"], "dtype": ["bf16"]}.

    Raises:
        UsageError: an unknown parameter, or a text that is no positive number where one is wanted.
    """
    fields = {field.name for field in dataclasses.fields(kind)}
    hints = get_type_hints(kind)
    for name in axes:
        if name not in fields:
            raise unknown_name("parameter", name, fields)
    columns = [[_value(name, text, hints[name]) for text in texts] for name, texts in axes.items()]
    return [kind(**dict(zip(axes, values, strict=True))) for values in itertools.product(*columns)]


def _value(name: str, text: str, kind: Any) -> object:
    if name == "dtype":
        return dtype_row(text)["name"]
    if kind is str:
        return text
    if name == "bytes":
        return units.parse_bytes(text)
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 0 < number < _LARGEST and not (name in _MAY_BE_NONE and text.strip() == "0"):
        raise UsageError(
            f"`{name}={text}`: a positive whole number is wanted (below 2^40)", remedy=f"For example: --set {name}=4096"
        )
    return number


make_callable(__name__)
