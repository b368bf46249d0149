"""Environment variables that do other than they seem to."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Status


@check(
    "mkl-switch-dead",
    zh="""是否在 AMD 处理器上用一个已经失效的开关，要 MKL 走快速路径？

    在 MKL 2020.0 及以前，MKL_DEBUG_CPU_TYPE=5 是可行的办法。之后的版本忽略它；从 2021 起，MKL 为 AMD 的 Zen 另有路径。

    解决：`unset MKL_DEBUG_CPU_TYPE`，并从 ~/.bashrc 和作业脚本中删掉它。如果 CPU 上的速度很重要，用 OpenBLAS 比较一下：
    `conda install "libblas=*=*openblas"`（conda-forge）。

    预防：不要照抄旧文章里的调优变量；加任何一个之前，先测一测有没有效果。
    """,
)
def mkl_switch_dead(machine: Machine) -> Iterator[Finding]:
    """Is MKL told to take its fast path on an AMD processor by a switch that no longer works?

    MKL_DEBUG_CPU_TYPE=5 was the way until MKL 2020.0. Later releases ignore it; since 2021 MKL has a path of its own for AMD's
    Zen processors.

    Mend: `unset MKL_DEBUG_CPU_TYPE`, and take it out of ~/.bashrc and job scripts. Where speed on the CPU matters, compare
    with OpenBLAS: `conda install "libblas=*=*openblas"` (conda-forge).

    Prevent: Don't copy tuning variables from old articles; measure whether one does anything before it stays.

    See: https://github.com/pytorch/builder/issues/504 https://conda-forge.org/docs/maintainer/knowledge_base/
    """
    value = machine.environment.get("MKL_DEBUG_CPU_TYPE")
    amd = machine.cpu.vendor == "AuthenticAMD"
    if value and amd:
        yield Finding(
            status=Status.INFO,
            summary=tr(
                f"MKL_DEBUG_CPU_TYPE={value} does nothing since MKL 2020.1, and PyTorch 1.8 and later have that",
                f"MKL_DEBUG_CPU_TYPE={value} 自 MKL 2020.1 起已失效，而 PyTorch 1.8 及更高版本带的正是这样的 MKL",
            ),
            evidence=(Evidence(fact="MKL_DEBUG_CPU_TYPE", value=value, read_from="environment"),),
        )
    else:
        yield Finding(status=Status.PASS, summary=tr("no such switch is set", "没有设置这样的开关"))


@check(
    "gpu-order-ambiguous",
    caused_by=("gpus-hidden",),
    zh="""CUDA_VISIBLE_DEVICES 中的编号与 nvidia-smi 显示的是不是同一块 GPU？

    nvidia-smi 按 PCI 总线编号。CUDA 则把最快的排在最前，除非设置 CUDA_DEVICE_ORDER=PCI_BUS_ID：在装有不同型号 GPU 的机器上，
    “0”可能不是 nvidia-smi 的 0 号。

    解决：在程序启动之前运行 `export CUDA_DEVICE_ORDER=PCI_BUS_ID`；或用 `nvidia-smi -L` 列出的 UUID 在
    CUDA_VISIBLE_DEVICES 中指定 GPU。

    预防：把该变量写进 ~/.bashrc、作业脚本或镜像；程序启动时打印 `torch.cuda.get_device_name()`，从日志就能看出用的是哪块 GPU。
    """,
)
def gpu_order_ambiguous(machine: Machine) -> Iterator[Finding]:
    """Do the numbers in CUDA_VISIBLE_DEVICES mean the GPUs that nvidia-smi shows under them?

    nvidia-smi counts by the PCI bus. CUDA counts the fastest first, unless CUDA_DEVICE_ORDER=PCI_BUS_ID: on a machine with
    different GPUs "0" may be another board than nvidia-smi's 0.

    Mend: `export CUDA_DEVICE_ORDER=PCI_BUS_ID` before the program starts; or name the GPUs in CUDA_VISIBLE_DEVICES by the
    UUIDs that `nvidia-smi -L` lists.

    Prevent: Set the variable in ~/.bashrc, the job script or the image. Let programs print `torch.cuda.get_device_name()` at
    their start, so that the log shows which GPU they took.

    See: https://docs.nvidia.com/cuda/cuda-c-programming-guide/
    """
    boards = {gpu.name for gpu in machine.gpus}
    value = machine.environment.get("CUDA_VISIBLE_DEVICES", "")
    order = machine.environment.get("CUDA_DEVICE_ORDER")
    numbered = any(part.strip().isdecimal() for part in value.split(","))
    if len(boards) < 2 or order == "PCI_BUS_ID":
        one, none = tr("the GPUs have one order", "GPU 只有一种编号顺序"), tr("no GPUs to mix up", "没有会混淆的 GPU")
        yield Finding(status=Status.PASS, summary=one if len(boards) > 1 else none)
        return
    others = tr(f"; CUDA_VISIBLE_DEVICES={value} may mean others", f"；CUDA_VISIBLE_DEVICES={value} 指的可能是别的 GPU")
    yield Finding(
        status=Status.WARN if numbered else Status.INFO,
        summary=tr(
            "different GPUs, and CUDA counts them in another order than nvidia-smi: the fastest first",
            "GPU 型号不同，CUDA 的编号顺序与 nvidia-smi 不同：最快的排在最前",
        )
        + (others if numbered else ""),
        evidence=(
            Evidence(fact="CUDA_DEVICE_ORDER", value=order, read_from="environment"),
            Evidence(fact="GPUs", value=", ".join(gpu.name or "?" for gpu in machine.gpus), read_from="NVML"),
        ),
        remedies=(
            Remedy(
                text=tr("Count by the bus, as nvidia-smi does.", "像 nvidia-smi 那样按总线编号。"),
                commands=("export CUDA_DEVICE_ORDER=PCI_BUS_ID",),
            ),
        ),
    )
