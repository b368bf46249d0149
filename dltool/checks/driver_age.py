"""The driver beside PyTorch's CUDA: new enough for it."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import install_driver
from dltool.checks.packages import install_torch, installed_torch
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status


@check(
    "driver-too-old",
    caused_by=("driver-missing", "driver-version-mismatch", "driver-not-answering"),
    zh="""驱动对 PyTorch 构建时所用的 CUDA 来说够新吗？

    在同一个 CUDA 主版本之内，从该主版本的最低驱动起，驱动可以运行所有次版本的程序（次版本兼容）；但绝不能运行更新主版本的程序。
    此时 torch 会警告驱动太旧，并改用 CPU。

    解决：要么安装为较旧 CUDA 构建的 PyTorch，不需要管理员权限（`pip install torch --index-url URL`，URL 的末尾例如是 cu118 或
    cu126）；要么把驱动更新到所需的版本并重启。在容器中要更新的是宿主机的驱动，在 WSL 中是 Windows 的驱动。

    预防：升级 PyTorch 之前，用 `nvidia-smi` 查看驱动支持的 CUDA，并选择主版本不高于它的构建。在共享的机器上固定 torch 的构建，
    因为 pip 默认的构建会随新版本换到更新的 CUDA。
    """,
)
def driver_too_old(machine: Machine) -> Iterator[Finding]:
    """Is the driver new enough for the CUDA that PyTorch was built with?

    Within one CUDA major a driver runs programs of every minor version from the floor of that major on (minor-version
    compatibility); it never runs those of a newer major. torch then warns that the driver is too old and uses the CPU.

    Mend: either install a PyTorch built for an older CUDA, for which nobody need be administrator
    (`pip install torch --index-url URL`, where the URL ends in cu118 or cu126, say), or update the driver to the version that
    is needed and restart. In a container it is the host's driver that counts, in WSL that of Windows.

    Prevent: before upgrading PyTorch see with `nvidia-smi` which CUDA the driver supports, and choose a build of no newer
    major. Pin the build of torch on machines that are shared: pip's default build moves on to newer CUDA with new releases.

    See: https://docs.nvidia.com/deploy/cuda-compatibility/ https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/
    """
    torch = installed_torch(machine)
    if torch is None or torch.cuda is None:
        summary = tr("no PyTorch with CUDA is installed", "没有安装带 CUDA 的 PyTorch")
        yield Finding(status=Status.SKIP, summary=summary)
    elif not machine.gpus and machine.driver.version is None:
        yield Finding(status=Status.SKIP, summary=tr("no driver answers", "没有驱动响应"))
    elif "/compat/" in (machine.driver.libcuda or ""):
        yield Finding(
            status=Status.UNKNOWN,
            summary=tr(
                "a forward-compatibility libcuda is in use, which may run newer CUDA than the driver",
                "正在使用前向兼容的 libcuda，它可能运行比驱动更新的 CUDA",
            ),
            evidence=(Evidence(fact="libcuda", value=machine.driver.libcuda, read_from="dynamic loader"),),
        )
    else:
        yield _compared(machine, torch.cuda, torch.location)


def _compared(machine: Machine, cuda: str, location: str) -> Finding:
    """The driver against the floor of the CUDA that PyTorch was built with."""
    driver = machine.driver.version
    floor, have = compat.driver_floor(cuda, windows=machine.os.wsl), compat.known_version(driver)
    evidence = (
        Evidence(fact="driver", value=driver, read_from="NVML"),
        Evidence(fact="torch built with CUDA", value=cuda, read_from=f"{location}/version.py"),
        Evidence(
            fact="needs driver",
            value=floor.floor if floor else None,
            read_from="catalog: " + (floor.source if floor else "no row"),
        ),
    )
    if have is None:
        summary = tr(
            f"cannot tell whether the driver suits CUDA {cuda}: the driver's version is not known",
            f"无法判断驱动是否适合 CUDA {cuda}：驱动版本未知",
        )
        return Finding(status=Status.UNKNOWN, summary=summary, evidence=evidence)
    if floor is None:
        summary = tr(
            f"cannot tell whether the driver suits CUDA {cuda}: CUDA {cuda} is not in the tables",
            f"无法判断驱动是否适合 CUDA {cuda}：表格中没有 CUDA {cuda}",
        )
        return Finding(status=Status.UNKNOWN, summary=summary, evidence=evidence)
    if have >= compat.version(floor.floor):
        by_minor = bool(floor.own and have < compat.version(floor.own))
        how = tr(" by minor-version compatibility", "（靠次版本兼容）") if by_minor else ""
        summary = tr(f"driver {driver} runs CUDA {cuda}{how}", f"驱动 {driver} 可以运行 CUDA {cuda}{how}")
        return Finding(status=Status.PASS, summary=summary, evidence=evidence)
    wanted = tr(f"{floor.floor} or newer", f" {floor.floor} 或更新版本")
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"driver {driver} is too old for PyTorch's CUDA {cuda}: that needs {floor.floor}",
            f"驱动 {driver} 对 PyTorch 的 CUDA {cuda} 来说太旧：至少需要 {floor.floor}",
        ),
        why=tr(
            "torch.cuda.is_available() is False and programs run on the CPU, often with only a warning.",
            "torch.cuda.is_available() 为 False，程序在 CPU 上运行，往往只给出一条警告。",
        ),
        evidence=evidence,
        remedies=(*_older_torch(machine), *newer_driver(machine, wanted)),
    )


def _older_torch(machine: Machine) -> Iterator[Remedy]:
    why = tr(
        "Install the newest PyTorch that this driver runs (no administrator needed).",
        "安装这个驱动能运行的最新 PyTorch（不需要管理员权限）。",
    )
    return install_torch(machine, why=why)


def newer_driver(machine: Machine, wanted: str) -> tuple[Remedy, ...]:
    """How to get a newer driver, where that can be done from here.

    Args:
        machine: the facts.
        wanted: which one, in words that follow "update the driver to"; in Chinese with the space before a digit.
    """
    if machine.os.container or machine.os.wsl:
        where = tr("Windows host", " Windows 主机") if machine.os.wsl else tr("host", "宿主机")
        text = tr(f"Update the driver of the {where} to {wanted}.", f"更新{where}的驱动到{wanted}。")
        return (Remedy(text=text, risk=Risk.ROOT),)
    return tuple(
        Remedy(
            text=tr(f"Or update the driver to {wanted}. {remedy.text}", f"或者把驱动更新到{wanted}。{remedy.text}"),
            commands=remedy.commands,
            risk=remedy.risk,
        )
        for remedy in install_driver(machine)
    )
