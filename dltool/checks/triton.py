"""Triton, in which torch.compile writes its kernels: whether it suits PyTorch, driver and PTX assembler."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from dltool import compat, tables
from dltool.checks import check
from dltool.checks.packages import installed_torch, listed, pip, question, unread
from dltool.compat import packages, rules_packages
from dltool.lang import tr
from dltool.machine import Distribution, Machine, PythonEnv, TorchBuild
from dltool.results import Evidence, Finding, Remedy, Risk, Status

_NAMES = ("triton", "triton-windows", "pytorch-triton")
_PTXAS_OF_ALL_BLACKWELL = 13
"""The CUDA major from which ptxas knows every GPU of that generation."""


@check(
    "triton-mismatched",
    caused_by=("environment-broken", "torch-incomplete", "torch-companions-mismatched"),
    zh="""Triton 是否与 PyTorch、驱动以及指定的 PTX 汇编器相配？

    torch.compile 用 Triton 生成核函数，而每个 PyTorch 都固定了一个 Triton 版本。换成别的版本、驱动早于 CUDA 12、
    或指定了它不认识的 ptxas 时，普通（eager）代码照常运行，torch.compile 则失败。

    解决：重新安装同一版本的 PyTorch，pip 会带回它固定的 Triton；驱动太旧时升级到 R525 或更新；`unset TRITON_PTXAS_PATH` 让
    Triton 使用自带的 ptxas。

    预防：不要单独升级 Triton；不要在 shell 的启动文件里设置 TRITON_PTXAS_PATH。
    """,
)
def triton_mismatched(machine: Machine) -> Iterator[Finding]:
    """Does Triton suit PyTorch, the driver and the PTX assembler that it is told to use?

    torch.compile writes its kernels in Triton. Each PyTorch pins one version of it; with another, with a driver from before
    CUDA 12, or with a ptxas that it does not know, eager code works and torch.compile fails.

    Mend: install the same PyTorch again, pip brings back the Triton that it pins; where the driver is too old, install R525 or
    later; `unset TRITON_PTXAS_PATH` lets Triton use its own ptxas.

    Prevent: do not upgrade Triton alone, and set no TRITON_PTXAS_PATH in the start files of the shell.

    See: https://github.com/pytorch/pytorch/issues/130684 https://github.com/triton-lang/triton/issues/5737
    """
    python = machine.python
    triton = next((found for name in _NAMES if python and (found := python.distribution(name))), None)
    if python is None or triton is None or compat.known_version(triton.version) is None:
        yield _absent(machine)
        return
    problems = [*_other_torch(machine, python, triton), *_by_table(machine, triton)]
    problems = problems or list(_cannot_compile(machine, python, triton))
    yield from problems
    if not problems:
        told = tr(f"Triton {triton.version}", f"Triton {triton.version}：相配")
        yield Finding(status=Status.PASS, summary=told, evidence=(listed(triton),))


def _cannot_compile(machine: Machine, python: PythonEnv, triton: Distribution) -> Iterator[Finding]:
    """Triton compiles a small C file when it starts: for that it needs a C compiler and the headers of Python."""
    if machine.os.system != "Linux" or installed_torch(machine) is None:
        return
    minor = ".".join(python.version.split(".")[:2])
    if machine.host_compiler is None and "host_compiler" not in machine.gaps:
        yield _missing_for_compiling(
            triton,
            tr("no gcc is on the PATH", "PATH 中没有 gcc"),
            "Failed to find C compiler. Please specify via CC environment variable",
            "sudo apt-get install build-essential  # Fedora, RHEL: sudo dnf install gcc",
        )
    elif python.has_headers is False:
        yield _missing_for_compiling(
            triton,
            tr(f"the headers of Python {minor} are not installed", f"没有安装 Python {minor} 的头文件"),
            "fatal error: Python.h: No such file or directory",
            f"sudo apt-get install python{minor}-dev  # Fedora, RHEL: sudo dnf install python3-devel",
        )


def _missing_for_compiling(triton: Distribution, what: str, message: str, command: str) -> Finding:
    return Finding(
        status=Status.INFO,
        summary=tr(f"{what}: torch.compile fails", f"{what}：torch.compile 会失败"),
        why=tr(
            f"Triton {triton.version} compiles a small C file when it starts (`{message}`). Eager code works.",
            f"Triton {triton.version} 启动时要编译一个小的 C 文件（`{message}`）。普通（eager）代码不受影响。",
        ),
        evidence=(listed(triton),),
        remedies=(
            Remedy(
                text=tr(
                    "Install it where torch.compile is wanted.",
                    "需要 torch.compile 时安装它。",
                ),
                commands=(command,),
                risk=Risk.ROOT,
            ),
        ),
    )


def _absent(machine: Machine) -> Finding:
    python, torch = machine.python, installed_torch(machine)
    if python is None or torch is None or torch.cuda is None or machine.os.system != "Windows":
        absent = Finding(status=Status.SKIP, summary=tr("Triton is not installed", "没有安装 Triton"))
        return unread(machine) or absent
    return Finding(
        status=Status.INFO,
        summary=tr(
            "Triton is not installed: torch.compile will not work (on Windows PyTorch does not bring it)",
            "没有安装 Triton：torch.compile 无法工作（Windows 上的 PyTorch 不自带 Triton）",
        ),
        remedies=(
            Remedy(
                text=tr("Install it where torch.compile is wanted.", "需要 torch.compile 时安装它。"),
                commands=(f"{pip(python)} triton-windows",),
            ),
        ),
    )


def _other_torch(machine: Machine, python: PythonEnv, triton: Distribution) -> Iterator[Finding]:
    """It belongs to another PyTorch."""
    torch = installed_torch(machine)
    if torch is None:
        return
    name = "triton" if triton.name.startswith("pytorch") else triton.name
    again = f"{pip(python)} --force-reinstall torch=={torch.version.partition('+')[0]}"
    for finding in rules_packages.companions(question(machine, {name: triton.version})):
        if finding.status is Status.FAIL and not _patch_only(torch, triton):
            yield replace(
                finding,
                status=Status.WARN,
                evidence=(listed(triton), *finding.evidence),
                remedies=(Remedy(text=finding.remedies[0].text, commands=(again,)),),
            )


def _patch_only(torch: TorchBuild, triton: Distribution) -> bool:
    """Whether it differs from the one that belongs only in the last part of its version: these take each other's place."""
    have, pinned = (
        compat.known_version(triton.version),
        compat.known_version((compat.torch_release(torch.version) or {}).get("triton")),
    )
    return have is not None and pinned is not None and have.release[:2] == pinned.release[:2]


def _by_table(machine: Machine, triton: Distribution) -> Iterator[Finding]:
    """What the table tells of this release: the driver, the PTX assembler and the name of libcuda that it needs."""
    row = packages.triton_row(triton.version)
    if row is None:
        return
    driver = compat.known_version(machine.driver.cuda_version)
    if driver is not None and row["driver_cuda_min"] and driver < compat.version(row["driver_cuda_min"]):
        yield _old_driver(machine, triton, row)
    ptxas = compat.known_version(machine.triton_ptxas)
    if ptxas is not None and row["ptxas_cuda_max"] and ptxas.release[:2] > compat.version(row["ptxas_cuda_max"]).release:
        yield _unknown_ptxas(machine, triton, row)
    if machine.os.system != "Windows" and (strange := _strange_to_ptxas(machine, row)):
        yield _own_ptxas_too_old(triton, strange)
    if machine.driver.has_libcuda_link is False and row["libcuda"] == "libcuda.so" and machine.os.system != "Windows":
        yield _no_libcuda_link(machine, triton)


def _strange_to_ptxas(machine: Machine, row: tables.Row) -> str | None:
    """The compute capability of a GPU that the PTX assembler which Triton will call cannot compile for."""
    lacks = row["ptxas_lacks"].split()
    told = compat.known_version(machine.triton_ptxas)
    if told is not None and told.major >= _PTXAS_OF_ALL_BLACKWELL:
        return None
    return next((gpu.compute_capability for gpu in machine.gpus if gpu.compute_capability in lacks), None)


def _own_ptxas_too_old(triton: Distribution, capability: str) -> Finding:
    code = f"sm_{capability.replace('.', '')}a"
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"the ptxas that Triton {triton.version} brings does not know this GPU ({code}): torch.compile fails",
            f"Triton {triton.version} 自带的 ptxas 不认识这块 GPU（{code}）：torch.compile 会失败",
        ),
        why=tr(
            f"`ptxas fatal: Value '{code}' is not defined for option 'gpu-name'`. Eager code works.",
            f"`ptxas fatal: Value '{code}' is not defined for option 'gpu-name'`。普通（eager）代码不受影响。",
        ),
        evidence=(listed(triton), Evidence(fact="compute capability", value=capability, read_from="NVML")),
        remedies=(
            Remedy(
                text=tr(
                    "Let it use the ptxas of a CUDA 13 toolkit, or take a newer PyTorch and Triton.",
                    "让它使用 CUDA 13 工具包的 ptxas，或换用更新的 PyTorch 和 Triton。",
                ),
                commands=("export TRITON_PTXAS_PATH=/usr/local/cuda-13.0/bin/ptxas",),
            ),
        ),
    )


def _old_driver(machine: Machine, triton: Distribution, row: tables.Row) -> Finding:
    have, major = machine.driver.cuda_version, compat.version(row["driver_cuda_min"]).major
    floor = compat.driver_floor(row["driver_cuda_min"], windows=machine.os.system == "Windows" or machine.os.wsl)
    branch = f"R{floor.floor.partition('.')[0]}" if floor else f"CUDA {major}"
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"Triton {triton.version} needs a driver of CUDA {major} ({branch} or later), this one is of CUDA {have}: "
            "torch.compile fails",
            f"Triton {triton.version} 需要 CUDA {major} 的驱动（{branch} 或更新），而本机驱动只支持到 CUDA {have}："
            "torch.compile 会失败",
        ),
        why=tr(
            "It calls functions of the driver (cuTensorMapEncodeTiled) that came with CUDA 12. Eager code works.",
            "它调用的驱动函数（cuTensorMapEncodeTiled）从 CUDA 12 才有。普通（eager）代码不受影响。",
        ),
        evidence=(listed(triton), Evidence(fact="CUDA of the driver", value=have, read_from="NVML")),
        remedies=(
            Remedy(
                text=tr(
                    f"Install a driver of {branch} or later, or stay with torch 2.3 and its Triton 2.3.",
                    f"安装 {branch} 或更新的驱动，或继续使用 torch 2.3 及其 Triton 2.3。",
                ),
                commands=("dltool setup plan",),
            ),
        ),
    )


def _unknown_ptxas(machine: Machine, triton: Distribution, row: tables.Row) -> Finding:
    ends, told = row["ptxas_cuda_max"], machine.triton_ptxas
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"Triton {triton.version} does not know the ptxas of CUDA {told} that it is told to use",
            f"Triton {triton.version} 不认识为它指定的 CUDA {told} 的 ptxas",
        ),
        why=tr(
            f'Its list ends with CUDA {ends}; the message is "Triton only support CUDA 10.0 or higher".',
            f'它的列表到 CUDA {ends} 为止；报错是 "Triton only support CUDA 10.0 or higher"。',
        ),
        evidence=(listed(triton), Evidence(fact="ptxas", value=told, read_from="TRITON_PTXAS_PATH")),
        remedies=(
            Remedy(
                text=tr(
                    "Let it use its own, or take a newer PyTorch and Triton.",
                    "让它使用自带的 ptxas，或换用更新的 PyTorch 和 Triton。",
                ),
                commands=("unset TRITON_PTXAS_PATH",),
            ),
        ),
    )


def _no_libcuda_link(machine: Machine, triton: Distribution) -> Finding:
    libcuda = machine.driver.libcuda or "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
    directory = libcuda.rpartition("/")[0]
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"Triton {triton.version} looks for libcuda.so, and there is only libcuda.so.1: torch.compile fails",
            f"Triton {triton.version} 要找 libcuda.so，而这里只有 libcuda.so.1：torch.compile 会失败",
        ),
        why=tr(
            'It links its launcher with -lcuda ("cannot find -lcuda", "libcuda.so cannot found!"); the name without a number '
            "is missing here.",
            '它用 -lcuda 链接启动器（"cannot find -lcuda"、"libcuda.so cannot found!"），而这里缺少不带数字的那个文件名。',
        ),
        evidence=(listed(triton), Evidence(fact="libcuda.so", value="missing", read_from=f"ld.so.cache, {directory}")),
        remedies=(
            Remedy(
                text=tr(
                    "Make the link, or take a newer PyTorch, whose Triton does not need it.",
                    "建立该符号链接，或换用更新的 PyTorch，其 Triton 不需要它。",
                ),
                commands=(f"sudo ln -s libcuda.so.1 {directory}/libcuda.so", "sudo ldconfig"),
            ),
        ),
    )
