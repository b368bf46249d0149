"""A libcuda for forward compatibility (cuda-compat): whether it serves this driver and these GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check, libcuda
from dltool.checks.libcuda import LibCuda
from dltool.checks.loader import without_variable
from dltool.checks.packages import installed_torch
from dltool.checks.visibility import visible_gpus
from dltool.compat import drivers
from dltool.lang import tr
from dltool.live import board_of
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status

_SERVED = ("datacenter", "superchip", "jetson")
"""Segments on which forward compatibility is supported; of RTX workstation boards some are (a list that is not here)."""
_PERHAPS_SERVED = ("workstation",)


@check(
    "libcuda-forward-compat",
    caused_by=("driver-version-mismatch",),
    zh="""如果正在使用前向兼容的 libcuda（cuda-compat）：它支持这个驱动和这些 GPU 吗？

    该软件包让较旧的驱动能运行更新的 CUDA，只适用于数据中心 GPU、部分服务器用 RTX 卡和 Jetson。在其他 GPU 上，
    所有 CUDA 调用都以错误 804 结束：`forward compatibility was attempted on non supported HW`；如果它比驱动还旧，
    则以错误 803 结束。较新的 CUDA 镜像自带它，所以没有人要求它也会生效。

    解决：在这块 GPU 上不要使用它：把它的 compat 目录从 LD_LIBRARY_PATH 和 /etc/ld.so.conf.d 中去掉，或运行
    `sudo apt-get remove 'cuda-compat-*'`，然后运行 `sudo ldconfig`。要运行更新的 CUDA，请在宿主机上安装更新的驱动，
    或改用 CUDA 较旧的镜像。

    预防：选择宿主机驱动本来就能运行的 CUDA 镜像。只有数据中心 GPU 才安装 cuda-compat，并且每次更新驱动后都重新检查。
    """,
)
def libcuda_forward_compat(machine: Machine) -> Iterator[Finding]:
    """If a forward-compatibility libcuda (cuda-compat) is in use: does it serve this driver and these GPUs?

    The package lets an older driver run newer CUDA, on data-centre GPUs, some RTX boards of servers, and Jetson. On others
    every CUDA call ends with error 804, `forward compatibility was attempted on non supported HW`; one that is older than the
    driver ends with error 803. Images of newer CUDA bring it, so it comes into use without anybody asking.

    Mend: do without it on this GPU: take its compat directory out of LD_LIBRARY_PATH and /etc/ld.so.conf.d, or
    `sudo apt-get remove 'cuda-compat-*'`, then `sudo ldconfig`. To run the newer CUDA install a newer driver on the host, or
    use an image of an older CUDA.

    Prevent: choose images of a CUDA that the host's driver runs by itself. Install cuda-compat for data-centre GPUs only, and
    look at it again after each update of the driver.

    See: https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html
    """
    library = libcuda.of_machine(machine)
    if library is None or not library.is_compat:
        summary = tr("no forward-compatibility libcuda is in use", "没有使用前向兼容的 libcuda")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    driver = machine.driver.kernel_module_version or machine.driver.version
    gpus = visible_gpus(machine)
    package = _package_of(library)
    evidence = (
        Evidence(fact="libcuda", value=library.version or "version unknown", read_from=f"{library.path} ({library.found_by})"),
        Evidence(fact="driver", value=driver, read_from="/proc/driver/nvidia/version"),
        Evidence(fact="package", value=package["package"] if package else None, read_from="catalog: forward_compat"),
    )
    if driver is None or not gpus:
        yield Finding(
            status=Status.UNKNOWN,
            summary=tr(
                "a forward-compatibility libcuda is in use; whether it serves this GPU and driver cannot be told",
                "正在使用前向兼容的 libcuda；无法判断它是否支持这块 GPU 和驱动",
            ),
            evidence=evidence,
        )
    elif library.version is not None and compat.agree(library.version, driver):
        summary = tr(f"the compat libcuda is {driver}, as is the driver", f"compat 的 libcuda 与驱动同为 {driver}")
        yield Finding(status=Status.PASS, summary=summary, evidence=evidence)
    elif compat.is_older(library.version, driver):
        yield _older(library, driver, evidence)
    else:
        for gpu in _one_of_each(gpus):
            yield _served(gpu, machine, library, driver, package, evidence)


def _older(library: LibCuda, driver: str, evidence: tuple[Evidence, ...]) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"the compat libcuda {library.version} is older than the driver {driver}: error 803",
            f"compat 的 libcuda {library.version} 比驱动 {driver} 旧：错误 803",
        ),
        why=tr(
            "The driver runs that CUDA by itself; the old library takes the place of the right one.",
            "驱动本身就能运行该版本的 CUDA；旧库占了正确那个库的位置。",
        ),
        evidence=evidence,
        remedies=_without_compat(library),
    )


def _served(
    gpu: Gpu, machine: Machine, library: LibCuda, driver: str, package: dict[str, str] | None, evidence: tuple[Evidence, ...]
) -> Finding:
    """Whether forward compatibility works on this GPU with this driver."""
    board = board_of(gpu)
    segment = board.segment if board else None
    name = gpu.name or tr("this GPU", "GPU（型号未知）")
    evidence = (*evidence, Evidence(fact=f"segment of {gpu.name or 'this GPU'}", value=segment, read_from="catalog"))
    state = drivers.forward_state(package, driver) if package else "unknown"
    if segment is not None and segment not in (*_SERVED, *_PERHAPS_SERVED):
        return Finding(
            status=Status.FAIL,
            summary=tr(
                f"a forward-compatibility libcuda is in use, which does not serve {name} ({segment}): error 804",
                f"正在使用前向兼容的 libcuda，但它不支持 {name}（{segment}）：错误 804",
            ),
            why=tr(
                "Forward compatibility is for data-centre GPUs, some RTX boards of servers, and Jetson.",
                "前向兼容只适用于数据中心 GPU、部分服务器用 RTX 卡和 Jetson。",
            ),
            evidence=evidence,
            remedies=(*_without_compat(library), _newer_driver(machine)),
            devices=(gpu.index,),
        )
    if package is not None and state == "unsupported":
        return Finding(
            status=Status.FAIL,
            summary=tr(
                f"{package['package']} does not serve driver {driver}: error 803",
                f"{package['package']} 不支持驱动 {driver}：错误 803",
            ),
            evidence=evidence,
            remedies=_without_compat(library),
            devices=(gpu.index,),
        )
    if segment is None or segment in _PERHAPS_SERVED or state in ("unknown", "ended"):
        return Finding(
            status=Status.UNKNOWN,
            summary=tr(
                f"a forward-compatibility libcuda is in use; NVIDIA's table does not say that it serves {name} "
                f"with driver {driver}",
                f"正在使用前向兼容的 libcuda；NVIDIA 的表格没有说明它在驱动 {driver} 下支持 {name}",
            ),
            evidence=evidence,
            devices=(gpu.index,),
        )
    summary = tr(f"forward compatibility serves {name} with driver {driver}", f"前向兼容在驱动 {driver} 下支持 {name}")
    return Finding(status=Status.PASS, summary=summary, evidence=evidence, devices=(gpu.index,))


def _one_of_each(gpus: tuple[Gpu, ...]) -> list[Gpu]:
    return list({gpu.name: gpu for gpu in reversed(gpus)}.values())[::-1]


def _package_of(library: LibCuda) -> dict[str, str] | None:
    """The row of the compat package, by its directory or by the driver branch that its libcuda is of."""
    for path in (library.real, library.path):
        if match := re.search(r"/cuda-(\d+\.\d+)[^/]*/compat/", path):
            return drivers.forward_package(match[1])
    branch = drivers.driver_branch(library.version) if library.version else None
    return drivers.forward_package(branch["max_cuda"]) if branch else None


def _without_compat(library: LibCuda) -> tuple[Remedy, ...]:
    if library.found_by.startswith("LD_"):
        return without_variable(library.found_by, library.directory)
    return (
        Remedy(
            text=tr(
                "Keep the compat directory from the loader (in an image: remove the cuda-compat package).",
                "不要让加载器找到 compat 目录（在镜像中：卸载 cuda-compat 软件包）。",
            ),
            commands=(
                f"grep -rn {library.directory} /etc/ld.so.conf.d",
                "sudo apt-get remove 'cuda-compat-*'",
                "sudo ldconfig",
            ),
            risk=Risk.ROOT,
        ),
    )


def _newer_driver(machine: Machine) -> Remedy:
    torch = installed_torch(machine)
    row = drivers.cuda_release(torch.cuda) if torch and torch.cuda else None
    least = row["driver_linux"] if row else ""
    cuda = torch.cuda if torch else None
    needed = tr(f" ({least} or newer for CUDA {cuda})", f"（CUDA {cuda} 需要 {least} 或更新）") if least else ""
    where = tr("on the host", "在宿主机上") if machine.os.container else tr("here", "在本机")
    return Remedy(
        text=tr(
            f"Or install a newer driver {where}{needed}, or an image of an older CUDA.",
            f"或者{where}安装更新的驱动{needed}，或者改用 CUDA 较旧的镜像。",
        ),
        risk=Risk.ROOT,
    )
