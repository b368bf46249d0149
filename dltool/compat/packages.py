"""What goes with a PyTorch: companions, cuDNN, host compilers, and the packages built on it."""

from __future__ import annotations

import re
from functools import lru_cache

from packaging.version import Version

from dltool import tables, texts
from dltool.compat.versions import accepts, known_version, minor, version


@lru_cache(maxsize=1024)
def companion(torch: str, name: str, *, windows: bool = False) -> tables.Row | None:
    """The row of a companion of a torch release on this system; None where the table has none."""
    system = "windows" if windows else "linux"
    wanted = torch.partition("+")[0]
    rows = (row for row in tables.rows("compat/companions") if row["torch"] == wanted and row["companion"] == name)
    return next((row for row in rows if row["os"] in (system, "any")), None)


def companion_suits(torch: str, name: str, installed: str, *, windows: bool = False) -> tuple[bool, str] | None:
    """Does this torchvision, torchaudio, numpy ... go with this torch?

    Returns:
        Whether it does, and the version (or range) that belongs; None if not known.
    """
    row, have = companion(torch, name, windows=windows), known_version(installed)
    if row is None or have is None:
        return None
    if not row["accepts"]:
        return False, texts.phrase(row["note"])
    return accepts(row["accepts"], have.public), row["version"] or row["accepts"]


def companion_pin(torch: str, build: str, name: str, *, windows: bool = False) -> str | None:
    """What to install of a companion with this build, "torchvision==0.29.2"; None where none is published for it."""
    row = companion(torch, name, windows=windows)
    if row is None or not row["version"]:
        return None
    return f"{name}=={row['version']}" if not row["builds"] or build in row["builds"].split() else None


def cudnn_row(cudnn: str, cuda_major: int) -> tables.Row | None:
    """The row of a cuDNN release for one CUDA major; None where it was not published for it, or is not in the table."""
    have = _patch(cudnn)
    rows = (row for row in tables.rows("compat/cudnn") if row["cuda_major"] == str(cuda_major))
    return next((row for row in rows if version(row["cudnn_from"]) <= have <= version(row["cudnn_to"])), None)


def cudnn_is_newer_than_data(cudnn: str) -> bool:
    """Whether it is after the newest release of the table."""
    return _patch(cudnn) > max(version(row["cudnn_to"]) for row in tables.rows("compat/cudnn"))


def last_cudnn(cuda_major: int) -> str | None:
    """The newest cuDNN of the table that was published for a CUDA major."""
    found = [row["cudnn_to"] for row in tables.rows("compat/cudnn") if row["cuda_major"] == str(cuda_major)]
    return max(found, key=version) if found else None


def host_compiler(cuda: str) -> tables.Row | None:
    """Which gcc, clang and MSVC an nvcc takes; None where the table does not know the toolkit."""
    return next((row for row in tables.rows("compat/host_compilers") if row["cuda"] == minor(cuda)), None)


def stack_rows(component: str, installed: str) -> tuple[list[tables.Row], bool]:
    """The rows of a package for this version, which are alternatives, and whether the table knows the package at all."""
    rows = [row for row in tables.rows("compat/other_stack") if row["component"] == component]
    return [row for row in rows if accepts(row["version"], installed)], bool(rows)


def stack_neighbours(component: str, installed: str) -> tuple[list[tables.Row], list[tables.Row]] | None:
    """The rows of the last release before this version and of the first after it; None where one side has none."""
    have = version(installed)
    spans = [
        (row, _versions_named(row["version"])) for row in tables.rows("compat/other_stack") if row["component"] == component
    ]
    before = [(max(named), row) for row, named in spans if named and max(named) <= have]
    after = [(min(named), row) for row, named in spans if named and min(named) >= have]
    if not before or not after:
        return None
    last, first = max(end for end, _ in before), min(start for start, _ in after)
    return [row for end, row in before if end == last], [row for start, row in after if start == first]


def _versions_named(specifier: str) -> list[Version]:
    return [version(one) for one in re.findall(r"\d[\w.]*", specifier)]


def stack_components() -> tuple[str, ...]:
    """The packages that the table knows."""
    names = dict.fromkeys(row["component"] for row in tables.rows("compat/other_stack"))
    return tuple(name for name in names if name != "ptx-jit")


def triton_row(installed: str) -> tables.Row | None:
    """What a release of Triton needs of driver, PTX assembler and loader; None where the table does not know it."""
    return next((row for row in tables.rows("compat/triton") if accepts(row["triton"], installed)), None)


def note(row: tables.Row) -> str:
    """What a row of companions.csv or other_stack.csv tells people, as a sentence; empty where it tells nothing."""
    return texts.sentence(texts.phrase(row["note"]))


def cuda_suits(cell: str, cuda: str) -> bool:
    """Is a CUDA version within a cell of other_stack.csv: a list, a range `11.8-12.6`, `>=12.1`, `12.x`, or blank for all?"""
    if not cell:
        return True
    have = version(minor(cuda))
    for part in cell.split():
        if span := re.fullmatch(r"([\d.]+)-([\d.]+)", part):
            good = version(span[1]) <= have <= version(span[2])
        elif part.endswith(".x"):
            good = have.major == int(part[:-2])
        elif part[0] in "<>=!~":
            good = accepts(part, str(have))
        else:
            good = have == version(part)
        if good:
            return True
    return False


def _patch(cudnn: str) -> Version:
    return version(".".join(cudnn.split(".")[:3]))
