"""What a driver can do: the CUDA releases whose programs it runs, the GPUs that it drives, and what a compat package lifts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from dltool import tables
from dltool.compat.versions import known_version, major, minor, version


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFloor:
    """The oldest driver under which a CUDA release's programs run, and the driver that the release came with."""

    floor: str
    own: str | None
    source: str


@lru_cache(maxsize=1024)
def driver_floor(cuda: str, *, windows: bool = False) -> DriverFloor | None:
    """The oldest driver for programs built with `cuda` ("12.8" or "12.8.1"); None when the table does not know the release."""
    system = "windows" if windows else "linux"
    wanted = re.compile(rf"{re.escape(cuda)}(\.\d+)*$")
    for row in tables.rows("compat/cuda"):  # oldest update first: its driver is the least of its minor version
        own, shared = row[f"driver_{system}"], row[f"minor_compat_{system}"]
        if wanted.match(row["cuda"]) and (own or shared):
            floor = min(filter(None, (own, shared)), key=version)
            return DriverFloor(floor=floor, own=own or None, source=row["source"])
    return None


@lru_cache(maxsize=1024)
def cuda_release(cuda: str) -> tables.Row | None:
    """The first row of a CUDA release ("12.8" or "12.8.1"); None when the table does not know it."""
    wanted = re.compile(rf"{re.escape(cuda)}(\.\d+)*$")
    return next((row for row in tables.rows("compat/cuda") if wanted.match(row["cuda"])), None)


def dropped_by_cuda(compute_capability: str, cuda: str) -> bool:
    """Is the GPU too old for this CUDA ("13.2") to compile for, so that neither machine code nor PTX of it can be there?"""
    row = cuda_release(cuda)
    return row is not None and bool(row["min_cc"]) and version(compute_capability) < version(row["min_cc"])


@lru_cache(maxsize=1024)
def driver_branch(driver: str) -> tables.Row | None:
    """The branch of a driver version. Windows drivers of a branch may carry higher numbers: the next lower branch counts.

    Returns:
        None for a driver older or newer than the table.
    """
    have = known_version(driver)
    branches = tables.rows("compat/driver_branches")
    if have is None or have.major > int(branches[-1]["branch"]):
        return None
    return next((row for row in reversed(branches) if int(row["branch"]) <= have.major), None)


def is_newer_than_data(driver: str) -> bool:
    """Whether the driver is of a branch after the last one of the table."""
    have = known_version(driver)
    return have is not None and have.major > int(tables.rows("compat/driver_branches")[-1]["branch"])


@lru_cache(maxsize=1024)
def branches_for(compute_capability: str) -> tuple[tables.Row, ...]:
    """The branches that drive a GPU of this compute capability, oldest first."""
    device = version(compute_capability)
    return tuple(
        row
        for row in tables.rows("compat/driver_branches")
        if row["min_cc"] and row["max_cc"] and version(row["min_cc"]) <= device <= version(row["max_cc"])
    )


@lru_cache(maxsize=1024)
def kernel_module_rule(compute_capability: str) -> tables.Row | None:
    """Which flavour of the Linux kernel module a GPU needs; None where the table does not say."""
    device = version(compute_capability)
    rows = tables.rows("compat/kernel_modules")
    return next((row for row in rows if version(row["min_cc"]) <= device <= version(row["max_cc"])), None)


def forward_package(name: str) -> tables.Row | None:
    """The row of a cuda-compat package: `cuda-compat-13-0`, or its CUDA version `13.0`."""
    wanted = name.casefold().removeprefix("cuda-compat-").replace("-", ".")
    return next((row for row in tables.rows("compat/forward_compat") if row["cuda"] == wanted), None)


def forward_state(package: tables.Row, driver: str) -> str:
    """How a compat package stands to a driver: "works", "not_needed", "unsupported", "ended" or "unknown"."""
    branch = driver_branch(driver)
    if branch is None:
        return "unknown"
    columns = {
        "works": "works_from_branches",
        "not_needed": "not_needed",
        "unsupported": "unsupported",
        "ended": "ended_branches",
    }
    return next((state for state, column in columns.items() if branch["branch"] in package[column].split()), "unknown")


def lifts(name: str | None, driver: str | None, cuda: str, *, exactly: bool = False) -> bool:
    """Does this cuda-compat package bring this CUDA to the driver?

    Args:
        exactly: for PTX; for machine code the major of the CUDA is enough.
    """
    package = forward_package(name) if name else None
    if package is None or driver is None or forward_state(package, driver) not in ("works", "ended"):
        return False
    newer = version(package["cuda"]) >= version(minor(cuda))
    return newer or (not exactly and major(package["cuda"]) == major(cuda))
