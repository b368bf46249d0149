"""The facts that NVML gives against what `nvidia-smi -q -x` prints."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from dltool.probe import nvml

pytestmark = pytest.mark.gpu

FIELDS = {
    "product_name": lambda gpu: gpu.name,
    "uuid": lambda gpu: gpu.uuid,
    "vbios_version": lambda gpu: gpu.vbios,
    "pci/pci_gpu_link_info/pcie_gen/max_link_gen": lambda gpu: str(gpu.pcie_generation_max),
    "pci/pci_gpu_link_info/link_widths/max_link_width": lambda gpu: f"{gpu.pcie_width_max}x",
    "fb_memory_usage/total": lambda gpu: f"{gpu.memory_total_bytes // 2**20} MiB",
    "bar1_memory_usage/total": lambda gpu: f"{gpu.bar1_total_bytes // 2**20} MiB",
    "compute_mode": lambda gpu: {"default": "Default", "prohibited": "Prohibited", "exclusive_process": "Exclusive_Process"}[
        gpu.compute_mode
    ],
    "persistence_mode": lambda gpu: "Enabled" if gpu.persistence_mode else "Disabled",
    "ecc_mode/current_ecc": lambda gpu: {True: "Enabled", False: "Disabled", None: "N/A"}[gpu.ecc_enabled],
    "mig_mode/current_mig": lambda gpu: {True: "Enabled", False: "Disabled", None: "N/A"}[gpu.mig_enabled],
    "max_clocks/sm_clock": lambda gpu: f"{gpu.sm_mhz_max} MHz",
    "max_clocks/mem_clock": lambda gpu: f"{gpu.memory_mhz_max} MHz",
}


@pytest.fixture(scope="module")
def smi():
    if shutil.which("nvidia-smi") is None:
        pytest.skip("nvidia-smi is not installed")
    text = subprocess.run(["nvidia-smi", "-q", "-x"], capture_output=True, text=True, check=True, timeout=60).stdout
    return ElementTree.fromstring(text)


@pytest.fixture(scope="module")
def reading():
    return nvml.read(timeout_s=30)


def test_versions(smi, reading):
    assert reading.driver.version == smi.findtext("driver_version")
    assert reading.driver.cuda_version == smi.findtext("cuda_version")


def test_count(smi, reading):
    assert len(reading.gpus) == int(smi.findtext("attached_gpus"))


@pytest.mark.parametrize("field", FIELDS)
def test_field(smi, reading, field):
    for element, gpu in zip(smi.findall("gpu"), reading.gpus, strict=True):
        shown = element.findtext(field)
        if shown not in (None, "N/A"):
            assert FIELDS[field](gpu) == shown
