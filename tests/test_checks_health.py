"""The health of GPUs, their memory, heat, power and modes: each fault, and what looks like one and is none."""

from __future__ import annotations

from typing import Any

import pytest
import recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import convert
from msgspec.structs import replace
from recorded import DRIVER, NO_DRIVER, Fault, altered, commands, judge, log, problems

from dltool import checks, lang, tables
from dltool.checks import hardware, xids
from dltool.machine import Gpu, KernelEvent, KernelLog, Machine
from dltool.probe import kernel_log
from dltool.results import Risk, Scope, Status

LAPTOP, SERVER, CONTAINER, OLD_CARD = "laptop_rtx4060", "h100_server", "container", "gtx1080ti"
BUS = "0000:61:00.0"
"""GPU 3 of the recorded server."""


def xid(code: int, rest: str = "pid=1234, name=python, words", bus: str = "0000:61:00") -> str:
    return f"NVRM: Xid (PCI:{bus}): {code}, {rest}"


UNANSWERED = {"gpus.3": None}
"""GPU 3 is on the bus and held by the driver, but not among those that NVML shows."""
SILENT = {"gpus": [], "driver.version": None, "driver.cuda_version": None, "driver.nvml_error": None}
"""The module is loaded, and no GPU answers."""


def no_module(secure_boot: bool | None, file: dict[str, Any] | None, **facts: Any) -> dict[str, Any]:
    """The driver's libraries are there, its kernel module is not loaded."""
    driver = {
        "nvml_error": "NVML_ERROR_DRIVER_NOT_LOADED", "modules": [], "nvml_library": "/usr/lib/libnvidia-ml.so.1",
        "secure_boot": secure_boot, "module_file": file, **facts,
    }  # fmt: skip
    gap = "Driver Not Loaded (NVML_ERROR_DRIVER_NOT_LOADED in nvmlInit)"
    return NO_DRIVER | {"driver": driver, "gaps.gpus": gap}


DKMS_FILE = {"path": "/lib/modules/6.8.0-48-generic/updates/dkms/nvidia.ko.zst"}
SIGNED_FILE = {
    "path": "/lib/modules/6.8.0-48-generic/kernel/nvidia-565/nvidia.ko",
    "signer": "Canonical Ltd. Kernel Module Signing",
}
LIVE = ("temperature_c", "power_w", "sm_mhz", "memory_mhz", "utilization_percent", "throttle_reasons")
MEMORY = "gpus.3.ecc_errors.uncorrected_volatile"

FAULTS = {
    "Xid 48": Fault(SERVER, log(xid(48)), "gpu-xid", "fail", "Xid 48 (once, 0000:61:00.0)", ("nvidia-smi --gpu-reset -i 3",)),
    "Xid 62": Fault(LAPTOP, log(xid(62, bus="0000:01:00")), "gpu-xid", "fail", "Xid 62", ("--gpu-reset -i 0", "bug-report")),
    "Xid 94": Fault(SERVER, log(xid(94)), "gpu-xid", "warn", "contained"),
    "Xid 32": Fault(SERVER, log(xid(32)), "gpu-xid", "warn", "PCIe"),
    "Xid 74 of yesterday": Fault(SERVER, log(xid(74), age_s=89_000), "gpu-xid", "warn", "NVLink"),
    "Xid 149, fatal": Fault(
        SERVER, log(xid(149, "NETIR_LINK_EVT  Fatal   XC0 i0 Link 11")), "gpu-xid", "fail", "Xid 149", ("--gpu-reset",)
    ),
    "fell off the bus": Fault(
        SERVER, UNANSWERED | log("NVRM: The NVIDIA GPU 0000:61:00.0", "NVRM: (PCI ID: 10de:2330) installed in this system has",
                                 "NVRM: fallen off the bus and is not responding to commands."),
        "gpu-fell-off-bus", "fail", BUS, ("poweroff", "nvidia-bug-report.sh"),
    ),
    "Xid 79": Fault(SERVER, log(xid(79, "GPU has fallen off the bus.")), "gpu-fell-off-bus", "fail", BUS),
    "nothing in its configuration space": Fault(SERVER, {"pci.3.responds": False}, "gpu-fell-off-bus", "fail", BUS),
    "listed, and gone": Fault(
        SERVER, dict.fromkeys((f"gpus.3.{name}" for name in LIVE), None)
        | dict.fromkeys((f"gaps.gpus.3.{name}" for name in LIVE), "GPU is lost (NVML_ERROR_GPU_IS_LOST in nvmlX)"),
        "gpu-fell-off-bus", "fail", BUS,
    ),
    "RmInitAdapter": Fault(
        SERVER, UNANSWERED | log("NVRM: GPU 0000:61:00.0: RmInitAdapter failed! (0x24:0xffff:1220)"),
        "gpu-init-failed", "fail", BUS, ("reboot",),
    ),
    "no room for its memory": Fault(
        LAPTOP, SILENT
        | log("NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:",
              "NVRM: BAR1 is 0M @ 0x0 (PCI:0000:01:00.0)"),
        "gpu-init-failed", "fail", "0000:01:00.0", ("lspci",),
    ),
    "a driver that no longer drives it": Fault(
        OLD_CARD, {DRIVER: "590.48.01"} | SILENT
        | log("NVRM: The NVIDIA GPU 0000:65:00.0 (PCI ID: 10de:1b06)", "NVRM: installed in this system is not supported by the",
              "NVRM: NVIDIA 590.48.01 driver release."),
        "gpu-init-failed", "fail", "does not support the GPU at 0000:65:00.0", ("dltool compat",),
    ),
    "GSP silent": Fault(
        SERVER, log(xid(119, "Timeout after 6s of waiting for RPC response from GPU3 GSP! Expected function 76")), "gsp-failed",
        "fail", "GSP", ("--gpu-reset -i 3", "NVreg_EnableGpuFirmware=0"),
    ),
    "GSP without firmware": Fault(
        SERVER, UNANSWERED | log("nvidia 0000:61:00.0: Direct firmware load for nvidia/550.54.15/gsp_ga10x.bin failed with -2",
                                 "NVRM: GPU 0000:61:00.0: RmInitAdapter failed! (0x61:0x56:1697)"),
        "gsp-failed", "fail", "found no firmware", ("ls /lib/firmware/nvidia/",),
    ),
    "a reset, says NVML": Fault(
        SERVER, {"gpus.3.recovery_action": "gpu_reset"}, "gpu-reset-required", "fail", "a reset: GPU 3", ("--gpu-reset -i 3",)
    ),
    "a restart, says NVML": Fault(
        SERVER, {"gpus.3.recovery_action": "node_reboot"}, "gpu-reset-required", "fail", "restart of the machine", ("reboot",)
    ),
    "a restart, says the log": Fault(
        SERVER, {"gpus.*.recovery_action": None}
        | log(xid(154, "GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)")),
        "gpu-reset-required", "fail", "restart of the machine: GPU 3",
    ),
    "a reset, says an old driver": Fault(
        SERVER, {"gpus.*.recovery_action": None}
        | log("NVRM: nvAssertOkFailedNoLog: Assertion failed: Reset required [NV_ERR_RESET_REQUIRED] (0x00000062) returned"),
        "gpu-reset-required", "fail", "a reset", ("--gpu-reset",),
    ),
    "memory errors": Fault(SERVER, {MEMORY: 2}, "ecc-uncorrected", "fail", "GPU 3: 2 memory errors", ("--gpu-reset -i 3",)),
    "memory errors, row set aside": Fault(
        SERVER, {MEMORY: 2, "gpus.3.remapped_rows.uncorrected": 1}, "ecc-uncorrected", "warn", "2 memory errors"
    ),
    "rows wait": Fault(
        SERVER, {"gpus.3.remapped_rows.uncorrected": 4, "gpus.3.remapped_rows.pending": True}, "rows-remap-pending", "warn",
        "GPU 3", ("--gpu-reset -i 3", "reboot"),
    ),
    "no rows left": Fault(
        SERVER, {"gpus.3.remapped_rows.uncorrected": 512, "gpus.3.remapped_rows.failed": True}, "rows-remap-failed", "fail",
        "the board has to be", ("dltool snapshot",),
    ),
    "pages wait": Fault(
        SERVER, {"gpus.*.remapped_rows": None, "gpus.2.retired_pages_pending": True}, "pages-retirement-pending", "warn",
        "GPU 2", ("--gpu-reset -i 2",),
    ),
    "power brake": Fault(
        SERVER, {"gpus.1.throttle_reasons": ["hw_slowdown", "hw_power_brake_slowdown"]}, "gpu-throttled", "warn", "power supply"
    ),
    "heat": Fault(
        SERVER, {"gpus.1.throttle_reasons": ["hw_slowdown", "hw_thermal_slowdown"], "gpus.1.utilization_percent": 99},
        "gpu-throttled", "warn", "GPU 1: slowed down because of heat", ("nvidia-smi -q -d",),
    ),
    "heat, held by software": Fault(
        SERVER, {"gpus.1.throttle_reasons": ["sw_thermal_slowdown"], "gpus.1.utilization_percent": 99}, "gpu-throttled", "warn",
        "sw_thermal",
    ),
    "heat at rest": Fault(
        OLD_CARD, {"gpus.0.throttle_reasons": ["gpu_idle", "hw_thermal_slowdown"]}, "gpu-throttled", "warn", "heat"
    ),
    "slowed under load": Fault(
        SERVER, {"gpus.1.throttle_reasons": ["hw_slowdown"], "gpus.1.utilization_percent": 99}, "gpu-throttled", "warn",
        "by the hardware",
    ),
    "hot": Fault(SERVER, {"gpus.1.temperature_c": 91}, "gpu-hot", "warn", "GPU 1: 91 C", ("nvidia-smi -q -d TEMPERATURE",)),
    "one of several capped": Fault(
        SERVER, {"gpus.6.power_limit_w": 600.0}, "power-capped", "warn", "GPU 6: power limited to 86% of the default, other",
        ("nvidia-smi -i 6 -pl 700",),
    ),
    "capped to half": Fault(OLD_CARD, {"gpus.0.power_limit_w": 125.0}, "power-capped", "warn", "50%", ("-pl 250",)),
    "an old PyTorch and MIG": Fault(
        CONTAINER, {"gpus.0.mig_enabled": True, "gpus.0.mig_instances": 1, "gpus.0.name": "NVIDIA A100-SXM4-80GB",
                    "gpus.0.compute_capability": "8.0", "gpus.0.pci_device_id": None, "python.distributions": [],
                    "python.torch.version": "1.13.1+cu117", "python.torch.cuda": "11.7",
                    "environment.CUDA_VISIBLE_DEVICES": "MIG-feee0c61-26ec-5616-bb59-b6d777cc4f34"},
        "gpu-counts-differ", "warn", "counts no GPU", ("dltool compat",),
    ),
    "MIG and no instance": Fault(
        CONTAINER, {"gpus.0.mig_enabled": True, "gpus.0.mig_instances": 0}, "mig-without-instances", "fail", "no instance",
        ("mig -i 0 -cgi", "-mig 0"),
    ),
    "MIG on one of eight": Fault(
        SERVER, {"gpus.5.mig_enabled": True, "gpus.5.mig_instances": 0}, "mig-without-instances", "warn", "GPU 5"
    ),
    "exclusive and taken": Fault(
        OLD_CARD, {"gpus.0.compute_mode": "exclusive_process", "gpus.0.processes": [{"pid": 4242}]}, "compute-mode-exclusive",
        "warn", "the next is refused", ("nvidia-smi -i 0 -c DEFAULT",),
    ),
    "prohibited": Fault(OLD_CARD, {"gpus.0.compute_mode": "prohibited"}, "compute-mode-exclusive", "fail", "no CUDA program"),
    "no module for this kernel": Fault(
        LAPTOP, no_module(False, None, dkms=[{"version": "565.77", "kernels": ["6.8.0-45-generic"]}]),
        "dkms-module-missing", "fail", "no module of it for the running kernel 6.8.0-48-generic", ("dkms autoinstall",),
    ),
    "no module, and no DKMS": Fault(
        LAPTOP, no_module(False, None), "dkms-module-missing", "fail", "no kernel module for the running kernel",
        ("ls /lib/modules",),
    ),
    "key not enrolled": Fault(
        LAPTOP, no_module(True, DKMS_FILE), "secure-boot-blocks-module", "fail", "key is not enrolled",
        ("mokutil --import", "reboot"),
    ),
    "not signed at all": Fault(
        LAPTOP, no_module(True, SIGNED_FILE | {"signer": ""}), "secure-boot-blocks-module", "fail", "key is not enrolled"
    ),
    "refused, says the log": Fault(
        LAPTOP, no_module(True, SIGNED_FILE) | log("Loading of module with unavailable key is rejected", loaded_s=None),
        "secure-boot-blocks-module", "fail", "key is not enrolled",
    ),
    "Blackwell and the proprietary module": Fault(
        LAPTOP, SILENT | {"driver.kernel_module_open": False, "pci.0.device_id": "10de:2b85"},
        "kernel-module-flavour", "fail", "needs the open kernel module", ("nvidia-driver-565-open",),
    ),
    "Pascal and the open module": Fault(
        OLD_CARD, SILENT | {"driver.kernel_module_open": True}, "kernel-module-flavour", "fail",
        "needs the proprietary kernel module",
    ),
    "the driver says so itself": Fault(
        LAPTOP, SILENT | {"driver.kernel_module_open": False, "pci.0.device_id": "10de:ffff"}
        | log("NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:2c58)",
              "NVRM: installed in this system requires use of the NVIDIA open kernel modules.",
              "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x22:0x56:884)"),
        "kernel-module-flavour", "fail", "needs the open kernel module",
    ),
}  # fmt: skip

ONLY_TOLD = {"persistence-off", "bar1-small", "mkl-switch-dead", "float32-without-tensor-cores"}
"""Checks that never find a problem."""


LOOKALIKES = {
    "Xid 13, a program's fault": (SERVER, log(xid(13)), "gpu-xid", "info"),
    "Xid 31, a hundred times": (SERVER, log(*[xid(31)] * 100), "gpu-xid", "info"),
    "Xid 43": (SERVER, log(xid(43)), "gpu-xid", "info"),
    "Xid 45": (SERVER, log(xid(45)), "gpu-xid", "info"),
    "Xid 63 is the repair, not the fault": (SERVER, log(xid(63)), "gpu-xid", "info"),
    "Xid 154 to None": (
        SERVER, log(xid(154, "GPU recovery action changed from 0x2 (Node Reboot) to 0x0 (None)")), "gpu-xid", "info"
    ),
    "... asks for nothing": (
        SERVER, {"gpus.*.recovery_action": None} | log(xid(154, "GPU recovery action changed from 0x1 (x) to 0x0 (None)")),
        "gpu-reset-required", "pass",
    ),
    "a reset was asked for, and done": (
        SERVER, log(xid(154, "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)")), "gpu-reset-required",
        "pass",
    ),
    "Xid 149, not fatal": (SERVER, log(xid(149, "NETIR_LINK_EVT  Non-fatal   XC0 i0 Link 11")), "gpu-xid", "info"),
    "an Xid that nobody knows": (SERVER, log(xid(998)), "gpu-xid", "unknown"),
    "an Xid before the driver was loaded anew": (SERVER, log(xid(48), age_s=95_000), "gpu-xid", "pass"),
    "an Xid of another's GPU": (CONTAINER, log(xid(48, bus="0000:1b:00")), "gpu-xid", "pass"),
    "a log that may not be read": (SERVER, {"kernel_log": None, "gaps.kernel_log": "Permission denied"}, "gpu-xid", "unknown"),
    "a log that was not recorded": (SERVER, {"kernel_log": None}, "gpu-xid", "unknown"),
    "the log of Windows": ("wsl2", {}, "gpu-xid", "skip"),
    "no GPU, no Xid": ("cpu_only", {}, "gpu-xid", "skip"),
    "fell off long ago and is back": (SERVER, log(xid(79), age_s=89_000), "gpu-fell-off-bus", "info"),
    "one question refused": (
        SERVER, {"gpus.3.power_w": None, "gaps.gpus.3.power_w": "GPU is lost (NVML_ERROR_GPU_IS_LOST in x)"},
        "gpu-fell-off-bus", "pass",
    ),
    "asleep, so it is not asked": (LAPTOP, {"pci.0.responds": None, "kernel_log": None}, "gpu-fell-off-bus", "pass"),
    "started at the second attempt": (
        SERVER, log("NVRM: GPU 0000:61:00.0: RmInitAdapter failed! (0x24:0xffff:1220)"), "gpu-init-failed", "pass"
    ),
    "a GPU of the host that did not start": (
        CONTAINER, log("NVRM: GPU 0000:1b:00.0: RmInitAdapter failed! (0x24:0xffff:1220)"), "gpu-init-failed", "pass"
    ),
    "errors of former times": (SERVER, {"gpus.3.ecc_errors.uncorrected_aggregate": 3}, "ecc-uncorrected", "info"),
    "corrected errors": (SERVER, {"gpus.3.ecc_errors.corrected_volatile": 3000}, "ecc-uncorrected", "pass"),
    "remapped and done": (
        SERVER, {"gpus.3.remapped_rows.uncorrected": 2, "gpus.3.remapped_rows.corrected": 1}, "rows-remap-pending", "pass"
    ),
    "ECC off": (SERVER, {"gpus.*.ecc_enabled": False, "gpus.*.ecc_errors": None}, "ecc-uncorrected", "info"),
    "ECC on, not read": (
        SERVER, {"gpus.*.ecc_errors": None, "gaps.gpus.0.ecc_errors": "No permission"}, "ecc-uncorrected", "unknown"
    ),
    "no ECC": (LAPTOP, {}, "ecc-uncorrected", "skip"),
    "at its power limit under load": (
        SERVER, {"gpus.*.throttle_reasons": ["sw_power_cap"], "gpus.*.power_w": 699.0, "gpus.*.utilization_percent": 100},
        "gpu-throttled", "pass",
    ),
    "held far below its power limit": (
        SERVER, {"gpus.0.throttle_reasons": ["sw_power_cap"], "gpus.0.power_w": 240.0, "gpus.0.utilization_percent": 100},
        "gpu-throttled", "info",
    ),
    "a change of the performance state": (SERVER, {"gpus.0.throttle_reasons": ["hw_slowdown"]}, "gpu-throttled", "info"),
    "a laptop at its heat limit": (
        LAPTOP, {"gpus.0.throttle_reasons": ["sw_thermal_slowdown"], "gpus.0.utilization_percent": 100}, "gpu-throttled", "info"
    ),
    "clocks that somebody set": (
        SERVER, {"gpus.0.throttle_reasons": ["applications_clocks_setting"], "gpus.0.utilization_percent": 90}, "gpu-throttled",
        "info",
    ),
    "reasons not supported": (
        SERVER, {"gpus.*.throttle_reasons": None, "gaps.gpus.0.throttle_reasons": "(NVML_ERROR_NOT_SUPPORTED in x)"},
        "gpu-throttled", "skip",
    ),
    "warm, as it may be": (LAPTOP, {"gpus.0.temperature_c": 87}, "gpu-hot", "pass"),
    "warm, limit not known": ("wsl2", {"gpus.0.temperature_c": 90}, "gpu-hot", "pass"),
    "all capped alike, mildly": (SERVER, {"gpus.*.power_limit_w": 600.0}, "power-capped", "info"),
    "a laptop on its battery": (LAPTOP, {"gpus.0.power_limit_w": 35.0}, "power-capped", "info"),
    "more than the default": (OLD_CARD, {"gpus.0.power_limit_w": 300.0}, "power-capped", "pass"),
    "a container's part": (CONTAINER, {}, "gpu-counts-differ", "info"),
    "a part by CUDA_VISIBLE_DEVICES": (SERVER, {"environment.CUDA_VISIBLE_DEVICES": "0,1"}, "gpu-counts-differ", "info"),
    "a new PyTorch and MIG": (
        CONTAINER, {"gpus.0.mig_enabled": True, "gpus.0.mig_instances": 1, "environment.CUDA_VISIBLE_DEVICES": "MIG-feee0c61"},
        "gpu-counts-differ", "info",
    ),
    "WSL shows no PCI device": ("wsl2", {}, "gpu-counts-differ", "pass"),
    "MIG with instances": (CONTAINER, {"gpus.0.mig_enabled": True, "gpus.0.mig_instances": 7}, "mig-without-instances", "pass"),
    "MIG, instances not known": (
        CONTAINER, {"gpus.0.mig_enabled": True, "gpus.0.mig_instances": None}, "mig-without-instances", "unknown"
    ),
    "exclusive and free": (SERVER, {"gpus.*.compute_mode": "exclusive_process"}, "compute-mode-exclusive", "info"),
    "persistence off on a server": (
        SERVER, {"gpus.*.persistence_mode": False, "driver.services": {}}, "persistence-off", "info"
    ),
    "persistence by its daemon": (SERVER, {"gpus.*.persistence_mode": False}, "persistence-off", "pass"),
    "persistence off on a laptop": (LAPTOP, {}, "persistence-off", "pass"),
    "a window of 256 MiB": (OLD_CARD, {}, "bar1-small", "info"),
    "secure boot on, and the module loaded": (LAPTOP, {"driver.secure_boot": True}, "secure-boot-blocks-module", "pass"),
    "secure boot on, module of the distribution": (LAPTOP, no_module(True, SIGNED_FILE), "secure-boot-blocks-module", "info"),
    "secure boot not known": (
        LAPTOP, no_module(None, DKMS_FILE) | {"gaps.driver.secure_boot": "Permission denied"}, "secure-boot-blocks-module",
        "unknown",
    ),
    "a container sees no modules": (CONTAINER, {}, "dkms-module-missing", "skip"),
    "modules not to be seen": (
        LAPTOP, no_module(False, None) | {"gaps.driver.module_file": "Permission denied"}, "dkms-module-missing", "unknown"
    ),
    "no driver at all": (LAPTOP, NO_DRIVER, "dkms-module-missing", "skip"),
    "Turing to Hopper run with both": (SERVER, {"driver.kernel_module_open": False}, "kernel-module-flavour", "pass"),
    "Pascal with the proprietary one": (OLD_CARD, {}, "kernel-module-flavour", "pass"),
    "flavour not known": (SERVER, {"driver.kernel_module_open": None}, "kernel-module-flavour", "pass"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "facts", "check", "status"), LOOKALIKES.values(), ids=LOOKALIKES.keys())
def test_a_lookalike_is_no_fault(name: str, facts: dict[str, Any], check: str, status: str) -> None:
    machine = altered(name, facts)
    assert judge(machine)[check].status.value == status, judge(machine)[check]
    if "driver" not in facts:  # without a driver that is the problem
        assert problems(machine) == {}


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [(13, "info"), (31, "info"), (43, "info"), (45, "info"), (48, "fail"), (62, "fail"), (63, "info"), (64, "fail"),
     (74, "fail"), (79, "fail"), (92, "info"), (94, "warn"), (95, "fail"), (109, "fail"), (119, "fail"), (120, "fail"),
     (137, "info"), (140, "fail"), (143, "fail")],
)  # fmt: skip
def test_what_an_xid_is_worth(code: int, status: str) -> None:
    found = judge(altered(SERVER, log(xid(code))))["gpu-xid"]
    assert (found.status.value, found.devices, found.doc) == (status, (3,), xids.XID_LIST)
    assert f"Xid {code} " in found.summary


def test_every_xid_of_the_table_can_be_judged() -> None:
    for row in tables.rows("compat/xid"):
        machine = altered(SERVER, log(*[xid(int(row["number"]), "Fatal")] * 3))
        found = judge(machine)["gpu-xid"]
        assert found.status is not Status.UNKNOWN, row
        assert row["meaning"] in found.summary
        if found.status.is_problem:
            assert found.remedies, row


def test_without_the_table_programs_faults_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from dltool.errors import CannotRun

    def missing(name: str) -> tuple[tables.Row, ...]:
        raise CannotRun(f"cannot read the table {name}", remedy="Install dltool anew.")

    machines = [altered(SERVER, log(xid(code))) for code in (31, 48)]
    monkeypatch.setattr(xids.tables, "rows", missing)
    (program,), (memory,) = (checks.run(machine, only=["gpu-xid"]) for machine in machines)
    assert (program.status, memory.status) == (Status.INFO, Status.UNKNOWN)
    assert xids.XID_LIST in memory.why


def test_each_code_is_a_finding_and_tells_where_it_was_read() -> None:
    machine = altered(SERVER, log(xid(31), xid(48), xid(48, bus="0000:1b:00")))
    found = {item.summary.partition(" (")[0]: item for item in checks.run(machine, only=["gpu-xid"])}
    assert found.keys() == {"Xid 31", "Xid 48"}
    assert found["Xid 48"].devices == (0, 3)
    assert [item.read_from for item in found["Xid 48"].evidence] == ["/dev/kmsg", "/dev/kmsg"]
    assert "10 min ago" in found["Xid 48"].evidence[0].fact


def test_the_log_and_the_counters_name_one_fault() -> None:
    machine = altered(SERVER, {MEMORY: 1} | log(xid(48), xid(45)))
    assert problems(machine) == {"gpu-xid": "fail", "ecc-uncorrected": "fail"}
    assert judge(machine)["gpu-xid"].caused_by == "ecc-uncorrected"


def test_heat_is_one_fault() -> None:
    machine = altered(SERVER, {"gpus.1.temperature_c": 91, "gpus.1.throttle_reasons": ["hw_slowdown", "hw_thermal_slowdown"]})
    assert problems(machine) == {"gpu-throttled": "warn", "gpu-hot": "warn"}
    assert judge(machine)["gpu-hot"].caused_by == "gpu-throttled"


def test_a_row_set_aside_is_one_fault() -> None:
    rows = {"corrected": 0, "uncorrected": 1, "pending": True, "failed": False}
    machine = altered(SERVER, {MEMORY: 1, "gpus.3.remapped_rows": rows})
    assert problems(machine) == {"ecc-uncorrected": "warn", "rows-remap-pending": "warn"}
    assert judge(machine)["rows-remap-pending"].caused_by == "ecc-uncorrected"
    assert "1 memory error that" in judge(machine)["ecc-uncorrected"].summary


def test_a_gpu_that_fell_explains_the_rest() -> None:
    machine = altered(SERVER, UNANSWERED | {"pci.3.responds": False} | log(xid(79), xid(119)))
    found = judge(machine)
    roots = {name for name in problems(machine) if found[name].caused_by not in problems(machine)}
    assert roots == {"gpu-fell-off-bus"}
    assert "gpu-lost" in problems(machine)


@pytest.mark.parametrize(
    ("facts", "scope"),
    [({}, Scope.HOST), ({"os.hypervisor": "Amazon EC2"}, Scope.PROVIDER), ({"os.container": "kubernetes"}, Scope.PROVIDER)],
)
def test_who_mends_the_hardware(facts: dict[str, Any], scope: Scope) -> None:
    found = judge(altered(SERVER, {"gpus.3.remapped_rows.failed": True} | facts))["rows-remap-failed"]
    assert found.scope is scope
    assert "dltool snapshot -o machine.json" in commands(found)


def test_every_command_that_talks_to_the_driver_has_a_time_limit() -> None:
    for fault in FAULTS.values():
        for finding in checks.run(altered(fault.machine, fault.facts), only=[fault.check]):
            for command in commands(finding).split("\n"):
                assert "nvidia-smi" not in command or "timeout" in command, command


def test_risks_are_told() -> None:
    for fault in FAULTS.values():
        for finding in checks.run(altered(fault.machine, fault.facts), only=[fault.check]):
            for remedy in finding.remedies:
                said = " ".join(remedy.commands)
                if "reboot" in said or "poweroff" in said:
                    assert remedy.risk is Risk.REBOOT, said
                elif "sudo" in said:
                    assert remedy.risk is Risk.ROOT, said


def test_a_gpu_is_followed_by_the_colon_of_the_language() -> None:
    gpus = list(recorded.load(SERVER).gpus[:2])
    assert hardware.about(gpus, "hot") == "GPU 0, 1: hot"
    with lang.speaking("zh"):
        assert hardware.about(gpus, "过热") == "GPU 0, 1：过热"


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (150, "2 min"), (7200, "2 h"), (86400 * 12, "12 days")])
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert hardware.ago(seconds) == text


# --- whatever the facts -------------------------------------------------------------------------------------------------

kinds = st.sampled_from(["xid", *kernel_log.KINDS, "something new"])
found_events = st.builds(
    KernelEvent,
    kind=kinds,
    code=st.none() | st.sampled_from([0, 13, 48, 79, 119, 144, 149, 154, 998, 24007, 10**8]),
    pci_bus_id=st.none() | st.sampled_from([BUS, "0000:01:00.0", "ffff:00:00.0", ""]),
    age_s=st.none() | st.floats(0, 1e9),
    count=st.integers(1, 10**6),
    text=st.text(max_size=40),
)
logs = st.builds(
    KernelLog,
    source=st.sampled_from(["/dev/kmsg", "dmesg"]),
    reaches_back_s=st.none() | st.floats(0, 1e9),
    suppressed=st.integers(0, 9),
    events=st.lists(found_events, max_size=6).map(tuple),
)
number = st.none() | st.sampled_from([0, 1, 2, 8, 16, 10**12])
watts = st.none() | st.sampled_from([0.0, -1.0, 35.0, 250.0, 700.0])
some_gpus = st.builds(
    Gpu,
    index=st.integers(0, 3),
    name=st.none() | st.sampled_from(["NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4060 Laptop GPU", "Unheard of", ""]),
    pci_bus_id=st.none() | st.sampled_from([BUS, "0000:01:00.0"]),
    pci_device_id=st.none() | st.sampled_from(["10de:2330", "10de:ffff", "garbage"]),
    compute_capability=st.none() | st.sampled_from(["9.0", "", "x.y", "12"]),
    memory_total_bytes=number,
    bar1_total_bytes=number,
    pcie_generation=number,
    pcie_generation_max=number,
    pcie_width=number,
    pcie_width_max=number,
    pcie_replays=number,
    temperature_c=number,
    temperature_slowdown_c=number,
    power_w=watts,
    power_limit_w=watts,
    power_limit_default_w=watts,
    throttle_reasons=st.none() | st.lists(st.sampled_from(["hw_slowdown", "sw_power_cap", "hw_thermal_slowdown"])).map(tuple),
    utilization_percent=number,
    performance_state=number,
    mig_enabled=st.none() | st.booleans(),
    mig_instances=number,
    compute_mode=st.none() | st.sampled_from(["default", "exclusive_process", "prohibited", "9"]),
    fabric_state=st.none() | st.sampled_from(["completed", "in_progress", "7"]),
    recovery_action=st.none() | st.sampled_from(["none", "gpu_reset", "77"]),
)  # fmt: skip
extra = st.fixed_dictionaries({}, optional={
    "driver.secure_boot": st.none() | st.booleans(),
    "driver.module_file": st.none() | st.just({"path": "/x/nvidia.ko"}),
    "driver.dkms": st.none() | st.just([]) | st.just([{"version": "1"}]),
    "driver.services": st.just({}) | st.just({"nvidia-fabricmanager": "failed"}),
    "driver.kernel_module_open": st.none() | st.booleans(),
    "driver.kernel_module_version": st.none(),
    "driver.modules": st.none() | st.just([]),
    "nvswitches": st.none() | st.integers(0, 6),
    "cpu.usable_cpus": st.none() | st.sampled_from(["0-3", "", "garbage", "5-1", "0-99999999"]),
    "os.container": st.none() | st.just("docker"),
    "os.hypervisor": st.none() | st.just("KVM"),
    "os.kernel": st.none(),
    "pci.*.local_cpus": st.none() | st.sampled_from(["", "0-1,x"]),
    "pci.*.iommu": st.none() | st.sampled_from(["dma", "identity", ""]),
    "pci.*.upstream": st.none() | st.just([]) | st.just([{"bus_id": "x", "acs_control": 65535, "acs_known": True}]),
    "pci.*.link": st.none() | st.just({}),
    "pci.*.device_id": st.sampled_from(["10de:2b85", "10de:????"]),
    "pci.*.responds": st.none() | st.booleans(),
    "environment.CUDA_VISIBLE_DEVICES": st.sampled_from(["", "0", "MIG-1"]),
})  # fmt: skip


@given(st.sampled_from(recorded.NAMES), st.none() | logs, st.none() | st.lists(some_gpus, max_size=3), extra)
@settings(max_examples=300)
def test_no_combination_of_facts_breaks_a_check(
    name: str, log_: KernelLog | None, gpus: list[Gpu] | None, facts: dict[str, Any]
) -> None:
    machine = replace(altered(name, facts), kernel_log=log_)
    if gpus is not None:
        machine = replace(machine, gpus=tuple(gpus))
    found = checks.run(machine)
    assert {finding.summary for finding in found if finding.status is Status.CRASH} == set()
    assert all("\n" not in finding.summary for finding in found)


@given(st.sampled_from(recorded.NAMES), st.lists(st.sampled_from(
    ["kernel_log", "nvswitches", "driver.module_file", "driver.dkms", "driver.secure_boot", "cpu.usable_cpus", "pci.*.link",
     "pci.*.upstream", "pci.*.local_cpus", "pci.*.iommu", "pci.*.responds", "pci.*.numa_node", "gpus.*.recovery_action",
     "gpus.*.pcie_replays", "gpus.*.mig_devices"]
), unique=True))  # fmt: skip
def test_what_is_not_known_is_no_fault(name: str, lost: list[str]) -> None:
    present = recorded.load(name)
    facts = {path: None for path in lost if not path.startswith(("pci.", "gpus.")) or getattr(present, path.partition(".")[0])}
    assert problems(altered(name, facts)) == {}


def test_a_snapshot_of_before_has_none_of_these_facts() -> None:
    machine = convert({"schema": "dltool/machine/1", "gpus": [{"index": 0, "name": "NVIDIA H100 80GB HBM3"}]}, Machine)
    assert problems(machine) == {}
    assert judge(machine)["gpu-xid"].status is Status.UNKNOWN
