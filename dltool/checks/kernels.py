"""The GPU code inside PyTorch: some for every GPU here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from msgspec.structs import replace

from dltool import compat
from dltool.checks import check
from dltool.checks.driver_age import newer_driver
from dltool.checks.packages import install_torch, installed_torch
from dltool.checks.visibility import visible_gpus
from dltool.lang import tr
from dltool.machine import Gpu, Machine, TorchBuild
from dltool.results import Evidence, Finding, Remedy, Status


@check(
    "torch-lacks-gpu-code",
    caused_by=("torch-incomplete",),
    zh="""PyTorch 是否包含本机每块 GPU 都能运行的代码？

    torch.cuda.is_available() 只询问有没有设备。如果没有对应的代码，第一个核函数就会失败，报错
    `no kernel image is available for execution on the device`。主版本相同、次版本较低的代码也能运行（sm_86 可在 8.9 上运行）。

    解决：安装带有该 GPU 代码的构建。太新的 GPU 需要更新的 PyTorch：Blackwell 从 2.7 的 cu128 起支持。太旧的 GPU
    需要较旧 CUDA 的构建：CUDA 13 的构建不含 Maxwell、Pascal 和 Volta 的代码，这些 GPU 要用 cu126。

    预防：更换 GPU 或升级 PyTorch 之前，用 `nvidia-smi --query-gpu=name,compute_cap --format=csv` 查看计算能力，再与
    `python -c 'import torch; print(torch.cuda.get_arch_list())'` 的结果比较。
    """,
)
def torch_lacks_gpu_code(machine: Machine) -> Iterator[Finding]:
    """Does PyTorch carry code that every GPU here can run?

    torch.cuda.is_available() asks only for a device. Without code for it the first kernel fails with
    `no kernel image is available for execution on the device`. Code of the same major and a lower minor version runs too
    (sm_86 on 8.9).

    Mend: install a build that has code for the GPU. One that is too new needs a newer PyTorch: Blackwell is in cu128 of 2.7 and
    later. One that is too old needs a build of an older CUDA: those of CUDA 13 have no code for Maxwell, Pascal and Volta,
    which need cu126.

    Prevent: before changing the GPU or upgrading PyTorch look up the compute capability with
    `nvidia-smi --query-gpu=name,compute_cap --format=csv` and compare it with what
    `python -c 'import torch; print(torch.cuda.get_arch_list())'` prints.

    See: https://developer.nvidia.com/cuda-gpus https://pytorch.org/get-started/locally/
    """
    torch = installed_torch(machine)
    if torch is None or torch.cuda is None:
        summary = tr("no PyTorch with CUDA is installed", "没有安装带 CUDA 的 PyTorch")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    gpus = [gpu for gpu in visible_gpus(machine) if compat.known_version(gpu.compute_capability)]
    if not gpus:
        yield Finding(status=Status.SKIP, summary=tr("no GPU of known compute capability", "没有已知计算能力的 GPU"))
        return
    code = _code_in(torch, machine)
    if code is None:
        yield _not_in_the_tables(torch)
        return
    found = list(_each_kind(gpus, code, machine, torch))
    fit = [index for finding in found if finding.status is Status.PASS for index in finding.devices]
    yield from (_beside(finding, fit) if finding.status is Status.FAIL and fit else finding for finding in found)


def _not_in_the_tables(torch: TorchBuild) -> Finding:
    build = compat.torch_build(torch.version, torch.cuda)
    return Finding(
        status=Status.UNKNOWN,
        summary=tr(
            f"the GPU code inside PyTorch {torch.version} ({build}) is not in the tables",
            f"表格中没有 PyTorch {torch.version}（{build}）所含的 GPU 代码",
        ),
        evidence=(Evidence(fact="torch", value=f"{torch.version} {build}", read_from=torch.location),),
    )


def _each_kind(gpus: list[Gpu], code: compat.TorchCode, machine: Machine, torch: TorchBuild) -> Iterator[Finding]:
    """A verdict for each name and compute capability among the GPUs."""
    for name, capability in dict.fromkeys((gpu.name, gpu.compute_capability or "") for gpu in gpus):
        alike = tuple(gpu.index for gpu in gpus if (gpu.name, gpu.compute_capability) == (name, capability))
        yield replace(_code_for(name, capability, code, machine, torch), devices=alike)


def _code_in(torch: TorchBuild, machine: Machine) -> compat.TorchCode | None:
    """The code of this build: as its files hold it where they were read, else as it was published."""
    if torch.machine_code or torch.ptx:
        return compat.TorchCode(
            machine_code=torch.machine_code or (), ptx=torch.ptx, source=torch.code_read_from or torch.location
        )
    code = compat.torch_code(
        torch.version,
        compat.torch_build(torch.version, torch.cuda),
        windows=machine.os.system == "Windows",
        processor=machine.cpu.architecture or "x86_64",
    )
    return dataclasses.replace(code, source=f"catalog: {code.source}") if code else None


def _beside(finding: Finding, fit: list[int]) -> Finding:
    """A GPU that cannot be used beside others that can, a display card mostly: to be hidden rather than to be mended."""
    hide = Remedy(
        text=tr(
            "Or hide it from CUDA and use the others (nvidia-smi's order needs the first variable).",
            "或者对 CUDA 隐藏它，使用其他 GPU（要按 nvidia-smi 的顺序编号，需要第一个变量）。",
        ),
        commands=("export CUDA_DEVICE_ORDER=PCI_BUS_ID", f"export CUDA_VISIBLE_DEVICES={','.join(map(str, fit))}"),
    )
    return replace(finding, status=Status.WARN, remedies=(*finding.remedies, hide))


def _code_for(reported: str | None, capability: str, code: compat.TorchCode, machine: Machine, torch: TorchBuild) -> Finding:
    """The verdict on one kind of GPU."""
    name = reported or tr("this GPU", "GPU（型号未知）")
    compiled = " ".join((*code.machine_code, *(code.ptx or ())))
    evidence = (
        Evidence(fact=f"compute capability of {reported or 'this GPU'}", value=capability, read_from="NVML"),
        Evidence(fact=f"code in torch {torch.version}", value=compiled, read_from=code.source),
    )
    fits = [sm for sm in code.machine_code if compat.code_runs_on(sm, capability, built_with=torch.cuda)]
    if fits:
        summary = tr(
            f"PyTorch has code for {name} ({fits[-1]} runs on {capability})",
            f"PyTorch 的代码适合 {name}（{fits[-1]} 可在 {capability} 上运行）",
        )
        return Finding(status=Status.PASS, summary=summary, evidence=evidence)
    if any(compat.ptx_runs_on(ptx, capability) for ptx in code.ptx or ()):
        return _only_ptx(name, machine, torch, evidence)
    if any(compat.code_runs_on(sm, capability) is None for sm in code.machine_code):
        summary = tr(
            f"PyTorch has code of which the tables do not know whether it runs on {name} ({capability})",
            f"表格中没有说明 PyTorch 的代码能否在 {name}（{capability}）上运行",
        )
        return Finding(status=Status.UNKNOWN, summary=summary, evidence=evidence)
    if code.ptx is None and not compat.dropped_by_cuda(capability, torch.cuda or ""):
        summary = tr(
            f"PyTorch has no machine code for {name} ({capability}); whether it has PTX is not known",
            f"PyTorch 没有适合 {name}（{capability}）的机器码；是否带有 PTX 未知",
        )
        return Finding(status=Status.UNKNOWN, summary=summary, evidence=evidence)
    return _no_code(name, capability, machine, torch, evidence)


def _no_code(name: str, capability: str, machine: Machine, torch: TorchBuild, evidence: tuple[Evidence, ...]) -> Finding:
    better = tr("Install the newest build that has code for every GPU here.", "安装包含本机所有 GPU 代码的最新构建。")
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"PyTorch {torch.version} has no code for {name} (compute capability {capability}): the first kernel will fail",
            f"PyTorch {torch.version} 没有适合 {name}（计算能力 {capability}）的代码：第一个核函数就会失败",
        ),
        why=tr(
            "The build was compiled for other GPU generations; is_available() is True all the same.",
            "该构建是为其他几代 GPU 编译的；即便如此 is_available() 仍为 True。",
        ),
        evidence=evidence,
        remedies=tuple(install_torch(machine, why=better)),
    )


def _only_ptx(name: str, machine: Machine, torch: TorchBuild, evidence: tuple[Evidence, ...]) -> Finding:
    """PTX alone: the driver compiles it, if it is not older than the CUDA that wrote it.

    Source: CUDA Compatibility guide, "Minor Version Compatibility", limitations.
    """
    driver, wrote = compat.known_version(machine.driver.cuda_version), compat.known_version(torch.cuda)
    if driver is None or wrote is None or driver >= wrote:
        summary = tr(
            f"PyTorch has only PTX for {name}: the driver compiles it at the first start, which takes minutes",
            f"PyTorch 只以 PTX 形式支持 {name}：首次启动时由驱动编译，需要几分钟",
        )
        return Finding(status=Status.INFO, summary=summary, evidence=evidence)
    better = tr("Install the newest build that has machine code for every GPU here.", "安装包含本机所有 GPU 机器码的最新构建。")
    wanted = tr(f"one of CUDA {torch.cuda} or newer", f"支持 CUDA {torch.cuda} 或更新 CUDA 的版本")
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"PyTorch has only PTX of CUDA {torch.cuda} for {name}, which a driver of CUDA {driver} cannot compile",
            f"PyTorch 只以 CUDA {torch.cuda} 的 PTX 支持 {name}，而支持到 CUDA {driver} 的驱动无法编译它",
        ),
        evidence=evidence,
        remedies=(*install_torch(machine, why=better), *newer_driver(machine, wanted)),
    )
