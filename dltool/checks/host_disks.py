"""The disks that training writes to: room on them, and whether they are of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool.checks import check
from dltool.lang import tr
from dltool.machine import Disk, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status
from dltool.units import gib

_NETWORK = re.compile(r"nfs\d?|cifs|smb\d?|fuse\.sshfs|lustre|beegfs|gpfs|ceph|fuse\.s3fs|afs|glusterfs|fuse\.glusterfs")
_WINDOWS = re.compile(r"9p|drvfs|v9fs")
_FULL = 2**30
_FULL_SHARE = 0.001
_HOLDS_LITTLE = 2**30
"""A file system that is smaller in whole is meant to be."""


@check(
    "disk-full",
    zh="""存放主目录、临时文件和各种缓存的磁盘还有没有空间？

    下载、检查点和编译出的核函数会把它们填满：出现“No space left on device”、写了一半的检查点、只装了一部分的 wheel。
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
            "Downloads, compiled kernels and temporary files go there.", "下载的文件、编译出的核函数和临时文件都要写到那里。"
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
        disk.total_bytes > _HOLDS_LITTLE and (little or disk.free_bytes < disk.total_bytes * _FULL_SHARE)
    )


@check(
    "files-on-network",
    zh="""Python 环境、缓存和临时文件是否在本地磁盘上？

    网络文件系统（NFS、Lustre 等）上的环境要打开上万个小文件，`import torch` 可能要几十秒；Triton 和 TorchInductor 的编译缓
    存依赖文件锁，多机同时使用时会卡住或损坏。WSL 中 /mnt/c 下的文件要经过 Windows，同样很慢。很多集群就是这样配置的，所以只
    作提示。

    解决：把环境建在本地盘，并用 `export TRITON_CACHE_DIR=/tmp/$USER/triton TORCHINDUCTOR_CACHE_DIR=/tmp/$USER/inductor`
    把缓存移到本地；在 WSL 中把项目放到 Linux 的家目录下。

    预防：用容器镜像或打包好的环境（conda-pack）分发，作业开始时解压到本地盘。""",
)
def files_on_network(machine: Machine) -> Iterator[Finding]:
    """Are the Python environment, the caches and temporary files on a disk of this machine?

    An environment has ten thousands of small files: over NFS or Lustre `import torch` can take tens of seconds. The compile
    caches of Triton and TorchInductor rely on file locks, and hang or break when several nodes share them. Under WSL files
    below /mnt/c take the way through Windows, as slowly. Many clusters are built so: this is only noted.

    Mend: make the environment on a local disk, and move the caches there: `export TRITON_CACHE_DIR=/tmp/$USER/triton
    TORCHINDUCTOR_CACHE_DIR=/tmp/$USER/inductor`. Under WSL keep projects in the Linux home.

    Prevent: hand environments out as container images or packed (conda-pack), unpacked to a local disk when a job starts.

    See: https://docs.kernel.org/filesystems/nfs/index.html https://learn.microsoft.com/en-us/windows/wsl/filesystems
    """
    known = [disk for disk in machine.disks if disk.file_system]
    far = [disk for disk in known if _NETWORK.fullmatch(disk.file_system or "") or _from_windows(machine, disk.file_system)]
    telling = [disk for disk in far if disk.purpose != "working directory" or _from_windows(machine, disk.file_system)]
    if not known:
        yield Finding(status=Status.SKIP, summary=tr("which file systems these are is not known", "文件系统类型未知"))
    elif telling:
        named = ", ".join(f"{disk.purpose} ({disk.file_system})" for disk in telling)
        in_chinese = "、".join(f"{_in_chinese(disk).strip()}（{disk.file_system}）" for disk in telling)
        yield Finding(
            status=Status.INFO,
            summary=tr(f"not on a local disk: {named}", f"不在本地磁盘上：{in_chinese}"),
            why=tr(
                "Imports are slow there, and compile caches that several nodes share can hang or break.",
                "在那里导入模块很慢，多个节点共用的编译缓存可能卡住或损坏。",
            ),
            evidence=tuple(Evidence(fact=one.path, value=one.file_system, read_from="/proc/self/mounts") for one in telling),
        )
    else:
        yield Finding(status=Status.PASS, summary=tr("environment and caches are on local disks", "环境和缓存都在本地磁盘上"))


def _from_windows(machine: Machine, file_system: str | None) -> bool:
    return machine.os.wsl and bool(_WINDOWS.fullmatch(file_system or ""))
