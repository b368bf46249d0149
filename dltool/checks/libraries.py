"""Which copy of a CUDA library loads: the one that PyTorch brings, or another that the environment puts before it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.loader import without_variable
from dltool.machine import Distribution, Library, LoadedLibrary, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status

_BY_RUNPATH = ("libcudnn", "libnvJitLink")
"""Libraries that NVIDIA's own libraries load, by RUNPATH: an older copy of them breaks every build of PyTorch."""
_PIP_NAME = {"pytorch": "torch", "pytorch-gpu": "torch", "pytorch-cpu": "torch"}
_CONDA_CUDA = re.compile(r"cudatoolkit|cudnn|nccl|cuda-cudart|libcu[a-z]+|libnvjitlink")


@check("libraries-shadowed", caused_by=("conda-pip-mixed",))
def libraries_shadowed(machine: Machine) -> Iterator[Finding]:
    """Does PyTorch get its own CUDA libraries, and not other copies that the environment puts before them?

    LD_LIBRARY_PATH outranks the RUNPATH by which most libraries find one another. A cuDNN or nvJitLink of another version then
    loads in place of the right one: undefined symbols at import, or "GET was unable to find an engine". What PyTorch itself
    links to (cuBLAS, NCCL ...) is safe in builds with an RPATH, which outranks LD_LIBRARY_PATH; not every build has one. What
    would really load is found by the loader's own rules.
    """
    if machine.loads is not None and machine.python is not None and machine.python.torch is not None:
        yield from _by_loader(machine.loads)
        return
    if not machine.environment.get("LD_LIBRARY_PATH"):
        yield Finding(status=Status.PASS, summary="LD_LIBRARY_PATH is not set")
        return
    if machine.python is None or machine.python.torch is None:
        yield Finding(status=Status.SKIP, summary="PyTorch is not installed")
        return
    yield from _by_directories(machine)


def _by_directories(machine: Machine) -> Iterator[Finding]:
    """The verdict where only the directories are known (a snapshot of before the loader's rules were followed)."""
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


def _by_loader(loads: tuple[LoadedLibrary, ...]) -> Iterator[Finding]:
    """The verdict where it is known what loads."""
    own = [one for one in loads if not one.soname.startswith(("libcuda.", "libstdc++"))]
    judged = [(status, one, said) for one in own for status, said in [_displaced(one)] if status is not Status.PASS]
    known = {one.soname for status, one, _ in judged if status is Status.FAIL}
    judged += [(Status.FAIL, part, said) for part, said in _split_families(own) if part.soname not in known]
    if not judged:
        named = ", ".join(f"{one.soname} {one.version}" for one in own if one.version and not one.instead_of)[:200]
        yield Finding(status=Status.PASS, summary=f"PyTorch gets its own libraries{': ' if named else ''}{named}")
        return
    status = max((status for status, _, _ in judged), key=lambda status: status.severity)
    shown = [(one, said) for own_status, one, said in judged if own_status is status]
    first, said = shown[0]
    ways = dict.fromkeys((one.found_by, one.path.rpartition("/")[0]) for one, _ in shown)
    remedies = tuple(remedy for way, directory in ways for remedy in without_variable(way, directory))
    yield Finding(
        status=status,
        summary=f"{first.found_by} gives PyTorch {said}",
        why="PyTorch brings the copies that it was built and tested with; other programs get theirs without this setting.",
        evidence=tuple(
            Evidence(
                fact=one.soname,
                value=f"{one.version or 'version unknown'} in place of {one.instead_of_version or 'its own'}",
                read_from=f"{one.path} ({one.found_by}) in place of {one.instead_of}" if one.instead_of else one.path,
            )
            for _, one, _ in judged
        ),
        remedies=remedies,
    )


def _displaced(one: LoadedLibrary) -> tuple[Status, str]:
    """How bad it is that this copy loads, and in words."""
    said = f"{one.soname} {one.version or 'of unknown version'} from {one.path.rpartition('/')[0]}"
    if one.instead_of is None:
        return Status.PASS, said
    said += f" in place of its own {one.instead_of_version or ''}".rstrip()
    have, wanted = compat.known_version(one.version), compat.known_version(one.instead_of_version)
    if have is None or wanted is None:
        return Status.INFO, said
    if have.release[:2] == wanted.release[:2]:  # patch releases of one minor have the same symbols
        return Status.PASS, said
    if have < wanted:
        return Status.FAIL, said
    return (Status.WARN if one.soname.startswith(_BY_RUNPATH) else Status.INFO), said


def _split_families(loads: list[LoadedLibrary]) -> Iterator[tuple[LoadedLibrary, str]]:
    """Libraries that are parts of one and load in two versions: they refuse one another, whichever is the newer."""
    for whole, part in (("libcudnn.", "libcudnn_"), ("libcublas.", "libcublasLt.")):
        first = next((one for one in loads if one.soname.startswith(whole)), None)
        for other in loads:
            if first is None or not other.soname.startswith(part):
                continue
            one, two = compat.known_version(first.version), compat.known_version(other.version)
            if one is not None and two is not None and one.release[:2] != two.release[:2]:
                shown = other if other.instead_of or not first.instead_of else first
                yield shown, f"{other.soname} {other.version} beside {first.soname} {first.version}: parts of two releases"


@check("conda-pip-mixed")
def conda_pip_mixed(machine: Machine) -> Iterator[Finding]:
    """In a conda environment: do conda and pip each bring the same package or the same CUDA libraries?

    Each overwrites or shadows what the other manages. PyTorch then gets libcublas from one and libcublasLt from the other
    ("undefined symbol: cublasLt_for_cublas_HSS"), and the next update of either breaks what worked.
    """
    python = machine.python
    if python is None or python.kind != "conda":
        yield Finding(status=Status.SKIP, summary="not a conda environment")
        return
    of_conda = {_PIP_NAME.get(found.name, found.name): found.version for found in python.distributions if _is_condas(found)}
    of_pip = {found.name: found for found in python.distributions if not _is_condas(found)}
    twice = [
        (found, of_conda[name])
        for name, found in of_pip.items()
        if name in of_conda and not _one_release(found.version, of_conda[name])
    ]
    providers = _providers(machine, python.prefix or "")
    both = (
        sorted({name for name in of_conda if _CONDA_CUDA.fullmatch(name)}),
        sorted(name for name in of_pip if re.fullmatch(r"nvidia-.+-cu\d+", name)),
    )
    evidence = (
        *(Evidence(fact=found.name, value=f"conda {version}, pip {found.version}", read_from=found.location)
          for found, version in twice),
        *(Evidence(fact=one.soname, value=f"from {who}", read_from=one.path) for who, one in providers),
    )  # fmt: skip
    split = len({who for who, _ in providers}) > 1
    older = [one for _, one in providers if _displaced(one)[0] is Status.FAIL]
    own = [one for _, one in providers]
    if split and (older or any(True for _ in _split_families(own))):
        yield Finding(
            status=Status.FAIL,
            summary="PyTorch gets CUDA libraries from conda and from pip at once, of versions that do not fit",
            evidence=evidence,
            remedies=_one_provider(python.prefix),
        )
    elif twice:
        found, version = twice[0]
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        yield Finding(
            status=Status.WARN,
            summary=f"conda installed {found.name} {version} and pip {found.version} over it{more}",
            why="Both believe that the files are theirs: the next conda update replaces or removes some of them.",
            evidence=evidence,
            remedies=_one_provider(python.prefix),
        )
    elif all(both):
        yield Finding(
            status=Status.INFO,
            summary=f"CUDA libraries are here from conda ({both[0][0]} ...) and from pip ({both[1][0]} ...); "
            "PyTorch gets one set" if providers else "CUDA libraries are here both from conda and from pip",
            evidence=evidence,
        )  # fmt: skip
    else:
        yield Finding(status=Status.PASS, summary="conda and pip do not bring the same packages")


def _is_condas(found: Distribution) -> bool:
    return found.location.endswith("conda-meta")


def _one_release(one: str, other: str) -> bool:
    have, wanted = compat.known_version(one), compat.known_version(other)
    return have is None or wanted is None or have.release == wanted.release


def _providers(machine: Machine, prefix: str) -> list[tuple[str, LoadedLibrary]]:
    """CUDA libraries that load from this environment, and who brought each."""
    found = []
    for one in machine.loads or ():
        real = one.real_path or one.path
        if one.soname.startswith(("libcuda.", "libstdc++")) or not (prefix and real.startswith(f"{prefix}/")):
            continue
        found.append(("pip" if "/site-packages/" in real else "conda", one))
    return found


def _one_provider(prefix: str | None) -> tuple[Remedy, ...]:
    return (
        Remedy(
            text="Make a fresh environment with one provider: pip for PyTorch and what belongs to it, or conda for all.",
            commands=("conda create -n fresh python", "conda run -n fresh python -m pip install torch"),
        ),
        Remedy(
            text="To see what is from where.",
            commands=(f"conda list{f' -p {prefix}' if prefix else ''} | grep -iE 'pypi|cud|torch'",),
            risk=Risk.READ_ONLY,
        ),
    )


def _same_release(one: Library, other: Library) -> bool:
    """Equal as far as both are known: a file has three numbers where its wheel has four."""
    if one.version is None or other.version is None:
        return False
    return all(a == b for a, b in zip(one.version.split("."), other.version.split("."), strict=False))


def _is_older(found: Library, own: Library) -> bool:
    have, wanted = compat.known_version(found.version), compat.known_version(own.version)
    return have is not None and wanted is not None and have < wanted
