"""Compiled extensions of PyTorch: GPU code for the GPUs here, and a C and C++ library that are new enough for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.loader import loaded, without_variable
from dltool.checks.packages import installed_torch, pip
from dltool.checks.visibility import visible_gpus
from dltool.machine import Extension, Gpu, LoadedLibrary, Machine, PythonEnv
from dltool.results import Evidence, Finding, Remedy, Status


@check("extension-lacks-gpu-code", caused_by=("torch-lacks-gpu-code",))
def extension_lacks_gpu_code(machine: Machine) -> Iterator[Finding]:
    """Do the compiled extensions (flash-attn, xformers, your own ...) carry code that every GPU here can run?

    PyTorch may support a GPU for which an extension was not compiled: the first call into it then fails with "no kernel image
    is available for execution on the device". Each package is judged by all of its files together.
    """
    python = machine.python
    gpus = [gpu for gpu in visible_gpus(machine) if compat.known_version(gpu.compute_capability)]
    packages: dict[str, list[Extension]] = defaultdict(list)
    for extension in python.extensions if python else ():
        if extension.machine_code or extension.machine_code_in_part or extension.ptx:
            packages[extension.package].append(extension)
    if not packages or not gpus:
        yield Finding(
            status=Status.SKIP, summary="no extension with GPU code" if gpus else "no GPU of known compute capability"
        )
        return
    fit: list[str] = []
    for package, files in packages.items():
        for capability in dict.fromkeys(gpu.compute_capability or "" for gpu in gpus):
            alike = [gpu for gpu in gpus if gpu.compute_capability == capability]
            runs = _runs(files, capability, machine)
            if runs:
                fit.append(package)
                continue
            others = len(alike) < len(gpus)
            status = Status.UNKNOWN if runs is None else Status.WARN if others else Status.FAIL
            yield _lacking(package, files, capability, machine, alike, status)
    if fit:
        yield Finding(status=Status.PASS, summary=f"code for the GPUs here is in {', '.join(dict.fromkeys(fit))}")


def _runs(files: list[Extension], capability: str, machine: Machine) -> bool | None:
    """Whether any file of a package has code that runs; None where it has code of which the tables know nothing."""
    torch = installed_torch(machine)
    codes = {name for file in files for name in (*file.machine_code, *file.machine_code_in_part)}
    answers = [compat.code_runs_on(name, capability, built_with=torch.cuda if torch else None) for name in codes]
    if any(answers) or any(compat.ptx_runs_on(name, capability) for file in files for name in file.ptx):
        return True
    return None if None in answers else False


def _lacking(
    package: str, files: list[Extension], capability: str, machine: Machine, alike: list[Gpu], status: Status
) -> Finding:
    bare, gpu = _bare(package), alike[0].name or "this GPU"
    install = pip(machine.python) if machine.python else "python -m pip install"
    kind = f"{gpu} (compute capability {capability})"
    return Finding(
        status=status,
        summary=f"{package} has no code for {kind}: its first kernel will fail"
        if status is not Status.UNKNOWN
        else f"{package} has code of which the tables do not know whether it runs on {kind}",
        why="The package was compiled for other GPU generations. PyTorch itself is judged by torch-lacks-gpu-code.",
        evidence=(
            Evidence(fact=f"compute capability of {gpu}", value=capability, read_from="NVML"),
            *(
                Evidence(
                    fact=f"code in {package}",
                    value=" ".join((*file.machine_code, *file.machine_code_in_part, *file.ptx)),
                    read_from=file.path,
                )
                for file in files[:8]
            ),
        ),
        remedies=(
            Remedy(text="Install a newer release, which may have it.", commands=(f"{install} --upgrade --no-deps {bare}",)),
            Remedy(
                text="Or compile it here for this GPU (needs a CUDA toolkit that knows it).",
                commands=(
                    f'TORCH_CUDA_ARCH_LIST="{capability}" {install} --no-build-isolation --no-deps --force-reinstall '
                    f"--no-binary {bare} {bare}",
                ),
            ),
        ),
        devices=tuple(gpu.index for gpu in alike),
    )


@check("glibc-too-old")
def glibc_too_old(machine: Machine) -> Iterator[Finding]:
    """Is the system's C library new enough for PyTorch and its extensions?

    A file that was linked on a newer distribution does not load: "version `GLIBC_2.33' not found". The name of a wheel promises
    a lowest version; what the file in it needs counts.
    """
    have = compat.known_version(machine.os.glibc)
    needed = list(_needs(machine, "GLIBC"))
    if have is None or not needed:
        yield Finding(status=Status.SKIP, summary="no compiled PyTorch package, or no glibc, to compare")
        return
    too_new = [(name, path, version) for name, path, version in needed if compat.version(version) > have]
    if not too_new:
        newest = max(needed, key=lambda item: compat.version(item[2]))
        yield Finding(
            status=Status.PASS,
            summary=f"glibc {machine.os.glibc} is new enough: {newest[0]} needs {newest[2]}",
        )
    for name, path, version in too_new:
        yield Finding(
            status=Status.FAIL,
            summary=f"{name} needs glibc {version}, this system has {machine.os.glibc}: it cannot be imported",
            why="The file was linked on a newer distribution; glibc cannot be updated apart from the system.",
            evidence=(
                Evidence(fact=f"{name} needs", value=f"GLIBC_{version}", read_from=path),
                Evidence(fact="glibc", value=machine.os.glibc, read_from="C library"),
            ),
            remedies=(
                Remedy(text="Use a container or a system of a newer distribution."),
                Remedy(
                    text="Or an older release of the package, or build it here from source.",
                    commands=(f"python -m pip install --no-binary {_bare(name)} --no-build-isolation {_bare(name)}",),
                ),
            ),
        )


@check("libstdcxx-too-old")
def libstdcxx_too_old(machine: Machine) -> Iterator[Finding]:
    """Is the C++ library that loads new enough for PyTorch and its extensions?

    The first libstdc++.so.6 that is found serves the whole process: conda's through Python's RPATH, or an old one by
    LD_LIBRARY_PATH. What was compiled with a newer gcc then ends with "version `GLIBCXX_3.4.30' not found".
    """
    library = loaded(machine, "libstdc++.so.6")
    provided = dict(_numbered(library.provides)) if library else {}
    needed = [(family, *item) for family in ("GLIBCXX", "CXXABI") for item in _needs(machine, family)]
    if library is None or not provided or not needed:
        yield Finding(status=Status.SKIP, summary="no compiled PyTorch package, or no libstdc++, to compare")
        return
    too_new = [
        (f"{family}_{version}", name, path)
        for family, name, path, version in needed
        if family in provided and compat.version(version) > compat.version(provided[family])
    ]
    if not too_new:
        yield Finding(status=Status.PASS, summary=f"{library.path} has all that is needed: {', '.join(library.provides)}")
    for name in dict.fromkeys(name for _, name, _ in too_new):
        symbol, _, path = next(item for item in too_new if item[1] == name)
        yield Finding(
            status=Status.FAIL,
            summary=f"{name} needs {symbol}, which {library.path} does not have: it cannot be imported",
            why=f"This copy is the one that loads, by {library.found_by}; its newest are {', '.join(library.provides)}.",
            evidence=(
                Evidence(fact=f"{name} needs", value=symbol, read_from=path),
                Evidence(fact="libstdc++.so.6", value=", ".join(library.provides), read_from=library.path),
            ),
            remedies=_newer_libstdcxx(machine, library, name),
        )


def _newer_libstdcxx(machine: Machine, library: LoadedLibrary, name: str) -> tuple[Remedy, ...]:
    if library.found_by in ("LD_LIBRARY_PATH", "LD_PRELOAD"):
        return without_variable(library.found_by, library.path.rpartition("/")[0])
    prefix = machine.python.prefix if machine.python and machine.python.kind == "conda" else None
    if prefix and library.path.startswith(f"{prefix}/"):
        return (
            Remedy(text="Update conda's copy.", commands=(f"conda install -p {prefix} -c conda-forge 'libstdcxx-ng>=14'",)),
        )
    build = f"python -m pip install --no-binary {_bare(name)} --no-build-isolation {_bare(name)}"
    inside = (
        Remedy(
            text="Install conda's newer copy into this environment and put it first for this program alone.",
            commands=(
                f"conda install -p {prefix} -c conda-forge libstdcxx-ng", f"LD_LIBRARY_PATH={prefix}/lib python PROGRAM",
            ),
        ),
    ) if prefix else ()  # fmt: skip
    return (
        *inside,
        Remedy(text="Use an older release of the package, or build it with this system's compiler.", commands=(build,)),
        Remedy(text="Or a container or a system of a newer distribution, whose gcc is newer."),
    )


def _needs(machine: Machine, family: str) -> Iterator[tuple[str, str, str]]:
    """Name, file and the version of a family of symbols that PyTorch and each extension need; one file of each package."""
    python = machine.python
    if python is None:
        return
    if python.torch is not None:
        for version in _of_family(python.torch.needs, family):
            yield f"torch {python.torch.version}", python.torch.location, version
    if family == "GLIBC":
        yield from _by_table(machine, python)
    newest: dict[str, tuple[str, str]] = {}
    for extension in python.extensions:
        for version in _of_family(extension.needs, family):
            if extension.package not in newest or compat.version(newest[extension.package][1]) < compat.version(version):
                newest[extension.package] = (extension.path, version)
    yield from ((package, path, version) for package, (path, version) in newest.items())


def _by_table(machine: Machine, python: PythonEnv) -> Iterator[tuple[str, str, str]]:
    """What reports say of published wheels, where the files here were not read. conda brings files of its own."""
    read = {extension.package.partition(" ")[0] for extension in python.extensions}
    read |= {"torch"} if python.torch is not None and python.torch.needs else set()
    for found in python.distributions if machine.os.system == "Linux" and not machine.os.tegra else ():
        facts = compat.wheel_facts(found.name, found.version)
        if facts.glibc and found.name not in read and found.installer not in ("conda", None):
            yield f"{found.name} {found.version}", f"catalog: {facts.source}", facts.glibc


def _of_family(names_: tuple[str, ...], family: str) -> list[str]:
    return [version for found, version in _numbered(names_) if found == family]


def _numbered(names_: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names_:
        family, _, version = name.partition("_")
        if compat.known_version(version) is not None:
            yield family, version


def _bare(package: str) -> str:
    return package.partition(" ")[0]
