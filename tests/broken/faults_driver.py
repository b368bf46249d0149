"""Faults of the driver."""

from __future__ import annotations

from broken import gpu
from broken.setup import setup
from broken.venv import Venv, library
from broken.world import World

_NO_DRIVER = r'No NVIDIA Driver detected|"driver": "not_found"|NVML Shared Library Not Found'


@setup(
    "no driver is installed beside an RTX 4090 on the PCI bus",
    "driver-missing",
    "RTX 4090|driver",
    named_by=r'no (NVIDIA )?driver (is )?(installed|detected|found)|driver (is )?(missing|not installed)|"driver": "not_found"',
    shown_by=r"Nvidia driver version: (No CUDA|Could not collect)|Unable to initialize GPU driver",
    needs=("gcc", "mounts"),
)
def driver_missing(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.no_toolkit(world)
    if broken:
        gpu.pci(world, bound=False)
    else:
        gpu.whole(world)


@setup(
    "the driver was updated under a running kernel module: its libraries are newer",
    "driver-version-mismatch",
    "580",
    named_by=r"version mismatch|module.{0,80}librar.{0,40}(fit|differ|mismatch)",
    wrong=_NO_DRIVER,
    needs=("gcc", "mounts"),
)
def driver_half_updated(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    refused = "#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n"
    gpu.whole(
        world, error="nvmlInit=18,nvmlInit_v2=18,nvmlInitWithFlags=18" if broken else "", smi_script=refused if broken else ""
    )
    if broken:
        gpu.kernel(world, "580.82.07")


@setup(
    "the driver hangs: NVML and nvidia-smi never answer",
    "driver-not-answering",
    "hangs",
    named_by=r"did not answer|does not answer|hung in|not responding|hangs|timed out",
    wrong=_NO_DRIVER,
    needs=("gcc", "mounts"),
)
def driver_hangs(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(
        world,
        hang="nvmlDeviceGetTemperature,nvmlDeviceGetMemoryInfo,nvmlDeviceGetMemoryInfo_v2" if broken else "",
        smi_script="#!/bin/sh\nsleep 86400\n" if broken else "",
    )


@setup(
    "an nvidia-smi on the PATH sleeps for ever; the driver answers, so nothing is to be reported and nothing waited for",
    None,
    named_by=r"nvidia-smi[^.]{0,60}"
    r"(hang|hung|did not answer|timed out|timeout)",
    needs=("gcc", "mounts"),
)
def nvidia_smi_hangs(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world, smi_script="#!/bin/sh\nsleep 86400\n" if broken else "")


@setup(
    "the file /dev/nvidia-uvm is missing, which CUDA opens and nvidia-smi does not",
    "device-nodes-missing",
    "nvidia-uvm",
    named_by=r"nvidia-uvm",
    needs=("gcc", "mounts"),
)
def uvm_missing(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world)
    if broken:
        (world.root / "dev/nvidia-uvm").unlink()


@setup(
    "the driver, R470, is too old for the CUDA 12.8 of PyTorch",
    "driver-too-old",
    "470",
    named_by=r"driver.{0,80}too old|newer than what the GPU driver supports|conflict.{0,60}driver supports up to",
    shown_by=r"470\.256",
    needs=("gcc", "mounts"),
)
def driver_too_old(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world, *(("470.256.02", 11040) if broken else ()))


@setup(
    "the toolkit's stub of libcuda is on LD_LIBRARY_PATH",
    "libcuda-stub",
    "stub",
    named_by=r"\bstub\b(?! library is not)",
    shown_by=r"/stubs",
    needs=("gcc", "mounts"),
)
def libcuda_is_the_stub(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world)
    stub = library(world.directory / "cuda-12.8/lib64/stubs/libcuda.so.1", "int cuInit(unsigned f) { return 34; }")
    world.variables["LD_LIBRARY_PATH"] = str(stub.parent if broken else stub.parent.parent)


@setup(
    "the driver was installed without libcuda: NVML and nvidia-smi work",
    "libcuda-absent",
    "libcuda.so.1",
    named_by=r"libcuda[^,]{0,40}(missing|cannot be loaded|not found|could not be found)",
    needs=("gcc", "mounts"),
)
def libcuda_not_installed(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world)
    for one in (world.root / gpu.LIBRARIES).glob("libcuda.so*"):
        if broken:
            one.unlink()
