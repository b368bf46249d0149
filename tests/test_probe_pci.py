"""Links, ports, IOMMU and access control, read from a recorded tree of sysfs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from dltool.machine import PcieLink, PciPort
from dltool.probe import pci

GPU, PORT, ROOT = "0000:17:00.0", "0000:16:00.0", "0000:15:01.0"


def device(tree: Path, *places: str, **texts: str) -> Path:
    """The directory of a device below its ports, as under /sys/devices, reached by its link under /sys/bus."""
    real = tree.joinpath("sys/devices/pci0000:15", *places)
    real.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (real / name).write_text(f"{text}\n")
    link = tree / "sys/bus/pci/devices" / places[-1]
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(real)
    return link


def speeds(now: str, most: str, width: int, width_max: int) -> dict[str, str]:
    return {
        "current_link_speed": now, "max_link_speed": most, "current_link_width": str(width), "max_link_width": str(width_max),
    }  # fmt: skip


def config(*capabilities: tuple[int, int]) -> bytes:
    """A configuration space of 4096 bytes with extended capabilities: their numbers, and what stands six bytes in."""
    space = bytearray(4096)
    space[:4] = b"\xde\x10\x30\x23"
    for number, (capability, control) in enumerate(capabilities):
        at = 0x100 + 0x40 * number
        following = at + 0x40 if number + 1 < len(capabilities) else 0
        struct.pack_into("<IHH", space, at, capability | 1 << 16 | following << 20, 0, control)
    return bytes(space)


def test_a_gpu_below_a_switch(tmp_path: Path) -> None:
    device(tmp_path, ROOT, **speeds("16.0 GT/s PCIe", "32.0 GT/s PCIe", 16, 16))
    port = device(tmp_path, ROOT, PORT, **speeds("16.0 GT/s PCIe", "16.0 GT/s PCIe", 8, 16))
    (port / "config").write_bytes(config((0x0001, 0), (0x000D, 0x001D)))
    gpu = device(tmp_path, ROOT, PORT, GPU, local_cpulist="0-31,64-95", **speeds("2.5 GT/s PCIe", "16.0 GT/s PCIe", 8, 16))
    (gpu / "config").write_bytes(config()[:64])
    (gpu / "iommu_group").mkdir()
    (gpu / "iommu_group/type").write_text("DMA-FQ\n")
    assert pci.place(gpu) == pci.Place(
        local_cpus="0-31,64-95",
        link=PcieLink(gt_per_s=2.5, gt_per_s_max=16.0, width=8, width_max=16),
        upstream=(
            PciPort(bus_id=PORT, link=PcieLink(gt_per_s=16.0, gt_per_s_max=16.0, width=8, width_max=16), acs_control=0x1D,
                    acs_known=True),
            PciPort(bus_id=ROOT, link=PcieLink(gt_per_s=16.0, gt_per_s_max=32.0, width=16, width_max=16)),
        ),
        iommu="dma-fq",
        responds=True,
    )  # fmt: skip


def test_a_gpu_of_which_nothing_is_told(tmp_path: Path) -> None:
    gpu = device(tmp_path, GPU)
    assert pci.place(gpu) == pci.Place(None, None, (), "off", None)


def test_no_such_device(tmp_path: Path) -> None:
    place = pci.place(tmp_path / "sys/bus/pci/devices" / GPU)
    assert (place.link, place.iommu, place.responds) == (None, None, None)


@pytest.mark.parametrize(
    ("speed", "width", "expected"),
    [
        ("Unknown", "63", PcieLink(width=63, gt_per_s_max=32.0, width_max=16)),
        ("8.0 GT/s", "0", PcieLink(gt_per_s=8.0, gt_per_s_max=32.0, width_max=16)),
        ("64.0 GT/s PCIe", "255", PcieLink(gt_per_s=64.0, gt_per_s_max=32.0, width_max=16)),
        ("2.5 GT/s PCIe", "garbage", PcieLink(gt_per_s=2.5, gt_per_s_max=32.0, width_max=16)),
    ],
)
def test_links_that_are_down_or_strange(tmp_path: Path, speed: str, width: str, expected: PcieLink) -> None:
    gpu = device(
        tmp_path, GPU, current_link_speed=speed, current_link_width=width, max_link_speed="32.0 GT/s PCIe", max_link_width="16"
    )
    assert pci.link(gpu) == expected


@pytest.mark.parametrize(
    ("space", "known", "control"),
    [
        (config((0x000D, 0)), True, 0),
        (config((0x0001, 7), (0x0002, 8), (0x000D, 0x5D)), True, 0x5D),
        (config((0x0001, 7)), True, None),
        (config()[:256], False, None),
        (config()[:64], False, None),
        (b"", False, None),
        (b"\xff" * 4096, True, None),
        (struct.pack("<256sI", b"", 0x0001 | 0x100 << 20).ljust(4096, b"\0"), True, None),
        (config((0x000D, 1))[: 0x100 + 5].ljust(0x101, b"\0"), True, None),
    ],
    ids=["off", "on", "without", "user", "user, short", "empty", "all ones", "a circle", "cut off"],
)
def test_access_control(tmp_path: Path, space: bytes, known: bool, control: int | None) -> None:
    port = device(tmp_path, ROOT, PORT)
    (port / "config").write_bytes(space)
    gpu = device(tmp_path, ROOT, PORT, GPU)
    (above, _) = pci.upstream(gpu) or ()
    assert (above.acs_known, above.acs_control) == (known, control)


@pytest.mark.parametrize(
    ("space", "state", "responds"),
    [
        (b"\xff" * 64, "active", False),
        (config()[:64], "active", True),
        (b"\xff" * 64, "suspended", None),
        (b"\xff", "active", None),
    ],
)
def test_a_device_that_is_gone_answers_all_ones(tmp_path: Path, space: bytes, state: str, responds: bool | None) -> None:
    gpu = device(tmp_path, GPU)
    (gpu / "power").mkdir()
    (gpu / "power/runtime_status").write_text(f"{state}\n")
    (gpu / "config").write_bytes(space)
    assert pci.place(gpu).responds is responds
