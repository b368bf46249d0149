"""Which compiled code a GPU runs: machine code by its compute capability, PTX through the driver's compiler."""

from __future__ import annotations

import re
from functools import lru_cache

from dltool import tables
from dltool.catalog import architectures
from dltool.compat.versions import known_version, version

TEGRA = frozenset({"3.2", "5.3", "6.2", "7.2", "8.7"})
"""Compute capabilities of Tegra chips before CUDA 13, for which the rules of their major do not hold."""


@lru_cache(maxsize=1024)
def is_known(compute_capability: str) -> bool:
    """Whether a GPU of this compute capability is in the tables."""
    return any(own.compute_capability == compute_capability for own in architectures())


def code_runs_on(compiled: str, compute_capability: str, *, built_with: str | None = None) -> bool | None:
    """Can machine code compiled for `compiled` ("sm_86") run on a GPU of this compute capability?

    Same major, same or later minor; Tegra chips apart; a suffix ties code to its chip (a) or family (f).

    Args:
        compiled: the architecture in the binary.
        compute_capability: of the GPU, "8.9".
        built_with: the CUDA version of the build, which from 13.2 on lifts the Tegra exceptions.

    Returns:
        None for an architecture that is not in the table.
    """
    found = [row for row in tables.rows("compat/code_runs_on") if row["compiled"] == compiled]
    if not found:
        return None
    return any(_row_allows(row, compute_capability, built_with) for row in found)


def _row_allows(row: tables.Row, compute_capability: str, built_with: str | None) -> bool:
    device = version(compute_capability)
    if not version(row["device_from"]) <= device <= version(row["device_to"]):
        return False
    if compute_capability not in row["except"].split():
        return True
    lifted, built = known_version(row["lifted_from_cuda"]), known_version(built_with)
    return lifted is not None and built is not None and built >= lifted


def ptx_runs_on(ptx: str, compute_capability: str) -> bool:
    """Can the driver compile this PTX ("compute_80") for the GPU? Any later capability; with a suffix only the same.

    Source: CUDA C++ Programming Guide, "PTX Compatibility".
    """
    match = re.fullmatch(r"compute_(\d+)(\d)([af]?)", ptx)
    if match is None:
        return False
    target = version(f"{match[1]}.{match[2]}")
    device = version(compute_capability)
    return device == target if match[3] else device >= target
