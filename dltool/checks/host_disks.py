"""Room on the disks that training writes to."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.lang import tr
from dltool.machine import Disk, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status
from dltool.units import gib

_FULL = 2**30
_FULL_SHARE = 0.01
_HOLDS_LITTLE = 2**30
"""A file system that is smaller in whole is meant to be."""


@check(
    "disk-full",
    zh="""存放主目录、临时文件和各种缓存的磁盘还有没有空间？

    下载、检查点和编译出的 GPU 内核会把它们填满：出现“No space left on device”、写了一半的检查点、只装了一部分的 wheel。
    磁盘也可能有空间却没有空闲的 inode，或者不可写。

    解决：用 `du -xh --max-depth=2 DIRECTORY | sort -h | tail` 找出是什么占满了磁盘（`df -i` 显示 inode）。
    用 `pip cache purge`、`conda clean --all` 和 `docker system prune` 清理缓存，或换一个目录：`export HF_HOME=DIRECTORY`。

    预防：把 HF_HOME、TORCH_HOME、PIP_CACHE_DIR 和 TRITON_CACHE_DIR 放到大磁盘上，只保留最近几个检查点（在 Transformers 中用
    `save_total_limit`）。
    """,
)
def disk_full(machine: Machine) -> Iterator[Finding]:
    """Is there room on the disks that hold home, temporary files and the caches?

    Downloads, checkpoints and compiled kernels fill them: "No space left on device", truncated checkpoints, and wheels that
    install in part. A disk can also have room but no free file entries, or refuse writing.

    Mend: `du -xh --max-depth=2 DIRECTORY | sort -h | tail` shows what fills it (`df -i` counts file entries). Empty the caches
    with `pip cache purge`, `conda clean --all` and `docker system prune`, or move them: `export HF_HOME=DIRECTORY`.

    Prevent: Put HF_HOME, TORCH_HOME, PIP_CACHE_DIR and TRITON_CACHE_DIR on a large disk, and keep only the last few
    checkpoints (`save_total_limit` in Transformers).

    See: https://huggingface.co/docs/huggingface_hub/guides/manage-cache https://pip.pypa.io/en/stable/topics/caching/
    """
    if not machine.disks:
        unknown = any(name == "disks" or name.startswith("disks.") for name in machine.gaps)
        reason = machine.why_missing("disks")
        status = Status.UNKNOWN if unknown else Status.SKIP
        yield Finding(status=status, summary=tr(f"disks: {reason}", f"磁盘：{reason}"))
        return
    full = [disk for disk in machine.disks if _is_full(disk)]
    closed = [disk for disk in machine.disks if disk.writable is False and disk.purpose != "working directory"]
    yield from map(_full, full)
    yield from map(_closed, closed)
    if not full and not closed:
        least = min(machine.disks, key=lambda disk: disk.free_bytes)
        free = gib(least.free_bytes)
        summary = tr(f"the least free: {free} for {least.purpose}", f"剩余最少的是{_in_chinese(least)}所在的磁盘：{free}")
        yield Finding(status=Status.PASS, summary=summary)


def _full(disk: Disk) -> Finding:
    free = gib(disk.free_bytes)
    left = (
        tr("has no free file entries", "没有空闲的 inode") if disk.free_files == 0 else tr(f"has {free} free", f"只剩 {free}")
    )
    return Finding(
        status=Status.WARN,
        summary=tr(f"the disk of {disk.purpose} {left}: {disk.path}", f"{_in_chinese(disk)}所在的磁盘{left}：{disk.path}"),
        evidence=(Evidence(fact=disk.path, value=disk.free_bytes, read_from="statvfs"),),
        remedies=(
            Remedy(
                text=tr("See what fills it.", "看看是什么占满了它。"),
                commands=(f"du -xh --max-depth=2 {disk.path} | sort -h | tail",),
                risk=Risk.READ_ONLY,
            ),
            Remedy(
                text=tr(
                    "Empty caches, or move them by HF_HOME, PIP_CACHE_DIR, TRITON_CACHE_DIR, TMPDIR.",
                    "清理缓存，或用 HF_HOME、PIP_CACHE_DIR、TRITON_CACHE_DIR、TMPDIR 把缓存移到别处。",
                ),
                commands=("pip cache purge",),
            ),
        ),
    )


def _closed(disk: Disk) -> Finding:
    return Finding(
        status=Status.WARN,
        summary=tr(f"{disk.purpose} cannot be written to: {disk.path}", f"{_in_chinese(disk)}不可写：{disk.path}"),
        why=tr(
            "Downloads, compiled kernels and temporary files go there.", "下载的文件、编译出的 GPU 内核和临时文件都要写到那里。"
        ),
        evidence=(Evidence(fact=disk.path, value="not writable", read_from="access"),),
        remedies=(
            Remedy(
                text=tr("Name another directory.", "指定另一个目录。"),
                commands=("export HF_HOME=DIRECTORY TRITON_CACHE_DIR=DIRECTORY",),
            ),
        ),
    )


def _in_chinese(disk: Disk) -> str:
    """What the disk is for; a variable's name, such as HF_HOME, is one in every language."""
    known = {"home": "主目录", "working directory": "工作目录", "temporary files": "临时文件"}
    return known.get(disk.purpose, f"{disk.purpose} ")


def _is_full(disk: Disk) -> bool:
    little = disk.free_bytes < _FULL and disk.free_bytes < disk.total_bytes / 10
    return disk.free_files == 0 or (
        disk.total_bytes > _HOLDS_LITTLE and (little or disk.free_bytes < disk.total_bytes * _FULL_SHARE / 10)
    )
