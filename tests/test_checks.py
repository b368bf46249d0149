"""Every check on a recorded machine with one thing broken, and on its healthy twin."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import recorded
import test_checks_health
import test_checks_host
import test_checks_links
import test_checks_loader
import test_checks_nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import make
from msgspec.structs import fields
from recorded import DRIVER, NO_DRIVER, Fault, altered, commands, judge, load, problems

from dltool import checks
from dltool.machine import Cpu, Driver, Gpu, Limits, Machine, Memory, Os, PythonEnv, TorchBuild
from dltool.results import Risk, Scope, Status

LAPTOP, SERVER, CONTAINER = "laptop_rtx4060", "h100_server", "container"
SITE = "~/.venvs/study/lib/python3.12/site-packages"
TORCH = "python.torch"
CUDNN, NVJITLINK = "libcudnn.so.9", "libnvJitLink.so.12"


def distribution(name: str, version: str, location: str = SITE, installer: str = "pip") -> dict[str, str]:
    return {"name": name, "version": version, "location": location, "installer": installer}


def shadowing(soname: str, version: str | None, own: str | None) -> dict[str, Any]:
    """A library in a directory of LD_LIBRARY_PATH and PyTorch's own."""
    directory = "/usr/local/cuda/lib64"
    return {
        "environment.LD_LIBRARY_PATH": directory,
        "libraries": [
            {"soname": soname, "path": f"{directory}/{soname}", "version": version, "source": "LD_LIBRARY_PATH"},
            {"soname": soname, "path": f"{SITE}/nvidia/lib/{soname}", "version": own, "source": "wheel"},
        ],
    }


def torch(version: str) -> dict[str, Any]:
    """A published build "2.9.1+cu128", companions aside."""
    build = version.partition("+")[2]
    cuda = None if build == "cpu" else f"{build[2:-1]}.{build[-1]}"
    return {f"{TORCH}.version": version, f"{TORCH}.cuda": cuda}


def gpu(name: str, capability: str) -> dict[str, Any]:
    return {"gpus.*.name": name, "gpus.*.compute_capability": capability}


SILENT = {"gpus": [], "driver.version": None, "driver.cuda_version": None}
MISMATCH = {
    **SILENT,
    "driver.kernel_module_version": "550.90.07",
    "driver.nvml_library_version": "550.107.02",
    "driver.nvml_error": "NVML_ERROR_LIB_RM_VERSION_MISMATCH",
    "gaps.gpus": "Driver/library version mismatch (NVML_ERROR_LIB_RM_VERSION_MISMATCH in nvmlInit)",
}
TIMEOUT = {**SILENT, "driver.nvml_error": "timeout", "gaps.gpus": "NVML did not answer within 5 s: it hung in nvmlInit"}
NOUVEAU = {**NO_DRIVER, "pci.*.kernel_driver": "nouveau", "driver.modules": ["nouveau"]}
LIBRARY_ONLY = {
    **NO_DRIVER,
    "driver.nvml_error": "NVML_ERROR_DRIVER_NOT_LOADED",
    "gaps.gpus": "Driver Not Loaded (NVML_ERROR_DRIVER_NOT_LOADED in nvmlInit)",
}
NO_LIBRARY = {
    **SILENT,
    "driver.nvml_library": None,
    "driver.nvml_library_version": None,
    "driver.nvml_error": "NVML_ERROR_LIBRARY_NOT_FOUND",
    "driver.libcuda": None,
    "gaps.gpus": NO_DRIVER["gaps.gpus"],
}
PLAIN_CONTAINER = {**NO_LIBRARY, "driver.device_nodes": []}

FAULTS = {
    "nouveau": Fault(LAPTOP, NOUVEAU, "nouveau-loaded", "fail", "nouveau holds the GPU", ("blacklist nouveau", "reboot")),
    "nova": Fault(LAPTOP, NOUVEAU | {"pci.*.kernel_driver": "nova_core"}, "nouveau-loaded", "fail", "nova_core holds"),
    "no driver, Ubuntu": Fault(SERVER, NO_DRIVER, "driver-missing", "fail", "no NVIDIA driver", ("ubuntu-drivers install",)),
    "no driver, Debian": Fault("gtx1080ti", NO_DRIVER, "driver-missing", "fail", "no NVIDIA driver", ("apt install",)),
    "no driver, unheard-of distribution": Fault(
        LAPTOP, NO_DRIVER | {"os.distribution": "Plan 9"}, "driver-missing", "fail", "no NVIDIA driver"
    ),
    "container without the driver": Fault(
        CONTAINER, NO_DRIVER, "driver-missing", "fail", "no NVIDIA driver", ("docker run --rm --gpus all",)
    ),
    "container without GPUs": Fault(
        CONTAINER, PLAIN_CONTAINER, "driver-missing", "fail", "libraries are missing", ("--gpus all",)
    ),
    "module not loaded": Fault(
        LAPTOP, LIBRARY_ONLY, "driver-missing", "fail", "kernel module is not loaded", ("modprobe nvidia", "dkms status")
    ),
    "libraries removed": Fault(
        LAPTOP, NO_LIBRARY, "driver-missing", "fail", "libraries are missing", ("ubuntu-drivers install",)
    ),
    "only libcuda": Fault(
        CONTAINER, NO_LIBRARY | {"driver.libcuda": "/usr/lib/libcuda.so.1"}, "driver-missing", "warn", "NVML's is not",
        ("NVIDIA_DRIVER_CAPABILITIES=compute,utility",),
    ),
    "module and library": Fault(
        LAPTOP, MISMATCH, "driver-version-mismatch", "fail", "550.90.07 and driver libraries 550.107.02", ("reboot", "rmmod")
    ),
    "refused, versions unknown": Fault(
        LAPTOP, MISMATCH | {"driver.kernel_module_version": None, "driver.nvml_library_version": None},
        "driver-version-mismatch", "fail", "do not fit", ("reboot",),
    ),
    "module and library, in a container": Fault(CONTAINER, MISMATCH, "driver-version-mismatch", "fail", "550.107.02"),
    "NVML hangs": Fault(SERVER, TIMEOUT, "driver-not-answering", "fail", "hangs", ("dmesg", "reboot")),
    "NVML crashes": Fault(
        SERVER, TIMEOUT | {"driver.nvml_error": "crash"}, "driver-not-answering", "fail", "crash", ("dmesg", "reboot")
    ),
    "container lost its devices": Fault(
        CONTAINER, {**SILENT, "driver.nvml_error": "NVML_ERROR_UNKNOWN", "gaps.gpus": "Unknown Error (NVML_ERROR_UNKNOWN)"},
        "driver-not-answering", "fail", "NVML_ERROR_UNKNOWN", ("docker restart",),
    ),
    "no nvidia-uvm": Fault(
        CONTAINER, {"driver.device_nodes": [{"path": f"/dev/{name}", "accessible": True} for name in ("nvidia3", "nvidiactl")]},
        "device-nodes-missing", "fail", "/dev/nvidia-uvm", ("docker run --gpus all", "nvidia-modprobe -u"),
    ),
    "nodes not for this user": Fault(
        SERVER, {"driver.device_nodes.*.accessible": False}, "device-nodes-missing", "fail", "may not open", ("usermod -aG",)
    ),
    "one node closed that all need": Fault(
        SERVER, {"driver.device_nodes.8.accessible": False}, "device-nodes-missing", "fail", "/dev/nvidia-uvm", ("usermod",)
    ),
    "handle refused": Fault(
        SERVER, {"gaps.gpus.3": "GPU is lost (NVML_ERROR_GPU_IS_LOST)"}, "gpu-lost", "fail", "GPU 3 of 8", ("dmesg", "reboot")
    ),
    "missing from NVML": Fault(SERVER, {"gpus.7": None}, "gpu-lost", "fail", "0000:df:00.0", ("dmesg", "reboot")),
    "its driver gave up": Fault(
        SERVER, {"gpus.7": None, "pci.7.kernel_driver": None}, "gpu-lost", "warn", "0000:df:00.0", ("dmesg",)
    ),
    "driver 570, CUDA 13.0": Fault(
        LAPTOP, {DRIVER: "570.86.15"} | torch("2.9.1+cu130"), "driver-too-old", "fail", "needs 580.65.06",
        ('"torch==2.14.1+cu126" --index-url', "ubuntu-drivers"),
    ),
    "driver 470, CUDA 12.8": Fault(
        LAPTOP, {DRIVER: "470.57.02"} | gpu("Tesla T4", "7.5") | torch("2.9.1+cu128"), "driver-too-old", "fail",
        "needs 525.60.13", ("+cu118",),
    ),
    "old driver of Windows": Fault(
        "wsl2", {"driver.version": "522.25"}, "driver-too-old", "fail", "needs 527.41", ("+cu118",)
    ),
    "no code for Pascal": Fault(
        LAPTOP, gpu("Tesla P100-PCIE-16GB", "6.0") | torch("2.8.0+cu128"), "torch-lacks-gpu-code", "fail", "P100",
        ("+cu126",),
    ),
    "Pascal and CUDA 13, whose PTX is not known": Fault(
        LAPTOP, {DRIVER: "580.95.05"} | gpu("NVIDIA GeForce GTX 1080 Ti", "6.1") | torch("2.15.0+cu132"),
        "torch-lacks-gpu-code", "fail", "6.1", ("+cu126",),
    ),
    "no code for Blackwell": Fault(
        LAPTOP, {DRIVER: "590.48.01"} | gpu("NVIDIA GeForce RTX 5090", "12.0") | torch("2.5.1+cu121"),
        "torch-lacks-gpu-code", "fail", "12.0", ("torch==2.15.0+cu132",),
    ),
    "PTX newer than the driver": Fault(
        LAPTOP, gpu("NVIDIA GeForce RTX 9090", "13.0") | torch("2.9.1+cu129"), "torch-lacks-gpu-code", "fail", "only PTX",
    ),
    "desktop wheel on a Jetson": Fault("jetson", torch("2.10.0+cu126"), "torch-lacks-gpu-code", "fail", "8.7"),
    "compiled part missing": Fault(
        LAPTOP, {f"{TORCH}.import_broken": "torch/_C (the compiled part) is missing"}, "torch-incomplete", "fail", "torch/_C",
        ('--no-deps "torch==2.7.1+cu126" --index-url',),
    ),
    "the Python of the environment is gone": Fault(
        LAPTOP, {"python": None, "gaps.python": "the activated ~/venv/bin/python: there is no such program"},
        "environment-broken", "fail", "no such program (~/venv/bin/python)", ("python3 -m venv --upgrade",),
    ),
    "a .pth file ends every Python": Fault(
        LAPTOP, {"python": None, "gaps.python": "the activated /venv/bin/python: it died of signal 11"},
        "environment-broken", "fail", "signal 11", ("/venv/bin/python -S -c pass", "ls /venv/lib/python*/site-packages/*.pth"),
    ),
    "a Python that hangs at its start": Fault(
        LAPTOP, {"python": None, "gaps.python": "the activated /venv/bin/python: it did not start within 6 s"},
        "environment-broken", "warn", "within 6 s", ("-S -c pass",),
    ),
    "an interrupted update": Fault(
        LAPTOP, {"python.distributions": [distribution("torch", "2.7.1"), distribution("torch", "2.6.0")]},
        "packages-clash", "warn", "2.6.0 and 2.7.1", ("pip uninstall -y torch", "pip install torch"),
    ),
    "half removed": Fault(
        LAPTOP, {TORCH: None, "gaps.python.torch": "torch has no version.py"}, "torch-incomplete", "fail", "no version.py",
        ("--force-reinstall torch",),
    ),
    "CPU build beside a GPU": Fault(
        LAPTOP, torch("2.7.1+cpu"), "torch-cpu-only", "fail", "RTX 4060", ('"torch==2.14.1+cu126"',)
    ),
    "CPU build, the driver is missing too": Fault(
        LAPTOP, NO_DRIVER | torch("2.7.1+cpu"), "torch-cpu-only", "fail", "an NVIDIA GPU", ("+cu",)
    ),
    "torchvision of another minor": Fault(
        LAPTOP, {"python.distributions": [distribution("torchvision", "0.21.0+cu126")]}, "torch-companions-mismatched",
        "fail", "0.22.1", ('"torchvision==0.22.1+cu126"',),
    ),
    "torchvision for the CPU": Fault(
        LAPTOP, {"python.distributions": [distribution("torchvision", "0.23.0+cpu")]} | torch("2.8.0+cu128"),
        "torch-companions-mismatched", "fail", "built for cpu", ('"torchvision==0.23.0+cu128"',),
    ),
    "wheels for two CUDA majors": Fault(
        LAPTOP,
        {"python.distributions": [distribution("nvidia-nccl-cu11", "2.19.3"), distribution("nvidia-nccl-cu12", "2.26.2")]},
        "nvidia-wheels-mixed", "fail", "nvidia-nccl-cu11, nvidia-nccl-cu12",
        ("python -m pip uninstall -y nvidia-nccl-cu11\n", '--force-reinstall "torch==2.7.1+cu126"'),
    ),
    "one wheel in two versions": Fault(
        LAPTOP,
        {"python.distributions": [distribution("nvidia-cudnn-cu12", found) for found in ("8.9.2.26", "9.5.1.17")]},
        "nvidia-wheels-mixed", "fail", "two versions of nvidia-cudnn-cu12", ("uninstall -y nvidia-cudnn-cu12",),
    ),
    "older cuDNN": Fault(
        LAPTOP, shadowing(CUDNN, "9.1.0", "9.5.1.17"), "libraries-shadowed", "fail", "9.1.0 for 9.5.1.17",
        ("env -u LD_LIBRARY_PATH",),
    ),
    "newer cuDNN": Fault(
        LAPTOP, shadowing(CUDNN, "9.10.2", "9.5.1.17"), "libraries-shadowed", "warn", "9.10.2 for 9.5.1.17"
    ),
    "older nvJitLink": Fault(
        LAPTOP, shadowing(NVJITLINK, "12.1.105", "12.4.127"), "libraries-shadowed", "fail", "12.1.105 for 12.4.127"
    ),
    "all hidden": Fault(
        LAPTOP, {"environment.CUDA_VISIBLE_DEVICES": ""}, "gpus-hidden", "fail", "hides all", ("unset CUDA_VISIBLE",)
    ),
    "/dev/shm of Docker": Fault(
        CONTAINER, {"memory.shm_total_bytes": 64 * 2**20}, "shm-small", "warn", "64", ("--shm-size", "--ipc=host")
    ),
    "/dev/shm of a host": Fault(
        SERVER, {"memory.shm_total_bytes": 64 * 2**20}, "shm-small", "warn", "64", ("mount -o remount",)
    ),
    "few open files": Fault(LAPTOP, {"limits.open_files_soft": 256}, "open-files-low", "warn", "256", ("ulimit -n 65536",)),
    "few open files, hard": Fault(
        LAPTOP, {"limits.open_files_soft|open_files_hard": 256}, "open-files-low", "warn", "256", ("limits.d",)
    ),
    "few open files, hard, in a container": Fault(
        CONTAINER, {"limits.open_files_soft|open_files_hard": 256}, "open-files-low", "warn", "256", ("--ulimit nofile",)
    ),
    "quota of 2 from 64 CPUs": Fault(
        CONTAINER, {"cpu.quota_cpus": 2.0, "cpu.usable_threads": 64}, "cpu-quota-low", "warn", "quota is 2",
        ("OMP_NUM_THREADS=2",),
    ),
    **test_checks_loader.FAULTS,
    **test_checks_health.FAULTS,
    **test_checks_links.FAULTS,
    **test_checks_host.FAULTS,
    **test_checks_nodes.FAULTS,
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_found_and_can_be_mended(fault: Fault) -> None:
    found = judge(altered(fault.machine, fault.facts))[fault.check]
    assert found.status.value == fault.status, found
    assert fault.says in found.summary
    assert "\n" not in found.summary
    assert found.remedies
    for expected in fault.commands:
        assert expected in commands(found) + "\n"
    assert "nightly" not in commands(found)
    assert found.evidence
    assert all(item.fact and item.read_from for item in found.evidence)
    assert not judge(recorded.load(fault.machine))[fault.check].status.is_problem


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_has_one_root(fault: Fault) -> None:
    """What else goes wrong is explained by it, or by what explains it."""
    machine = altered(fault.machine, fault.facts)
    roots = {name for name, finding in judge(machine).items() if finding.status.is_problem and finding.caused_by is None}
    allowed = {
        "CPU build, the driver is missing too": {"torch-cpu-only", "driver-missing"},
        "container lost its devices": {"container-lost-gpu"},
        "container without GPUs": {"container-without-gpu"},
    }
    assert roots <= allowed.get(next(name for name, other in FAULTS.items() if other is fault), {fault.check})


def test_every_check_has_a_fault() -> None:
    assert {fault.check for fault in FAULTS.values()} | {
        "gpu-absent",
        *test_checks_health.ONLY_TOLD,
        *test_checks_nodes.ONLY_TOLD,
    } == set(checks.CHECKS.names())


@pytest.mark.parametrize("name", recorded.NAMES)
def test_a_healthy_machine_raises_no_alarm(name: str) -> None:
    assert problems(recorded.load(name)) == {}


@pytest.mark.parametrize("name", recorded.NAMES)
def test_the_snapshots_are_those_that_make_writes(name: str) -> None:
    assert (recorded.DIRECTORY / f"{name}.json").read_bytes() == make.MACHINES[name]().to_json(), (
        "write them anew: python tests/machines/make.py"
    )


# What looks wrong and is not: the check, the status that it must have, and why a naive rule would alarm.
LOOKALIKES = {
    "driver 535 runs CUDA 12.8": (LAPTOP, {DRIVER: "535.183.01"} | torch("2.9.1+cu128"), "driver-too-old", "pass"),
    "driver at the very floor": (LAPTOP, {DRIVER: "525.60.13"} | torch("2.9.1+cu128"), "driver-too-old", "pass"),
    "driver newer than the tables": (LAPTOP, {DRIVER: "999.10"} | torch("2.9.1+cu128"), "driver-too-old", "pass"),
    "CUDA newer than the tables": (LAPTOP, {f"{TORCH}.cuda": "19.0"}, "driver-too-old", "unknown"),
    "forward compatibility": (
        LAPTOP, {"driver.libcuda": "/usr/local/cuda-13.0/compat/libcuda.so.1", DRIVER: "535.183.01"} | torch("2.9.1+cu130"),
        "driver-too-old", "unknown",
    ),
    "sm_86 code runs on 8.9": (
        LAPTOP, gpu("NVIDIA GeForce RTX 4050 Laptop GPU", "8.9") | torch("2.5.1+cu121"), "torch-lacks-gpu-code", "pass"
    ),
    "sm_60 code runs on 6.1": ("gtx1080ti", {}, "torch-lacks-gpu-code", "pass"),
    "PTX of CUDA 12.9 for a coming GPU": (
        LAPTOP, gpu("NVIDIA GeForce RTX 9090", "13.0") | torch("2.9.1+cu129") | {"driver.cuda_version": "13.0"},
        "torch-lacks-gpu-code", "info",
    ),
    "PTX not known": (
        LAPTOP, gpu("NVIDIA GeForce RTX 9090", "13.0") | torch("2.15.0+cu132"), "torch-lacks-gpu-code", "unknown"
    ),
    "a build of one's own": (LAPTOP, {f"{TORCH}.version": "2.9.0a0+git1234"}, "torch-lacks-gpu-code", "unknown"),
    "another name of the same version": (
        LAPTOP, {"driver.kernel_module_version": "565.77.00"}, "driver-version-mismatch", "pass"
    ),
    "a GPU handed to a virtual machine": ("cpu_only", {
        "pci": [{"bus_id": "0000:01:00.0", "device_id": "10de:2204", "class_code": "0x030000", "kernel_driver": "vfio-pci"}],
    }, "gpu-absent", "info"),
    "... is no reason to install a driver": ("cpu_only", {
        "pci": [{"bus_id": "0000:01:00.0", "device_id": "10de:2204", "class_code": "0x030000", "kernel_driver": "vfio-pci"}],
    }, "driver-missing", "skip"),
    "nouveau on the display card alone": (SERVER, {"gpus.7": None, "pci.7.kernel_driver": "nouveau"}, "nouveau-loaded", "info"),
    "a part of the GPUs for this job": (
        SERVER, {"gpus.7": None, "environment.SLURM_JOB_GPUS": "0,1,2,3,4,5,6"}, "gpu-lost", "info"
    ),
    "a part of the nodes for this user": (SERVER, {"driver.device_nodes.0.accessible": False}, "device-nodes-missing", "info"),
    "nodes made at the first use": (LAPTOP, {"driver.device_nodes": []}, "device-nodes-missing", "info"),
    "CPU build without a GPU": ("cpu_only", {}, "torch-cpu-only", "pass"),
    "a build for AMD": (
        LAPTOP, {f"{TORCH}.version": "2.9.1+rocm6.4", f"{TORCH}.cuda": None, f"{TORCH}.hip": "6.4"}, "torch-cpu-only", "info"
    ),
    "companion of another patch": (
        LAPTOP, {"python.distributions": [distribution("torchvision", "0.22.0")]}, "torch-companions-mismatched", "pass"
    ),
    "companion of a nightly": (
        LAPTOP,
        {"python.distributions": [distribution("torchvision", "0.30.0.dev1+cu126")], f"{TORCH}.version": "2.16.0.dev1+cu126"},
        "torch-companions-mismatched", "unknown",
    ),
    "a second set of wheels in another directory": (
        LAPTOP, {"python.distributions": [
            distribution("nvidia-cudnn-cu12", "9.5.1.17"),
            distribution("nvidia-cudnn-cu12", "8.9.2.26", "~/.local/lib/python3.12/site-packages"),
            distribution("nvidia-nccl-cu11", "2.19.3", "~/.local/lib/python3.12/site-packages"),
        ]}, "nvidia-wheels-mixed", "pass",
    ),
    "the same library twice": (LAPTOP, shadowing(CUDNN, "9.5.1", "9.5.1.17"), "libraries-shadowed", "pass"),
    "a library of unknown version": (LAPTOP, shadowing(CUDNN, None, "9.5.1.17"), "libraries-shadowed", "info"),
    "a library that PyTorch does not bring": (
        LAPTOP, shadowing("libcufft.so.11", "11.0.2", None) | {"libraries.1.soname": "libcufft.so.10"},
        "libraries-shadowed", "pass",
    ),
    "LD_LIBRARY_PATH of NVIDIA's images": (CONTAINER, {}, "libraries-shadowed", "pass"),
    "torch absent": (
        LAPTOP, {TORCH: None, "gaps.python.torch": "not installed in this environment"}, "torch-incomplete", "skip"
    ),
    "torch not looked for": (LAPTOP, {TORCH: None}, "torch-incomplete", "unknown"),
    "small /dev/shm of a small host": (
        "cpu_only", {"memory.total_bytes": 2**30, "memory.shm_total_bytes": 2**28}, "shm-small", "pass"
    ),
    "no limit of open files": (LAPTOP, {"limits.open_files_soft": None}, "open-files-low", "pass"),
    "limits not readable": (LAPTOP, {"limits": {}, "gaps.limits": "no such thing"}, "open-files-low", "unknown"),
    "a generous quota": (CONTAINER, {"cpu.quota_cpus": 48.0, "cpu.usable_threads": 64}, "cpu-quota-low", "pass"),
    "a quota that the job knows": (
        CONTAINER, {"cpu.quota_cpus": 2.0, "environment.OMP_NUM_THREADS": "2"}, "cpu-quota-low", "info"
    ),
    "the driver's libraries without a GPU": (
        "cpu_only", {"driver.nvml_error": "NVML_ERROR_DRIVER_NOT_LOADED"}, "driver-not-answering", "skip"
    ),
    "NVML not asked": (LAPTOP, {"gpus": [], "gaps.gpus": "no answer within 8 s"}, "driver-not-answering", "unknown"),
    "a Python that does not start": (LAPTOP, {"python": None, "gaps.python": "no such program"}, "torch-incomplete", "unknown"),
    "its wheels, then": (LAPTOP, {"python": None, "gaps.python": "no such program"}, "nvidia-wheels-mixed", "unknown"),
    "an environment that was not read in time": (
        LAPTOP, {"python": None, "gaps.python": "no answer within 8 s"}, "environment-broken", "unknown"
    ),
    "nothing to hide": ("cpu_only", {"environment.CUDA_VISIBLE_DEVICES": ""}, "gpus-hidden", "skip"),
    "neither NVML nor PCI": ("cpu_only", {"pci": None, "gaps.pci": "Permission denied"}, "gpu-absent", "unknown"),
    "kernel not asked": (
        LAPTOP, {**SILENT, "driver": {}, "driver.modules": None, "gaps.driver": "no answer within 8 s"}, "driver-missing",
        "unknown",
    ),
    "nodes not looked at": (
        CONTAINER, {"driver.device_nodes": [], "gaps.driver": "no answer within 8 s"}, "device-nodes-missing", "unknown"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "facts", "check", "status"), LOOKALIKES.values(), ids=LOOKALIKES.keys())
def test_a_lookalike_is_no_fault(name: str, facts: dict[str, Any], check: str, status: str) -> None:
    found = judge(altered(name, facts))[check]
    assert found.status.value == status, found


UUIDS = [f"GPU-{start}-aaaa-bbbb-cccc-0123456789ab" for start in ("11110000", "11112222")]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        pytest.param("0,1", Status.PASS, id="all"),
        pytest.param("1,0", Status.PASS, id="all, in another order"),
        pytest.param(" 0 , 1 ", Status.PASS, id="with blanks"),
        pytest.param("1", Status.INFO, id="some"),
        pytest.param("0,-1,1", Status.INFO, id="some, -1 ends the list"),
        pytest.param("1,", Status.INFO, id="some, and a comma"),
        pytest.param(UUIDS[1], Status.INFO, id="UUID"),
        pytest.param(UUIDS[1].upper(), Status.INFO, id="UUID in capitals"),
        pytest.param("GPU-11112", Status.INFO, id="unique beginning"),
        pytest.param("0,9,1", Status.WARN, id="one that is not here"),
        pytest.param("0,all", Status.WARN, id="a word"),
        pytest.param("", Status.FAIL, id="empty"),
        pytest.param("-1", Status.FAIL, id="none"),
        pytest.param("7", Status.FAIL, id="index too high"),
        pytest.param("²", Status.FAIL, id="a digit that is no number"),
        pytest.param("9" * 5000, Status.FAIL, id="a number beyond all"),
        pytest.param("0,0", Status.FAIL, id="twice"),
        pytest.param("GPU-1111", Status.FAIL, id="ambiguous beginning"),
        pytest.param("GPU-ffff", Status.FAIL, id="UUID of another machine"),
        pytest.param("MIG-11110000-aaaa-bbbb-cccc-0123456789ab", Status.FAIL, id="MIG without MIG"),
        pytest.param("NoDevFiles", Status.FAIL, id="what Slurm writes"),
    ],
)
def test_visible_devices(value: str, status: Status) -> None:
    two = altered(
        SERVER,
        {f"gpus.{index}": None for index in range(7, 1, -1)}
        | {f"pci.{index}": None for index in range(7, 1, -1)}
        | {f"gpus.{index}.uuid": uuid for index, uuid in enumerate(UUIDS)}
        | {"environment.CUDA_VISIBLE_DEVICES": value},
    )
    assert judge(two)["gpus-hidden"].status is status


@pytest.mark.parametrize(("enabled", "status"), [(True, Status.PASS), (None, Status.PASS), (False, Status.FAIL)])
def test_visible_mig_instance(enabled: bool | None, status: Status) -> None:
    variable = {"environment.CUDA_VISIBLE_DEVICES": "MIG-feee0c61-26ec-5616-bb59-b6d777cc4f34"}
    assert judge(altered(CONTAINER, {"gpus.0.mig_enabled": enabled} | variable))["gpus-hidden"].status is status


def test_a_root_cause_explains_the_rest() -> None:
    machine = altered(LAPTOP, NOUVEAU | {"driver.nvml_error": "NVML_ERROR_DRIVER_NOT_LOADED"})
    found = checks.run(machine)
    causes = {finding.id: finding.caused_by for finding in found if finding.status.is_problem}
    assert causes == {"nouveau-loaded": None, "driver-missing": "nouveau-loaded", "driver-not-answering": "nouveau-loaded"}
    assert checks.headline(found, machine).startswith("nouveau holds the GPU")
    assert "more" not in checks.headline(found, machine)


def test_the_mismatch_explains_the_silence() -> None:
    machine = altered(LAPTOP, MISMATCH)
    found = judge(machine)
    assert found["driver-not-answering"].caused_by == "driver-version-mismatch"
    assert "550.107.02" in checks.headline(found.values(), machine)


def test_a_missing_driver_explains_what_needs_it() -> None:
    found = judge(altered(CONTAINER, PLAIN_CONTAINER))
    assert found["device-nodes-missing"].caused_by == "container-without-gpu"
    assert found["driver-version-mismatch"].caused_by == "container-without-gpu"


def test_headlines() -> None:
    healthy = recorded.load(SERVER)
    assert checks.headline(checks.run(healthy), healthy).startswith("healthy: 8 x NVIDIA H100 80GB HBM3, driver 550.54.15")
    without = recorded.load("cpu_only")
    assert checks.headline(checks.run(without), without) == "healthy; no NVIDIA GPU: CPU only"
    vendor = recorded.load("jetson")
    assert checks.headline(checks.run(vendor), vendor).endswith("1 thing could not be looked at")
    two = altered(LAPTOP, {"limits.open_files_soft": 256, "environment.CUDA_VISIBLE_DEVICES": ""})
    assert checks.headline(checks.run(two), two).endswith("(and 1 more)")


def test_who_can_mend_it_and_at_what_risk() -> None:
    assert judge(altered(LAPTOP, torch("2.7.1+cpu")))["torch-cpu-only"].scope is Scope.ENVIRONMENT
    nouveau = judge(altered(LAPTOP, NOUVEAU))["nouveau-loaded"]
    assert nouveau.scope is Scope.HOST
    assert nouveau.remedies[0].risk is Risk.REBOOT


@pytest.mark.parametrize(
    ("check", "facts"),
    [("torch-cpu-only", torch("2.9.1+cpu")), ("torch-incomplete", {f"{TORCH}.import_broken": "torch/_C is missing"})],
)
def test_the_installer_that_filled_the_environment_mends_it(check: str, facts: dict[str, Any]) -> None:
    facts = facts | {"python.distributions": [distribution("torch", "2.9.1", installer="uv")]}
    assert commands(judge(altered(LAPTOP, facts))[check]).startswith("uv pip install --python ~/.venvs/study/bin/python ")


def test_companions_are_chosen_along() -> None:
    command = commands(judge(altered(SERVER, torch("2.9.1+cpu")))["torch-cpu-only"])
    assert '"torch==2.14.1+cu126" "torchvision==0.29.2+cu126" "torchaudio==2.11.0+cu126"' in command


def test_no_build_suits_and_the_remedy_says_so() -> None:
    facts = {DRIVER: "390.157"} | gpu("NVIDIA GeForce GTX 580", "2.0") | torch("2.9.1+cpu")
    (remedy,) = judge(altered(LAPTOP, facts))["torch-cpu-only"].remedies
    assert "No published PyTorch suits" in remedy.text
    assert not remedy.commands


def test_a_jetson_is_sent_to_the_builds_for_it() -> None:
    (remedy,) = judge(altered("jetson", torch("2.10.0+cu126")))["torch-lacks-gpu-code"].remedies
    assert "JetPack" in remedy.text
    assert not remedy.commands


def test_each_gpu_is_judged() -> None:
    machine = altered(SERVER, {"gpus.5.compute_capability": "6.0", "gpus.5.name": "Tesla P100-PCIE-16GB"})
    found = [finding for finding in checks.run(machine) if finding.id == "torch-lacks-gpu-code"]
    (useless,) = (finding for finding in found if finding.status is not Status.PASS)
    assert (useless.status, useless.devices) == (Status.WARN, (5,))  # the others can be used without it
    assert "export CUDA_VISIBLE_DEVICES=0,1,2,3,4,6,7" in useless.remedies[-1].commands
    assert [finding.devices for finding in found if finding.status is Status.PASS] == [(0, 1, 2, 3, 4, 6, 7)]


def test_a_gpu_that_is_hidden_is_not_judged() -> None:
    card = {"gpus.5.compute_capability": "3.5", "gpus.5.name": "NVIDIA GeForce GT 710"}
    machine = altered(SERVER, card | {"environment.CUDA_VISIBLE_DEVICES": "0,1"})
    found = [finding for finding in checks.run(machine) if finding.id == "torch-lacks-gpu-code"]
    assert [(finding.status, finding.devices) for finding in found] == [(Status.PASS, (0, 1))]


@pytest.mark.parametrize("variable", ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID"])
def test_a_job_is_given_a_part_of_the_gpus(variable: str) -> None:
    machine = altered(SERVER, {"gpus": [msgspec.to_builtins(load(SERVER).gpus[0])], f"environment.{variable}": "1"})
    assert judge(machine)["gpu-lost"].status is Status.INFO


def test_the_kernel_module_tells_the_driver_where_nvml_does_not() -> None:
    no_nvml = {"gpus": [], "driver.version": None, "driver.nvml_error": "NVML_ERROR_LIBRARY_NOT_FOUND"}
    cpu_only = torch("2.9.1+cpu") | {f"{TORCH}.cuda": None, "driver.kernel_module_version": "470.57.02"}
    (remedy, *_) = judge(altered(SERVER, no_nvml | cpu_only))["torch-cpu-only"].remedies
    assert "+cu118" in remedy.commands[0]


# --- facts that are missing ------------------------------------------------------------------------------------------


def _unknowable(kind: type[msgspec.Struct], subject: str, *but: str) -> list[str]:
    """The paths of the facts of one subject whose None means "not known"."""
    return [f"{subject}.{field.name}" for field in fields(kind) if field.default is None and field.name not in but]


UNKNOWABLE = [
    *_unknowable(Driver, "driver"),
    *_unknowable(Gpu, "gpus.*"),
    *_unknowable(Gpu, "gpus.0"),
    *_unknowable(Cpu, "cpu"),
    *_unknowable(Memory, "memory"),
    *_unknowable(Limits, "limits"),
    *_unknowable(Os, "os", "container", "tegra"),
    *_unknowable(PythonEnv, "python"),
    *_unknowable(TorchBuild, "python.torch", "cuda"),
    "pci",
    "python",
    "gpus",
]
SUBJECTS = ("gpus", "driver", "pci", "os", "cpu", "memory", "limits", "python", "libraries", "toolkits", "disks")


def _without(name: str, facts: list[str], gaps: list[str]) -> Machine:
    document: dict[str, Any] = {f"gaps.{path}": "no answer within 8 s" for path in gaps}
    present = recorded.load(name)
    for path in sorted(facts, key=len, reverse=True):
        inside = path.partition(".")[0]
        if inside == "gpus" and not present.gpus:
            continue
        document[path] = [] if path == "gpus" else None
    return altered(name, document)


lost_facts = st.lists(st.sampled_from(UNKNOWABLE), unique=True, max_size=12)
lost_gaps = st.lists(st.sampled_from((*SUBJECTS, *UNKNOWABLE)), unique=True, max_size=4)


@given(st.sampled_from(recorded.NAMES), lost_facts, lost_gaps)
@settings(max_examples=150)
def test_what_is_not_known_is_no_fault(name: str, facts: list[str], gaps: list[str]) -> None:
    gaps = [path for path in gaps if (path in facts and path != TORCH) or path in SUBJECTS]  # a reason there is a fault itself
    assert problems(_without(name, facts, gaps)) == {}


@given(st.sampled_from(sorted(FAULTS)), lost_facts, lost_gaps)
@settings(max_examples=150)
def test_no_machine_breaks_a_check(fault: str, facts: list[str], gaps: list[str]) -> None:
    base = altered(FAULTS[fault].machine, FAULTS[fault].facts)
    document = msgspec.json.decode(base.to_json())
    for path in facts:
        subject, *rest = path.split(".")
        inside = document.get(subject)
        if not rest:
            document[subject] = [] if subject == "gpus" else None
        elif isinstance(inside, dict) and len(rest) == 1:
            inside[rest[0]] = None
        elif isinstance(inside, dict) and isinstance(inside.get(rest[0]), dict):
            inside[rest[0]][rest[1]] = None
        elif isinstance(inside, list):
            for element in inside[: 1 if rest[0] == "0" else None]:
                element[rest[1]] = None
    document["gaps"] |= dict.fromkeys(gaps, "no answer within 8 s")
    document["python"] = _whole_or_nothing(document["python"])
    found = checks.run(msgspec.convert(document, Machine))
    assert {finding.id for finding in found} <= set(checks.CHECKS.names())
    assert Status.CRASH not in {finding.status for finding in found}


def _whole_or_nothing(python: dict[str, Any] | None) -> dict[str, Any] | None:
    """An interpreter without path or version cannot be in a snapshot, nor a torch without version."""
    if python is None or python["executable"] is None or python["version"] is None:
        return None
    torch = python["torch"]
    return python if torch is None or (torch["version"] and torch["location"]) else {**python, "torch": None}


@pytest.mark.parametrize("gaps", [{}, dict.fromkeys(SUBJECTS, "no answer within 8 s")], ids=["silent", "with reasons"])
def test_a_machine_of_which_nothing_is_known(gaps: dict[str, str]) -> None:
    machine = Machine(gaps=gaps)
    assert problems(machine) == {}
    assert "could not be looked at" in checks.headline(checks.run(machine), machine)
