"""PCI Express, NVLink, the fabric, IOMMU, access control and NUMA: each fault, and what looks like one and is none."""

from __future__ import annotations

from typing import Any

import pytest
from recorded import Fault, altered, commands, judge, problems
from test_checks_health import CONTAINER, LAPTOP, OLD_CARD, SERVER, log, xid

from dltool.checks import numa
from dltool.results import Scope

NO_LINKS = {"gpus.*.nvlinks": [], "gpus.*.fabric_state": "not_supported", "nvswitches": 0}
A100_PCIE = {
    "gpus.*.name": "NVIDIA A100 80GB PCIe", "gpus.*.pci_device_id": "10de:20b5", "gpus.*.compute_capability": "8.0",
    "gpus.*.power_limit_w|power_limit_default_w": 300.0,
}  # fmt: skip
PEERS = A100_PCIE | NO_LINKS
GEFORCE = NO_LINKS | {
    "gpus.*.name": "NVIDIA GeForce RTX 4090", "gpus.*.pci_device_id": "10de:2684", "gpus.*.compute_capability": "8.9",
    "gpus.*.power_limit_w|power_limit_default_w": 450.0,
}  # fmt: skip
DOWN = [{"link": link, "active": False, "version": 3} for link in range(12)]
HALF = [{"link": link, "active": link < 4, "version": 3} for link in range(12)]
UNTOLD = [{"link": link, "active": None} for link in range(18)]
PORT = "pci.*.upstream.0"
AER = "nvidia 0000:61:00.0: PCIe Bus Error: severity={}, type=Transaction Layer, (Requester ID)"
SXID = "nvidia-nvswitch0: SXid (PCI:0000:c3:00.0): 24007, Fatal, Link 28 sourcetrack timeout error (First)"
SXID_MILD = "nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32 egress non-posted PRIV error (First)"

FAULTS = {
    "fewer lanes than the slot has": Fault(
        SERVER, {"gpus.2.pcie_width": 8}, "pcie-degraded", "warn", "GPU 2: PCIe x8 of x16, though the slot",
        ("lspci -vv",),
    ),
    "slow under load": Fault(
        SERVER, {"gpus.2.pcie_generation": 1, "gpus.2.utilization_percent": 98}, "pcie-degraded", "warn", "generation 1 of 5"
    ),
    "errors of the bus that were not corrected": Fault(
        SERVER, log(AER.format("Uncorrectable (Non-Fatal)")), "pcie-errors", "warn", "0000:61:00.0", ("dmesg",)
    ),
    "errors of the port above it": Fault(
        SERVER, log(AER.format("Uncorrected (Fatal)").replace("nvidia 0000:61:00.0", "pcieport 0000:60:01.0")), "pcie-errors",
        "warn", "0000:60:01.0",
    ),
    "one NVLink of a module": Fault(
        SERVER, {"gpus.4.nvlinks.7.active": False}, "nvlinks-down", "fail", "GPU 4: 17 of 18 NVLinks", ("nvidia-smi nvlink -s",)
    ),
    "all NVLinks of a module": Fault(SERVER, {"gpus.4.nvlinks": DOWN}, "nvlinks-down", "fail", "GPU 4: 0 of 12 NVLinks"),
    "the fabric never comes": Fault(
        SERVER, {"gpus.*.fabric_state": "in_progress", "driver.services.nvidia-fabricmanager": "failed"}, "fabric-not-ready",
        "fail", "802", ("systemctl enable --now nvidia-fabricmanager",),
    ),
    "a slice of a server": Fault(
        CONTAINER, {"gpus.*.fabric_state": "in_progress"}, "fabric-not-ready", "fail", "802", ("dltool snapshot",)
    ),
    "Fabric Manager off, and the GPUs do not tell": Fault(
        SERVER, {"gpus.*.fabric_state": "not_supported", "driver.services.nvidia-fabricmanager": "inactive"},
        "fabric-not-ready", "fail", "4 NVSwitches, but Fabric Manager is inactive",
    ),
    "a switch with a fatal error": Fault(
        SERVER, log(SXID), "nvswitch-sxid", "fail", "SXid 24007", ("systemctl stop nvidia-fabricmanager", "--gpu-reset")
    ),
    "the IOMMU translates": Fault(
        SERVER, PEERS | {"pci.*.iommu": "dma-fq"}, "iommu-p2p", "warn", "translates for 8 GPUs",
        ("iommu=pt", "NCCL_P2P_DISABLE=1"),
    ),
    "ACS redirects": Fault(
        SERVER, PEERS | {f"{PORT}.acs_control": 0x1D}, "acs-p2p", "warn", "8 PCI ports", ("setpci -s", "NCCL_P2P_DISABLE=1")
    ),
    "ACS, as the IOMMU wants it": Fault(
        SERVER, PEERS | {f"{PORT}.acs_control": 0x1D, "pci.*.iommu": "dma"}, "iommu-p2p", "warn", "translates"
    ),
    "bound to the other socket": Fault(
        CONTAINER, {"cpu.usable_cpus": "56-111"}, "numa-affinity", "warn", "another socket than GPU 0",
        ("taskset -c 0-55,112-167",),
    ),
}  # fmt: skip


VIRTUAL = {"os.hypervisor": "Amazon EC2 p4d.24xlarge"}
LOOKALIKES = {
    "generation 1 at rest": (LAPTOP, {}, "pcie-degraded", "pass"),
    "generation 1 at rest, on a server": (SERVER, {"gpus.*.pcie_generation": 1}, "pcie-degraded", "pass"),
    "a laptop's eight lanes of sixteen": (LAPTOP, {"gpus.0.pcie_width_max": 16}, "pcie-degraded", "info"),
    "a slot with eight lanes": (
        SERVER, {"gpus.2.pcie_width": 8, "pci.2.upstream.0.link.width_max": 8}, "pcie-degraded", "info"
    ),
    "an external GPU": (
        OLD_CARD, {"gpus.0.pcie_width": 4, "pci.0.upstream.0.link.width_max": 4}, "pcie-degraded", "info"
    ),
    "a slot that is narrow by NVML too": (OLD_CARD, {"gpus.0.pcie_width|pcie_width_max": 8}, "pcie-degraded", "info"),
    "an older slot": (SERVER, {"gpus.*.pcie_generation|pcie_generation_max": 4}, "pcie-degraded", "pass"),
    "an older slot, under load": (
        SERVER, {"gpus.*.pcie_generation": 4, "pci.*.upstream.0.link.gt_per_s_max": 16.0, "gpus.*.utilization_percent": 99},
        "pcie-degraded", "pass",
    ),
    "a virtual machine": (SERVER, {"gpus.*.pcie_width": 8} | VIRTUAL, "pcie-degraded", "info"),
    "the port not read": (SERVER, {"gpus.2.pcie_width": 8, "pci.2.upstream": None}, "pcie-degraded", "unknown"),
    "the port's link not read": (SERVER, {"gpus.2.pcie_width": 8, "pci.2.upstream.0.link": None}, "pcie-degraded", "unknown"),
    "a Jetson has no link": ("jetson", {}, "pcie-degraded", "skip"),
    "corrected errors of the bus": (SERVER, log(AER.format("Corrected")), "pcie-errors", "info"),
    "errors of another device": (
        SERVER, log("nvme 0000:05:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Data Link"), "pcie-errors", "pass"
    ),
    "errors of last week": (SERVER, log(AER.format("Uncorrected (Fatal)"), age_s=90_000), "pcie-errors", "info"),
    "some packets sent again": (SERVER, {"gpus.*.pcie_replays": 12}, "pcie-errors", "pass"),
    "many packets sent again": (SERVER, {"gpus.0.pcie_replays": 120_000}, "pcie-errors", "info"),
    "cards without a bridge": (SERVER, PEERS | {"gpus.*.nvlinks": DOWN}, "nvlinks-down", "pass"),
    "one card without a bridge": (CONTAINER, PEERS | {"gpus.*.nvlinks": DOWN}, "nvlinks-down", "pass"),
    "cards with one bridge of three": (SERVER, PEERS | {"gpus.*.nvlinks": HALF}, "nvlinks-down", "info"),
    "a module in a virtual machine": (SERVER, {"gpus.*.nvlinks": DOWN} | VIRTUAL, "nvlinks-down", "pass"),
    "a module alone": (
        LAPTOP, {"gpus.0.name": "Tesla V100-SXM2-16GB", "gpus.0.pci_device_id": "10de:1db1", "gpus.0.nvlinks": DOWN[:6],
                 "gpus.0.compute_capability": "7.0", "python.torch": None, "gaps.python.torch": "not installed in x",
                 "gpus.0.memory_total_bytes": 16 * 2**30}, "nvlinks-down", "pass",
    ),
    "MIG": (CONTAINER, {"gpus.0.mig_enabled": True, "gpus.0.mig_instances": 2, "gpus.0.nvlinks": DOWN}, "nvlinks-down", "pass"),
    "links not told": (SERVER, {"gpus.*.nvlinks": UNTOLD}, "nvlinks-down", "unknown"),
    "links not read": (SERVER, {"gpus.*.nvlinks": None}, "nvlinks-down", "unknown"),
    "no links": (LAPTOP, {}, "nvlinks-down", "skip"),
    "no fabric": (LAPTOP, {}, "fabric-not-ready", "skip"),
    "an older fabric that runs": (SERVER, {"gpus.*.fabric_state": "not_supported"}, "fabric-not-ready", "pass"),
    "an older fabric, from inside": (CONTAINER, {"gpus.*.fabric_state": "not_supported"}, "fabric-not-ready", "unknown"),
    "a switch with a mild error": (SERVER, log(SXID_MILD, SXID_MILD), "nvswitch-sxid", "info"),
    "switches, the log not read": (SERVER, {"kernel_log": None}, "nvswitch-sxid", "unknown"),
    "no switch": (LAPTOP, {}, "nvswitch-sxid", "skip"),
    "the IOMMU translates for NVLinked GPUs": (SERVER, {"pci.*.iommu": "dma-fq"}, "iommu-p2p", "info"),
    "... and for GeForce cards, which do not copy": (SERVER, GEFORCE | {"pci.*.iommu": "dma-fq"}, "iommu-p2p", "info"),
    "the IOMMU of a virtual machine": (SERVER, PEERS | {"pci.*.iommu": "dma-fq"} | VIRTUAL, "iommu-p2p", "skip"),
    "the IOMMU of one GPU": (OLD_CARD, {}, "iommu-p2p", "skip"),
    "no IOMMU": (SERVER, PEERS | {"pci.*.iommu": "off"}, "iommu-p2p", "pass"),
    "IOMMU not read": (SERVER, PEERS | {"pci.*.iommu": None}, "iommu-p2p", "unknown"),
    "ACS for NVLinked GPUs": (SERVER, {f"{PORT}.acs_control": 0x1D}, "acs-p2p", "info"),
    "source validation alone": (SERVER, PEERS | {f"{PORT}.acs_control": 0x01}, "acs-p2p", "pass"),
    "ACS not read": (SERVER, PEERS | {f"{PORT}.acs_known": False}, "acs-p2p", "unknown"),
    "ACS not read, and of no matter": (SERVER, {f"{PORT}.acs_known": False}, "acs-p2p", "skip"),
    "bound to one of two sockets": (SERVER, {"cpu.usable_cpus": "0-55"}, "numa-affinity", "info"),
    "bound to the right socket": (
        SERVER, {"cpu.usable_cpus": "0-7", "environment.CUDA_VISIBLE_DEVICES": "0,1"}, "numa-affinity", "pass"
    ),
    "a desktop": (LAPTOP, {}, "numa-affinity", "skip"),
    "affinity not read": (SERVER, {"cpu.usable_cpus": None}, "numa-affinity", "unknown"),
    "places not read": (SERVER, {"pci.*.local_cpus": None}, "numa-affinity", "unknown"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "facts", "check", "status"), LOOKALIKES.values(), ids=LOOKALIKES.keys())
def test_a_lookalike_is_no_fault(name: str, facts: dict[str, Any], check: str, status: str) -> None:
    machine = altered(name, facts)
    assert judge(machine)[check].status.value == status, judge(machine)[check]
    assert problems(machine) == {}


def test_errors_that_were_not_corrected_are_never_called_corrected() -> None:
    lines = [AER.format("Corrected"), AER.format("Uncorrected (Fatal)")]
    assert "corrected errors" in judge(altered(SERVER, log(lines[0])))["pcie-errors"].summary
    for found in (lines[1:], lines):
        summary = judge(altered(SERVER, log(*found, age_s=90_000)))["pcie-errors"].summary
        assert "corrected errors" not in summary
        assert "uncorrected ones more than a day old" in summary


def test_a_fatal_switch_explains_links_and_fabric() -> None:
    machine = altered(SERVER, {"gpus.*.fabric_state": "in_progress", "gpus.*.nvlinks": DOWN} | log(SXID))
    found = judge(machine)
    causes = {name: found[name].caused_by for name in problems(machine)}
    assert causes == {"nvswitch-sxid": None, "fabric-not-ready": "nvswitch-sxid", "nvlinks-down": "nvswitch-sxid"}


def test_nothing_can_be_done_from_inside() -> None:
    found = judge(altered(CONTAINER, {"gpus.*.fabric_state": "in_progress"}))["fabric-not-ready"]
    assert found.scope is Scope.PROVIDER
    assert "systemctl" not in commands(found)


def test_acs_is_told_with_its_port_and_under_the_iommu() -> None:
    found = judge(altered(SERVER, PEERS | {f"{PORT}.acs_control": 0x1D, "pci.*.iommu": "dma"}))["acs-p2p"]
    assert found.evidence[0].value == "0x001d"
    assert found.caused_by == "iommu-p2p"


def test_an_xid_of_nvlink_and_a_link_that_is_down_are_both_told() -> None:
    assert problems(altered(SERVER, {"gpus.4.nvlinks.7.active": False} | log(xid(74, bus="0000:9d:00")))).keys() == {
        "nvlinks-down",
        "gpu-xid",
    }


@pytest.mark.parametrize(
    ("listed", "count"),
    [
        ("0-3,8", 5),
        ("0", 1),
        ("", 0),
        (None, 0),
        ("garbage", 0),
        ("3-1", 0),
        ("0-99999999", 0),
        ("0-999999", 65537),
        ("1,,2", 2),
    ],
)
def test_lists_of_processors(listed: str | None, count: int) -> None:
    assert len(numa.cpus(listed)) == count
