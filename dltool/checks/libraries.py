"""Which copy of a CUDA library loads: the one that PyTorch brings, or another that the environment puts before it."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.machine import Library, Machine
from dltool.results import Evidence, Finding, Remedy, Status

_BY_RUNPATH = ("libcudnn", "libnvJitLink")
"""Libraries that NVIDIA's own libraries load, by RUNPATH: an older copy of them breaks every build of PyTorch."""


@check("libraries-shadowed")
def libraries_shadowed(machine: Machine) -> Iterator[Finding]:
    """Does LD_LIBRARY_PATH put other copies of CUDA libraries before those that PyTorch brings?

    LD_LIBRARY_PATH outranks the RUNPATH by which most libraries find one another. A cuDNN or nvJitLink of another version then
    loads in place of the right one: undefined symbols at import, or "GET was unable to find an engine". What PyTorch itself
    links to (cuBLAS, NCCL ...) is safe in builds with an RPATH, which outranks LD_LIBRARY_PATH; not every build has one.
    """
    if not machine.environment.get("LD_LIBRARY_PATH"):
        yield Finding(status=Status.PASS, summary="LD_LIBRARY_PATH is not set")
        return
    if machine.python is None or machine.python.torch is None:
        yield Finding(status=Status.SKIP, summary="PyTorch is not installed")
        return
    bundled: dict[str, Library] = {}
    for library in machine.libraries:
        if library.source == "wheel":
            bundled.setdefault(library.soname, library)
    first: dict[str, Library] = {}
    for library in machine.libraries:
        if library.source == "LD_LIBRARY_PATH" and library.soname in bundled:
            first.setdefault(library.soname, library)
    pairs = [(first[name], bundled[name]) for name in first if first[name].path != bundled[name].path]
    different = [(found, own) for found, own in pairs if not _same_release(found, own)]
    older = [(found, own) for found, own in different if _is_older(found, own)]
    fatal = [(found, own) for found, own in older if found.soname.startswith(_BY_RUNPATH)]
    if not different:
        yield Finding(status=Status.PASS, summary="LD_LIBRARY_PATH shadows none of PyTorch's libraries with another version")
        return
    known = [pair for pair in different if pair[0].version and pair[1].version]
    shown, _ = (fatal or older or known or different)[0]
    directories = sorted({found.path.rpartition("/")[0] for found, _ in different})
    status = Status.FAIL if fatal else Status.WARN if known else Status.INFO
    yield Finding(
        status=status,
        summary=f"LD_LIBRARY_PATH loads {shown.soname} from {shown.path.rpartition('/')[0]} in place of PyTorch's own"
        + (f" ({shown.version} for {bundled[shown.soname].version})" if shown.version else ""),
        why="Every program started with this LD_LIBRARY_PATH takes these copies first, PyTorch's libraries included.",
        evidence=tuple(
            Evidence(fact=found.soname, value=f"{found.version or 'version unknown'} before {own.version or 'unknown'}",
                     read_from=f"{found.path} before {own.path}")
            for found, own in different
        ),
        remedies=(
            Remedy(
                text=f"Take {' and '.join(directories)} out of LD_LIBRARY_PATH for this program; PyTorch needs no entry there.",
                commands=("env -u LD_LIBRARY_PATH python -c 'import torch; print(torch.backends.cudnn.version())'",),
            ),
        ),
    )  # fmt: skip


def _same_release(one: Library, other: Library) -> bool:
    """Equal as far as both are known: a file has three numbers where its wheel has four."""
    if one.version is None or other.version is None:
        return False
    return all(a == b for a, b in zip(one.version.split("."), other.version.split("."), strict=False))


def _is_older(found: Library, own: Library) -> bool:
    have, wanted = compat.known_version(found.version), compat.known_version(own.version)
    return have is not None and wanted is not None and have < wanted
