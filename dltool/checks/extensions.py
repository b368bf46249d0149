"""Compiled extensions of PyTorch: whether they hold code for the GPUs here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.packages import bare, installed_torch, pip
from dltool.checks.visibility import visible_gpus
from dltool.lang import tr
from dltool.machine import Extension, Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Status

_SHOWN_FILES = 8


@check(
    "extension-lacks-gpu-code",
    caused_by=("torch-lacks-gpu-code",),
    zh="""已编译的扩展（flash-attn、xformers、自己的扩展等）是否包含本机每块 GPU 都能运行的代码？

    PyTorch 可能支持某块 GPU，而扩展编译时却没有包含它：第一次调用该扩展就会失败，报错
    `no kernel image is available for execution on the device`。每个软件包按其全部文件一起判断。

    解决：安装该软件包支持这块 GPU 的较新版本；或在本机为它编译：把 `TORCH_CUDA_ARCH_LIST` 设为该 GPU 的计算能力，
    再用 `--no-build-isolation --no-binary` 安装，这需要一个认识该 GPU 的 CUDA 工具包。

    预防：为多种机器编译时，在 `TORCH_CUDA_ARCH_LIST` 中列出它们的全部计算能力，并在最后一项后加 `+PTX`，
    以便更新的 GPU 也能运行。
    """,
)
def extension_lacks_gpu_code(machine: Machine) -> Iterator[Finding]:
    """Do the compiled extensions (flash-attn, xformers, your own ...) carry code that every GPU here can run?

    PyTorch may support a GPU for which an extension was not compiled: the first call into it then fails with
    `no kernel image is available for execution on the device`. Each package is judged by all of its files together.

    Mend: install a newer release of the package that supports this GPU, or compile it here: set `TORCH_CUDA_ARCH_LIST` to the
    GPU's compute capability and install with `--no-build-isolation --no-binary`. That needs a CUDA toolkit which knows the GPU.

    Prevent: when compiling for several machines name the compute capabilities of all of them in `TORCH_CUDA_ARCH_LIST`, the
    last with `+PTX` for GPUs that are newer still.

    See: https://pytorch.org/docs/stable/cpp_extension.html https://docs.nvidia.com/cuda/blackwell-compatibility-guide/
    """
    gpus = [gpu for gpu in visible_gpus(machine) if compat.known_version(gpu.compute_capability)]
    packages = _with_gpu_code(machine)
    if not gpus:
        yield Finding(status=Status.SKIP, summary=tr("no GPU of known compute capability", "没有已知计算能力的 GPU"))
        return
    if not packages:
        yield Finding(status=Status.SKIP, summary=tr("no extension with GPU code", "没有带 GPU 代码的扩展"))
        return
    fit: list[str] = []
    for package, files in packages.items():
        for capability in dict.fromkeys(gpu.compute_capability or "" for gpu in gpus):
            alike = [gpu for gpu in gpus if gpu.compute_capability == capability]
            runs = _runs(files, capability, machine)
            if runs:
                fit.append(package)
                continue
            others = len(alike) < len(gpus)
            status = Status.UNKNOWN if runs is None else Status.WARN if others else Status.FAIL
            yield _lacking(package, files, capability, machine, alike, status)
    if fit:
        names = ", ".join(dict.fromkeys(fit))
        summary = tr(f"code for the GPUs here is in {names}", f"以下软件包带有适合这里 GPU 的代码：{names}")
        yield Finding(status=Status.PASS, summary=summary)


def _with_gpu_code(machine: Machine) -> dict[str, list[Extension]]:
    """The files with code for GPUs, by their package."""
    packages: dict[str, list[Extension]] = defaultdict(list)
    for extension in machine.python.extensions if machine.python else ():
        if _codes(extension):
            packages[extension.package].append(extension)
    return packages


def _codes(file: Extension) -> tuple[str, ...]:
    return (*file.machine_code, *file.machine_code_in_part, *file.ptx)


def _runs(files: list[Extension], capability: str, machine: Machine) -> bool | None:
    """Whether any file of a package has code that runs; None where it has code of which the tables know nothing."""
    torch = installed_torch(machine)
    codes = {name for file in files for name in (*file.machine_code, *file.machine_code_in_part)}
    answers = [compat.code_runs_on(name, capability, built_with=torch.cuda if torch else None) for name in codes]
    if any(answers) or any(compat.ptx_runs_on(name, capability) for file in files for name in file.ptx):
        return True
    return None if None in answers else False


def _lacking(
    package: str, files: list[Extension], capability: str, machine: Machine, alike: list[Gpu], status: Status
) -> Finding:
    gpu = alike[0].name or tr("this GPU", "GPU（型号未知）")
    kind = tr(f"{gpu} (compute capability {capability})", f"{gpu}（计算能力 {capability}）")
    evidence = Evidence(fact=f"compute capability of {alike[0].name or 'this GPU'}", value=capability, read_from="NVML")
    return Finding(
        status=status,
        summary=tr(
            f"{package} has no code for {kind}: its first kernel will fail",
            f"{package} 没有适合 {kind}的代码：它的第一个核函数就会失败",
        )
        if status is not Status.UNKNOWN
        else tr(
            f"{package} has code of which the tables do not know whether it runs on {kind}",
            f"表格中没有说明 {package} 的代码能否在 {kind}上运行",
        ),
        why=tr(
            "The package was compiled for other GPU generations. PyTorch itself is judged by torch-lacks-gpu-code.",
            "该软件包是为其他几代 GPU 编译的。PyTorch 本身由 torch-lacks-gpu-code 判断。",
        ),
        evidence=(
            evidence,
            *(Evidence(fact=f"code in {package}", value=" ".join(_codes(file)), read_from=file.path)
              for file in files[:_SHOWN_FILES]),
        ),
        remedies=_with_code_for(package, capability, machine),
        devices=tuple(gpu.index for gpu in alike),
    )  # fmt: skip


def _with_code_for(package: str, capability: str, machine: Machine) -> tuple[Remedy, ...]:
    name, install = bare(package), pip(machine.python) if machine.python else "python -m pip install"
    return (
        Remedy(
            text=tr("Install a newer release, which may have it.", "安装较新的版本，其中可能已有这份代码。"),
            commands=(f"{install} --upgrade --no-deps {name}",),
        ),
        Remedy(
            text=tr(
                "Or compile it here for this GPU (needs a CUDA toolkit that knows it).",
                "或者在本机为这块 GPU 编译（需要认识它的 CUDA 工具包）。",
            ),
            commands=(
                f'TORCH_CUDA_ARCH_LIST="{capability}" {install} --no-build-isolation --no-deps --force-reinstall '
                f"--no-binary {name} {name}",
            ),
        ),
    )
