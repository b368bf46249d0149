"""The Python environment that is judged: its PyTorch and other packages, its install command, and remedies by installing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from msgspec.structs import replace

from dltool import compat
from dltool.checks.visibility import visible_gpus
from dltool.lang import tr
from dltool.machine import Distribution, Machine, PythonEnv, TorchBuild
from dltool.results import Evidence, Finding, Remedy, Status

COMPANIONS = ("torchvision", "torchaudio")
"""Distributions that are compiled against one PyTorch and published with it."""


def installed_torch(machine: Machine) -> TorchBuild | None:
    """The PyTorch of the environment that is judged."""
    return machine.python.torch if machine.python else None


def unread(machine: Machine) -> Finding | None:
    """That the environment could not be read; None where it could."""
    if machine.python is not None:
        return None
    reason = machine.why_missing("python")
    return Finding(
        status=Status.UNKNOWN,
        summary=tr(f"the Python environment could not be read: {reason}", f"无法读取 Python 环境：{reason}"),
    )


def no_python() -> Finding:
    """There is nothing to look at."""
    return Finding(status=Status.SKIP, summary=tr("no Python", "没有 Python"))


def listed(found: Distribution) -> Evidence:
    """A distribution, its version and where it lies."""
    return Evidence(fact=found.name, value=found.version, read_from=found.location)


def question(machine: Machine, packages: dict[str, str]) -> compat.Question:
    """What the machine has together with these packages only, as a question to the compatibility tables."""
    asked = compat.of_machine(machine)
    known = tuple(capability for capability in asked.compute_capabilities if compat.known_version(capability))
    return replace(asked, packages=packages, compute_capabilities=known)


def pip(python: PythonEnv) -> str:
    """The install command of this environment: uv's where uv filled it, else its own pip."""
    torch = python.distribution("torch")
    if torch is not None and torch.installer == "uv":
        return f"uv pip install --python {_quoted(python.executable)}"
    return f"{_quoted(python.executable)} -m pip install"


def _quoted(path: str) -> str:
    """For a shell; a leading ~ stays one."""
    return path if path.startswith("~/") and " " not in path else shlex.quote(path)


def pip_uninstall(python: PythonEnv) -> str:
    """The command that removes packages from this environment without asking."""
    command = pip(python).replace(" install", " uninstall")
    return command if command.startswith("uv ") else f"{command} -y"  # uv asks nothing


def bare(package: str) -> str:
    """The name of a package that is written with its version: "flash-attn 2.8.3" is flash-attn."""
    return package.partition(" ")[0]


def unread_wheels(machine: Machine) -> Iterator[tuple[Distribution, compat.WheelFacts]]:
    """Distributions whose compiled files were not read, with what reports say of their published wheels.

    On Linux only, and not on Jetson or from conda, which have builds of their own.
    """
    if machine.python is None or machine.os.system != "Linux" or machine.os.tegra:
        return
    read = {bare(extension.package) for extension in machine.python.extensions}
    for found in machine.python.distributions:
        if found.name not in read and found.installer not in ("conda", None):
            yield found, compat.wheel_facts(found.name, found.version)


def from_source(package: str) -> str:
    """The command that compiles a package here against the PyTorch that is installed."""
    return f"python -m pip install --no-binary {bare(package)} --no-build-isolation {bare(package)}"


def same_torch(torch: TorchBuild) -> str:
    """What to give to pip for the build that is installed: PyPI serves no version with a build's label."""
    build = torch.version.partition("+")[2]
    if not re.fullmatch(r"cu\d+|cpu", build):
        return f"torch=={torch.version}"
    return f'"torch=={torch.version}" --index-url {compat.wheel_index(build)}'


def install_torch(machine: Machine, *, why: str) -> Iterator[Remedy]:
    """The newest published torch that suits GPUs, driver and Python at once, as a remedy; none if there is no such build."""
    python = machine.python
    if python is None:
        return
    reported = [gpu.compute_capability for gpu in visible_gpus(machine)]
    capabilities = [capability for capability in reported if capability and compat.known_version(capability)]
    choice = compat.newest_torch(
        python=python.version,
        driver=machine.driver.version or machine.driver.kernel_module_version,
        compute_capabilities=capabilities,
        windows=machine.os.system == "Windows",
        wsl=machine.os.wsl,
        processor=machine.cpu.architecture or "x86_64",
        companions=[name for name in COMPANIONS if python.distribution(name)],
    )
    if choice is not None:
        yield Remedy(text=why, commands=(f"{pip(python)} {choice.requirements()}",))
    elif machine.os.tegra:
        yield Remedy(
            text=tr(
                f"Install the PyTorch that NVIDIA builds for the JetPack release of this {machine.os.tegra}.",
                f"安装 NVIDIA 为这台 {machine.os.tegra} 的 JetPack 版本构建的 PyTorch。",
            )
        )
    else:
        yield _none_suits(machine, python)


def _none_suits(machine: Machine, python: PythonEnv) -> Remedy:
    driver = machine.driver.version or tr("unknown", "未知")
    return Remedy(
        text=tr(
            "No published PyTorch suits GPU, driver and Python at once. Relax one: "
            f"Python ({python.version} here), the driver ({driver} here), or build from source.",
            "没有已发布的 PyTorch 能同时满足 GPU、驱动和 Python。请放宽其中一项："
            f"Python（这里是 {python.version}）、驱动（这里是 {driver}），或从源码编译。",
        )
    )
