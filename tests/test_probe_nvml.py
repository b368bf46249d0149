"""The NVML probe against a real shared library that answers as recorded, fails, hangs and crashes."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from unittest import mock

import fake_nvml
import pynvml
import pytest
from fake_nvml import Play, Recording, Refused, recorded
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import to_builtins
from msgspec.structs import replace

import dltool
from dltool.machine import Driver, EccErrors, Gpu, GpuProcess, MigDevice, NvLink, RemappedRows
from dltool.nvml import Nvml
from dltool.probe import child, nvml
from dltool.probe.nvml import Reading

MIB = 2**20
NO_ERRORS = EccErrors(corrected_volatile=0, uncorrected_volatile=0, corrected_aggregate=0, uncorrected_aggregate=0)
H100 = Gpu(
    index=0,
    name="NVIDIA H100 80GB HBM3",
    uuid="GPU-5d2c0b1e-7a64-4f0e-9b1d-00c0ffee0000",
    serial="1650123000040",
    pci_bus_id="0000:1b:00.0",
    pci_device_id="10de:2330",
    pci_subsystem_id="10de:16c1",
    compute_capability="9.0",
    cuda_cores=16896,
    vbios="96.00.74.00.01",
    memory_total_bytes=81559 * MIB,
    memory_used_bytes=4 * MIB,
    memory_bus_bits=5120,
    bar1_total_bytes=128 * 1024 * MIB,
    pcie_generation=5,
    pcie_generation_max=5,
    pcie_width=16,
    pcie_width_max=16,
    pcie_replays=0,
    sm_mhz=345,
    sm_mhz_max=1980,
    memory_mhz=2619,
    memory_mhz_max=2619,
    power_w=69.87,
    power_limit_w=700.0,
    power_limit_default_w=700.0,
    temperature_c=27,
    temperature_slowdown_c=89,
    throttle_reasons=("gpu_idle",),
    performance_state=0,
    utilization_percent=0,
    ecc_enabled=True,
    ecc_errors=NO_ERRORS,
    retired_pages_pending=None,
    remapped_rows=RemappedRows(corrected=0, uncorrected=0, pending=False, failed=False),
    mig_enabled=False,
    mig_instances=None,
    persistence_mode=True,
    compute_mode="default",
    gsp_firmware="550.54.15",
    recovery_action="none",
    fabric_state="completed",
    nvlinks=tuple(NvLink(link=link, active=True, version=4) for link in range(18)),
    processes=(),
)
RTX4060 = Gpu(
    index=0,
    name="NVIDIA GeForce RTX 4060 Laptop GPU",
    uuid="GPU-0e6a1f34-58c2-4d77-8a09-1b2c3d4e5f60",
    pci_bus_id="0000:01:00.0",
    pci_device_id="10de:28e0",
    pci_subsystem_id="17aa:3cec",
    compute_capability="8.9",
    cuda_cores=3072,
    vbios="95.07.1b.00.5d",
    memory_total_bytes=8188 * MIB,
    memory_used_bytes=11 * MIB,
    memory_bus_bits=128,
    bar1_total_bytes=8192 * MIB,
    pcie_generation=1,
    pcie_generation_max=4,
    pcie_width=8,
    pcie_width_max=8,
    pcie_replays=0,
    sm_mhz=210,
    sm_mhz_max=3105,
    memory_mhz=405,
    memory_mhz_max=8001,
    power_w=1.846,
    power_limit_w=80.0,
    power_limit_default_w=80.0,
    temperature_c=41,
    temperature_slowdown_c=102,
    throttle_reasons=("gpu_idle",),
    performance_state=8,
    utilization_percent=0,
    persistence_mode=False,
    compute_mode="default",
    gsp_firmware="565.77",
    nvlinks=(),
    processes=(),
)
GTX1080TI = replace(
    RTX4060,
    name="NVIDIA GeForce GTX 1080 Ti",
    uuid="GPU-9c41d7aa-03be-4c5f-b6e2-6f5e4d3c2b1a",
    pci_bus_id="0000:65:00.0",
    pci_device_id="10de:1b06",
    pci_subsystem_id="10de:120f",
    compute_capability="6.1",
    cuda_cores=3584,
    vbios="86.02.39.00.22",
    memory_total_bytes=11178 * MIB,
    memory_used_bytes=1 * MIB,
    memory_bus_bits=352,
    bar1_total_bytes=256 * MIB,
    pcie_generation_max=3,
    pcie_width=16,
    pcie_width_max=16,
    sm_mhz=139,
    sm_mhz_max=1911,
    memory_mhz_max=5505,
    power_w=8.893,
    power_limit_w=250.0,
    power_limit_default_w=250.0,
    temperature_c=31,
    temperature_slowdown_c=93,
    gsp_firmware=None,
)
NOT_ON_GEFORCE = ("serial", "ecc_enabled", "ecc_errors", "retired_pages_pending", "remapped_rows")
NO_SUCH_HARDWARE = dict.fromkeys(
    (*NOT_ON_GEFORCE, "mig_enabled", "mig_instances", "mig_devices", "recovery_action", "fabric_state"),
    "NVML_ERROR_NOT_SUPPORTED",
)


# --- recordings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recording", "gpu", "missing", "driver"),
    [
        (recorded.h100_server(1), H100, {"retired_pages_pending": "NVML_ERROR_NOT_SUPPORTED"}, ("550.54.15", "12.4")),
        (recorded.rtx4060_laptop(), RTX4060, NO_SUCH_HARDWARE, ("565.77", "12.7")),
        (
            recorded.gtx1080ti(),
            GTX1080TI,
            NO_SUCH_HARDWARE | dict.fromkeys(("fabric_state", "gsp_firmware"), "NVML_ERROR_FUNCTION_NOT_FOUND"),
            ("470.256.02", "11.4"),
        ),
    ],
    ids=["h100", "rtx4060", "gtx1080ti"],
)
def test_what_was_recorded_is_read(
    nvml_library: Path, nvml: Play, recording: Recording, gpu: Gpu, missing: dict[str, str], driver: tuple[str, str]
) -> None:
    nvml(recording)
    reading = read()
    assert reading.gpus == (gpu,)
    assert names_of(reading) == {f"gpus.0.{name}": why for name, why in missing.items()}
    assert reading.driver == Driver(
        version=driver[0],
        cuda_version=driver[1],
        nvml_library=str(nvml_library / "libnvidia-ml.so.1"),
        nvml_library_version=driver[0],
        libcuda=str(nvml_library / "libcuda.so.1"),
    )


def test_all_gpus_of_a_server(nvml: Play) -> None:
    nvml(recorded.h100_server())
    gpus = read().gpus
    assert [gpu.index for gpu in gpus] == list(range(8))
    assert len({gpu.uuid for gpu in gpus}) == len({gpu.pci_bus_id for gpu in gpus}) == 8
    same = {"index": 0, "uuid": H100.uuid, "serial": H100.serial, "pci_bus_id": H100.pci_bus_id, "temperature_c": 27}
    assert all(replace(gpu, **same) == H100 for gpu in gpus)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"EccMode 0": (0, 1)}, "ecc_enabled", False),
        ({"TotalEccErrors 0 0 1": 2**40, "TotalEccErrors 0 1 0": 3}, "ecc_errors",
         replace(NO_ERRORS, corrected_aggregate=2**40, uncorrected_volatile=3)),
        ({"RetiredPagesPendingStatus 0": 1}, "retired_pages_pending", True),
        ({"RemappedRows 0": (5, 1, 1, 0)}, "remapped_rows",
         RemappedRows(corrected=5, uncorrected=1, pending=True, failed=False)),
        ({"CurrentClocksEventReasons 0": 0}, "throttle_reasons", ()),
        ({"CurrentClocksEventReasons 0": 0x8044}, "throttle_reasons", ("sw_power_cap", "hw_thermal_slowdown", "0x8000")),
        ({"PerformanceState 0": 32}, "performance_state", None),
        ({"ComputeMode 0": 3}, "compute_mode", "exclusive_process"),
        ({"ComputeMode 0": 9}, "compute_mode", "9"),
        ({"GpuFabricInfo 0": (0, 0, 2)}, "fabric_state", "in_progress"),
        ({"NvLinkState 0 1": 0, "NvLinkState 0 2": Refused(2)}, "nvlinks",
         (NvLink(link=0, active=True, version=4), NvLink(link=1, active=False, version=4))),
        ({"ComputeRunningProcesses_v3 0": (4242, 17 * MIB, 4243, 2**64 - 1)}, "processes",
         (GpuProcess(pid=4242, memory_bytes=17 * MIB), GpuProcess(pid=4243))),
        ({"PciInfo_v3 0": (0x10001, 0xC3, 0, 0x233010DE, 0)}, "pci_bus_id", "00010001:c3:00.0"),
        ({"Serial 0": ""}, "serial", ""),
        ({"Name 0": "Graphics \xae Device"}, "name", "Graphics \xae Device"),
        ({"MigMode 0": (1, 1), "MigDeviceHandleByIndex 0 0": "", "MigDeviceHandleByIndex 0 4": "",
          **{f"MigDeviceHandleByIndex 0 {index}": Refused(6) for index in (1, 2, 3, 5, 6)}}, "mig_instances", 2),
        ({"PcieReplayCounter 0": 7}, "pcie_replays", 7),
        ({"FieldValues 0 230": 1}, "recovery_action", "gpu_reset"),
        ({"FieldValues 0 230": 99}, "recovery_action", "99"),
        ({"FieldValues 0 230": Refused(3)}, "recovery_action", None),
        ({"MigMode 0": (1, 1), "MaxMigDeviceCount 0": 2, "MigDeviceHandleByIndex 0 0": Refused(6),
          "MigDeviceHandleByIndex 0 1": "", "Name 1001": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
          "UUID 1001": "MIG-0c1d", "GpuInstanceId 1001": 9, "ComputeInstanceId 1001": 0,
          "MemoryInfo 1001": (9856 * MIB, 9844 * MIB, 12 * MIB)}, "mig_devices",
         (MigDevice(index=1, name="NVIDIA H100 80GB HBM3 MIG 1g.10gb", uuid="MIG-0c1d", gpu_instance=9, compute_instance=0,
                    memory_bytes=9856 * MIB),)),
    ],
)  # fmt: skip
def test_other_answers(nvml: Play, changes: Recording, field: str, value: object) -> None:
    nvml(recorded.h100_server(1) | {f"nvmlDeviceGet{call}": answer for call, answer in changes.items()})
    assert getattr(read().gpus[0], field) == value


def test_no_gpus(nvml: Play) -> None:
    nvml(recorded.h100_server(0))
    reading = read()
    assert (reading.gpus, reading.gaps, reading.driver.version) == ((), {}, "550.54.15")


def test_a_text_that_is_no_utf_8_is_a_gap(nvml: Play, tmp_path: Path) -> None:
    nvml(recorded.h100_server(1))
    answers = tmp_path / "nvml-answers.txt"
    answers.write_bytes(answers.read_bytes().replace(b"NVIDIA H100", b"NVIDIA\xff H100"))
    reading = read()
    assert reading.gpus == (replace(H100, name=None),)
    assert "unexpected answer" in reading.gaps["gpus.0.name"]


# --- refusals ---------------------------------------------------------------------------------------------------------

CODES = {code: name for name, code in vars(pynvml).items() if name.startswith("NVML_ERROR_") and isinstance(code, int)} | {
    77: "NVML error 77"
}
INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, FUNCTION_NOT_FOUND, GPU_IS_LOST = 2, 3, 6, 13, 15
MIG = recorded.h100_server(1) | {
    "nvmlDeviceGetMigMode 0": (1, 1),
    "nvmlDeviceGetMaxMigDeviceCount 0": 2,
    **{f"nvmlDeviceGetMigDeviceHandleByIndex 0 {index}": "" for index in range(2)},
}
"""Everything that the probe can ask is asked of this one."""
DEPENDENTS = {
    "Name": "name",
    "UUID": "uuid",
    "Serial": "serial",
    "PciInfo_v3": "pci_bus_id pci_device_id pci_subsystem_id",
    "CudaComputeCapability": "compute_capability",
    "NumGpuCores": "cuda_cores",
    "VbiosVersion": "vbios",
    "MemoryBusWidth": "memory_bus_bits",
    "BAR1MemoryInfo": "bar1_total_bytes",
    "CurrPcieLinkGeneration": "pcie_generation",
    "MaxPcieLinkGeneration": "pcie_generation_max",
    "PcieReplayCounter": "pcie_replays",
    "FieldValues": "recovery_action",
    "CurrPcieLinkWidth": "pcie_width",
    "MaxPcieLinkWidth": "pcie_width_max",
    "ClockInfo": "sm_mhz memory_mhz",
    "MaxClockInfo": "sm_mhz_max memory_mhz_max",
    "PowerUsage": "power_w",
    "EnforcedPowerLimit": "power_limit_w",
    "PowerManagementDefaultLimit": "power_limit_default_w",
    "Temperature": "temperature_c",
    "TemperatureThreshold": "temperature_slowdown_c",
    "PerformanceState": "performance_state",
    "UtilizationRates": "utilization_percent",
    "EccMode": "ecc_enabled",
    "TotalEccErrors": "ecc_errors",
    "RetiredPagesPendingStatus": "retired_pages_pending",
    "RemappedRows": "remapped_rows",
    "PersistenceMode": "persistence_mode",
    "ComputeMode": "compute_mode",
    "GspFirmwareVersion": "gsp_firmware",
    "ComputeRunningProcesses_v3": "processes",
    "ComputeRunningProcesses_v2": "",
    "MemoryInfo_v2": "memory_total_bytes memory_used_bytes",
    "MemoryInfo": "",
    "CurrentClocksEventReasons": "throttle_reasons",
    "CurrentClocksThrottleReasons": "",
    "MigMode": "mig_enabled mig_instances mig_devices",
    "MaxMigDeviceCount": "mig_instances mig_devices",
    "MigDeviceHandleByIndex": "mig_instances mig_devices",
    "GpuFabricInfo": "fabric_state",
    "NvLinkState": "nvlinks",
    "NvLinkVersion": "",
}
"""Calls about a GPU, less "nvmlDeviceGet", and the facts that are lost when one fails."""
WHOLE = replace(H100, mig_enabled=True, mig_instances=2, mig_devices=tuple(MigDevice(index=index) for index in range(2)))
UNVERSIONED = tuple(NvLink(link=link, active=True) for link in range(18))
INSTEAD: dict[tuple[str, int], Gpu] = {
    ("MemoryInfo_v2", FUNCTION_NOT_FOUND): replace(WHOLE, memory_used_bytes=555 * MIB),  # version 1 counts what is reserved
    ("CurrentClocksEventReasons", FUNCTION_NOT_FOUND): WHOLE,
    ("ComputeRunningProcesses_v3", FUNCTION_NOT_FOUND): WHOLE,
    ("MigDeviceHandleByIndex", NOT_FOUND): replace(WHOLE, mig_instances=0, mig_devices=()),
    ("NvLinkState", NOT_SUPPORTED): replace(WHOLE, nvlinks=()),
    ("NvLinkState", INVALID_ARGUMENT): replace(WHOLE, nvlinks=()),
    **dict.fromkeys((("NvLinkVersion", code) for code in CODES), replace(WHOLE, nvlinks=UNVERSIONED)),
}
"""Failures that the probe knows a way around, or that are answers."""


def test_every_call_failing_in_every_way(nvml: Play) -> None:
    nvml(MIG)
    before = read()
    assert before.gpus == (WHOLE,)
    pairs = [(call, code) for call in DEPENDENTS for code in CODES]
    readings = read_in_one_process([f"nvmlDeviceGet{call}={code}" for call, code in pairs])
    for (call, code), reading in zip(pairs, readings, strict=True):
        case = f"nvmlDeviceGet{call}={CODES[code]}"
        lost = [] if (call, code) in INSTEAD else DEPENDENTS[call].split()
        assert reading.driver == before.driver, case
        assert reading.gpus == (INSTEAD.get((call, code)) or replace(WHOLE, **dict.fromkeys(lost)),), case
        assert reading.gaps.keys() == before.gaps.keys() | {f"gpus.0.{name}" for name in lost}, case
        for name in lost:
            gap = reading.gaps[f"gpus.0.{name}"]
            assert nvml_name(gap) == CODES[code], case
            assert f"in nvmlDeviceGet{re.sub('_v.$', '', call)}" in gap, case


@pytest.mark.parametrize(
    ("call", "fact"),
    [
        ("nvmlInitWithFlags", "gpus"),
        ("nvmlSystemGetDriverVersion", "driver.version"),
        ("nvmlSystemGetCudaDriverVersion_v2", "driver.cuda_version"),
        ("nvmlDeviceGetCount_v2", "gpus"),
        ("nvmlDeviceGetHandleByIndex_v2", "gpus.0"),
        ("nvmlSystemGetNVMLVersion", ""),
        ("nvmlShutdown", ""),
    ],
)
def test_calls_about_the_system_failing_in_every_way(nvml: Play, call: str, fact: str) -> None:
    nvml(MIG)
    for code, reading in zip(CODES, read_in_one_process([f"{call}={code}" for code in CODES]), strict=True):
        assert reading.driver.nvml_error == (CODES[code] if call == "nvmlInitWithFlags" else None)
        assert reading.gpus == {"gpus": (), "gpus.0": (Gpu(index=0),)}.get(fact, (WHOLE,))
        assert reading.driver.libcuda
        if fact:
            assert nvml_name(reading.gaps[fact]) == CODES[code]
        if fact.startswith("driver."):
            assert getattr(reading.driver, fact.removeprefix("driver.")) is None


@pytest.mark.parametrize("code", [1, NOT_SUPPORTED, FUNCTION_NOT_FOUND, GPU_IS_LOST, 77])
def test_everything_about_a_gpu_failing_at_once(nvml: Play, code: int) -> None:
    nvml(MIG, error=",".join(f"nvmlDeviceGet{call}={code}" for call in DEPENDENTS))
    reading = read()
    assert reading.gpus == (Gpu(index=0, nvlinks=() if code == NOT_SUPPORTED else None),)
    assert {nvml_name(gap) for gap in reading.gaps.values()} == {CODES[code]}
    assert reading.driver.version == "550.54.15"


def test_a_driver_that_does_not_match_its_library(nvml: Play) -> None:
    nvml(MIG, error="nvmlInitWithFlags=18")
    reading = read()
    assert reading.driver.nvml_error == "NVML_ERROR_LIB_RM_VERSION_MISMATCH"
    assert reading.driver.nvml_library
    assert nvml_name(reading.gaps["gpus"]) == "NVML_ERROR_LIB_RM_VERSION_MISMATCH"


def test_one_lost_gpu_of_eight(nvml: Play) -> None:
    nvml(recorded.h100_server(), error=f"nvmlDeviceGetHandleByIndex_v2 5={GPU_IS_LOST}")
    reading = read()
    assert reading.gpus[5] == Gpu(index=5)
    assert nvml_name(reading.gaps["gpus.5"]) == "NVML_ERROR_GPU_IS_LOST"
    assert [gpu.cuda_cores for gpu in reading.gpus] == [16896] * 5 + [None] + [16896] * 2


# --- hangs and crashes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["hang", "crash"])
@pytest.mark.parametrize(
    ("call", "named", "gpus"),
    [
        ("nvmlInitWithFlags", "nvmlInit", 0),
        ("nvmlDeviceGetCount_v2", "nvmlDeviceGetCount", 0),
        ("nvmlDeviceGetTemperature 1", "nvmlDeviceGetTemperature 0 of GPU 1", 2),
        ("nvmlShutdown", "nvmlShutdown", 2),
    ],
)
def test_a_call_that_never_returns(nvml: Play, how: str, call: str, named: str, gpus: int) -> None:
    nvml(recorded.h100_server(2), **{how: call})
    began = time.monotonic()
    reading = read(timeout_s=1)
    assert time.monotonic() - began < 2.5
    assert reading.driver.nvml_error == {"hang": "timeout", "crash": "crash"}[how]
    assert reading.gaps["gpus"].endswith(f" in {named}")
    assert ("signal 6" in reading.gaps["gpus"]) == (how == "crash")
    assert len(reading.gpus) == gpus
    if gpus:
        assert reading.driver.version == "550.54.15"
        assert reading.gpus[0] == H100
        assert (reading.gpus[1].sm_mhz, reading.gpus[1].power_limit_w) == (345, 700.0)
        assert reading.gpus[1].temperature_c == (28 if call == "nvmlShutdown" else None)


def test_a_crash_at_the_end_is_not_put_on_a_gpu(nvml: Play) -> None:
    nvml(recorded.h100_server(2), error=f"nvmlDeviceGetHandleByIndex_v2 1={GPU_IS_LOST}", crash="nvmlShutdown")
    assert read().gaps["gpus"].endswith(" in nvmlShutdown")


# --- libraries --------------------------------------------------------------------------------------------------------


def test_no_library() -> None:
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        pass
    else:
        pytest.skip("the loader finds a libnvidia-ml.so.1 here")
    reading = read()
    assert reading.driver.nvml_error == "NVML_ERROR_LIBRARY_NOT_FOUND"
    assert nvml_name(reading.gaps["gpus"]) == "NVML_ERROR_LIBRARY_NOT_FOUND"
    assert reading.gpus == ()


@pytest.mark.parametrize("content", [b"", b"not a library\n", b"\x7fELF\x02\x01\x01" + bytes(60)])
def test_a_file_that_is_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    for name in ("libnvidia-ml.so.1", "libcuda.so.1"):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    reading = read()
    assert reading.driver.nvml_error == "NVML_ERROR_LIBRARY_NOT_FOUND"
    assert (reading.gpus, reading.driver.libcuda) == ((), None)
    assert str(tmp_path / "libcuda.so.1") in reading.gaps["driver.libcuda"]


def test_a_directory_whose_name_is_no_utf_8(
    nvml: Play, nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / os.fsdecode(b"\xff")
    shutil.copytree(nvml_library, directory)
    (directory / "libcuda.so.1").write_text("not a library")  # so that its name is in the loader's message as well
    nvml(recorded.h100_server(1))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(directory))
    reading = read()
    assert reading.gpus == (H100,)
    assert "driver.libcuda" in reading.gaps


def test_the_library_has_every_call_that_the_probe_makes(nvml_library: Path) -> None:
    library = ctypes.CDLL(str(nvml_library / "libnvidia-ml.so.1"))
    missing = [call for call in recorded.h100_server(1) if not hasattr(library, call.split()[0])]
    assert not missing
    assert {f"nvmlDeviceGet{call}" for call in DEPENDENTS} >= {
        call.split()[0] for call in MIG if re.fullmatch(r"nvmlDeviceGet\S+ 0.*", call) and "HandleByIndex_v2" not in call
    }


# --- what the child says, damaged -------------------------------------------------------------------------------------


@cache
def good_output() -> str:
    """What the child says of an H100, with no library: the same lines from an answer to each fact."""
    facts = {name: value for name, value in to_builtins(H100).items() if value is not None}
    lines = ["> nvmlInit", '= driver.version "550.54.15"', '= driver.cuda_version "12.4"', "> nvmlDeviceGetCount"]
    for name, value in facts.items():
        lines += [f"> nvmlDeviceGetSomething of GPU 0 for {name}", f"= gpus.0.{name} {json.dumps(value)}"]
    return "\n".join([*lines, "! gpus.0.retired_pages_pending Not Supported (NVML_ERROR_NOT_SUPPORTED in nvmlX)", ""])


def read_output(output: str, returncode: int | None = 0) -> Reading:
    with mock.patch.object(child, "python", return_value=child.Answer(output, "", returncode)):
        return nvml.read()


def test_the_output_undamaged() -> None:
    assert read_output(good_output()) == Reading(
        driver=Driver(version="550.54.15", cuda_version="12.4"),
        gpus=(H100,),
        gaps={"gpus.0.retired_pages_pending": "Not Supported (NVML_ERROR_NOT_SUPPORTED in nvmlX)"},
    )


@given(st.integers(0, len(good_output())))
@example(good_output().index("1980") + 3)  # 198 MHz would be a lie
def test_what_a_cut_output_says_is_true(end: int) -> None:
    reading = read_output(good_output()[:end], None)
    for gpu in reading.gpus:
        for name in gpu.__struct_fields__:
            assert getattr(gpu, name) in (None, getattr(H100, name))
    assert reading.driver.version in (None, "550.54.15")
    assert reading.driver.cuda_version in (None, "12.4")


PATHS = st.sampled_from([f"gpus.0.{name}" for name in to_builtins(H100)] + [f"driver.{name}" for name in to_builtins(Driver())])
ODD_PATHS = st.sampled_from(
    ["", "gpus", "driver", "gpus.0", "gpus.", "gpus.x.name", "gpus.-1.name", "driver.", ".", "gpus.0.name.x", "disks.0.path"]
)
KEYS = st.text() | st.sampled_from(["link", "pid", "corrected"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
LINES = st.builds(
    lambda kind, path, value: f"{kind} {path} {value}",
    st.sampled_from([">", "=", "!", "", "#"]),
    PATHS | ODD_PATHS | st.text(max_size=20),
    JSON.map(json.dumps) | st.text(max_size=20),
)


@given(st.lists(LINES, max_size=8), st.sampled_from([0, 1, -6, None]))
@example(["= driver 1"], 0)
@example(["= gpus.0 1"], 0)
@example(["= gpus.first.name 1"], 0)
@example(['= gpus.0.sm_mhz "fast"'], 0)
@example(["= gpus.0.sm_mhz " + "9" * 5000], 0)
@example(["= gpus.0.nvlinks " + "[" * 100_000], 0)
def test_nothing_that_the_child_says_makes_the_reading_fail(lines: list[str], returncode: int | None) -> None:
    reading = read_output("\n".join([*lines, ""]), returncode)
    assert isinstance(reading, Reading)
    assert all(type(gpu.index) is int for gpu in reading.gpus)


@given(st.data())
def test_a_damaged_line_costs_only_its_own_fact(data: st.DataObject) -> None:
    lines = good_output().splitlines()
    number = data.draw(st.sampled_from([n for n, line in enumerate(lines) if line.startswith("= gpus.0.")]))
    name = lines[number].split()[1].removeprefix("gpus.0.")
    lines[number] = f"= gpus.0.{name} {data.draw(JSON.map(json.dumps) | st.text(max_size=20))}"
    (gpu,) = read_output("\n".join([*lines, ""])).gpus
    assert replace(gpu, **{name: getattr(H100, name)}) == H100


# --- beside the library ----------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_real_gpu() -> None:
    reading = read()
    assert reading.driver.nvml_error is None
    assert reading.driver.version
    for gpu in reading.gpus:
        assert gpu.name
        assert gpu.memory_total_bytes
        assert re.fullmatch(r"10de:[0-9a-f]{4}", gpu.pci_device_id or "")


def test_a_call_that_the_binding_lacks() -> None:
    with mock.patch.object(pynvml, "nvmlInit"), pytest.raises(Exception, match="NVML_ERROR_FUNCTION_NOT_FOUND") as caught:
        Nvml().ask("nvmlDeviceGetWhatIsToCome")
    assert (caught.value.name, caught.value.function) == ("NVML_ERROR_FUNCTION_NOT_FOUND", "nvmlDeviceGetWhatIsToCome")


# --- helpers ----------------------------------------------------------------------------------------------------------


def read(timeout_s: float = 30) -> Reading:
    """What the probe reads; patient where the test is not about time."""
    return nvml.read(timeout_s)


def names_of(reading: Reading) -> dict[str, str]:
    """NVML's name of the error in each gap."""
    return {path: nvml_name(gap) for path, gap in reading.gaps.items()}


def nvml_name(gap: str) -> str:
    """NVML's name of the error in the reason of a gap."""
    found = re.search(r"\((NVML_ERROR_\w+|NVML error \d+) in nvml\w+\)$", gap)
    assert found, gap
    return found[1]


def read_in_one_process(failures: list[str]) -> list[Reading]:
    """The reading for each FAKE_NVML_ERROR."""
    done = subprocess.run(
        [sys.executable, str(Path(fake_nvml.__file__).with_name("every_failure.py"))],
        input=json.dumps(failures),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(dltool.__file__).parents[1])},
    )
    assert not done.returncode, done.stderr
    return [read_output(output) for output in json.loads(done.stdout)]
