"""Can PyTorch's code run here: is the driver new enough for it, and is there code for every GPU?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from msgspec.structs import replace

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import install_driver
from dltool.checks.packages import install_torch, installed_torch
from dltool.checks.visibility import visible_gpus
from dltool.machine import Machine, TorchBuild
from dltool.results import Evidence, Finding, Remedy, Risk, Status


@check("driver-too-old", caused_by=("driver-missing", "driver-version-mismatch", "driver-not-answering"))
def driver_too_old(machine: Machine) -> Iterator[Finding]:
    """Is the driver new enough for the CUDA that PyTorch was built with?

    Within one CUDA major a driver runs programs of every minor version from the floor of that major on (minor-version
    compatibility); it never runs those of a newer major. torch then warns that the driver is too old and uses the CPU.
    """
    torch = installed_torch(machine)
    if torch is None or torch.cuda is None:
        yield Finding(status=Status.SKIP, summary="no PyTorch with CUDA is installed")
        return
    if not machine.gpus and machine.driver.version is None:
        yield Finding(status=Status.SKIP, summary="no driver answers")
        return
    if "/compat/" in (machine.driver.libcuda or ""):
        yield Finding(
            status=Status.UNKNOWN,
            summary="a forward-compatibility libcuda is in use, which may run newer CUDA than the driver",
            evidence=(Evidence(fact="libcuda", value=machine.driver.libcuda, read_from="dynamic loader"),),
        )
        return
    floor = compat.driver_floor(torch.cuda, windows=machine.os.wsl)
    have = compat.known_version(machine.driver.version)
    evidence = (
        Evidence(fact="driver", value=machine.driver.version, read_from="NVML"),
        Evidence(fact="torch built with CUDA", value=torch.cuda, read_from=f"{torch.location}/version.py"),
        Evidence(
            fact="needs driver",
            value=floor.floor if floor else None,
            read_from="catalog: " + (floor.source if floor else "no row"),
        ),
    )
    if floor is None or have is None:
        yield Finding(
            status=Status.UNKNOWN,
            summary=f"cannot tell whether the driver suits CUDA {torch.cuda}: "
            + ("the driver's version is not known" if have is None else f"CUDA {torch.cuda} is not in the tables"),
            evidence=evidence,
        )
    elif have >= compat.version(floor.floor):
        how = " by minor-version compatibility" if floor.own and have < compat.version(floor.own) else ""
        yield Finding(
            status=Status.PASS,
            summary=f"driver {machine.driver.version} runs CUDA {torch.cuda}{how}",
            evidence=evidence,
        )
    else:
        yield Finding(
            status=Status.FAIL,
            summary=f"driver {machine.driver.version} is too old for PyTorch's CUDA {torch.cuda}: that needs {floor.floor}",
            why="torch.cuda.is_available() is False and programs run on the CPU, often with only a warning.",
            evidence=evidence,
            remedies=(
                *install_torch(machine, why="Install the newest PyTorch that this driver runs (no administrator needed)."),
                *_newer_driver(machine, floor.floor),
            ),
        )


def _newer_driver(machine: Machine, floor: str) -> tuple[Remedy, ...]:
    if machine.os.container or machine.os.wsl:
        where = "Windows host" if machine.os.wsl else "host"
        return (Remedy(text=f"Update the driver of the {where} to {floor} or newer.", risk=Risk.ROOT),)
    return tuple(
        Remedy(text=f"Or update the driver to {floor} or newer. {remedy.text}", commands=remedy.commands, risk=remedy.risk)
        for remedy in install_driver(machine)
    )


@check("torch-lacks-gpu-code", caused_by=("torch-incomplete",))
def torch_lacks_gpu_code(machine: Machine) -> Iterator[Finding]:
    """Does PyTorch carry code that every GPU here can run?

    torch.cuda.is_available() asks only for a device. Without code for it the first kernel fails with "no kernel image is
    available for execution on the device". Code of the same major and a lower minor version runs too (sm_86 on 8.9).
    """
    torch = installed_torch(machine)
    if torch is None or torch.cuda is None:
        yield Finding(status=Status.SKIP, summary="no PyTorch with CUDA is installed")
        return
    gpus = [gpu for gpu in visible_gpus(machine) if compat.known_version(gpu.compute_capability)]
    if not gpus:
        yield Finding(status=Status.SKIP, summary="no GPU of known compute capability")
        return
    code = _code_in(torch, machine)
    if code is None:
        build = compat.torch_build(torch.version, torch.cuda)
        yield Finding(
            status=Status.UNKNOWN,
            summary=f"the GPU code inside PyTorch {torch.version} ({build}) is not in the tables",
            evidence=(Evidence(fact="torch", value=f"{torch.version} {build}", read_from=torch.location),),
        )
        return
    found = []
    for name, capability in dict.fromkeys((gpu.name, gpu.compute_capability or "") for gpu in gpus):
        alike = tuple(gpu.index for gpu in gpus if (gpu.name, gpu.compute_capability) == (name, capability))
        found.append(replace(_code_for(name or "this GPU", capability, code, machine, torch), devices=alike))
    fit = [index for finding in found if finding.status is Status.PASS for index in finding.devices]
    yield from (_beside(finding, fit) if finding.status is Status.FAIL and fit else finding for finding in found)


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
        text="Or hide it from CUDA and use the others (nvidia-smi's order needs the first variable).",
        commands=("export CUDA_DEVICE_ORDER=PCI_BUS_ID", f"export CUDA_VISIBLE_DEVICES={','.join(map(str, fit))}"),
    )
    return replace(finding, status=Status.WARN, remedies=(*finding.remedies, hide))


def _code_for(name: str, capability: str, code: compat.TorchCode, machine: Machine, torch: TorchBuild) -> Finding:
    """The verdict on one kind of GPU."""
    compiled = " ".join((*code.machine_code, *(code.ptx or ())))
    evidence = (
        Evidence(fact=f"compute capability of {name}", value=capability, read_from="NVML"),
        Evidence(fact=f"code in torch {torch.version}", value=compiled, read_from=code.source),
    )
    fits = [sm for sm in code.machine_code if compat.code_runs_on(sm, capability, built_with=torch.cuda)]
    if fits:
        return Finding(
            status=Status.PASS,
            summary=f"PyTorch has code for {name} ({fits[-1]} runs on {capability})",
            evidence=evidence,
        )
    if any(compat.ptx_runs_on(ptx, capability) for ptx in code.ptx or ()):
        return _only_ptx(name, machine, torch, evidence)
    if any(compat.code_runs_on(sm, capability) is None for sm in code.machine_code):
        return Finding(
            status=Status.UNKNOWN,
            summary=f"PyTorch has code of which the tables do not know whether it runs on {name} ({capability})",
            evidence=evidence,
        )
    if code.ptx is None and not compat.dropped_by_cuda(capability, torch.cuda or ""):
        return Finding(
            status=Status.UNKNOWN,
            summary=f"PyTorch has no machine code for {name} ({capability}); whether it has PTX is not known",
            evidence=evidence,
        )
    return Finding(
        status=Status.FAIL,
        summary=f"PyTorch {torch.version} has no code for {name} (compute capability {capability}): the first kernel will fail",
        why="The build was compiled for other GPU generations; is_available() is True all the same.",
        evidence=evidence,
        remedies=tuple(install_torch(machine, why="Install the newest build that has code for every GPU here.")),
    )


def _only_ptx(name: str, machine: Machine, torch: TorchBuild, evidence: tuple[Evidence, ...]) -> Finding:
    """PTX alone: the driver compiles it, if it is not older than the CUDA that wrote it.

    Source: CUDA Compatibility guide, "Minor Version Compatibility", limitations.
    """
    driver, wrote = compat.known_version(machine.driver.cuda_version), compat.known_version(torch.cuda)
    if driver is not None and wrote is not None and driver < wrote:
        return Finding(
            status=Status.FAIL,
            summary=f"PyTorch has only PTX of CUDA {torch.cuda} for {name}, which a driver of CUDA {driver} cannot compile",
            evidence=evidence,
            remedies=(
                *install_torch(machine, why="Install the newest build that has machine code for every GPU here."),
                *_newer_driver(machine, f"one of CUDA {torch.cuda}"),
            ),
        )
    return Finding(
        status=Status.INFO,
        summary=f"PyTorch has only PTX for {name}: the driver compiles it at the first start, which takes minutes",
        evidence=evidence,
    )
