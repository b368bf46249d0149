"""Published PyTorch builds: releases, the code inside each build, and where its wheels are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from dltool import tables
from dltool.compat.versions import version


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchCode:
    """The GPU code inside one published torch build."""

    machine_code: tuple[str, ...]
    """"sm_80", "sm_90a" ..."""
    ptx: tuple[str, ...] | None
    """"compute_90" ...; None is not known."""
    source: str


@cache
def _releases() -> dict[str, tables.Row]:
    return {row["torch"]: row for row in tables.rows("compat/torch_releases")}


def releases() -> tuple[tables.Row, ...]:
    """The rows of published releases, newest first."""
    return tuple(row for row in reversed(tables.rows("compat/torch_releases")) if row["status"] == "released")


def torch_release(torch: str) -> tables.Row | None:
    """The row of a published torch release; None for a nightly, a vendor's build, or one newer than the table."""
    return _releases().get(torch.partition("+")[0])


def torch_build(torch: str, cuda: str | None) -> str:
    """The name of a build, "cu128" or "cpu": its local label, else what its CUDA version says."""
    label = torch.partition("+")[2]
    if re.fullmatch(r"cu\d+|cpu", label):
        return label
    return "cu" + "".join(cuda.split(".")[:2]) if cuda else "cpu"


def torch_code(torch: str, build: str, *, windows: bool = False, processor: str = "x86_64") -> TorchCode | None:
    """The architectures compiled into a published build; None where the table does not know it."""
    return _torch_code(torch.partition("+")[0], build, "windows" if windows else "linux", processor_name(processor))


@lru_cache(maxsize=1024)
def _torch_code(torch: str, build: str, system: str, processor: str) -> TorchCode | None:
    row = _torch_archs().get((torch, build, system, processor))
    if row is None:
        return None
    ptx = {"": None, "none": ()}.get(row["ptx"], tuple(row["ptx"].split()))
    return TorchCode(machine_code=tuple(row["sm"].split()), ptx=ptx, source=row["source"])


@cache
def _torch_archs() -> dict[tuple[str, str, str, str], tables.Row]:
    return {(row["torch"], row["build"], row["os"], row["cpu"]): row for row in tables.rows("compat/torch_archs")}


def cuda_builds(row: tables.Row) -> tuple[str, ...]:
    """The CUDA builds of a release: the default one, which is tested and used most, then the others, newest CUDA first."""
    return _cuda_builds(row["builds"], row["default_build"])


@lru_cache(maxsize=1024)
def _cuda_builds(listed: str, default: str) -> tuple[str, ...]:
    builds = [build for build in listed.split() if build.startswith("cu") and cuda_of_build(build)]
    newest_first = sorted(builds, key=lambda build: version(cuda_of_build(build) or "0"), reverse=True)
    return tuple(sorted(newest_first, key=lambda build: build != default))


def cudnn_of_build(row: tables.Row, build: str) -> str | None:
    """The cuDNN that a build brings; None where it is not known."""
    pairs = dict(pair.split(":", 1) for pair in row["cudnn"].split() if ":" in pair)
    return pairs.get(build)


@lru_cache(maxsize=1024)
def cuda_of_build(build: str) -> str | None:
    """The CUDA version that a build's name means: "cu128" -> "12.8"; one digit is the minor version since CUDA 10."""
    match = re.fullmatch(r"cu(\d+)(\d)", build)
    return f"{match[1]}.{match[2]}" if match else None


def wheel_index(build: str) -> str:
    """Where PyTorch publishes the wheels of a build."""
    (row,) = (row for row in tables.rows("indexes") if row["name"] == "pytorch")
    return row["url"].format(build=build)


def processor_name(name: str) -> str:
    """As Linux calls it: AMD64 -> x86_64, arm64 -> aarch64."""
    return {"AMD64": "x86_64", "amd64": "x86_64", "arm64": "aarch64"}.get(name, name)
