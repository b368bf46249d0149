"""What the checks of driver, devices, containers and host say where the facts are out of the ordinary."""

from __future__ import annotations

from typing import Any

import pytest
import recorded
import test_checks
from recorded import altered

from dltool import checks, lang
from dltool.machine import Machine
from dltool.results import Finding

LAPTOP, SERVER, CONTAINER = "laptop_rtx4060", "h100_server", "container"
SILENT = {"gpus": [], "gaps.gpus": "no answer"}
NO_VERSIONS = {"driver.version|kernel_module_version|nvml_library_version": None}

TOLD: dict[str, tuple[str, dict[str, Any], str, str, str]] = {
    "a driver that hangs": (
        SERVER, SILENT | {"driver.nvml_error": "timeout"}, "driver-not-answering", "the driver hangs", "查询 GPU 时驱动挂起",
    ),
    "a mismatch of unknown versions": (
        SERVER, SILENT | NO_VERSIONS | {"driver.nvml_error": "NVML_ERROR_LIB_RM_VERSION_MISMATCH"}, "driver-version-mismatch",
        "kernel module of another version", "内核模块（版本不明）与驱动库（版本不明）不一致",
    ),
    "nouveau beside NVIDIA's driver": (
        SERVER, {"pci.0.kernel_driver": "nouveau"}, "nouveau-loaded", "nouveau holds 1 GPU(s)", "nouveau 占用了 1 块 GPU",
    ),
    "GPUs of virtual machines": (
        LAPTOP, {"gpus": [], "driver": {"modules": []}, "pci.*.kernel_driver": "vfio-pci"}, "gpu-absent",
        "all are handed to virtual machines", "全部已分配给虚拟机",
    ),
    "nothing can be read": (
        LAPTOP, {"gpus": [], "driver": {}, "pci": None, "gaps.pci": "Permission denied"}, "gpu-absent",
        "neither NVML nor the PCI bus could be read", "NVML 和 PCI 总线都读不到",
    ),
    "device files at the first use": (
        LAPTOP, {"driver.device_nodes": []}, "device-nodes-missing",
        "/dev/nvidiactl and /dev/nvidia-uvm and /dev/nvidia0 not there yet",
        "/dev/nvidiactl、/dev/nvidia-uvm、/dev/nvidia0 尚不存在",
    ),
    "one GPU of eight is somebody else's": (
        SERVER, {"driver.device_nodes.0.accessible": False}, "device-nodes-missing", "1 of 8 GPUs", "8 块 GPU 中有 1 块",
    ),
    "the devices of a container are hidden by an empty variable": (
        CONTAINER, {**test_checks.PLAIN_CONTAINER, "environment.NVIDIA_VISIBLE_DEVICES": ""}, "container-without-gpu",
        "(NVIDIA_VISIBLE_DEVICES=empty)", "（NVIDIA_VISIBLE_DEVICES=空）",
    ),
    "a container with neither part": (
        CONTAINER, {"environment.NVIDIA_DRIVER_CAPABILITIES": "video", "driver.libcuda": None}, "container-capabilities",
        "leaves out compute and utility", "漏掉了 compute 和 utility",
    ),
    "an image for another CUDA than PyTorch's": (
        CONTAINER, {"environment.CUDA_VERSION": "13.0.1"}, "container-image-cuda", "made for CUDA 13.0", "镜像针对 CUDA 13.0",
    ),
    "a container that may use less than the GPU holds": (
        LAPTOP, {"memory.cgroup_limit_bytes": 6 * 2**30}, "memory-small", "(limit of the control group)", "（控制组的限制）",
    ),
    "limits that cannot be read": (
        SERVER, {"rdma": ["mlx5_0"], "gaps.limits": "Permission denied"}, "memlock-low",
        "the limits could not be read: Permission denied", "无法读取资源限制：Permission denied",
    ),
    "the temporary files' disk": (
        SERVER, {"disks.0.purpose": "temporary files", "disks.0.free_bytes": 2**20}, "disk-full",
        "the disk of temporary files has 1 MiB free", "临时文件所在的磁盘只剩 1 MiB",
    ),
    "a cache's disk": (
        SERVER, {"disks.0.purpose": "HF_HOME", "disks.0.free_files": 0}, "disk-full",
        "the disk of HF_HOME has no free file entries", "HF_HOME 所在的磁盘没有空闲的 inode",
    ),
}  # fmt: skip
"""Beside the faults: machine, facts, check, and words of its summary in English and in Chinese."""


def told(machine: Machine, check: str, language: str) -> tuple[Finding, ...]:
    with lang.speaking(language):
        return checks.run(machine, only=[check])


@pytest.mark.parametrize(("machine", "facts", "check", "english", "chinese"), TOLD.values(), ids=TOLD)
def test_what_is_told(machine: str, facts: dict[str, Any], check: str, english: str, chinese: str) -> None:
    found = altered(machine, facts)
    assert english in " ".join(finding.summary for finding in told(found, check, "en"))
    assert chinese in " ".join(finding.summary for finding in told(found, check, "zh"))


def test_settings_of_docker_are_not_overwritten() -> None:
    """daemon.json holds the registration of NVIDIA's runtime."""
    found = recorded.judge(altered(CONTAINER, test_checks.FAULTS["container lost its devices"].facts))["container-lost-gpu"]
    assert "daemon.json" not in recorded.commands(found)
    assert "nvidia-container-toolkit" in recorded.commands(found)
