"""Which libcuda programs get: that of the running driver, a stub for linking, or one for forward compatibility."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.packages import installed_torch
from dltool.checks.visibility import visible_gpus
from dltool.compat import drivers
from dltool.live import board_of
from dltool.machine import Gpu, LoadedLibrary, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_STUB_BYTES = 2**20
"""A stub has some 60 to 200 kB; the least real libcuda has more than 10 MB (that of WSL apart)."""
_SERVED = ("datacenter", "superchip", "jetson")
"""Segments on which forward compatibility is supported; of RTX workstation boards some are (a list that is not here)."""
_PERHAPS_SERVED = ("workstation",)


class _LibCuda(Struct, frozen=True):
    """The libcuda.so.1 that programs get, as far as it is known."""

    path: str
    real: str
    version: str | None
    found_by: str
    size_bytes: int | None


def _libcuda(machine: Machine) -> _LibCuda | None:
    found = loaded(machine, "libcuda.so.1")
    if found is not None:
        real = found.real_path or found.path
        number = re.search(r"\.so\.(\d{3,}\.\d+(?:\.\d+)?)$", real)
        return _LibCuda(found.path, real, number[1] if number else None, found.found_by, found.size_bytes)
    path = machine.driver.libcuda
    return _LibCuda(path, path, None, "dynamic loader", None) if path else None


def loaded(machine: Machine, soname: str) -> LoadedLibrary | None:
    """The copy of a library that PyTorch gets; None where there is none, or nothing is known."""
    return next((one for one in machine.loads or () if one.soname == soname), None)


def without_variable(found_by: str, directory: str) -> tuple[Remedy, ...]:
    """How to keep the loader from finding a copy in this directory."""
    if found_by in ("LD_LIBRARY_PATH", "LD_PRELOAD"):
        return (
            Remedy(
                text=f"Take {directory} out of {found_by}; try it for one program first.",
                commands=(f"env -u {found_by} python -c 'import torch; print(torch.cuda.is_available())'",),
            ),
        )
    if found_by in ("ld.so.cache", "default directories"):
        return (
            Remedy(
                text=f"Find what puts {directory} on the loader's path, remove it there and write the cache anew.",
                commands=(f"grep -rn {directory} /etc/ld.so.conf /etc/ld.so.conf.d", "sudo ldconfig"),
                risk=Risk.ROOT,
            ),
        )
    return (Remedy(text=f"Remove the copy in {directory}, or reinstall the package that refers to it."),)


@check("libcuda-stub", caused_by=("driver-missing",))
def libcuda_stub(machine: Machine) -> Iterator[Finding]:
    """Is the libcuda that programs get the driver's, and not the toolkit's stub for linking?

    A toolkit brings a libcuda.so without contents in lib64/stubs, to link against on machines without a driver. With that
    directory on the loader's path every CUDA program ends with error 34, "CUDA driver is a stub library", or finds no device.
    """
    library = _libcuda(machine)
    if library is None:
        yield Finding(status=Status.SKIP, summary="no libcuda.so.1 is found")
        return
    evidence = (
        Evidence(fact="libcuda.so.1", value=library.path, read_from=library.found_by),
        Evidence(fact="the file behind it", value=library.real, read_from="file system"),
        Evidence(fact="bytes", value=library.size_bytes, read_from="file system"),
    )
    if not _is_stub(library, machine):
        yield Finding(status=Status.PASS, summary=f"libcuda.so.1 is a real library: {library.path}", evidence=evidence)
        return
    if not has_gpu(machine):
        yield Finding(
            status=Status.INFO,
            summary="libcuda.so.1 is the toolkit's stub, as fits a machine that only builds",
            evidence=evidence,
        )
        return
    directory = library.path.rpartition("/")[0]
    yield Finding(
        status=Status.FAIL,
        summary=f"libcuda.so.1 is the toolkit's stub ({library.path}): every CUDA program fails",
        why="The stub is for the linker (-L.../stubs -lcuda). At run time the driver's own libcuda must be found.",
        evidence=evidence,
        remedies=without_variable(library.found_by, directory),
        scope=Scope.ENVIRONMENT if library.found_by.startswith("LD_") or machine.os.container else Scope.HOST,
    )


def _is_stub(library: _LibCuda, machine: Machine) -> bool:
    if "/stubs/" in library.path or "/stubs/" in library.real:
        return True
    small = library.size_bytes is not None and library.size_bytes < _STUB_BYTES
    # Windows' driver shows WSL a small library that hands on to the real one.
    return small and library.version is None and not (machine.os.wsl or machine.os.tegra or "/wsl/" in library.real)


@check(
    "libcuda-absent",
    caused_by=("container-without-gpu", "container-capabilities", "driver-missing", "driver-version-mismatch"),
)
def libcuda_absent(machine: Machine) -> Iterator[Finding]:
    """Can programs load libcuda, where NVML shows GPUs?

    NVML and nvidia-smi need one library of the driver, CUDA another: libcuda.so.1, which some distributions package apart.
    Without it nvidia-smi looks healthy and every CUDA program says "no NVIDIA driver on your system".
    """
    said = machine.gaps.get("driver.libcuda")
    if not machine.gpus or (machine.driver.libcuda is None and said is None):
        yield Finding(status=Status.SKIP, summary="NVML shows no GPU, or libcuda was not looked for")
    elif machine.driver.libcuda is not None:
        yield Finding(status=Status.PASS, summary=f"libcuda.so.1 can be loaded: {machine.driver.libcuda}")
    elif "libcuda.so" not in (said or ""):
        yield Finding(status=Status.UNKNOWN, summary=f"whether libcuda can be loaded is not known: {said}")
    else:
        yield Finding(
            status=Status.FAIL,
            summary="NVML shows GPUs, but libcuda.so.1 cannot be loaded: every CUDA program finds no driver",
            why="nvidia-smi does not use this library, so the machine looks healthy to it.",
            evidence=(
                Evidence(fact="libcuda.so.1", value=said, read_from="dynamic loader"),
                Evidence(fact="driver", value=machine.driver.version, read_from="NVML"),
            ),
            remedies=_libcuda_remedies(machine),
            scope=Scope.ENVIRONMENT if machine.os.container else Scope.HOST,
        )


def _libcuda_remedies(machine: Machine) -> tuple[Remedy, ...]:
    if machine.os.container:
        return (
            Remedy(
                text="Start the container with the driver's compute part.",
                commands=("docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility IMAGE",),
            ),
        )
    branch = (machine.driver.version or "BRANCH").partition(".")[0]
    return (
        Remedy(text="See whether it is there and only not in the loader's cache.", commands=("ldconfig -p | grep libcuda",),
               risk=Risk.READ_ONLY),
        Remedy(
            text="Install the compute part of the same driver: libnvidia-compute on Ubuntu, libcuda1 on Debian, "
            "nvidia-driver-cuda-libs on Fedora and RHEL.",
            commands=(f"sudo apt-get install libnvidia-compute-{branch} || sudo apt-get install libcuda1", "sudo ldconfig"),
            risk=Risk.ROOT,
        ),
    )  # fmt: skip


@check("libcuda-mismatched", caused_by=("driver-version-mismatch", "libcuda-stub"))
def libcuda_mismatched(machine: Machine) -> Iterator[Finding]:
    """Is the libcuda that programs get of the version of the running driver?

    libcuda and the kernel module are two halves of one driver. A libcuda of another version, left in an image, in
    LD_LIBRARY_PATH or by another package source, ends with error 803, "unsupported display driver / cuda driver combination".
    In WSL it must be that of Windows, under /usr/lib/wsl. (For a forward-compatibility libcuda see libcuda-forward-compat.)
    """
    library, module = _libcuda(machine), machine.driver.kernel_module_version
    if library is None or _is_compat(library) or _is_stub(library, machine):
        yield Finding(status=Status.SKIP, summary="no libcuda of a driver is found")
        return
    where = f"{library.path} ({library.found_by})"
    evidence = (
        Evidence(fact="libcuda", value=library.version or "version unknown", read_from=where),
        Evidence(fact="kernel module", value=module, read_from="/proc/driver/nvidia/version"),
    )
    if machine.os.wsl:
        yield _in_wsl(library, evidence)
    elif library.version is None or module is None:
        yield Finding(status=Status.SKIP, summary="the version of libcuda or of the kernel module is not known")
    elif _same(library.version, module):
        yield Finding(status=Status.PASS, summary=f"libcuda and the kernel module are both {module}", evidence=evidence)
    else:
        yield Finding(
            status=Status.FAIL,
            summary=f"libcuda is {library.version}, the running kernel module is {module}: error 803",
            why="CUDA starts only with the libcuda of the running driver, or with one from a cuda-compat package.",
            evidence=evidence,
            remedies=_other_libcuda(library, machine),
        )


def _other_libcuda(library: _LibCuda, machine: Machine) -> tuple[Remedy, ...]:
    directory = library.path.rpartition("/")[0]
    if library.found_by.startswith("LD_"):
        return without_variable(library.found_by, directory)
    if machine.os.container:
        return (
            Remedy(
                text="Remove the driver's packages from the image: the host's own libraries are mounted into the container.",
                commands=("dpkg -S libcuda.so.1", "apt-get purge 'libnvidia-compute-*' 'nvidia-driver-*'", "ldconfig"),
                risk=Risk.ROOT,
            ),
        )
    return (
        Remedy(text="Restart, if the driver was updated since the last start.", commands=("sudo reboot",), risk=Risk.REBOOT),
        Remedy(
            text="Otherwise find the copies and keep those of one package source.",
            commands=("ldconfig -p | grep libcuda", "dpkg -S libcuda.so.1 || rpm -qf " + library.path),
            risk=Risk.READ_ONLY,
        ),
    )


def _in_wsl(library: _LibCuda, evidence: tuple[Evidence, ...]) -> Finding:
    if "/wsl/" in library.path or "/wsl/" in library.real or library.version is None:
        return Finding(status=Status.PASS, summary=f"libcuda is that of Windows: {library.path}", evidence=evidence)
    return Finding(
        status=Status.FAIL,
        summary=f"{library.path} of a Linux driver hides that of Windows: CUDA finds no device in WSL",
        why="WSL has no NVIDIA kernel module; its libcuda, under /usr/lib/wsl/lib, speaks to the driver of Windows.",
        evidence=evidence,
        remedies=(
            Remedy(
                text="Remove the Linux driver inside WSL; install only the toolkit (cuda-toolkit-*) there.",
                commands=("sudo apt purge '*nvidia-driver*' 'libnvidia-compute*'", "sudo ldconfig"),
                risk=Risk.ROOT,
            ),
        ),
    )


def _same(one: str, other: str) -> bool:
    return all(a == b for a, b in zip(one.split("."), other.split("."), strict=False))


def _is_compat(library: _LibCuda) -> bool:
    return "/compat/" in library.path or "/compat/" in library.real


@check("libcuda-forward-compat", caused_by=("driver-version-mismatch",))
def libcuda_forward_compat(machine: Machine) -> Iterator[Finding]:
    """If a forward-compatibility libcuda (cuda-compat) is in use: does it serve this driver and these GPUs?

    The package lets an older driver run newer CUDA, on data-centre GPUs, some RTX boards of servers, and Jetson. On others
    every CUDA call ends with error 804, "forward compatibility was attempted on non supported HW"; one that is older than the
    driver ends with error 803. Images of newer CUDA bring it, so it comes into use without anybody asking.
    """
    library = _libcuda(machine)
    if library is None or not _is_compat(library):
        yield Finding(status=Status.SKIP, summary="no forward-compatibility libcuda is in use")
        return
    driver = machine.driver.kernel_module_version or machine.driver.version
    gpus = visible_gpus(machine)
    package = _package_of(library)
    evidence = (
        Evidence(fact="libcuda", value=library.version or "version unknown", read_from=f"{library.path} ({library.found_by})"),
        Evidence(fact="driver", value=driver, read_from="/proc/driver/nvidia/version"),
        Evidence(fact="package", value=package["package"] if package else None, read_from="catalog: forward_compat"),
    )
    if driver is None or not gpus:
        yield Finding(
            status=Status.UNKNOWN,
            summary="a forward-compatibility libcuda is in use; whether it serves this GPU and driver cannot be told",
            evidence=evidence,
        )
    elif library.version is not None and _same(library.version, driver):
        yield Finding(status=Status.PASS, summary=f"the compat libcuda is {driver}, as is the driver", evidence=evidence)
    elif _is_older(library.version, driver):
        yield Finding(
            status=Status.FAIL,
            summary=f"the compat libcuda {library.version} is older than the driver {driver}: error 803",
            why="The driver runs that CUDA by itself; the old library takes the place of the right one.",
            evidence=evidence,
            remedies=_without_compat(library),
        )
    else:
        for gpu in _one_of_each(gpus):
            yield _served(gpu, machine, library, driver, package, evidence)


def _served(
    gpu: Gpu, machine: Machine, library: _LibCuda, driver: str, package: dict[str, str] | None, evidence: tuple[Evidence, ...]
) -> Finding:
    """Whether forward compatibility works on this GPU with this driver."""
    board = board_of(gpu)
    segment = board.segment if board else None
    name = gpu.name or "this GPU"
    evidence = (*evidence, Evidence(fact=f"segment of {name}", value=segment, read_from="catalog"))
    state = drivers.forward_state(package, driver) if package else "unknown"
    if segment is not None and segment not in (*_SERVED, *_PERHAPS_SERVED):
        return Finding(
            status=Status.FAIL,
            summary=f"a forward-compatibility libcuda is in use, which does not serve {name} ({segment}): error 804",
            why="Forward compatibility is for data-centre GPUs, some RTX boards of servers, and Jetson.",
            evidence=evidence,
            remedies=(*_without_compat(library), _newer_driver(machine)),
            devices=(gpu.index,),
        )
    if state == "unsupported":
        return Finding(
            status=Status.FAIL,
            summary=f"{package['package'] if package else 'the compat package'} does not serve driver {driver}: error 803",
            evidence=evidence,
            remedies=_without_compat(library),
            devices=(gpu.index,),
        )
    if segment is None or segment in _PERHAPS_SERVED or state in ("unknown", "ended"):
        return Finding(
            status=Status.UNKNOWN,
            summary=f"a forward-compatibility libcuda is in use; NVIDIA's table does not say that it serves {name} "
            f"with driver {driver}",
            evidence=evidence,
            devices=(gpu.index,),
        )
    return Finding(
        status=Status.PASS,
        summary=f"forward compatibility serves {name} with driver {driver}",
        evidence=evidence,
        devices=(gpu.index,),
    )


def _one_of_each(gpus: tuple[Gpu, ...]) -> list[Gpu]:
    return list({gpu.name: gpu for gpu in reversed(gpus)}.values())[::-1]


def _package_of(library: _LibCuda) -> dict[str, str] | None:
    """The row of the compat package, by its directory or by the driver branch that its libcuda is of."""
    match = re.search(r"/cuda-(\d+\.\d+)[^/]*/compat/", f"{library.real}") or re.search(
        r"/cuda-(\d+\.\d+)[^/]*/compat/", library.path
    )
    if match:
        return drivers.forward_package(match[1])
    branch = drivers.driver_branch(library.version) if library.version else None
    return drivers.forward_package(branch["max_cuda"]) if branch else None


def _is_older(one: str | None, other: str) -> bool:
    have, wanted = compat.known_version(one), compat.known_version(other)
    return have is not None and wanted is not None and have < wanted


def _without_compat(library: _LibCuda) -> tuple[Remedy, ...]:
    directory = library.path.rpartition("/")[0]
    if library.found_by.startswith("LD_"):
        return without_variable(library.found_by, directory)
    return (
        Remedy(
            text="Keep the compat directory from the loader (in an image: remove the cuda-compat package).",
            commands=(f"grep -rn {directory} /etc/ld.so.conf.d", "sudo apt-get remove 'cuda-compat-*'", "sudo ldconfig"),
            risk=Risk.ROOT,
        ),
    )


def _newer_driver(machine: Machine) -> Remedy:
    torch = installed_torch(machine)
    row = drivers.cuda_release(torch.cuda) if torch and torch.cuda else None
    least = f" ({row['driver_linux']} or newer for CUDA {torch.cuda})" if row and torch and row["driver_linux"] else ""
    where = "on the host" if machine.os.container else "here"
    return Remedy(text=f"Or install a newer driver {where}{least}, or an image of an older CUDA.", risk=Risk.ROOT)
