"""The kernel half of the driver, read from recorded trees of /proc, /sys and /dev."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dltool.machine import DeviceNode, PciDevice
from dltool.probe import child, driver

PROPRIETARY = """\
NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""
OPEN = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build  (dvs-builder@U16)  Thu Jan 23 22:53:44 2025
GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2~24.04)
"""
OLD = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  390.157  Wed Oct 12 09:19:07 UTC 2022\n"


def kernel_says(root: Path, text: str) -> driver.Reading:
    file = root / "proc/driver/nvidia/version"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return driver.read(root)


@pytest.mark.parametrize(
    ("text", "version", "is_open"),
    [(PROPRIETARY, "535.183.01", False), (OPEN, "570.86.10", True), (OLD, "390.157", False)],
    ids=["proprietary", "open", "two-part version"],
)
def test_the_nvrm_line_tells_version_and_kind(tmp_path: Path, text: str, version: str, is_open: bool) -> None:
    reading = kernel_says(tmp_path, text)
    assert (reading.kernel_module_version, reading.kernel_module_open) == (version, is_open)
    assert "driver.kernel_module_version" not in reading.gaps


@pytest.mark.parametrize("text", ["", "garbage\n", "NVRM version: none at all\n", "\0\0\xff\n"])
def test_a_version_file_without_a_version_is_a_gap(tmp_path: Path, text: str) -> None:
    reading = kernel_says(tmp_path, text)
    assert reading.kernel_module_version is None
    assert reading.kernel_module_open is None
    assert "has no version" in reading.gaps["driver.kernel_module_version"]


@pytest.mark.parametrize("name", ["not there", "cannot be asked for" * 20])
def test_nothing_there_is_gaps_and_no_exception(tmp_path: Path, name: str) -> None:
    reading = driver.read(tmp_path / name)
    assert reading.kernel_module_version is None
    assert reading.modules is None
    assert reading.pci is None
    assert reading.device_nodes == ()
    assert set(reading.gaps) == {"driver.kernel_module_version", "driver.modules", "pci"}


def test_modules_that_matter_and_no_others(tmp_path: Path) -> None:
    for name in ("nvidia", "nvidia_uvm", "nouveau", "ext4", "nvidiafb"):
        (tmp_path / "sys/module" / name).mkdir(parents=True)
    assert driver.read(tmp_path).modules == ("nvidia", "nvidia_uvm", "nouveau")


def test_no_module_loaded_is_an_empty_answer_not_a_gap(tmp_path: Path) -> None:
    (tmp_path / "sys/module").mkdir(parents=True)
    reading = driver.read(tmp_path)
    assert reading.modules == ()
    assert "driver.modules" not in reading.gaps


def test_device_nodes_without_the_directories_of_mig(tmp_path: Path) -> None:
    (tmp_path / "dev/nvidia-caps").mkdir(parents=True)
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "nvmap", "dxg", "null"):
        (tmp_path / "dev" / name).touch()
    nodes = driver.read(tmp_path).device_nodes
    assert [node.path for node in nodes] == ["/dev/dxg", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvmap"]
    assert all(node.accessible for node in nodes)


def test_a_node_that_leads_nowhere_is_not_accessible(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").symlink_to("gone")
    assert driver.read(tmp_path).device_nodes == (DeviceNode(path="/dev/nvidia0", accessible=False),)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may open everything")
def test_a_node_without_permission_is_not_accessible(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch(mode=0o000)
    assert driver.read(tmp_path).device_nodes == (DeviceNode(path="/dev/nvidia0", accessible=False),)


def no_command(argv: list[str], *, timeout_s: float) -> child.Answer:
    raise FileNotFoundError(2, "No such file or directory")


def pci_device(root: Path, bus_id: str, **files: str) -> Path:
    """A device of sysfs; `driver` is the driver bound to it."""
    device = root / "sys/bus/pci/devices" / bus_id
    device.mkdir(parents=True)
    bound = files.pop("driver", None)
    if bound:
        module = root / "sys/bus/pci/drivers" / bound
        module.mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(module)
    for name, text in files.items():
        (device / {"kind": "class"}.get(name, name)).write_text(text + "\n")
    return device


def test_display_controllers_of_nvidia_are_found(tmp_path: Path) -> None:
    pci_device(tmp_path, "0000:00:02.0", vendor="0x8086", device="0x4680", kind="0x030000", numa_node="0", driver="i915")
    pci_device(tmp_path, "0000:01:00.0", vendor="0x10de", device="0x2684", kind="0x030000", numa_node="-1", driver="nvidia")
    pci_device(tmp_path, "0000:01:00.1", vendor="0x10de", device="0x22ba", kind="0x040300", driver="snd_hda_intel")
    pci_device(tmp_path, "0000:C1:00.0", vendor="0x10de", device="0x2330", kind="0x030200", numa_node="1", driver="vfio-pci")
    pci_device(tmp_path, "0000:c2:00.0", vendor="0x10de", device="0x1db6", kind="0x030200", driver="nouveau")
    pci_device(tmp_path, "0000:c3:00.0", vendor="0x10de", device="0x20b2", kind="0x030200")
    pci_device(tmp_path, "0000:c4:00.0", vendor="0x10de", device="0x22a3", kind="0x068000")  # an NVSwitch

    def gpu(bus_id: str, device_id: str, kind: str, bound: str | None, node: int | None = None) -> PciDevice:
        return PciDevice(
            bus_id=bus_id, device_id=device_id, class_code=kind, kernel_driver=bound, numa_node=node, upstream=(), iommu="off"
        )

    reading = driver.read(tmp_path, run=no_command)
    assert reading.nvswitches == 1
    assert reading.pci == (
        gpu("0000:01:00.0", "10de:2684", "0x030000", "nvidia"),
        gpu("0000:c1:00.0", "10de:2330", "0x030200", "vfio-pci", 1),
        gpu("0000:c2:00.0", "10de:1db6", "0x030200", "nouveau"),
        gpu("0000:c3:00.0", "10de:20b2", "0x030200", None),
    )


def test_a_device_that_fell_off_the_bus_while_it_was_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "sys/bus/pci/devices/0000:01:00.0").mkdir(parents=True)
    assert driver.read(tmp_path).pci == ()


def test_a_device_id_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    pci_device(tmp_path, "0000:01:00.0", vendor="0x10de", kind="0x030000")
    (found,) = driver.read(tmp_path).pci or ()
    assert found.device_id == "10de:????"


def test_sysfs_that_cannot_be_listed_is_a_gap(tmp_path: Path) -> None:
    (tmp_path / "sys/bus/pci").mkdir(parents=True)
    (tmp_path / "sys/bus/pci/devices").symlink_to("devices")  # a loop: opening it fails for root too
    reading = driver.read(tmp_path)
    assert reading.pci is None
    assert reading.gaps["pci"].startswith("/sys/bus/pci/devices: ")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may open everything")
def test_sysfs_without_permission_is_a_gap(tmp_path: Path) -> None:
    directory = tmp_path / "sys/bus/pci/devices"
    directory.mkdir(parents=True)
    directory.chmod(0o000)
    try:
        assert driver.read(tmp_path).gaps["pci"] == "/sys/bus/pci/devices: Permission denied"
    finally:
        directory.chmod(0o700)


def test_this_machine_can_be_read() -> None:
    reading = driver.read()
    assert (reading.kernel_module_version is None) == ("driver.kernel_module_version" in reading.gaps)
    assert (reading.pci is None) == ("pci" in reading.gaps)
