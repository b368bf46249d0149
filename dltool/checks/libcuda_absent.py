"""Whether programs get the driver's libraries at all, under WSL those of Windows."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status


@check(
    "libcuda-absent",
    caused_by=("container-without-gpu", "container-capabilities", "driver-missing", "driver-version-mismatch"),
    zh="""NVML 能看到 GPU 时，程序能加载 libcuda 吗？

    NVML 和 nvidia-smi 只需要驱动的一个库，CUDA 需要的是另一个：libcuda.so.1，有些发行版把它单独打包。
    缺少它时 nvidia-smi 看起来一切正常，而所有 CUDA 程序都会报 "no NVIDIA driver on your system"。

    解决：先用 `ldconfig -p | grep libcuda` 看它是否只是不在加载器的缓存中；确实没有时，安装同一版本驱动的计算部分。
    在容器中，启动时加上 `-e NVIDIA_DRIVER_CAPABILITIES=compute,utility`。

    预防：安装驱动的完整软件包，而不是只装 nvidia-utils；镜像中不要改写 NVIDIA_DRIVER_CAPABILITIES。
    """,
)
def libcuda_absent(machine: Machine) -> Iterator[Finding]:
    """Can programs load libcuda, where NVML shows GPUs?

    NVML and nvidia-smi need one library of the driver, CUDA another: libcuda.so.1, which some distributions package apart.
    Without it nvidia-smi looks healthy and every CUDA program says "no NVIDIA driver on your system".

    Mend: See with `ldconfig -p | grep libcuda` whether it is only missing in the loader's cache; if it is not there, install
    the compute part of the same driver. In a container start with `-e NVIDIA_DRIVER_CAPABILITIES=compute,utility`.

    Prevent: Install the driver's whole set of packages, not nvidia-utils alone; let no image narrow
    NVIDIA_DRIVER_CAPABILITIES.

    See: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/
    https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    said = machine.gaps.get("driver.libcuda")
    path = machine.driver.libcuda
    if not machine.gpus or (path is None and said is None):
        skipped = tr("NVML shows no GPU, or libcuda was not looked for", "NVML 没有看到 GPU，或没有查找 libcuda")
        yield Finding(status=Status.SKIP, summary=skipped)
    elif path is not None:
        yield Finding(status=Status.PASS, summary=tr(f"libcuda.so.1 can be loaded: {path}", f"libcuda.so.1 可以加载：{path}"))
    elif "libcuda.so" not in (said or ""):
        unknown = tr(f"whether libcuda can be loaded is not known: {said}", f"libcuda 能否加载尚不清楚：{said}")
        yield Finding(status=Status.UNKNOWN, summary=unknown)
    else:
        yield _absent(machine, said)


def _absent(machine: Machine, said: str | None) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=tr(
            "NVML shows GPUs, but libcuda.so.1 cannot be loaded: every CUDA program finds no driver",
            "NVML 能看到 GPU，但 libcuda.so.1 无法加载：所有 CUDA 程序都找不到驱动",
        ),
        why=tr(
            "nvidia-smi does not use this library, so the machine looks healthy to it.",
            "nvidia-smi 不使用这个库，所以它看起来一切正常。",
        ),
        evidence=(
            Evidence(fact="libcuda.so.1", value=said, read_from="dynamic loader"),
            Evidence(fact="driver", value=machine.driver.version, read_from="NVML"),
        ),
        remedies=_remedies(machine),
        scope=Scope.ENVIRONMENT if machine.os.container else Scope.HOST,
    )


def _remedies(machine: Machine) -> tuple[Remedy, ...]:
    if machine.os.container:
        return (
            Remedy(
                text=tr("Start the container with the driver's compute part.", "启动容器时带上驱动的计算部分。"),
                commands=("docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility IMAGE",),
            ),
        )
    branch = (machine.driver.version or "BRANCH").partition(".")[0]
    look = Remedy(
        text=tr("See whether it is there and only not in the loader's cache.", "看它是否存在，只是不在加载器的缓存中。"),
        commands=("ldconfig -p | grep libcuda",),
        risk=Risk.READ_ONLY,
    )
    install = Remedy(
        text=tr(
            "Install the compute part of the same driver: libnvidia-compute on Ubuntu, libcuda1 on Debian, "
            "nvidia-driver-cuda-libs on Fedora and RHEL.",
            "安装同一版本驱动的计算部分：Ubuntu 上是 libnvidia-compute，Debian 上是 libcuda1，"
            "Fedora 和 RHEL 上是 nvidia-driver-cuda-libs。",
        ),
        commands=(f"sudo apt-get install libnvidia-compute-{branch} || sudo apt-get install libcuda1", "sudo ldconfig"),
        risk=Risk.ROOT,
    )
    return (look, install)


@check(
    "wsl-libraries-not-found",
    caused_by=("libcuda-mismatched",),
    zh="""在 WSL 中，程序能否找到 Windows 提供的驱动库？

    WSL 把 Windows 驱动的 libcuda 和 libnvidia-ml 放在 /usr/lib/wsl/lib，由 /etc/ld.so.conf.d/ld.wsl.conf 加入搜索路径。
    该文件被删除或 ldconfig 没有运行时，程序找不到 GPU，而 `nvidia-smi` 可能仍能用完整路径运行。

    解决：`echo /usr/lib/wsl/lib | sudo tee /etc/ld.so.conf.d/ld.wsl.conf`，然后 `sudo ldconfig`。

    预防：不要在 WSL 里安装 Linux 版驱动，它会改写这些路径。""",
)
def wsl_libraries_not_found(machine: Machine) -> Iterator[Finding]:
    """Under WSL: do programs find the driver's libraries that Windows provides?

    WSL puts the libcuda and libnvidia-ml of the Windows driver into /usr/lib/wsl/lib, and /etc/ld.so.conf.d/ld.wsl.conf
    makes the loader look there. Where that file is gone, or ldconfig did not run, no program finds the GPU, though
    `nvidia-smi` may run by its full path.

    Mend: `echo /usr/lib/wsl/lib | sudo tee /etc/ld.so.conf.d/ld.wsl.conf`, then `sudo ldconfig`.

    Prevent: install no Linux driver inside WSL, which changes these paths.

    See: https://docs.nvidia.com/cuda/wsl-user-guide/index.html https://learn.microsoft.com/en-us/windows/wsl/wsl-config
    """
    there = machine.driver.wsl_libraries
    if not machine.os.wsl or not there:
        yield Finding(status=Status.SKIP, summary=tr("no libraries of a Windows driver", "没有 Windows 驱动的库"))
        return
    wanted = (("libcuda", machine.driver.libcuda), ("libnvidia-ml", machine.driver.nvml_library))
    lost = [name for name, found in wanted if found is None and any(path.startswith(f"{name}.") for path in there)]
    if not lost:
        yield Finding(
            status=Status.PASS, summary=tr("the libraries of the Windows driver are found", "能找到 Windows 驱动的库")
        )
        return
    yield Finding(
        status=Status.FAIL,
        summary=tr(
            f"{' and '.join(lost)} of the Windows driver lie in /usr/lib/wsl/lib, where programs do not look",
            f"Windows 驱动的 {'、'.join(lost)} 在 /usr/lib/wsl/lib 中，但程序不会去那里找",
        ),
        evidence=(Evidence(fact="libraries", value=" ".join(there), read_from="/usr/lib/wsl/lib"),),
        remedies=(
            Remedy(
                text=tr("Make the loader look there.", "让加载器搜索该目录。"),
                commands=("echo /usr/lib/wsl/lib | sudo tee /etc/ld.so.conf.d/ld.wsl.conf", "sudo ldconfig"),
                risk=Risk.ROOT,
            ),
        ),
        scope=Scope.HOST,
    )
