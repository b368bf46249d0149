"""What the dynamic loader hands to programs: which copy of a library, how it was found, and how to keep it from being found."""

from __future__ import annotations

from dltool.lang import tr
from dltool.machine import LoadedLibrary, Machine
from dltool.results import Remedy, Risk


def loaded(machine: Machine, soname: str) -> LoadedLibrary | None:
    """The copy of a library that PyTorch gets; None where there is none, or nothing is known."""
    return next((one for one in machine.loads or () if one.soname == soname), None)


def way(found_by: str) -> str:
    """How a copy was found, for people: names of variables and files stay, words are translated."""
    words = {
        "default directories": tr("default directories", "默认目录"),
        "dynamic loader": tr("dynamic loader", "动态加载器"),
        "its path": tr("its path", "其自身路径"),
    }
    return words.get(found_by, found_by)


def without_variable(found_by: str, directory: str) -> tuple[Remedy, ...]:
    """How to keep the loader from finding a copy in this directory."""
    if found_by in ("LD_LIBRARY_PATH", "LD_PRELOAD"):
        return (
            Remedy(
                text=tr(
                    f"Take {directory} out of {found_by}; try it for one program first.",
                    f"从 {found_by} 中去掉 {directory}；先对单个程序试一下。",
                ),
                commands=(f"env -u {found_by} python -c 'import torch; print(torch.cuda.is_available())'",),
            ),
        )
    if found_by in ("ld.so.cache", "default directories"):
        return (
            Remedy(
                text=tr(
                    f"Find what puts {directory} on the loader's path, remove it there and write the cache anew.",
                    f"找出是什么把 {directory} 放进了加载器的搜索路径，从那里删掉它，再重建缓存。",
                ),
                commands=(f"grep -rn {directory} /etc/ld.so.conf /etc/ld.so.conf.d", "sudo ldconfig"),
                risk=Risk.ROOT,
            ),
        )
    return (
        Remedy(
            text=tr(
                f"Remove the copy in {directory}, or reinstall the package that refers to it.",
                f"删除 {directory} 中的副本，或重新安装引用它的软件包。",
            )
        ),
    )
