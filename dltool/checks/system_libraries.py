"""The C and C++ libraries of the system: new enough for PyTorch and its compiled extensions."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.loader import loaded, way, without_variable
from dltool.checks.packages import from_source, unread_wheels
from dltool.lang import tr
from dltool.machine import LoadedLibrary, Machine, TorchBuild
from dltool.results import Evidence, Finding, Remedy, Status


@check(
    "glibc-too-old",
    zh="""系统的 C 库对 PyTorch 及其扩展来说够新吗？

    在更新的发行版上链接的文件无法加载：`GLIBC_2.33 not found`。wheel 的文件名承诺了最低版本；但真正算数的是其中文件的实际需求。

    解决：在基于较新发行版的容器里运行；或安装该软件包的较旧版本；或在本机从源码编译（`pip install --no-binary NAME NAME`）。
    不要单独替换 glibc：系统里的每个程序都依赖它。`ldd --version` 显示本机的版本。

    预防：在与运行环境相同或更旧的发行版上编译。对于较旧的集群，在安装前查看 wheel 的标签：`manylinux_2_28` 需要
    glibc 2.28 或更新。
    """,
)
def glibc_too_old(machine: Machine) -> Iterator[Finding]:
    """Is the system's C library new enough for PyTorch and its extensions?

    A file that was linked on a newer distribution does not load: `GLIBC_2.33 not found`. The name of a wheel promises a lowest
    version; what the file in it needs counts.

    Mend: run in a container of a newer distribution, or install an older release of the package, or compile it here from source
    (`pip install --no-binary NAME NAME`). Do not replace glibc by itself: every program of the system hangs on it.
    `ldd --version` shows the version here.

    Prevent: compile on the distribution that will run it, or on an older one. For an old cluster look at a wheel's tag before
    installing: `manylinux_2_28` needs glibc 2.28 or newer.

    See: https://peps.python.org/pep-0600/ https://github.com/pypa/manylinux
    """
    have = compat.known_version(machine.os.glibc)
    needed = list(_needs(machine, "GLIBC"))
    if have is None or not needed:
        summary = tr("no compiled PyTorch package, or no glibc, to compare", "没有可供比较的已编译 PyTorch 软件包或 glibc")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    too_new = [(name, path, version) for name, path, version in needed if compat.version(version) > have]
    if not too_new:
        name, _, version = max(needed, key=lambda item: compat.version(item[2]))
        yield Finding(
            status=Status.PASS,
            summary=tr(
                f"glibc {machine.os.glibc} is new enough: {name} needs {version}",
                f"glibc {machine.os.glibc} 够新：{name} 需要 {version}",
            ),
        )
    for name, path, version in too_new:
        yield _needs_newer_glibc(machine, name, path, version)


def _needs_newer_glibc(machine: Machine, name: str, path: str, version: str) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"{name} needs glibc {version}, this system has {machine.os.glibc}: it cannot be imported",
            f"{name} 需要 glibc {version}，而本系统只有 {machine.os.glibc}：无法导入",
        ),
        why=tr(
            "The file was linked on a newer distribution; glibc cannot be updated apart from the system.",
            "该文件是在更新的发行版上链接的；glibc 不能脱离系统单独升级。",
        ),
        evidence=(
            Evidence(fact=f"{name} needs", value=f"GLIBC_{version}", read_from=path),
            Evidence(fact="glibc", value=machine.os.glibc, read_from="C library"),
        ),
        remedies=(
            Remedy(
                text=tr("Use a container or a system of a newer distribution.", "使用基于较新发行版的容器或系统。"),
            ),
            Remedy(
                text=tr(
                    "Or an older release of the package, or build it here from source.",
                    "或者安装该软件包的较旧版本，或者在本机从源码编译。",
                ),
                commands=(from_source(name),),
            ),
        ),
    )


@check(
    "libstdcxx-too-old",
    zh="""加载的 C++ 库对 PyTorch 及其扩展来说够新吗？

    最先找到的 libstdc++.so.6 供整个进程使用：它可能是通过 Python 的 RPATH 找到的 conda 副本，也可能是通过 LD_LIBRARY_PATH
    找到的旧副本。用更新的 gcc 编译的文件便会报错：`GLIBCXX_3.4.30 not found`。

    解决：如果是 conda 的副本，更新它：`conda install -c conda-forge libstdcxx-ng`。如果来自 LD_LIBRARY_PATH，就取消该变量。
    如果是系统的副本，请使用较新发行版的容器，或用本系统的编译器重新编译该软件包。

    预防：扩展要用运行它的环境里的编译器来编译（在 conda 中是 `conda install -c conda-forge gxx`），并保持 libstdcxx-ng 为最新。
    不要把模拟器、MATLAB 等软件自带的 lib 目录放进 LD_LIBRARY_PATH。
    """,
)
def libstdcxx_too_old(machine: Machine) -> Iterator[Finding]:
    """Is the C++ library that loads new enough for PyTorch and its extensions?

    The first libstdc++.so.6 that is found serves the whole process: conda's through Python's RPATH, or an old one by
    LD_LIBRARY_PATH. What was compiled with a newer gcc then ends with `GLIBCXX_3.4.30 not found`.

    Mend: update conda's copy, if it is conda's: `conda install -c conda-forge libstdcxx-ng`. Unset LD_LIBRARY_PATH, if it is
    from there. If it is the system's, use a container of a newer distribution, or compile the package with this system's
    compiler.

    Prevent: compile extensions with the compiler of the environment that runs them (in conda
    `conda install -c conda-forge gxx`), and keep libstdcxx-ng up to date. Do not put the lib directories that simulators,
    MATLAB and the like bring into LD_LIBRARY_PATH.

    See: https://gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html https://github.com/pytorch/pytorch/issues/87279
    """
    library = loaded(machine, "libstdc++.so.6")
    provided = dict(_numbered(library.provides)) if library else {}
    needed = [(family, *item) for family in ("GLIBCXX", "CXXABI") for item in _needs(machine, family)]
    if library is None or not provided or not needed:
        summary = tr(
            "no compiled PyTorch package, or no libstdc++, to compare", "没有可供比较的已编译 PyTorch 软件包或 libstdc++"
        )
        yield Finding(status=Status.SKIP, summary=summary)
        return
    missing: dict[str, tuple[str, str]] = {}
    for family, name, path, version in needed:
        if family in provided and compat.version(version) > compat.version(provided[family]):
            missing.setdefault(name, (f"{family}_{version}", path))
    if not missing:
        newest = ", ".join(library.provides)
        summary = tr(f"{library.path} has all that is needed: {newest}", f"{library.path} 具备所需的全部版本：{newest}")
        yield Finding(status=Status.PASS, summary=summary)
    for name, (symbol, path) in missing.items():
        yield _lacks_symbol(machine, library, name, symbol, path)


def _lacks_symbol(machine: Machine, library: LoadedLibrary, name: str, symbol: str, path: str) -> Finding:
    newest, found_by = ", ".join(library.provides), way(library.found_by)
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"{name} needs {symbol}, which {library.path} does not have: it cannot be imported",
            f"{name} 需要 {symbol}，而 {library.path} 中没有：无法导入",
        ),
        why=tr(
            f"This copy is the one that loads, by {found_by}; its newest are {newest}.",
            f"实际加载的就是这个副本（通过 {found_by} 找到）；它最新的版本是 {newest}。",
        ),
        evidence=(
            Evidence(fact=f"{name} needs", value=symbol, read_from=path),
            Evidence(fact="libstdc++.so.6", value=newest, read_from=library.path),
        ),
        remedies=_newer_libstdcxx(machine, library, name),
    )


def _newer_libstdcxx(machine: Machine, library: LoadedLibrary, name: str) -> tuple[Remedy, ...]:
    if library.found_by in ("LD_LIBRARY_PATH", "LD_PRELOAD"):
        return without_variable(library.found_by, library.path.rpartition("/")[0])
    prefix = machine.python.prefix if machine.python and machine.python.kind == "conda" else None
    if prefix and library.path.startswith(f"{prefix}/"):
        return (
            Remedy(
                text=tr("Update conda's copy.", "更新 conda 的副本。"),
                commands=(f"conda install -p {prefix} -c conda-forge 'libstdcxx-ng>=14'",),
            ),
        )
    return (
        *_condas_own(prefix),
        Remedy(
            text=tr(
                "Use an older release of the package, or build it with this system's compiler.",
                "使用该软件包的较旧版本，或用本系统的编译器编译它。",
            ),
            commands=(from_source(name),),
        ),
        Remedy(
            text=tr(
                "Or a container or a system of a newer distribution, whose gcc is newer.",
                "或者使用较新发行版的容器或系统，其中的 gcc 更新。",
            )
        ),
    )


def _condas_own(prefix: str | None) -> tuple[Remedy, ...]:
    """In a conda environment that got the system's copy: one of its own."""
    if prefix is None:
        return ()
    return (
        Remedy(
            text=tr(
                "Install conda's newer copy into this environment and put it first for this program alone.",
                "把 conda 较新的副本装进这个环境，并且只对这个程序让它优先。",
            ),
            commands=(
                f"conda install -p {prefix} -c conda-forge libstdcxx-ng",
                f"LD_LIBRARY_PATH={prefix}/lib python PROGRAM",
            ),
        ),
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
        yield from _by_reports(machine, python.torch)
    newest: dict[str, tuple[str, str]] = {}
    for extension in python.extensions:
        for version in _of_family(extension.needs, family):
            if extension.package not in newest or compat.version(newest[extension.package][1]) < compat.version(version):
                newest[extension.package] = (extension.path, version)
    yield from ((package, path, version) for package, (path, version) in newest.items())


def _by_reports(machine: Machine, torch: TorchBuild | None) -> Iterator[tuple[str, str, str]]:
    read = torch is not None and bool(torch.needs)
    for found, facts in unread_wheels(machine):
        if facts.glibc and not (read and found.name == "torch"):
            yield f"{found.name} {found.version}", f"catalog: {facts.source}", facts.glibc


def _of_family(symbols: tuple[str, ...], family: str) -> list[str]:
    return [version for found, version in _numbered(symbols) if found == family]


def _numbered(symbols: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Family and number of symbol versions: "GLIBC_2.33" is GLIBC and 2.33."""
    for name in symbols:
        family, _, version = name.partition("_")
        if compat.known_version(version) is not None:
            yield family, version
