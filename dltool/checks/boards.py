"""What this kind of board or build cannot do, and how it is set: other makers' builds, bfloat16, Jetson's power mode, WSL."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.packages import install_torch, installed_torch
from dltool.checks.visibility import visible_gpus
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_BF16_FROM = "8.0"


@check(
    "torch-for-other-gpus",
    caused_by=("torch-incomplete",),
    zh="""PyTorch 是否为 NVIDIA GPU 构建？

    版本号带 +rocm 的构建用于 AMD GPU，带 +xpu 的用于 Intel GPU。它们不含 CUDA 代码，在 NVIDIA GPU 上
    torch.cuda.is_available() 为 False。

    解决：卸载后安装 CUDA 构建，命令见本检查给出的建议。

    预防：安装时写明索引，例如 `--index-url https://download.pytorch.org/whl/cu128`，不要照抄针对其他显卡的命令。""",
)
def torch_for_other_gpus(machine: Machine) -> Iterator[Finding]:
    """Is PyTorch built for GPUs of NVIDIA?

    A build with +rocm in its version is for AMD's GPUs, one with +xpu for Intel's. They hold no CUDA code: beside an NVIDIA GPU
    torch.cuda.is_available() is False.

    Mend: install the CUDA build; this check names the command.

    Prevent: name the index when installing, as in `--index-url https://download.pytorch.org/whl/cu128`, and copy no command
    that is meant for other cards.

    See: https://pytorch.org/get-started/locally/
    """
    torch = installed_torch(machine)
    label = torch.version.partition("+")[2] if torch else ""
    maker = "AMD" if torch and (torch.hip or label.startswith("rocm")) else "Intel" if label.startswith("xpu") else None
    if torch is None or not has_gpu(machine):
        yield Finding(status=Status.SKIP, summary=tr("no PyTorch beside an NVIDIA GPU", "没有与 NVIDIA GPU 并存的 PyTorch"))
    elif maker is None:
        yield Finding(
            status=Status.PASS,
            summary=tr("PyTorch is not built for another maker's GPUs", "PyTorch 不是为其他厂商的 GPU 构建的"),
        )
    else:
        yield Finding(
            status=Status.FAIL,
            summary=tr(
                f"PyTorch {torch.version} is built for GPUs of {maker}, and the GPU here is NVIDIA's",
                f"PyTorch {torch.version} 是为 {maker} GPU 构建的，而这里是 NVIDIA GPU",
            ),
            why=tr(
                "It holds no CUDA code: torch.cuda.is_available() is False.",
                "其中没有 CUDA 代码：torch.cuda.is_available() 为 False。",
            ),
            evidence=(Evidence(fact="torch", value=torch.version, read_from=f"{torch.location}/version.py"),),
            remedies=tuple(
                install_torch(machine, why=tr("Install the CUDA build that suits this machine.", "安装适合本机的 CUDA 构建。"))
            ),
        )


@check(
    "bf16-emulated",
    zh="""GPU 能否直接计算 bfloat16？

    Ampere（计算能力 8.0）之前的 GPU 没有 bfloat16 运算单元。torch.cuda.is_bf16_supported() 仍可能返回 True，
    因为它把模拟也算在内：程序能跑，但比 float16 慢好几倍。

    解决：在这些 GPU 上改用 float16，例如 `torch.autocast("cuda", dtype=torch.float16)` 并配合 GradScaler；
    vLLM 用 `--dtype half`。

    预防：选择精度前查看计算能力：`torch.cuda.get_device_capability() >= (8, 0)`。""",
)
def bf16_emulated(machine: Machine) -> Iterator[Finding]:
    """Do the GPUs compute in bfloat16 themselves?

    GPUs before Ampere (compute capability 8.0) have no units for it. torch.cuda.is_bf16_supported() can be True all the same,
    for it counts emulation: programs run, several times slower than in float16.

    Mend: use float16 on these, as in `torch.autocast("cuda", dtype=torch.float16)` with a GradScaler; in vLLM `--dtype half`.

    Prevent: look at the compute capability before a precision is chosen: `torch.cuda.get_device_capability() >= (8, 0)`.

    See: https://docs.nvidia.com/cuda/cuda-c-programming-guide/ https://pytorch.org/docs/stable/amp.html
    """
    torch = installed_torch(machine)
    able = [(gpu, one) for gpu in visible_gpus(machine) if (one := compat.known_version(gpu.compute_capability))]
    old = [gpu for gpu, capability in able if capability < compat.version(_BF16_FROM)]
    if torch is None or torch.cuda is None or not able:
        yield Finding(
            status=Status.SKIP, summary=tr("no PyTorch with CUDA beside a known GPU", "没有 CUDA 版 PyTorch 与已知 GPU 并存")
        )
    elif not old:
        yield Finding(status=Status.PASS, summary=tr("bfloat16 is computed by the GPUs themselves", "GPU 可直接计算 bfloat16"))
    else:
        named = ", ".join(dict.fromkeys(f"{gpu.name} ({gpu.compute_capability})" for gpu in old))
        yield Finding(
            status=Status.INFO,
            summary=tr(
                f"bfloat16 is only emulated on {named}: float16 is faster", f"{named} 只能模拟 bfloat16：用 float16 更快"
            ),
            why=tr("Units for it came with compute capability 8.0.", "计算能力 8.0 才开始有相应的运算单元。"),
            remedies=(
                Remedy(
                    text=tr(
                        "Let programs compute in float16: torch.float16, fp16=True, in vLLM --dtype half.",
                        "让程序用 float16 计算：torch.float16、fp16=True，vLLM 中用 --dtype half。",
                    )
                ),
            ),
            devices=tuple(gpu.index for gpu in old),
        )


@check(
    "jetson-power-mode",
    zh="""Jetson 是否运行在最高功率模式？

    nvpmodel 的模式会限制 CPU 核数、GPU 频率和功率；出厂常为 15W 或 30W。这往往是有意的（散热、供电），所以只作提示。

    解决：`sudo nvpmodel -m 0` 切换到 MAXN，再用 `sudo jetson_clocks` 固定最高频率；部分切换需要重启。

    预防：测性能前先记下 `nvpmodel -q` 的结果。""",
)
def jetson_power_mode(machine: Machine) -> Iterator[Finding]:
    """Does a Jetson run in its mode of highest power?

    The mode that nvpmodel set limits processor cores, GPU clock and power; boards often come with 15W or 30W. That is often
    meant (cooling, supply): it is only noted.

    Mend: `sudo nvpmodel -m 0` for MAXN, then `sudo jetson_clocks` to hold the highest clocks; some changes need a restart.

    Prevent: write down what `nvpmodel -q` says before anything is measured.

    See: https://docs.nvidia.com/jetson/
    """
    mode = machine.os.tegra_power_mode
    if not machine.os.tegra:
        yield Finding(status=Status.SKIP, summary=tr("no Jetson", "不是 Jetson"))
    elif mode is None:
        yield Finding(status=Status.SKIP, summary=tr("nvpmodel has set no mode", "nvpmodel 没有设置模式"))
    elif mode.upper().startswith("MAXN"):
        yield Finding(status=Status.PASS, summary=tr(f"power mode {mode}", f"功率模式 {mode}"))
    else:
        yield Finding(
            status=Status.INFO,
            summary=tr(f"power mode {mode}: not the highest", f"功率模式 {mode}：不是最高"),
            why=tr("`sudo nvpmodel -m 0` takes the highest.", "`sudo nvpmodel -m 0` 可切换到最高。"),
            evidence=(Evidence(fact="power mode", value=mode, read_from="/var/lib/nvpmodel/status"),),
        )


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
