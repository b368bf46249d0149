"""torchvision and torchaudio: compiled against one PyTorch and one CUDA."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.packages import COMPANIONS, install_torch, installed_torch, pip
from dltool.lang import tr
from dltool.machine import Distribution, Machine, PythonEnv, TorchBuild
from dltool.results import Evidence, Finding, Remedy, Status


@check(
    "torch-companions-mismatched",
    caused_by=("torch-cpu-only", "driver-too-old", "torch-lacks-gpu-code"),
    zh="""torchvision 和 torchaudio 与这个 PyTorch 配套吗？

    它们是针对 PyTorch 的某一个次版本和某一个 CUDA 编译的。其他搭配会在导入时失败，或报错
    `operator torchvision::nms does not exist`。

    解决：安装与 torch 配套的版本，并使用与 torch 相同的软件源：`pip install torchvision==VERSION --index-url URL`。
    各版本的对应关系见下面的链接。

    预防：在同一条 pip 命令中、从同一个软件源一起安装和升级 torch、torchvision 和 torchaudio，并在 requirements 文件中
    同时固定三者的版本。
    """,
)
def torch_companions_mismatched(machine: Machine) -> Iterator[Finding]:
    """Do torchvision and torchaudio belong to this PyTorch?

    They are compiled against one minor version of it and one CUDA. Another pairing fails at import or with
    `operator torchvision::nms does not exist`.

    Mend: install the version that belongs to torch, from the index that torch is from:
    `pip install torchvision==VERSION --index-url URL`. The link below lists which belong together.

    Prevent: install and upgrade torch, torchvision and torchaudio together, in one pip command and from one index, and pin all
    three in the requirements file.

    See: https://pytorch.org/get-started/previous-versions/ https://github.com/pytorch/pytorch/issues/122494
    """
    torch, python = installed_torch(machine), machine.python
    installed = [python.distribution(name) for name in COMPANIONS] if python else []
    present = [found for found in installed if found is not None]
    if torch is None or python is None or not present:
        summary = tr("no torchvision or torchaudio beside PyTorch", "没有与 PyTorch 一起安装的 torchvision 或 torchaudio")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    for companion in present:
        yield _judged(companion, torch, machine, python)


def _judged(companion: Distribution, torch: TorchBuild, machine: Machine, python: PythonEnv) -> Finding:
    """Whether this companion is of torch's release and of torch's build."""
    name = f"{companion.name} {companion.version}"
    verdict = compat.companion_suits(torch.version, companion.name, companion.version)
    theirs, ours = _build(companion.version), _build(torch.version)
    other_build = bool(theirs and ours and theirs != ours)
    evidence = (
        Evidence(fact="torch", value=torch.version, read_from=torch.location),
        Evidence(fact=companion.name, value=companion.version, read_from=companion.location),
    )
    if verdict is None and not other_build:
        return Finding(
            status=Status.UNKNOWN,
            summary=tr(
                f"whether {name} belongs to torch {torch.version} is not in the tables",
                f"表格中没有说明 {name} 是否与 torch {torch.version} 配套",
            ),
            evidence=evidence,
        )
    suits, wanted = verdict or (True, companion.version.partition("+")[0])
    suits = suits or _one_minor(companion.version, wanted)
    if suits and not other_build:
        summary = tr(f"{name} belongs to torch {torch.version}", f"{name} 与 torch {torch.version} 配套")
        return Finding(status=Status.PASS, summary=summary)
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"{name} is built for {theirs}, torch for {ours}",
            f"{name} 是为 {theirs} 构建的，而 torch 是为 {ours} 构建的",
        )
        if suits
        else tr(
            f"{name} does not belong to torch {torch.version} (that is {wanted})",
            f"{name} 与 torch {torch.version} 不配套（配套的是 {wanted}）",
        ),
        evidence=evidence,
        remedies=tuple(_install_companion(machine, python, companion.name, torch)),
    )


def _build(version: str) -> str | None:
    """The label of a build: "2.9.1+cu128" is cu128."""
    match = re.search(r"\+(cu\d+|cpu)", version)
    return match[1] if match else None


def _one_minor(installed: str, wanted: str) -> bool:
    """Patch releases share their binary interface: pip may complain, but the import works."""
    have, belongs = compat.known_version(installed), compat.known_version(wanted)
    return have is not None and belongs is not None and have.release[:2] == belongs.release[:2]


def _install_companion(machine: Machine, python: PythonEnv, name: str, torch: TorchBuild) -> Iterator[Remedy]:
    """The companion of this build; where none was published for it, a torch that has one."""
    build = compat.torch_build(torch.version, torch.cuda)
    pin = compat.companion_pin(torch.version, build, name, windows=machine.os.system == "Windows")
    if pin is None:
        why = tr(f"Install a torch for whose CUDA there is a {name} too.", f"安装一个其 CUDA 也有对应 {name} 的 torch。")
        yield from install_torch(machine, why=why)
        return
    yield Remedy(
        text=tr("Install the one that belongs to it.", "安装与它配套的版本。"),
        commands=(f'{pip(python)} "{pin}+{build}" --index-url {compat.wheel_index(build)}',),
    )
