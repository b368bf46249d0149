"""Whether a container's image suits its host: the parts of the driver that it asks for, the CUDA that it is made for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.container import outside, variable
from dltool.checks.packages import installed_torch
from dltool.checks.visibility import visible_gpus
from dltool.compat import rules_driver, rules_packages
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Finding, Remedy, Status

_NEEDED = {"compute", "utility"}


@check(
    "container-capabilities",
    caused_by=("container-without-gpu",),
    zh="""容器是否分到了 CUDA 和监控所需的驱动组件？

    NVIDIA_DRIVER_CAPABILITIES 决定运行时把什么放进容器：“compute”带来 libcuda，“utility”带来 nvidia-smi 和 NVML。
    缺前者时 nvidia-smi 正常而 CUDA 找不到驱动；缺后者时正好相反。

    解决：用 `docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility IMAGE` 启动容器。

    预防：在 Dockerfile 中写 `ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility`，或以已经设好它的 nvidia/cuda 镜像为基础；
    需要 video 或 graphics 时是加上去，不是替换。
    """,
)
def container_capabilities(machine: Machine) -> Iterator[Finding]:
    """Did the container get the parts of the driver that CUDA and monitoring need?

    NVIDIA_DRIVER_CAPABILITIES chooses what the runtime puts into the container: "compute" brings libcuda, "utility" brings
    nvidia-smi and NVML. Without the first nvidia-smi works and CUDA finds no driver; without the second it is the reverse.

    Mend: Start the container with `docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility IMAGE`.

    Prevent: Write `ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility` into the Dockerfile, or build on an image of nvidia/cuda,
    which has it; where video or graphics is needed, add it to these two.

    See: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    if (elsewhere := outside(machine)) is not None:
        yield elsewhere
        return
    value = machine.environment.get("NVIDIA_DRIVER_CAPABILITIES")
    if not value:
        summary = tr("NVIDIA_DRIVER_CAPABILITIES is not set", "没有设置 NVIDIA_DRIVER_CAPABILITIES")
        yield Finding(status=Status.PASS, summary=summary)
        return
    missing = sorted(_NEEDED - set(re.split(r"[,\s]+", value)))
    if "all" in value.split(",") or not missing:
        summary = tr(f"the container has the driver's parts: {value}", f"容器已有所需的驱动组件：{value}")
        yield Finding(status=Status.PASS, summary=summary)
    elif "compute" in missing and machine.driver.libcuda is not None:
        yield Finding(status=Status.PASS, summary=tr("libcuda is here by another way", "libcuda 已通过其他途径进入容器"))
    else:
        yield _left_out(machine, value, missing)


def _left_out(machine: Machine, value: str, missing: list[str]) -> Finding:
    compute = "compute" in missing
    outcome = (
        tr("there is no libcuda, so CUDA finds no driver", "没有 libcuda，CUDA 找不到驱动")
        if compute
        else tr("nvidia-smi and NVML may be missing", "可能没有 nvidia-smi 和 NVML")
    )
    return Finding(
        status=Status.FAIL if compute else Status.INFO,
        summary=tr(
            f"NVIDIA_DRIVER_CAPABILITIES={value} leaves out {' and '.join(missing)}: {outcome}",
            f"NVIDIA_DRIVER_CAPABILITIES={value} 漏掉了 {' 和 '.join(missing)}：{outcome}",
        ),
        evidence=(variable(machine, "NVIDIA_DRIVER_CAPABILITIES"),),
        remedies=(
            Remedy(
                text=tr("Ask for both.", "两者都要写上。"),
                commands=("docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility IMAGE",),
            ),
        ),
    )


def _image_cuda(machine: Machine) -> str | None:
    """The CUDA release that the image is made for, "12.8"."""
    own = re.match(r"\d+\.\d+", machine.environment.get("CUDA_VERSION", ""))
    asked = re.search(r"cuda>=(\d+\.\d+)", machine.environment.get("NVIDIA_REQUIRE_CUDA", ""))
    return own[0] if own else asked[1] if asked else None


@check(
    "container-image-cuda",
    caused_by=("container-without-gpu", "container-lost-gpu", "driver-too-old"),
    zh="""镜像所针对的 CUDA，宿主机的驱动能否运行，又是否支持这块 GPU？

    容器自带 CUDA，驱动则用宿主机的。如果镜像的 CUDA 主版本比驱动的新，第一次调用就会失败（启动时报
    “unsatisfied condition: cuda>=13.0”）；如果镜像比 GPU 还老，它就没有这块 GPU 的代码，程序会失败，或启动时编译半个小时。
    用 pip 安装的 PyTorch 自带 CUDA，不使用镜像里的。

    解决：换一个 CUDA 版本与驱动和 GPU 都相符的镜像，`dltool compat` 会说明该选哪个；或更新宿主机的驱动。

    预防：按所有机器中最旧的驱动来选镜像，并固定标签，例如 `nvidia/cuda:12.8.1-base-ubuntu24.04`，不要用 latest。
    """,
)
def container_image_cuda(machine: Machine) -> Iterator[Finding]:
    """Is the image made for a CUDA that the host's driver runs and that knows the GPU?

    A container brings CUDA and takes the driver of its host. An image of a later CUDA major than the driver's fails at the
    first call ("unsatisfied condition: cuda>=13.0" at the start); one from before the GPU has no code for it, and its
    programs fail or compile for half an hour at their start. PyTorch from pip brings its own CUDA and does not use the
    image's.

    Mend: Take an image of a CUDA release that suits driver and GPU, `dltool compat` says which; or update the host's driver.

    Prevent: Choose images by the oldest driver among your machines, and name their tag in full, such as
    `nvidia/cuda:12.8.1-base-ubuntu24.04`, never latest.

    See: https://docs.nvidia.com/deploy/cuda-compatibility/ https://hub.docker.com/r/nvidia/cuda
    """
    if (elsewhere := outside(machine)) is not None:
        yield elsewhere
        return
    cuda = _image_cuda(machine)
    if cuda is None:
        yield Finding(status=Status.SKIP, summary=tr("the image names no CUDA", "镜像没有说明 CUDA 版本"))
        return
    if not (machine.driver.version or machine.gpus):
        yield Finding(status=Status.SKIP, summary=tr("no driver answers", "没有驱动应答"))
        return
    question = _question(machine, cuda)
    judged = [*rules_driver.driver_runs_cuda(question), *rules_packages.toolkit(question)]
    broken = next((finding for finding in judged if finding.status is Status.FAIL), None)
    if broken is None:
        summary = tr(
            f"the image is made for CUDA {cuda}, which driver and GPU suit", f"镜像针对 CUDA {cuda}，与驱动和 GPU 相符"
        )
        yield Finding(status=Status.PASS, summary=summary)
    else:
        yield _does_not_suit(machine, cuda, broken)


def _question(machine: Machine, cuda: str) -> compat.Question:
    reported = [gpu.compute_capability for gpu in visible_gpus(machine)]
    return compat.Question(
        driver=machine.driver.version,
        cuda=cuda,
        compute_capabilities=tuple(dict.fromkeys(one for one in reported if one and compat.known_version(one))),
        os="wsl" if machine.os.wsl else "linux",
        tegra=bool(machine.os.tegra),
    )


def _does_not_suit(machine: Machine, cuda: str, broken: Finding) -> Finding:
    torch = installed_torch(machine)
    own = torch.cuda if torch is not None and torch.cuda is not None and not torch.cuda.startswith(cuda) else None
    forward = "compat" in (machine.driver.libcuda or "")
    return Finding(
        status=Status.INFO if own or forward else Status.WARN,
        summary=tr(f"the image is made for CUDA {cuda}: {broken.summary}", f"镜像针对 CUDA {cuda}：{broken.summary}"),
        why=tr(
            f"PyTorch brings CUDA {own} of its own; other programs of the image are concerned.",
            f"PyTorch 自带 CUDA {own}；受影响的是镜像里的其他程序。",
        )
        if own
        else tr("Programs of the image that use its CUDA fail on this machine.", "镜像里使用其 CUDA 的程序在本机上会失败。"),
        evidence=(variable(machine, "CUDA_VERSION"), *broken.evidence),
        remedies=(
            Remedy(
                text=tr(
                    "Take an image of a CUDA release that suits this driver and this GPU.",
                    "换一个 CUDA 版本与该驱动和 GPU 相符的镜像。",
                ),
                commands=("dltool compat",),
            ),
        ),
    )
