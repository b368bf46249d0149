"""Which copy of a CUDA library loads: the one that PyTorch brings, or another that the environment puts before it."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.loader import way, without_variable
from dltool.lang import tr
from dltool.machine import Library, LoadedLibrary, Machine
from dltool.results import Evidence, Finding, Remedy, Status

_BY_RUNPATH = ("libcudnn", "libnvJitLink")
"""Libraries that NVIDIA's own libraries load, by RUNPATH: an older copy of them breaks every build of PyTorch."""


@check(
    "libraries-shadowed",
    caused_by=("conda-pip-mixed",),
    zh="""PyTorch 用的是自带的 CUDA 库，而不是环境抢先提供的其他副本吗？

    LD_LIBRARY_PATH 优先于 RUNPATH，而大多数库正是靠 RUNPATH 找到彼此。于是另一个版本的 cuDNN 或 nvJitLink 会取代正确的那个：
    导入时出现未定义符号，或报错 `GET was unable to find an engine`。PyTorch 直接链接的库（cuBLAS、NCCL 等）在带 RPATH 的构建中
    是安全的，因为 RPATH 优先于 LD_LIBRARY_PATH；但并非每个构建都有 RPATH。实际会加载哪个副本，按加载器自己的规则推出。

    解决：对这个程序取消 LD_LIBRARY_PATH（`env -u LD_LIBRARY_PATH python ...`）；如果可行，就从 ~/.bashrc、环境模块文件或镜像的
    ENV 中删掉相应目录。PyTorch 的 wheel 不需要其中任何一项。

    预防：不要为了 PyTorch 而把 /usr/local/cuda/lib64 加入 LD_LIBRARY_PATH。确实需要它的程序，请在该程序自己的启动脚本里设置。
    """,
)
def libraries_shadowed(machine: Machine) -> Iterator[Finding]:
    """Does PyTorch get its own CUDA libraries, and not other copies that the environment puts before them?

    LD_LIBRARY_PATH outranks the RUNPATH by which most libraries find one another. A cuDNN or nvJitLink of another version then
    loads in place of the right one: undefined symbols at import, or `GET was unable to find an engine`. What PyTorch itself
    links to (cuBLAS, NCCL ...) is safe in builds with an RPATH, which outranks LD_LIBRARY_PATH; not every build has one. What
    would really load is found by the loader's own rules.

    Mend: unset LD_LIBRARY_PATH for the program (`env -u LD_LIBRARY_PATH python ...`); if that helps, remove the directory from
    ~/.bashrc, the environment module or the image's ENV. PyTorch's wheels need no entry there.

    Prevent: do not add /usr/local/cuda/lib64 to LD_LIBRARY_PATH for PyTorch's sake. Where a program does need it, set it in
    that program's own start script.

    See: https://github.com/pytorch/pytorch/issues/80637 https://man7.org/linux/man-pages/man8/ld.so.8.html
    """
    if machine.loads is not None and machine.python is not None and machine.python.torch is not None:
        yield from _by_loader(machine.loads)
        return
    if not machine.environment.get("LD_LIBRARY_PATH"):
        yield Finding(status=Status.PASS, summary=tr("LD_LIBRARY_PATH is not set", "没有设置 LD_LIBRARY_PATH"))
        return
    if machine.python is None or machine.python.torch is None:
        yield Finding(status=Status.SKIP, summary=tr("PyTorch is not installed", "没有安装 PyTorch"))
        return
    yield _by_directories(machine)


def _by_directories(machine: Machine) -> Finding:
    """The verdict where only the directories are known (a snapshot of before the loader's rules were followed)."""
    different = [(found, own) for found, own in _pairs(machine) if not _same_release(found, own)]
    if not different:
        return Finding(
            status=Status.PASS,
            summary=tr(
                "LD_LIBRARY_PATH shadows none of PyTorch's libraries with another version",
                "LD_LIBRARY_PATH 没有用其他版本遮住 PyTorch 的任何库",
            ),
        )
    older = [(found, own) for found, own in different if compat.is_older(found.version, own.version)]
    fatal = [(found, own) for found, own in older if found.soname.startswith(_BY_RUNPATH)]
    known = [pair for pair in different if pair[0].version and pair[1].version]
    shown, own = (fatal or older or known or different)[0]
    directory = shown.path.rpartition("/")[0]
    versions = tr(f" ({shown.version} for {own.version})", f"（{shown.version} 代替 {own.version}）") if shown.version else ""
    return Finding(
        status=Status.FAIL if fatal else Status.WARN if known else Status.INFO,
        summary=tr(
            f"LD_LIBRARY_PATH loads {shown.soname} from {directory} in place of PyTorch's own{versions}",
            f"LD_LIBRARY_PATH 让 {shown.soname} 从 {directory} 加载，而不是用 PyTorch 自带的{versions}",
        ),
        why=tr(
            "Every program started with this LD_LIBRARY_PATH takes these copies first, PyTorch's libraries included.",
            "在这个 LD_LIBRARY_PATH 下启动的程序都会优先使用这些副本，PyTorch 的库也不例外。",
        ),
        evidence=tuple(
            Evidence(
                fact=found.soname,
                value=f"{found.version or 'version unknown'} before {bundled.version or 'unknown'}",
                read_from=f"{found.path} before {bundled.path}",
            )
            for found, bundled in different
        ),
        remedies=(_out_of_the_path({found.path.rpartition("/")[0] for found, _ in different}),),
    )


def _pairs(machine: Machine) -> list[tuple[Library, Library]]:
    """The first copy in LD_LIBRARY_PATH of each library that a wheel brings too, with the wheel's."""
    bundled: dict[str, Library] = {}
    first: dict[str, Library] = {}
    for library in machine.libraries:
        if library.source == "wheel":
            bundled.setdefault(library.soname, library)
        elif library.source == "LD_LIBRARY_PATH":
            first.setdefault(library.soname, library)
    return [(one, bundled[name]) for name, one in first.items() if name in bundled and one.path != bundled[name].path]


def _out_of_the_path(directories: set[str]) -> Remedy:
    english, chinese = " and ".join(sorted(directories)), "、".join(sorted(directories))
    return Remedy(
        text=tr(
            f"Take {english} out of LD_LIBRARY_PATH for this program; PyTorch needs no entry there.",
            f"对这个程序从 LD_LIBRARY_PATH 中去掉 {chinese}；PyTorch 不需要其中任何一项。",
        ),
        commands=("env -u LD_LIBRARY_PATH python -c 'import torch; print(torch.backends.cudnn.version())'",),
    )


def _by_loader(loads: tuple[LoadedLibrary, ...]) -> Iterator[Finding]:
    """The verdict where it is known what loads."""
    own = [one for one in loads if not one.soname.startswith(("libcuda.", "libstdc++"))]
    judged = [(status, one, said) for one in own for status, said in [displaced(one)] if status is not Status.PASS]
    known = {one.soname for status, one, _ in judged if status is Status.FAIL}
    judged += [(Status.FAIL, part, said) for part, said in split_families(own) if part.soname not in known]
    if not judged:
        named = ", ".join(f"{one.soname} {one.version}" for one in own if one.version and not one.instead_of)[:200]
        summary = tr(
            f"PyTorch gets its own libraries{': ' if named else ''}{named}",
            f"PyTorch 用的是自带的库{'：' if named else ''}{named}",
        )
        yield Finding(status=Status.PASS, summary=summary)
        return
    status = max((status for status, _, _ in judged), key=lambda status: status.severity)
    shown = [(one, said) for own_status, one, said in judged if own_status is status]
    first, said = shown[0]
    ways = dict.fromkeys((one.found_by, one.path.rpartition("/")[0]) for one, _ in shown)
    found_by = way(first.found_by)
    yield Finding(
        status=status,
        summary=tr(f"{found_by} gives PyTorch {said}", f"{found_by} 让 PyTorch 得到的是 {said}"),
        why=tr(
            "PyTorch brings the copies that it was built and tested with; other programs get theirs without this setting.",
            "PyTorch 自带构建和测试时所用的副本；其他程序没有这项设置也能找到它们要的库。",
        ),
        evidence=tuple(_loaded_instead(one) for _, one, _ in judged),
        remedies=tuple(remedy for found, directory in ways for remedy in without_variable(found, directory)),
    )


def _loaded_instead(one: LoadedLibrary) -> Evidence:
    return Evidence(
        fact=one.soname,
        value=f"{one.version or 'version unknown'} in place of {one.instead_of_version or 'its own'}",
        read_from=f"{one.path} ({one.found_by}) in place of {one.instead_of}" if one.instead_of else one.path,
    )


def displaced(one: LoadedLibrary) -> tuple[Status, str]:
    """How bad it is that this copy loads, and in words."""
    version = f" {one.version}" if one.version else tr(" of unknown version", "（版本未知）")
    directory = one.path.rpartition("/")[0]
    said = tr(f"{one.soname}{version} from {directory}", f"{directory} 中的 {one.soname}{version}")
    if one.instead_of is None:
        return Status.PASS, said
    wheels = f" {one.instead_of_version}" if one.instead_of_version else ""
    said += tr(f" in place of its own{wheels}", f"，而不是自带的{wheels}")
    have, wanted = compat.known_version(one.version), compat.known_version(one.instead_of_version)
    if have is None or wanted is None:
        return Status.INFO, said
    if have.release[:2] == wanted.release[:2]:  # patch releases of one minor have the same symbols
        return Status.PASS, said
    if have < wanted:
        return Status.FAIL, said
    return (Status.WARN if one.soname.startswith(_BY_RUNPATH) else Status.INFO), said


def split_families(loads: list[LoadedLibrary]) -> Iterator[tuple[LoadedLibrary, str]]:
    """Libraries that are parts of one and load in two versions: they refuse one another, whichever is the newer."""
    for whole, part in (("libcudnn.", "libcudnn_"), ("libcublas.", "libcublasLt.")):
        first = next((one for one in loads if one.soname.startswith(whole)), None)
        for other in loads:
            if first is None or not other.soname.startswith(part):
                continue
            one, two = compat.known_version(first.version), compat.known_version(other.version)
            if one is not None and two is not None and one.release[:2] != two.release[:2]:
                shown = other if other.instead_of or not first.instead_of else first
                both = (f"{other.soname} {other.version}", f"{first.soname} {first.version}")
                yield shown, tr(f"{both[0]} beside {both[1]}: parts of two releases", f"{both[0]} 与 {both[1]}：分属两个版本")


def _same_release(one: Library, other: Library) -> bool:
    """Equal as far as both are known: a file has three numbers where its wheel has four."""
    if one.version is None or other.version is None:
        return False
    return compat.agree(one.version, other.version)
