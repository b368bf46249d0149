"""PyTorch and what is installed beside it: the right build for GPU, driver and Python, and no mixture."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.visibility import visible_gpus
from dltool.machine import Machine, PythonEnv, TorchBuild
from dltool.results import Evidence, Finding, Remedy, Status

_COMPANIONS = ("torchvision", "torchaudio")


def installed_torch(machine: Machine) -> TorchBuild | None:
    """The PyTorch of the environment that is judged."""
    return machine.python.torch if machine.python else None


def pip(python: PythonEnv) -> str:
    """The install command of this environment: uv's where uv filled it, else its own pip."""
    torch = python.distribution("torch")
    if torch is not None and torch.installer == "uv":
        return f"uv pip install --python {_quoted(python.executable)}"
    return f"{_quoted(python.executable)} -m pip install"


def _quoted(path: str) -> str:
    """For a shell; a leading ~ stays one."""
    return path if path.startswith("~/") and " " not in path else shlex.quote(path)


def _pip_uninstall(python: PythonEnv) -> str:
    command = pip(python).replace(" install", " uninstall")
    return command if command.startswith("uv ") else f"{command} -y"  # uv asks nothing


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
        companions=[name for name in _COMPANIONS if python.distribution(name)],
    )
    if choice is None and machine.os.tegra:
        yield Remedy(text=f"Install the PyTorch that NVIDIA builds for the JetPack release of this {machine.os.tegra}.")
        return
    if choice is None:
        yield Remedy(
            text="No published PyTorch suits GPU, driver and Python at once. Relax one: "
            f"Python ({python.version} here), the driver ({machine.driver.version or 'unknown'} here), or build from source."
        )
        return
    yield Remedy(text=why, commands=(f"{pip(python)} {choice.requirements()}",))


def same_torch(torch: TorchBuild) -> str:
    """What to give to pip for the build that is installed: PyPI serves no version with a build's label."""
    build = torch.version.partition("+")[2]
    if not re.fullmatch(r"cu\d+|cpu", build):
        return f"torch=={torch.version}"
    return f'"torch=={torch.version}" --index-url {compat.wheel_index(build)}'


@check("torch-incomplete", caused_by=("environment-broken",))
def torch_incomplete(machine: Machine) -> Iterator[Finding]:
    """Can the installed PyTorch be imported by this Python at all?

    Its compiled part is made for one Python version. A PYTHONPATH into another interpreter's packages, an upgraded Python or
    an interrupted installation leaves one that does not fit.
    """
    torch = installed_torch(machine)
    python = machine.python
    if python is None:
        yield Finding(
            status=Status.UNKNOWN, summary=f"the Python environment could not be read: {machine.why_missing('python')}"
        )
        return
    if torch is None:
        yield from _no_torch(machine, python)
        return
    if torch.import_broken:
        yield Finding(
            status=Status.FAIL,
            summary=f"PyTorch {torch.version} cannot be imported by Python {python.version}: {torch.import_broken}",
            evidence=(
                Evidence(fact="torch", value=torch.location, read_from="import path"),
                Evidence(fact="python", value=f"{python.version} at {python.executable}", read_from="interpreter"),
            ),
            remedies=(
                Remedy(
                    text="Install it again for this Python.",
                    commands=(f"{pip(python)} --force-reinstall --no-deps {same_torch(torch)}",),
                ),
            ),
        )
        return
    row = compat.torch_release(torch.version)
    span = f" (published for Python {row['python_min']} to {row['python_max']})" if row else ""
    yield Finding(status=Status.PASS, summary=f"PyTorch {torch.version} is complete for Python {python.version}{span}")


def _no_torch(machine: Machine, python: PythonEnv) -> Iterator[Finding]:
    reason = machine.why_missing("python.torch")
    if reason.startswith("not installed"):
        yield Finding(status=Status.SKIP, summary=f"PyTorch is not installed in {python.prefix or python.executable}")
        return
    if "python.torch" not in machine.gaps:
        yield Finding(status=Status.UNKNOWN, summary=f"whether PyTorch is installed is not known: {reason}")
        return
    yield Finding(
        status=Status.FAIL,
        summary=f"the installation of PyTorch is broken: {reason}",
        evidence=(Evidence(fact="torch", value=reason, read_from=f"import path of {python.executable}"),),
        remedies=(
            Remedy(text="Remove what is left and install it again.", commands=(f"{pip(python)} --force-reinstall torch",)),
        ),
    )


@check("torch-cpu-only", caused_by=("torch-incomplete",))
def torch_cpu_only(machine: Machine) -> Iterator[Finding]:
    """Was PyTorch built with CUDA, where there is a GPU?

    A CPU-only build never finds the GPU, whatever the driver: torch.cuda.is_available() is False and `.cuda()` raises "Torch
    not compiled with CUDA enabled". A plain pip install gives this build on Windows, and wherever an index says cpu.
    """
    torch = installed_torch(machine)
    if torch is None:
        yield Finding(status=Status.SKIP, summary="PyTorch is not installed")
    elif torch.cuda is not None:
        yield Finding(status=Status.PASS, summary=f"PyTorch {torch.version} is built with CUDA {torch.cuda}")
    elif torch.hip is not None or "+xpu" in torch.version:
        yield Finding(status=Status.INFO, summary=f"PyTorch {torch.version} is built for another maker's GPUs")
    elif not has_gpu(machine):
        yield Finding(
            status=Status.PASS, summary=f"PyTorch {torch.version} is built for the CPU, as fits a machine without GPU"
        )
    else:
        gpu = next((gpu.name for gpu in machine.gpus if gpu.name), "an NVIDIA GPU")
        yield Finding(
            status=Status.FAIL,
            summary=f"PyTorch {torch.version} is a CPU-only build beside {gpu}: torch.cuda.is_available() is False",
            why="The wheel that was installed has no CUDA code; the driver has no part in it.",
            evidence=(
                Evidence(fact="cuda", value=None, read_from=f"{torch.location}/version.py"),
                Evidence(fact="GPU", value=gpu, read_from="NVML" if machine.gpus else "PCI bus"),
            ),
            remedies=tuple(install_torch(machine, why="Install the CUDA build that suits this GPU, driver and Python.")),
        )


@check("torch-companions-mismatched", caused_by=("torch-cpu-only", "driver-too-old", "torch-lacks-gpu-code"))
def torch_companions_mismatched(machine: Machine) -> Iterator[Finding]:
    """Do torchvision and torchaudio belong to this PyTorch?

    They are compiled against one minor version of it and one CUDA. Another pairing fails at import or with "operator
    torchvision::nms does not exist".
    """
    torch, python = installed_torch(machine), machine.python
    installed = [python.distribution(name) for name in _COMPANIONS] if python else []
    present = [found for found in installed if found is not None]
    if torch is None or python is None or not present:
        yield Finding(status=Status.SKIP, summary="no torchvision or torchaudio beside PyTorch")
        return
    for companion in present:
        verdict = compat.companion_suits(torch.version, companion.name, companion.version)
        theirs, ours = (re.search(r"\+(cu\d+|cpu)", text) for text in (companion.version, torch.version))
        other_build = bool(theirs and ours and theirs[1] != ours[1])
        evidence = (
            Evidence(fact="torch", value=torch.version, read_from=torch.location),
            Evidence(fact=companion.name, value=companion.version, read_from=companion.location),
        )
        if verdict is None and not other_build:
            yield Finding(
                status=Status.UNKNOWN,
                summary=f"whether {companion.name} {companion.version} belongs to torch {torch.version} is not in the tables",
                evidence=evidence,
            )
            continue
        suits, wanted = verdict or (True, companion.version.partition("+")[0])
        suits = suits or _one_minor(companion.version, wanted)
        if suits and not other_build:
            yield Finding(status=Status.PASS, summary=f"{companion.name} {companion.version} belongs to torch {torch.version}")
            continue
        build = compat.torch_build(torch.version, torch.cuda)
        what = (
            f"is built for {theirs[1]}, torch for {ours[1]}"
            if suits and theirs and ours
            else f"does not belong to torch {torch.version} (that is {wanted})"
        )
        yield Finding(
            status=Status.FAIL,
            summary=f"{companion.name} {companion.version} {what}",
            evidence=evidence,
            remedies=tuple(_install_companion(machine, python, companion.name, torch.version, build)),
        )


def _one_minor(installed: str, wanted: str) -> bool:
    """Patch releases share their binary interface: pip may complain, but the import works."""
    have, belongs = compat.known_version(installed), compat.known_version(wanted)
    return have is not None and belongs is not None and have.release[:2] == belongs.release[:2]


def _install_companion(machine: Machine, python: PythonEnv, name: str, torch: str, build: str) -> Iterator[Remedy]:
    """The companion of this build; where none was published for it, a torch that has one."""
    pin = compat.companion_pin(torch, build, name, windows=machine.os.system == "Windows")
    if pin is None:
        yield from install_torch(machine, why=f"Install a torch for whose CUDA there is a {name} too.")
        return
    yield Remedy(
        text="Install the one that belongs to it.",
        commands=(f'{pip(python)} "{pin}+{build}" --index-url {compat.wheel_index(build)}',),
    )


@check("nvidia-wheels-mixed", caused_by=("environment-broken",))
def nvidia_wheels_mixed(machine: Machine) -> Iterator[Finding]:
    """Does the environment hold one set of NVIDIA's library wheels, for one CUDA major?

    Two sets (nvidia-cudnn-cu11 beside nvidia-cudnn-cu12) put files of the same names into the same directory; which one
    loads is chance, and symbols are missing. Two versions of one distribution are the rest of an interrupted installation.
    """
    python = machine.python
    if python is None:
        yield Finding(
            status=Status.UNKNOWN, summary=f"the Python environment could not be read: {machine.why_missing('python')}"
        )
        return
    by_part: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)  # of one directory: another is not overwritten
    for found in python.distributions:
        match = re.fullmatch(r"(nvidia-[a-z-]+?)-cu(\d+)", found.name)
        if match and found.installer != "conda":
            by_part[found.location, match[1]].add((found.name, found.version))
    clashing = sorted(wheel for wheels in by_part.values() if len(wheels) > 1 for wheel in wheels)
    if not clashing:
        count = len(by_part)
        yield Finding(
            status=Status.PASS,
            summary=f"{count} NVIDIA library wheels, one of each" if count else "no NVIDIA library wheels",
        )
        return
    wheels = sorted({name for name, _ in clashing})
    mixed = len({name.rpartition("-")[2] for name in wheels}) > 1
    wanted = _cuda_major(machine)
    extra = [name for name in wheels if wanted and not name.endswith(f"-cu{wanted}")]
    torch = installed_torch(machine)
    yield Finding(
        status=Status.FAIL,
        summary=f"NVIDIA library wheels for several CUDA versions share one directory: {', '.join(wheels[:4])}"
        if mixed
        else f"two versions of {', '.join(wheels[:4])} are installed",
        why="They overwrite each other's files, so PyTorch loads libraries of a version that it was not built with.",
        evidence=tuple(
            Evidence(fact=name, value=version, read_from="distribution metadata") for name, version in clashing
        ),
        remedies=(
            Remedy(
                text="Make a fresh environment, or remove all of one set and reinstall (both sets own the same files).",
                commands=(
                    f"{_pip_uninstall(python)} {' '.join(extra or wheels)}",
                    f"{pip(python)} --force-reinstall {same_torch(torch) if torch else 'PACKAGE'}",
                ),
            ),
        ),
    )  # fmt: skip


def _cuda_major(machine: Machine) -> str | None:
    torch = installed_torch(machine)
    return torch.cuda.partition(".")[0] if torch and torch.cuda else None
