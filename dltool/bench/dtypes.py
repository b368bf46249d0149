"""Which number formats a run measures: those that were asked for, or those of a suite that the device may run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dltool import tables
from dltool.bench import dtype_row
from dltool.bench.devices import Device

SUITES = ("quick", "standard", "full")
"""Each holds the dtypes of those before it."""


def rows(device: Device, axes: Mapping[str, Sequence[str]], suite: str, *, kernels: bool) -> list[tables.Row]:
    """Rows of catalog/dtypes.csv.

    Args:
        device: what cannot run on its kind is left out, unless asked for.
        axes: `dtype` names those that are asked for.
        suite: one of `SUITES`, where none are.
        kernels: those that kernels of our own measure, or those that a library multiplies.

    Raises:
        UsageError: an unknown dtype is asked for.
    """
    if "dtype" in axes:
        found = [dtype_row(name) for name in axes["dtype"]]
    else:
        within = SUITES[: SUITES.index(suite) + 1]
        found = [
            row for row in tables.rows("dtypes") if row["suite"] in within and (device.kind == "cuda" or not row["needs_cuda"])
        ]
    return [row for row in found if row["operation"].startswith("kernel_") == kernels]
