"""Rules of the driver: which GPUs it drives, which CUDA it runs, and what a forward-compatibility package lifts."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.compat import drivers
from dltool.compat.gpucode import TEGRA, is_known
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, limited, noted, rule, seen, unknown
from dltool.compat.versions import known_version, major, minor, version
from dltool.results import Finding, Risk, Scope

_ONE_PLATFORM = 13
"""CUDA from which on Jetson and server GPUs share their drivers' numbers."""
_OPEN_FROM = 515
"""First branch with open kernel modules."""
_ALL_DATACENTER = frozenset({"6.0", "7.0", "8.0", "9.0", "10.0", "10.3"})
"""Compute capabilities that no GeForce has."""


@rule("gpu-known")
def gpu_known(question: Question) -> Iterator[Finding]:
    """A compute capability that no known GPU has says nothing certain."""
    for capability in question.compute_capabilities:
        if not is_known(capability):
            yield unknown(
                f"no GPU of compute capability {capability} is in the tables", asked("compute capability", capability)
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
            yield noted(f"the driver of a GPU of compute capability {capability} comes with its system (JetPack)")
        elif branch is None and drivers.is_newer_than_data(question.driver):
            yield _beyond(question.driver, capability)
        elif branch is None or not branch["min_cc"]:
            yield unknown(f"driver {question.driver} is not in the table of branches", asked("driver", question.driver))
        else:
            yield _within(question.driver, branch, capability)


def _beyond(driver: str, capability: str) -> Finding:
    last = drivers.branches_for(capability)
    latest = drivers.branches_for("7.5")[-1]["branch"]
    if last and last[-1]["branch"] != latest and int(last[-1]["branch"]) < int(latest):
        return _dropped(driver, last[-1]["branch"], capability, last[-1]["source"])
    return unknown(
        f"driver {driver} is newer than this data, which ends with branch {latest}",
        asked("driver", driver),
        why=f"Branch {latest} drives compute capability {capability}; later ones are not known here." if last else "",
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
        first = drivers.branches_for(capability)
        fix = f"Install driver branch {first[0]['branch']} or later." if first else "Install a later driver."
        return broken(
            f"driver {driver} is older than GPUs of compute capability {capability}",
            *evidence,
            why="A driver knows the GPUs that existed when its branch began.",
            fix=fix,
            risk=Risk.ROOT,
            scope=Scope.HOST,
        )
    return good(f"driver branch {branch['branch']} drives compute capability {capability}", *evidence)


def _dropped(driver: str, last: str | None, capability: str, source: str) -> Finding:
    return broken(
        f"driver {driver} no longer drives GPUs of compute capability {capability}",
        asked("driver", driver),
        seen("last branch", last, "driver_branches", source),
        why="NVIDIA ended the support of this architecture with an earlier branch.",
        fix=f"Stay on driver branch {last}." if last else "Take an older driver branch.",
        risk=Risk.ROOT,
        scope=Scope.HOST,
    )


@rule("driver-runs-cuda")
def driver_runs_cuda(question: Question) -> Iterator[Finding]:
    """A driver runs the programs of its own CUDA and older ones; within one major from CUDA 11 on, newer ones too."""
    if question.driver is None:
        return
    for what, cuda in (("PyTorch", question.cuda_of_torch), ("the toolkit", question.cuda)):
        if cuda is not None:
            yield _runs(question, what, cuda)


def _runs(question: Question, what: str, cuda: str) -> Finding:
    system = "Windows" if question.windows_driver else "Linux"
    floor = drivers.driver_floor(cuda, windows=question.windows_driver)
    have = known_version(question.driver)
    if floor is None or have is None:
        return unknown(f"the least {system} driver for CUDA {cuda} is not in the table", asked("CUDA", cuda))
    evidence = (
        asked("driver", question.driver),
        seen(f"least {system} driver for CUDA {cuda}", floor.floor, "cuda", floor.source),
    )
    if question.tegra and have.major >= version(floor.floor).major:
        return noted(f"driver {question.driver} of this Tegra is of the branch that runs CUDA {cuda}", *evidence)
    if question.tegra and major(cuda) < _ONE_PLATFORM:
        return noted(f"which drivers of a Tegra run CUDA {cuda} is bound to its JetPack, not to this table", *evidence)
    if have >= version(floor.floor):
        own = version(floor.own) if floor.own else None
        how = "by minor-version compatibility" if own is not None and have < own else "by its own CUDA or a newer one"
        why = (
            f"CUDA {cuda} came with driver {floor.own}; all of CUDA {major(cuda)}.x runs from {floor.floor} on." if own else ""
        )
        return good(f"driver {question.driver} runs CUDA {cuda} of {what} {how}", *evidence, why=why)
    if _lifted(question, cuda):
        return good(f"driver {question.driver} runs CUDA {cuda} of {what} through {question.compat_package}", *evidence)
    return broken(
        f"driver {question.driver} is too old for CUDA {cuda} of {what}",
        *evidence,
        why=f"Programs of CUDA {cuda} need a {system} driver from {floor.floor} on.",
        fix=f"Install driver {floor.floor} or later, or take a build for an older CUDA.",
        risk=Risk.ROOT,
        scope=Scope.HOST,
    )


def _lifted(question: Question, cuda: str, *, exactly: bool = False) -> bool:
    """Does the compat package that was asked for bring this CUDA? Its major is enough for machine code, not for PTX."""
    package = drivers.forward_package(question.compat_package) if question.compat_package else None
    if package is None or question.driver is None or drivers.forward_state(package, question.driver) not in ("works", "ended"):
        return False
    newer = version(package["cuda"]) >= version(minor(cuda))
    return newer or (not exactly and major(package["cuda"]) == major(cuda))


@rule("forward-compatibility")
def forward_compatibility(question: Question) -> Iterator[Finding]:
    """cuda-compat packages serve older branches, on data-centre GPUs and Linux only."""
    if question.compat_package is None:
        return
    package = drivers.forward_package(question.compat_package)
    if package is None:
        yield unknown(f"{question.compat_package} is not in the table", asked("package", question.compat_package))
        return
    evidence = (
        asked("package", package["package"]),
        seen("serves branches", package["works_from_branches"], "forward_compat", package["source"]),
    )
    others = [segment for segment in question.gpu_segments if segment not in ("datacenter", "superchip", "jetson")]
    if question.os != "linux":
        yield broken("forward-compatibility packages are for Linux only", *evidence, why="NVIDIA publishes none for others.",
                     fix="Install a newer driver.", risk=Risk.ROOT, scope=Scope.HOST)  # fmt: skip
    elif others:
        yield broken(
            f"{package['package']} does not serve this GPU ({others[0]}): error 804",
            *evidence,
            why="Forward compatibility is for data-centre GPUs, some RTX boards of NGC-ready servers, and Jetson.",
            fix="Remove the package from LD_LIBRARY_PATH and install a newer driver.",
            risk=Risk.ROOT,
            scope=Scope.HOST,
        )
    elif not question.gpu_segments and set(question.compute_capabilities) - _ALL_DATACENTER:
        yield limited(
            f"{package['package']} serves data-centre GPUs only, and whether this is one was not said",
            *evidence,
            why="On a GeForce the program ends with error 804.",
            fix="Name the GPU: --gpu A10.",
        )
    if question.driver is not None:
        yield _state(package, question.driver)


def _state(package: dict[str, str], driver: str) -> Finding:
    name = package["package"]
    evidence = (
        asked("driver", driver),
        seen("serves branches", package["works_from_branches"], "forward_compat", package["source"]),
    )
    state = drivers.forward_state(package, driver)
    if state == "works":
        return good(f"{name} serves driver {driver}", *evidence, why="Its folder must come first in LD_LIBRARY_PATH.")
    if state == "not_needed":
        return noted(f"driver {driver} has CUDA {package['cuda']} itself: {name} is not needed", *evidence)
    if state == "ended":
        return limited(
            f"{name} served driver {driver}, whose branch has ended",
            *evidence,
            why="NVIDIA lists living branches only.",
            fix="Move to a branch that is supported.",
        )
    if state == "unsupported":
        return broken(
            f"{name} is older than driver {driver}: error 803",
            *evidence,
            why="A compat package that is older than the driver takes the place of a newer libcuda.",
            fix=f"Remove {name}: the driver runs CUDA {package['cuda']} by itself.",
            risk=Risk.ROOT,
        )
    if drivers.driver_branch(driver) is None:
        return unknown(f"driver {driver} is not in the table of branches", *evidence)
    return limited(
        f"NVIDIA does not list driver {driver} for {name}",
        *evidence,
        why="Packages serve the production and long-term branches that are listed; others are not supported.",
        fix="Move to a listed branch, or install a driver that has this CUDA itself.",
    )


@rule("kernel-module")
def kernel_module(question: Question) -> Iterator[Finding]:
    """Some GPUs need the open kernel modules, some the proprietary ones."""
    if question.kernel_module is None or question.os != "linux" or question.tegra:
        return
    for capability in question.compute_capabilities:
        row = drivers.kernel_module_rule(capability)
        if row is None:
            yield unknown(f"which kernel modules compute capability {capability} needs is not in the table")
            continue
        evidence = (
            asked("kernel module", question.kernel_module),
            seen(row["architecture"], row[question.kernel_module], "kernel_modules", row["source"]),
        )
        other = {"open": "proprietary", "proprietary": "open"}[question.kernel_module]
        grace = question.kernel_module == "proprietary" and capability == "9.0" and "superchip" in question.gpu_segments
        if question.kernel_module == "open" and _before_open(question):
            yield broken(
                f"driver {question.driver} has no open kernel modules",
                *evidence,
                why=f"They came with branch {_OPEN_FROM}.",
                fix="Install the proprietary ones, or a newer driver.",
                risk=Risk.REBOOT,
                scope=Scope.HOST,
            )
        elif row[question.kernel_module] == "unsupported" or grace:
            yield broken(
                f"the {question.kernel_module} kernel modules do not drive {row['architecture']}",
                *evidence,
                why="RmInitAdapter fails, and no device appears.",
                fix=f"Install the {other} kernel modules of the same driver version.",
                risk=Risk.REBOOT,
                scope=Scope.HOST,
            )
        else:
            yield good(f"the {question.kernel_module} kernel modules drive {row['architecture']}", *evidence)


def _before_open(question: Question) -> bool:
    have = known_version(question.driver)
    return have is not None and have.major < _OPEN_FROM


@rule("extension-ptx")
def extension_ptx(question: Question) -> Iterator[Finding]:
    """The driver compiles PTX only of its own CUDA and older: minor-version compatibility does not reach it."""
    cuda = question.extension_ptx
    if cuda is None or question.driver is None:
        return
    floor, have = drivers.driver_floor(cuda, windows=question.windows_driver), known_version(question.driver)
    if floor is None or floor.own is None or have is None:
        yield unknown(f"the driver that came with CUDA {cuda} is not in the table")
        return
    evidence = (asked("driver", question.driver), seen(f"driver of CUDA {cuda}", floor.own, "cuda", floor.source))
    if have >= version(floor.own) or _lifted(question, cuda, exactly=True):
        yield good(f"driver {question.driver} compiles PTX of CUDA {cuda}", *evidence)
    else:
        yield limited(
            f"PTX of CUDA {cuda} is newer than the compiler in driver {question.driver}",
            *evidence,
            why="CUDA_ERROR_UNSUPPORTED_PTX_VERSION: PTX runs under the driver of its own toolkit or a later one.",
            fix=f"Build machine code for the GPU (TORCH_CUDA_ARCH_LIST), or install driver {floor.own} or later; "
            "on data-centre GPUs a cuda-compat package helps too.",
        )
