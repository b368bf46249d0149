"""Rules of what a driver gets from newer CUDA: forward-compatibility packages, and PTX that it must compile."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.compat import drivers
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, limited, noted, rule, seen, unknown
from dltool.compat.rules_driver import not_listed
from dltool.compat.versions import known_version, version
from dltool.lang import tr
from dltool.results import Finding, Risk, Scope

_ALL_DATACENTER = frozenset({"6.0", "7.0", "8.0", "9.0", "10.0", "10.3"})
"""Compute capabilities that no GeForce has."""


@rule("forward-compatibility")
def forward_compatibility(question: Question) -> Iterator[Finding]:
    """cuda-compat packages serve older branches, on data-centre GPUs and Linux only."""
    if question.compat_package is None:
        return
    package = drivers.forward_package(question.compat_package)
    if package is None:
        told = tr(f"{question.compat_package} is not in the table", f"数据表中没有 {question.compat_package}")
        yield unknown(told, asked("package", question.compat_package))
        return
    yield from _served(question, package)
    if question.driver is not None:
        yield _state(package, question.driver)


def _served(question: Question, package: dict[str, str]) -> Iterator[Finding]:
    """Is it for this system and this GPU?"""
    evidence = (
        asked("package", package["package"]),
        seen("serves branches", package["works_from_branches"], "forward_compat", package["source"]),
    )
    others = [segment for segment in question.gpu_segments if segment not in ("datacenter", "superchip", "jetson")]
    if question.os != "linux":
        yield broken(
            tr("forward-compatibility packages are for Linux only", "前向兼容包只用于 Linux"),
            *evidence,
            why=tr("NVIDIA publishes none for others.", "NVIDIA 没有为其他系统发布。"),
            fix=tr("Install a newer driver.", "安装更新的驱动。"),
            risk=Risk.ROOT,
            scope=Scope.HOST,
        )
    elif others:
        yield broken(
            tr(
                f"{package['package']} does not serve this GPU ({others[0]}): error 804",
                f"{package['package']} 不支持该 GPU（{others[0]}）：错误 804",
            ),
            *evidence,
            why=tr(
                "Forward compatibility is for data-centre GPUs, some RTX boards of NGC-ready servers, and Jetson.",
                "前向兼容只适用于数据中心 GPU、NGC-Ready 服务器中的部分 RTX 卡以及 Jetson。",
            ),
            fix=tr(
                "Remove the package from LD_LIBRARY_PATH and install a newer driver.",
                "从 LD_LIBRARY_PATH 中去掉该包，并安装更新的驱动。",
            ),
            risk=Risk.ROOT,
            scope=Scope.HOST,
        )
    elif not question.gpu_segments and set(question.compute_capabilities) - _ALL_DATACENTER:
        yield limited(
            tr(
                f"{package['package']} serves data-centre GPUs only, and whether this is one was not said",
                f"{package['package']} 只支持数据中心 GPU，而没有说明这里是不是",
            ),
            *evidence,
            why=tr("On a GeForce the program ends with error 804.", "在 GeForce 上程序会以错误 804 结束。"),
            fix=tr("Name the GPU: --gpu A10.", "指明 GPU：--gpu A10。"),
        )


def _state(package: dict[str, str], driver: str) -> Finding:
    """How the package stands to the driver's branch."""
    name, cuda = package["package"], package["cuda"]
    evidence = (
        asked("driver", driver),
        seen("serves branches", package["works_from_branches"], "forward_compat", package["source"]),
    )
    state = drivers.forward_state(package, driver)
    if state == "works":
        first = tr("Its folder must come first in LD_LIBRARY_PATH.", "它的目录必须排在 LD_LIBRARY_PATH 的最前面。")
        return good(tr(f"{name} serves driver {driver}", f"{name} 支持驱动 {driver}"), *evidence, why=first)
    if state == "not_needed":
        told = tr(
            f"driver {driver} has CUDA {cuda} itself: {name} is not needed", f"驱动 {driver} 自带 CUDA {cuda}：不需要 {name}"
        )
        return noted(told, *evidence)
    if state == "ended":
        return limited(
            tr(f"{name} served driver {driver}, whose branch has ended", f"{name} 曾支持驱动 {driver}，但该分支已终止"),
            *evidence,
            why=tr("NVIDIA lists living branches only.", "NVIDIA 只列出仍受支持的分支。"),
            fix=tr("Move to a branch that is supported.", "换到仍受支持的分支。"),
        )
    if state == "unsupported":
        return broken(
            tr(f"{name} is older than driver {driver}: error 803", f"{name} 比驱动 {driver} 旧：错误 803"),
            *evidence,
            why=tr(
                "A compat package that is older than the driver takes the place of a newer libcuda.",
                "比驱动旧的兼容包会取代较新的 libcuda。",
            ),
            fix=tr(f"Remove {name}: the driver runs CUDA {cuda} by itself.", f"移除 {name}：驱动自身就能运行 CUDA {cuda}。"),
            risk=Risk.ROOT,
        )
    if drivers.driver_branch(driver) is None:
        return unknown(not_listed(driver), *evidence)
    return limited(
        tr(f"NVIDIA does not list driver {driver} for {name}", f"NVIDIA 没有把驱动 {driver} 列为 {name} 支持的驱动"),
        *evidence,
        why=tr(
            "Packages serve the production and long-term branches that are listed; others are not supported.",
            "这些包只支持列出的生产分支和长期支持分支，其他分支不受支持。",
        ),
        fix=tr(
            "Move to a listed branch, or install a driver that has this CUDA itself.",
            "换到列出的分支，或安装自带该 CUDA 的驱动。",
        ),
    )


@rule("extension-ptx")
def extension_ptx(question: Question) -> Iterator[Finding]:
    """The driver compiles PTX only of its own CUDA and older: minor-version compatibility does not reach it."""
    cuda = question.extension_ptx
    if cuda is None or question.driver is None:
        return
    floor, have = drivers.driver_floor(cuda, windows=question.windows_driver), known_version(question.driver)
    if floor is None or floor.own is None or have is None:
        yield unknown(
            tr(f"the driver that came with CUDA {cuda} is not in the table", f"数据表中没有随 CUDA {cuda} 发布的驱动")
        )
        return
    evidence = (asked("driver", question.driver), seen(f"driver of CUDA {cuda}", floor.own, "cuda", floor.source))
    if have >= version(floor.own) or drivers.lifts(question.compat_package, question.driver, cuda, exactly=True):
        told = tr(f"driver {question.driver} compiles PTX of CUDA {cuda}", f"驱动 {question.driver} 能编译 CUDA {cuda} 的 PTX")
        yield good(told, *evidence)
        return
    yield limited(
        tr(
            f"PTX of CUDA {cuda} is newer than the compiler in driver {question.driver}",
            f"CUDA {cuda} 的 PTX 比驱动 {question.driver} 内的编译器新",
        ),
        *evidence,
        why=tr(
            "CUDA_ERROR_UNSUPPORTED_PTX_VERSION: PTX runs under the driver of its own toolkit or a later one.",
            "CUDA_ERROR_UNSUPPORTED_PTX_VERSION：PTX 只能在其工具包自带的驱动或更新的驱动上运行。",
        ),
        fix=tr(
            f"Build machine code for the GPU (TORCH_CUDA_ARCH_LIST), or install driver {floor.own} or later; "
            "on data-centre GPUs a cuda-compat package helps too.",
            f"为该 GPU 编译机器码（TORCH_CUDA_ARCH_LIST），或安装驱动 {floor.own} 或更新；"
            "在数据中心 GPU 上 cuda-compat 包也有用。",
        ),
    )
