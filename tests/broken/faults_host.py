"""Faults of the host and of the container."""

from __future__ import annotations

from fake_nvml import recorded

from broken import gpu
from broken.setup import setup
from broken.venv import Venv
from broken.world import World


@setup(
    "a container that was started without the GPU of its host",
    "container-without-gpu",
    "without it",
    named_by=r"container (was )?started without|--gpus all|nvidia-container-toolkit",
    shown_by=r'No NVIDIA Driver detected|"driver": "not_found"|Nvidia driver version: (No CUDA|Could not collect)',
    needs=("gcc", "mounts"),
)
def container_without_gpu(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    world.variables["container"] = "docker"
    gpu.no_toolkit(world)
    gpu.pci(world)
    gpu.kernel(world)
    if not broken:
        gpu.nodes(world)
        gpu.libraries(world, recorded.rtx4090())
        gpu.smi(world)


@setup(
    "64 MiB of /dev/shm, as Docker gives",
    "shm-small",
    "64",
    named_by=r"/dev/shm[^.]{0,60}(only|small|too little|run out)",
    shown_by=r"/dev/shm|\bshm\b",
    needs=("gcc", "mounts"),
)
def shm_of_64_mib(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.where_permitted(world)
    world.variables["container"] = "docker"
    world.mounts.append(f"mount -t tmpfs -o size={'64m' if broken else '8g'} tmpfs /dev/shm")


@setup(
    "a control group that grants half a processor",
    "cpu-quota-low",
    "0.5",
    named_by=r"quota[^.]{0,10} (is )?0\.5|throttled",
    shown_by=r"cgroup|quota",
    needs=("gcc", "cgroup"),
)
def half_a_processor(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.where_permitted(world)
    world.cgroups["cpu"] = {"cpu.cfs_quota_us": "50000" if broken else "-1"}


@setup(
    "a control group that grants 4 GiB of memory beside 24 GiB on the GPU",
    "memory-small",
    "4",
    named_by=r"4(\.0)? GiB of main memory|memory limit|limit of the control group",
    needs=("gcc", "cgroup", "mounts"),
)
def four_gib_of_memory(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world)
    world.cgroups["memory"] = {"memory.limit_in_bytes": str((4 if broken else 64) * 2**30)}


@setup("a process may open 128 files", "open-files-low", "128", named_by=r"only 128|128 (open )?files|open files[^.]{0,20}128")
def few_open_files(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.where_permitted(world)
    world.limits.append(f"-n {128 if broken else 4096}")
