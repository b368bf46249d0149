"""NVIDIA's library wheels in the environment: one set, for one CUDA major."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from msgspec.structs import replace

from dltool import compat
from dltool.checks import check
from dltool.checks.packages import installed_torch, listed, no_python, pip, pip_uninstall, question, same_torch, unread
from dltool.compat import rules_nccl
from dltool.lang import tr
from dltool.machine import Machine, PythonEnv
from dltool.results import Evidence, Finding, Remedy, Status

_SHOWN = 4


@check(
    "nvidia-wheels-mixed",
    caused_by=("environment-broken",),
    zh="""环境中是否只有一套 NVIDIA 库 wheel，而且只对应一个 CUDA 主版本？

    两套 wheel（nvidia-cudnn-cu11 与 nvidia-cudnn-cu12 并存）会把同名文件放进同一个目录；加载哪个全凭运气，于是会缺少符号。
    同一个软件包出现两个版本，则是安装中断的残留。比构建 PyTorch 时更旧的 NCCL 缺少它要调用的函数。

    解决：新建一个环境，或卸载其中一整套，再用 `pip install --force-reinstall` 重新安装 torch：两套拥有相同的文件，
    卸载一套会带走另一套的文件。

    预防：不要在已有的环境里更换 PyTorch 的 CUDA 主版本，而要重建环境。每次安装后用 `pip list | grep nvidia-`
    查看是否只有一种 -cu 后缀。
    """,
)
def nvidia_wheels_mixed(machine: Machine) -> Iterator[Finding]:
    """Does the environment hold one set of NVIDIA's library wheels, for one CUDA major?

    Two sets (nvidia-cudnn-cu11 beside nvidia-cudnn-cu12) put files of the same names into the same directory; which one
    loads is chance, and symbols are missing. Two versions of one distribution are the rest of an interrupted installation. An
    NCCL older than the one that PyTorch was built with lacks functions that it calls.

    Mend: make a fresh environment, or uninstall all of one set and then install torch again with
    `pip install --force-reinstall`: both sets own the same files, so that removing one takes files of the other with it.

    Prevent: do not change the CUDA major of PyTorch inside an environment, but make it anew. After an installation look
    with `pip list | grep nvidia-` whether there is one -cu suffix only.

    See: https://docs.nvidia.com/cuda/cuda-installation-guide-linux/ https://pytorch.org/get-started/locally/
    """
    python = machine.python
    if python is None:
        yield unread(machine) or no_python()
        return
    parts = _by_part(python)
    old = list(_old_nccl(machine, python))
    clashing = sorted(wheel for wheels in parts.values() if len(wheels) > 1 for wheel in wheels)
    if clashing:
        yield _mixed(machine, python, clashing)
    elif old:
        yield from old
    else:
        count = len(parts)
        summary = (
            tr(f"{count} NVIDIA library wheels, one of each", f"{count} 个 NVIDIA 库 wheel，每种各一个")
            if count
            else tr("no NVIDIA library wheels", "没有 NVIDIA 库 wheel")
        )
        yield Finding(status=Status.PASS, summary=summary)


def _old_nccl(machine: Machine, python: PythonEnv) -> Iterator[Finding]:
    """The NCCL wheel for this CUDA, where it is of an earlier minor version than PyTorch pins."""
    torch = installed_torch(machine)
    major = torch.cuda.partition(".")[0] if torch and torch.cuda else ""
    wheel = python.distribution(f"nvidia-nccl-cu{major}")
    row = compat.torch_release(torch.version) if torch else None
    pinned, have = compat.known_version(row["nccl"] if row else None), compat.known_version(wheel.version if wheel else None)
    recorded = python.distribution("torch")  # what is imported must be what pip brought these wheels for
    if torch is None or recorded is None or recorded.version.partition("+")[0] != torch.version.partition("+")[0]:
        return
    if wheel is None or pinned is None or have is None or have.release[:2] >= pinned.release[:2]:
        return
    for finding in rules_nccl.nccl(question(machine, {wheel.name: wheel.version})):
        if finding.status.is_problem:
            again = (f'{pip(python)} "{wheel.name}=={pinned}"',)
            fix = Remedy(text=tr("Install the one that PyTorch pins.", "安装 PyTorch 所固定的版本。"), commands=again)
            yield replace(finding, status=Status.FAIL, evidence=(listed(wheel), *finding.evidence), remedies=(fix,))


def _by_part(python: PythonEnv) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Names and versions of the wheels that write one library's files into one directory (another is not overwritten)."""
    parts: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for found in python.distributions:
        match = re.fullmatch(r"(nvidia-[a-z-]+?)-cu(\d+)", found.name)
        if match and found.installer != "conda":
            parts[found.location, match[1]].add((found.name, found.version))
    return parts


def _mixed(machine: Machine, python: PythonEnv, clashing: list[tuple[str, str]]) -> Finding:
    wheels = sorted({name for name, _ in clashing})
    several = len({name.rpartition("-")[2] for name in wheels}) > 1
    shown = ", ".join(wheels[:_SHOWN])
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"NVIDIA library wheels for several CUDA versions share one directory: {shown}",
            f"多个 CUDA 版本的 NVIDIA 库 wheel 共用一个目录：{shown}",
        )
        if several
        else tr(f"two versions of {shown} are installed", f"{shown} 安装了两个版本"),
        why=tr(
            "They overwrite each other's files, so PyTorch loads libraries of a version that it was not built with.",
            "它们会互相覆盖文件，因此 PyTorch 加载的库并不是构建时所用的版本。",
        ),
        evidence=tuple(Evidence(fact=name, value=version, read_from="distribution metadata") for name, version in clashing),
        remedies=(_one_set(machine, python, wheels),),
    )


def _one_set(machine: Machine, python: PythonEnv, wheels: list[str]) -> Remedy:
    torch = installed_torch(machine)
    wanted = torch.cuda.partition(".")[0] if torch and torch.cuda else None
    extra = [name for name in wheels if wanted and not name.endswith(f"-cu{wanted}")]
    return Remedy(
        text=tr(
            "Make a fresh environment, or remove all of one set and reinstall (both sets own the same files).",
            "新建一个环境，或卸载其中一整套再重新安装（两套拥有相同的文件）。",
        ),
        commands=(
            f"{pip_uninstall(python)} {' '.join(extra or wheels)}",
            f"{pip(python)} --force-reinstall {same_torch(torch) if torch else 'PACKAGE'}",
        ),
    )
