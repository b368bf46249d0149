"""A driver and a GeForce RTX 4090 for a world: libraries, kernel files, device files, the PCI bus and nvidia-smi."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import fake_cuda
import fake_nvml
from fake_nvml import Recording, recorded

from broken.world import World, why_not

DRIVER, CUDA = "580.95.05", 13000
LIBRARIES = "usr/lib/x86_64-linux-gnu"
NODES = ("nvidia0", "nvidiactl", "nvidia-uvm")
BUS = "0000:41:00.0"
_SMI = """#!/bin/sh
# What nvidia-smi of driver {driver} prints for the machine that the stand-in of NVML describes.
case "$*" in
*--query-gpu=index,name,memory.total,compute_cap*) echo "0, {name}, 24564 MiB, 8.9" ;;
*--query-gpu=driver_version*) echo "{driver}" ;;
*--query-gpu=*) echo "{name}" ;;
-L) echo "GPU 0: {name} (UUID: GPU-3f9a6c52-7d0b-41c8-9e4a-5b6c7d8e9f00)" ;;
*) cat <<END
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI {driver}              Driver Version: {driver}      CUDA Version: {cuda}     |
+-----------------------------------------+------------------------+----------------------+
|   0  {name}        Off |   00000000:41:00.0 Off |                  Off |
|  0%   36C    P8             21W /  450W |     354MiB /  24564MiB |      0%      Default |
+-----------------------------------------+------------------------+----------------------+
END
;;
esac
"""
NAME = "NVIDIA GeForce RTX 4090"


def pci(world: World, *, bound: bool = True) -> None:
    """The GPU on the PCI bus; `bound`: to NVIDIA's kernel driver."""
    device = f"sys/bus/pci/devices/{BUS}"
    for name, text in (("vendor", "0x10de"), ("device", "0x2684"), ("class", "0x030000"), ("numa_node", "-1")):
        world.file(f"{device}/{name}", f"{text}\n")
    world.file(f"{device}/config").write_bytes(bytes.fromhex("de108426") + bytes(60))
    if bound:
        (world.root / "sys/bus/pci/drivers/nvidia").mkdir(parents=True, exist_ok=True)
        (world.root / device / "driver").symlink_to("../../drivers/nvidia")


def kernel(world: World, driver: str = DRIVER) -> None:
    """The kernel half of the driver."""
    kind = (
        "NVIDIA UNIX Open Kernel Module for x86_64" if int(driver.split(".")[0]) >= 560 else "NVIDIA UNIX x86_64 Kernel Module"
    )
    world.file("proc/driver/nvidia/version", f"NVRM version: {kind}  {driver}  Release Build  (builder@host)\n")
    for module in ("nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm"):
        world.file(f"sys/module/{module}/refcnt", "1\n")


def nodes(world: World, names: Iterable[str] = NODES) -> None:
    """Its device files."""
    for name in names:
        world.file(f"dev/{name}")


def libraries(world: World, recording: Recording, driver: str = DRIVER, *, error: str = "", hang: str = "") -> None:
    """NVML, which answers as recorded, and a libcuda, under the names that a driver gives them, where the loader looks."""
    where = world.root / LIBRARIES
    where.mkdir(parents=True, exist_ok=True)
    made = world.directory / "made"
    made.mkdir()
    fake_nvml.build(made)
    fake_cuda.build(made)
    for name in ("libnvidia-ml.so", "libcuda.so"):
        shutil.copy(made / f"{name}.1", where / f"{name}.{driver}")
        (where / f"{name}.1").symlink_to(f"{name}.{driver}")
    answers = world.directory / "answers.txt"
    fake_nvml.write(recording, answers)
    world.variables |= {"FAKE_NVML_ANSWERS": str(answers), "FAKE_NVML_ERROR": error, "FAKE_NVML_HANG": hang}
    world.variables["FAKE_CUDA_COUNT"] = "1"


def smi(world: World, driver: str = DRIVER, cuda: int = CUDA, *, script: str = "") -> Path:
    """nvidia-smi, or a script in its place."""
    text = script or _SMI.format(driver=driver, name=NAME, cuda=f"{cuda // 1000}.{cuda % 1000 // 10}")
    return world.file("usr/bin/nvidia-smi", text, executable=True)


def no_toolkit(world: World) -> None:
    """Whatever toolkit this machine has is not part of the world."""
    world.mounts.append('for one in /usr/local/cuda*; do [ -L "$one" ] || [ ! -d "$one" ] || mount -t tmpfs none "$one"; done')


def whole(
    world: World, driver: str = DRIVER, cuda: int = CUDA, *, error: str = "", hang: str = "", smi_script: str = ""
) -> None:
    """All of it; `error` and `hang` name calls of NVML that misbehave (fake_nvml.c)."""
    no_toolkit(world)
    pci(world)
    kernel(world, driver)
    nodes(world)
    libraries(world, recorded.rtx4090(driver, cuda=cuda), driver, error=error, hang=hang)
    smi(world, driver, cuda, script=smi_script)


def where_permitted(world: World) -> None:
    """All of it, for a fault that needs no GPU: without, the world is one of a machine that has none."""
    if why_not("mounts") is None:
        whole(world)
