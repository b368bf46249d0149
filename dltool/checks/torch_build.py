"""The build of PyTorch that is installed: complete for this Python, and one for the GPUs that are here."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.packages import install_torch, installed_torch, no_python, pip, same_torch, unread
from dltool.lang import tr
from dltool.machine import Machine, PythonEnv, TorchBuild
from dltool.results import Evidence, Finding, Remedy, Status


@check(
    "torch-incomplete",
    caused_by=("environment-broken",),
    zh="""已安装的 PyTorch 到底能不能被这个 Python 导入？

    它的编译部分只适用于一个 Python 版本。PYTHONPATH 指向另一个解释器的软件包、升级了 Python，或安装中断，
    都会留下不匹配的 PyTorch。

    解决：用这个 Python 重新安装：`python -m pip install --force-reinstall --no-deps torch==VERSION`。
    如果设置了 PYTHONPATH，先取消它：`env -u PYTHONPATH python -c 'import torch'`。

    预防：每个项目一个虚拟环境，并始终用 `python -m pip`，使 pip 与 Python 属于同一个解释器。升级 Python 后重建环境，
    不要把 site-packages 复制到别处，也不要在 shell 的启动文件里设置 PYTHONPATH。
    """,
)
def torch_incomplete(machine: Machine) -> Iterator[Finding]:
    """Can the installed PyTorch be imported by this Python at all?

    Its compiled part is made for one Python version. A PYTHONPATH into another interpreter's packages, an upgraded Python or
    an interrupted installation leaves one that does not fit.

    Mend: install it again with this Python: `python -m pip install --force-reinstall --no-deps torch==VERSION`. Where
    PYTHONPATH is set, unset it first: `env -u PYTHONPATH python -c 'import torch'`.

    Prevent: one virtual environment for each project, and always `python -m pip`, so that pip is that of the same interpreter.
    After an upgrade of Python make the environment anew; do not copy site-packages, and do not set PYTHONPATH in the shell's
    start files.

    See: https://pytorch.org/get-started/locally/ https://docs.python.org/3/library/venv.html
    """
    torch, python = installed_torch(machine), machine.python
    if python is None:
        yield unread(machine) or no_python()
    elif torch is None:
        yield _no_torch(machine, python)
    elif torch.import_broken:
        yield _not_importable(torch, python)
    else:
        row = compat.torch_release(torch.version)
        oldest, newest = (row["python_min"], row["python_max"]) if row else ("", "")
        span = tr(f" (published for Python {oldest} to {newest})", f"（发布时支持 Python {oldest} 到 {newest}）") if row else ""
        yield Finding(
            status=Status.PASS,
            summary=tr(
                f"PyTorch {torch.version} is complete for Python {python.version}{span}",
                f"PyTorch {torch.version} 安装完整，适用于 Python {python.version}{span}",
            ),
        )


def _not_importable(torch: TorchBuild, python: PythonEnv) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"PyTorch {torch.version} cannot be imported by Python {python.version}: {torch.import_broken}",
            f"Python {python.version} 无法导入 PyTorch {torch.version}：{torch.import_broken}",
        ),
        evidence=(
            Evidence(fact="torch", value=torch.location, read_from="import path"),
            Evidence(fact="python", value=f"{python.version} at {python.executable}", read_from="interpreter"),
        ),
        remedies=(
            Remedy(
                text=tr("Install it again for this Python.", "为这个 Python 重新安装。"),
                commands=(f"{pip(python)} --force-reinstall --no-deps {same_torch(torch)}",),
            ),
        ),
    )


def _no_torch(machine: Machine, python: PythonEnv) -> Finding:
    reason = machine.why_missing("python.torch")
    if reason.startswith("not installed"):
        where = python.prefix or python.executable
        return Finding(status=Status.SKIP, summary=tr(f"PyTorch is not installed in {where}", f"{where} 中没有安装 PyTorch"))
    if "python.torch" not in machine.gaps:
        summary = tr(f"whether PyTorch is installed is not known: {reason}", f"不知道是否安装了 PyTorch：{reason}")
        return Finding(status=Status.UNKNOWN, summary=summary)
    return Finding(
        status=Status.FAIL,
        summary=tr(f"the installation of PyTorch is broken: {reason}", f"PyTorch 的安装已损坏：{reason}"),
        evidence=(Evidence(fact="torch", value=reason, read_from=f"import path of {python.executable}"),),
        remedies=(
            Remedy(
                text=tr("Remove what is left and install it again.", "清除残留文件并重新安装。"),
                commands=(f"{pip(python)} --force-reinstall torch",),
            ),
        ),
    )


@check(
    "torch-cpu-only",
    caused_by=("torch-incomplete",),
    zh="""在有 GPU 的机器上，PyTorch 是带 CUDA 构建的吗？

    仅支持 CPU 的构建无论驱动如何都找不到 GPU：torch.cuda.is_available() 为 False，`.cuda()` 报错
    `Torch not compiled with CUDA enabled`。在 Windows 上直接用 pip 安装，或软件源写着 cpu 时，得到的就是这种构建。

    解决：从 PyTorch 的软件源安装带 CUDA 的构建：`pip install --force-reinstall torch --index-url URL`，其中 URL 的末尾是
    驱动能运行的 CUDA，例如 https://download.pytorch.org/whl/cu126 。不需要安装 CUDA 工具包。

    预防：在 requirements 文件中固定构建版本和软件源，并在镜像构建结束时检查
    `python -c 'import torch; print(torch.version.cuda)'`。当心会顺带安装 torch 的软件包：
    它们可能用 CPU 构建替换已有的构建。
    """,
)
def torch_cpu_only(machine: Machine) -> Iterator[Finding]:
    """Was PyTorch built with CUDA, where there is a GPU?

    A CPU-only build never finds the GPU, whatever the driver: torch.cuda.is_available() is False and `.cuda()` raises
    `Torch not compiled with CUDA enabled`. A plain pip install gives this build on Windows, and wherever an index says cpu.

    Mend: install a build with CUDA from PyTorch's index: `pip install --force-reinstall torch --index-url URL`, where the URL
    ends in a CUDA that the driver runs, as https://download.pytorch.org/whl/cu126 does. No CUDA toolkit is needed.

    Prevent: pin build and index in the requirements file, and let the build of an image end with
    `python -c 'import torch; print(torch.version.cuda)'`. Watch packages that bring torch along: they may put a CPU build in
    the place of yours.

    See: https://pytorch.org/get-started/locally/
    """
    torch = installed_torch(machine)
    if torch is None:
        yield Finding(status=Status.SKIP, summary=tr("PyTorch is not installed", "没有安装 PyTorch"))
        return
    name = f"PyTorch {torch.version}"
    if torch.cuda is not None:
        summary = tr(f"{name} is built with CUDA {torch.cuda}", f"{name} 是带 CUDA {torch.cuda} 的构建")
        yield Finding(status=Status.PASS, summary=summary)
    elif torch.hip is not None or "+xpu" in torch.version:
        summary = tr(f"{name} is built for another maker's GPUs", f"{name} 是为其他厂商的 GPU 构建的")
        yield Finding(status=Status.INFO, summary=summary)
    elif not has_gpu(machine):
        summary = tr(f"{name} is built for the CPU, as fits a machine without GPU", f"{name} 是 CPU 构建，适合没有 GPU 的机器")
        yield Finding(status=Status.PASS, summary=summary)
    else:
        yield _cpu_only(machine, torch)


def _cpu_only(machine: Machine, torch: TorchBuild) -> Finding:
    reported = next((gpu.name for gpu in machine.gpus if gpu.name), None)
    gpu = reported or tr("an NVIDIA GPU", "NVIDIA 的 GPU")
    why = tr("Install the CUDA build that suits this GPU, driver and Python.", "安装适合这块 GPU、驱动和 Python 的 CUDA 构建。")
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"PyTorch {torch.version} is a CPU-only build beside {gpu}: torch.cuda.is_available() is False",
            f"PyTorch {torch.version} 是仅支持 CPU 的构建，而这里有 {gpu}：torch.cuda.is_available() 为 False",
        ),
        why=tr(
            "The wheel that was installed has no CUDA code; the driver has no part in it.",
            "安装的 wheel 中没有 CUDA 代码；与驱动无关。",
        ),
        evidence=(
            Evidence(fact="cuda", value=None, read_from=f"{torch.location}/version.py"),
            Evidence(fact="GPU", value=reported or "an NVIDIA GPU", read_from="NVML" if machine.gpus else "PCI bus"),
        ),
        remedies=tuple(install_torch(machine, why=why)),
    )


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
