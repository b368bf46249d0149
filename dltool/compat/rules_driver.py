"""Rules of the driver: which GPUs it drives, and which CUDA it runs."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.compat import drivers
from dltool.compat.gpucode import TEGRA, is_known
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, noted, rule, seen, unknown
from dltool.compat.versions import known_version, major, version
from dltool.lang import tr
from dltool.results import Evidence, Finding, Risk, Scope

_ONE_PLATFORM = 13
"""CUDA from which on Jetson and server GPUs share their drivers' numbers."""


@rule("gpu-known")
def gpu_known(question: Question) -> Iterator[Finding]:
    """A compute capability that no known GPU has says nothing certain."""
    for capability in question.compute_capabilities:
        if not is_known(capability):
            yield unknown(
                tr(
                    f"no GPU of compute capability {capability} is in the tables",
                    f"数据表中没有计算能力 {capability} 的 GPU",
                ),
                asked("compute capability", capability),
            )


@rule("driver-drives-gpu")
def driver_drives_gpu(question: Question) -> Iterator[Finding]:
    """A driver branch drives the GPUs from one compute capability to another."""
    if question.driver is None or question.tegra:
        return
    branch = drivers.driver_branch(question.driver)
    for capability in question.compute_capabilities:
        if not is_known(capability):
            continue  # said by the rule before
        if capability in TEGRA:
            yield noted(
                tr(
                    f"the driver of a GPU of compute capability {capability} comes with its system (JetPack)",
                    f"计算能力 {capability} 的 GPU 的驱动随其系统（JetPack）提供",
                )
            )
        elif branch is None and drivers.is_newer_than_data(question.driver):
            yield _beyond(question.driver, capability)
        elif branch is None or not branch["min_cc"]:
            yield unknown(not_listed(question.driver), asked("driver", question.driver))
        else:
            yield _within(question.driver, branch, capability)


def not_listed(driver: str) -> str:
    """That a driver is of no branch of the table."""
    return tr(f"driver {driver} is not in the table of branches", f"分支表中没有驱动 {driver}")


def _beyond(driver: str, capability: str) -> Finding:
    last = drivers.branches_for(capability)
    latest = drivers.branches_for("7.5")[-1]["branch"]
    if last and last[-1]["branch"] != latest and int(last[-1]["branch"]) < int(latest):
        return _dropped(driver, last[-1]["branch"], capability, last[-1]["source"])
    return unknown(
        tr(
            f"driver {driver} is newer than this data, which ends with branch {latest}",
            f"驱动 {driver} 比本数据新，数据到 {latest} 分支为止",
        ),
        asked("driver", driver),
        why=tr(
            f"Branch {latest} drives compute capability {capability}; later ones are not known here.",
            f"{latest} 分支支持计算能力 {capability}；更新的分支这里不了解。",
        )
        if last
        else "",
    )


def _within(driver: str, branch: dict[str, str], capability: str) -> Finding:
    evidence = (
        asked("driver", driver),
        seen(
            f"branch {branch['branch']} drives",
            f"{branch['min_cc']} to {branch['max_cc']}",
            "driver_branches",
            branch["source"],
        ),
    )
    device = version(capability)
    if device < version(branch["min_cc"]):
        last = drivers.branches_for(capability)
        return _dropped(driver, last[-1]["branch"] if last else None, capability, branch["source"])
    if device > version(branch["max_cc"]):
        return broken(
            tr(
                f"driver {driver} is older than GPUs of compute capability {capability}",
                f"驱动 {driver} 早于计算能力 {capability} 的 GPU",
            ),
            *evidence,
            why=tr("A driver knows the GPUs that existed when its branch began.", "驱动只认识其分支开始时已有的 GPU。"),
            fix=_later_branch(capability),
            risk=Risk.ROOT,
            scope=Scope.HOST,
        )
    return good(
        tr(
            f"driver branch {branch['branch']} drives compute capability {capability}",
            f"驱动分支 {branch['branch']} 支持计算能力 {capability}",
        ),
        *evidence,
    )


def _later_branch(capability: str) -> str:
    branches = drivers.branches_for(capability)
    if not branches:
        return tr("Install a later driver.", "安装更新的驱动。")
    first = branches[0]["branch"]
    return tr(f"Install driver branch {first} or later.", f"安装 {first} 或更新分支的驱动。")


def _dropped(driver: str, last: str | None, capability: str, source: str) -> Finding:
    return broken(
        tr(
            f"driver {driver} no longer drives GPUs of compute capability {capability}",
            f"驱动 {driver} 已不再支持计算能力 {capability} 的 GPU",
        ),
        asked("driver", driver),
        seen("last branch", last, "driver_branches", source),
        why=tr(
            "NVIDIA ended the support of this architecture with an earlier branch.",
            "NVIDIA 在更早的分支之后就停止了对该架构的支持。",
        ),
        fix=tr(f"Stay on driver branch {last}.", f"继续使用 {last} 分支的驱动。")
        if last
        else tr("Take an older driver branch.", "使用更旧的驱动分支。"),
        risk=Risk.ROOT,
        scope=Scope.HOST,
    )


@rule("driver-runs-cuda")
def driver_runs_cuda(question: Question) -> Iterator[Finding]:
    """A driver runs the programs of its own CUDA and older ones; within one major from CUDA 11 on, newer ones too."""
    if question.driver is None:
        return
    if question.cuda_of_torch is not None:
        yield _runs(question, tr("PyTorch", " PyTorch 的"), question.cuda_of_torch)
    if question.cuda is not None:
        yield _runs(question, tr("the toolkit", "工具包的"), question.cuda)


def _runs(question: Question, what: str, cuda: str) -> Finding:
    system = "Windows" if question.windows_driver else "Linux"
    floor = drivers.driver_floor(cuda, windows=question.windows_driver)
    have = known_version(question.driver)
    if floor is None or have is None:
        return unknown(
            tr(
                f"the least {system} driver for CUDA {cuda} is not in the table",
                f"数据表中没有 CUDA {cuda} 所需的最低 {system} 驱动",
            ),
            asked("CUDA", cuda),
        )
    evidence = (
        asked("driver", question.driver),
        seen(f"least {system} driver for CUDA {cuda}", floor.floor, "cuda", floor.source),
    )
    if question.tegra and (of_tegra := _on_tegra(question, cuda, have.major >= version(floor.floor).major, evidence)):
        return of_tegra
    if have >= version(floor.floor):
        return _new_enough(question, what, cuda, floor, evidence)
    if drivers.lifts(question.compat_package, question.driver, cuda):
        return good(
            tr(
                f"driver {question.driver} runs CUDA {cuda} of {what} through {question.compat_package}",
                f"驱动 {question.driver} 借助 {question.compat_package} 可以运行{what} CUDA {cuda}",
            ),
            *evidence,
        )
    return broken(
        tr(
            f"driver {question.driver} is too old for CUDA {cuda} of {what}",
            f"驱动 {question.driver} 对{what} CUDA {cuda} 来说太旧",
        ),
        *evidence,
        why=tr(
            f"Programs of CUDA {cuda} need a {system} driver from {floor.floor} on.",
            f"CUDA {cuda} 的程序需要 {floor.floor} 或更新的 {system} 驱动。",
        ),
        fix=tr(
            f"Install driver {floor.floor} or later, or take a build for an older CUDA.",
            f"安装 {floor.floor} 或更新的驱动，或改用针对较旧 CUDA 的构建。",
        ),
        risk=Risk.ROOT,
        scope=Scope.HOST,
    )


def _new_enough(
    question: Question, what: str, cuda: str, floor: drivers.DriverFloor, evidence: tuple[Evidence, ...]
) -> Finding:
    have, own = known_version(question.driver), known_version(floor.own)
    if own is not None and have is not None and have < own:
        summary = tr(
            f"driver {question.driver} runs CUDA {cuda} of {what} by minor-version compatibility",
            f"驱动 {question.driver} 凭次版本兼容可以运行{what} CUDA {cuda}",
        )
    else:
        summary = tr(
            f"driver {question.driver} runs CUDA {cuda} of {what} by its own CUDA or a newer one",
            f"驱动 {question.driver} 自带的 CUDA 足够新，可以运行{what} CUDA {cuda}",
        )
    why = tr(
        f"CUDA {cuda} came with driver {floor.own}; all of CUDA {major(cuda)}.x runs from {floor.floor} on.",
        f"CUDA {cuda} 随驱动 {floor.own} 发布；整个 CUDA {major(cuda)}.x 从 {floor.floor} 起都能运行。",
    )
    return good(summary, *evidence, why=why if own else "")


def _on_tegra(question: Question, cuda: str, of_its_branch: bool, evidence: tuple[Evidence, ...]) -> Finding | None:
    """A Jetson, whose driver comes with its system."""
    if of_its_branch:
        return noted(
            tr(
                f"driver {question.driver} of this Tegra is of the branch that runs CUDA {cuda}",
                f"这台 Tegra 的驱动 {question.driver} 属于能运行 CUDA {cuda} 的分支",
            ),
            *evidence,
        )
    if major(cuda) >= _ONE_PLATFORM:
        return None
    return noted(
        tr(
            f"which drivers of a Tegra run CUDA {cuda} is bound to its JetPack, not to this table",
            f"Tegra 的哪些驱动能运行 CUDA {cuda} 取决于其 JetPack，而不是本表",
        ),
        *evidence,
    )
