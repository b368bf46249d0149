"""What NVML answers on some machines. Serial numbers and UUIDs are made up; calls that are not here are not supported there."""

from __future__ import annotations

from fake_nvml import Answer, Recording, Refused

MIB = 2**20
FUNCTION_NOT_FOUND = Refused(13)
"""The driver is older than the call."""

_GRAPHICS, _SM, _MEMORY, _VIDEO = range(4)  # nvmlClockType_t
_SHUTDOWN, _SLOWDOWN = range(2)  # nvmlTemperatureThresholds_t
RECOVERY_ACTION = 230  # NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
_IDLE = 0x1  # nvmlClocksEventReasonGpuIdle
_PROCESSES: Recording = {f"nvmlDeviceGetComputeRunningProcesses_{version}": () for version in ("v2", "v3")}


def h100_server(gpus: int = 8) -> Recording:
    """An idle server with eight H100 SXM5 behind NVSwitches."""
    buses = (0x1B, 0x43, 0x52, 0x61, 0x9D, 0xC3, 0xD1, 0xDF)[:gpus]
    recording = _system("550.54.15", nvml="12.550.54.15", cuda=12040, gpus=len(buses))
    for index, bus in enumerate(buses):
        recording |= _gpu(
            index,
            {
                "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
                "nvmlDeviceGetUUID": f"GPU-5d2c0b1e-7a64-4f0e-9b1d-00c0ffee000{index}",
                "nvmlDeviceGetSerial": f"165012300004{index}",
                "nvmlDeviceGetPciInfo_v3": (0, bus, 0, 0x233010DE, 0x16C110DE),
                "nvmlDeviceGetCudaComputeCapability": (9, 0),
                "nvmlDeviceGetNumGpuCores": 16896,
                "nvmlDeviceGetVbiosVersion": "96.00.74.00.01",
                "nvmlDeviceGetMemoryBusWidth": 5120,
                "nvmlDeviceGetMemoryInfo_v2": (81559 * MIB, 551 * MIB, 81004 * MIB, 4 * MIB),
                "nvmlDeviceGetMemoryInfo": (81559 * MIB, 81004 * MIB, 555 * MIB),
                "nvmlDeviceGetBAR1MemoryInfo": (131072 * MIB, 131071 * MIB, 1 * MIB),
                **_pcie(now=(5, 16), maximum=(5, 16)),
                **_clocks(sm=(345, 1980), memory=(2619, 2619)),
                **_power(69_870, enforced=700_000, default=700_000),
                "nvmlDeviceGetTemperature 0": 27 + index % 3,
                f"nvmlDeviceGetTemperatureThreshold {_SHUTDOWN}": 92,
                f"nvmlDeviceGetTemperatureThreshold {_SLOWDOWN}": 89,
                "nvmlDeviceGetPerformanceState": 0,
                "nvmlDeviceGetUtilizationRates": (0, 0),
                "nvmlDeviceGetCurrentClocksEventReasons": _IDLE,
                "nvmlDeviceGetCurrentClocksThrottleReasons": _IDLE,
                "nvmlDeviceGetEccMode": (1, 1),
                **{f"nvmlDeviceGetTotalEccErrors {kind} {span}": 0 for kind in range(2) for span in range(2)},
                "nvmlDeviceGetRemappedRows": (0, 0, 0, 0),
                "nvmlDeviceGetPcieReplayCounter": 0,
                f"nvmlDeviceGetFieldValues {RECOVERY_ACTION}": 0,
                "nvmlDeviceGetMigMode": (0, 0),
                "nvmlDeviceGetMaxMigDeviceCount": 7,
                "nvmlDeviceGetPersistenceMode": 1,
                "nvmlDeviceGetComputeMode": 0,
                "nvmlDeviceGetGspFirmwareVersion": "550.54.15",
                "nvmlDeviceGetGpuFabricInfo": (0, 0, 3),
                **{f"nvmlDeviceGetNvLinkState {link}": 1 for link in range(18)},
                **{f"nvmlDeviceGetNvLinkVersion {link}": 4 for link in range(18)},
                **_PROCESSES,
            },
        )
    return recording


def rtx4060_laptop() -> Recording:
    """An idle laptop: no ECC, no NVLink, the PCIe link asleep."""
    return _system("565.77", nvml="12.565.77", cuda=12070, gpus=1) | _gpu(
        0,
        {
            "nvmlDeviceGetName": "NVIDIA GeForce RTX 4060 Laptop GPU",
            "nvmlDeviceGetUUID": "GPU-0e6a1f34-58c2-4d77-8a09-1b2c3d4e5f60",
            "nvmlDeviceGetPciInfo_v3": (0, 1, 0, 0x28E010DE, 0x3CEC17AA),
            "nvmlDeviceGetCudaComputeCapability": (8, 9),
            "nvmlDeviceGetNumGpuCores": 3072,
            "nvmlDeviceGetVbiosVersion": "95.07.1b.00.5d",
            "nvmlDeviceGetMemoryBusWidth": 128,
            "nvmlDeviceGetMemoryInfo_v2": (8188 * MIB, 253 * MIB, 7924 * MIB, 11 * MIB),
            "nvmlDeviceGetMemoryInfo": (8188 * MIB, 7924 * MIB, 264 * MIB),
            "nvmlDeviceGetBAR1MemoryInfo": (8192 * MIB, 8188 * MIB, 4 * MIB),
            **_pcie(now=(1, 8), maximum=(4, 8)),
            **_clocks(sm=(210, 3105), memory=(405, 8001)),
            **_power(1_846, enforced=80_000, default=80_000),
            "nvmlDeviceGetTemperature 0": 41,
            f"nvmlDeviceGetTemperatureThreshold {_SHUTDOWN}": 105,
            f"nvmlDeviceGetTemperatureThreshold {_SLOWDOWN}": 102,
            "nvmlDeviceGetPerformanceState": 8,
            "nvmlDeviceGetUtilizationRates": (0, 0),
            "nvmlDeviceGetCurrentClocksEventReasons": _IDLE,
            "nvmlDeviceGetCurrentClocksThrottleReasons": _IDLE,
            "nvmlDeviceGetPcieReplayCounter": 0,
            "nvmlDeviceGetPersistenceMode": 0,
            "nvmlDeviceGetComputeMode": 0,
            "nvmlDeviceGetGspFirmwareVersion": "565.77",
            **_PROCESSES,
        },
    )


def rtx4090(driver: str = "580.95.05", *, cuda: int = 13000) -> Recording:
    """An idle workstation with one GeForce RTX 4090, its PCIe link asleep.

    Args:
        driver: its version.
        cuda: the newest that it says it runs, 13000 for 13.0.
    """
    return _system(driver, nvml=f"{cuda // 1000}.{driver}", cuda=cuda, gpus=1) | _gpu(
        0,
        {
            "nvmlDeviceGetName": "NVIDIA GeForce RTX 4090",
            "nvmlDeviceGetUUID": "GPU-3f9a6c52-7d0b-41c8-9e4a-5b6c7d8e9f00",
            "nvmlDeviceGetPciInfo_v3": (0, 0x41, 0, 0x268410DE, 0x889D1043),
            "nvmlDeviceGetCudaComputeCapability": (8, 9),
            "nvmlDeviceGetNumGpuCores": 16384,
            "nvmlDeviceGetVbiosVersion": "95.02.18.80.5f",
            "nvmlDeviceGetMemoryBusWidth": 384,
            "nvmlDeviceGetMemoryInfo_v2": (24564 * MIB, 350 * MIB, 24210 * MIB, 4 * MIB),
            "nvmlDeviceGetMemoryInfo": (24564 * MIB, 24210 * MIB, 354 * MIB),
            "nvmlDeviceGetBAR1MemoryInfo": (32768 * MIB, 32765 * MIB, 3 * MIB),
            **_pcie(now=(1, 16), maximum=(4, 16)),
            **_clocks(sm=(210, 3105), memory=(405, 10501)),
            **_power(21_400, enforced=450_000, default=450_000),
            "nvmlDeviceGetTemperature 0": 36,
            f"nvmlDeviceGetTemperatureThreshold {_SHUTDOWN}": 100,
            f"nvmlDeviceGetTemperatureThreshold {_SLOWDOWN}": 97,
            "nvmlDeviceGetPerformanceState": 8,
            "nvmlDeviceGetUtilizationRates": (0, 0),
            "nvmlDeviceGetCurrentClocksEventReasons": _IDLE,
            "nvmlDeviceGetCurrentClocksThrottleReasons": _IDLE,
            "nvmlDeviceGetPcieReplayCounter": 0,
            "nvmlDeviceGetPersistenceMode": 0,
            "nvmlDeviceGetComputeMode": 0,
            "nvmlDeviceGetGspFirmwareVersion": driver,
            **_PROCESSES,
        },
    )


def gtx1080ti() -> Recording:
    """An old card with the last driver series for older ones yet, R470, which lacks the newer calls."""
    return _system("470.256.02", nvml="11.470.256.02", cuda=11040, gpus=1) | _gpu(
        0,
        {
            "nvmlDeviceGetName": "NVIDIA GeForce GTX 1080 Ti",
            "nvmlDeviceGetUUID": "GPU-9c41d7aa-03be-4c5f-b6e2-6f5e4d3c2b1a",
            "nvmlDeviceGetPciInfo_v3": (0, 0x65, 0, 0x1B0610DE, 0x120F10DE),
            "nvmlDeviceGetCudaComputeCapability": (6, 1),
            "nvmlDeviceGetNumGpuCores": 3584,
            "nvmlDeviceGetVbiosVersion": "86.02.39.00.22",
            "nvmlDeviceGetMemoryBusWidth": 352,
            "nvmlDeviceGetMemoryInfo_v2": FUNCTION_NOT_FOUND,
            "nvmlDeviceGetMemoryInfo": (11178 * MIB, 11177 * MIB, 1 * MIB),
            "nvmlDeviceGetBAR1MemoryInfo": (256 * MIB, 251 * MIB, 5 * MIB),
            **_pcie(now=(1, 16), maximum=(3, 16)),
            **_clocks(sm=(139, 1911), memory=(405, 5505)),
            **_power(8_893, enforced=250_000, default=250_000),
            "nvmlDeviceGetTemperature 0": 31,
            f"nvmlDeviceGetTemperatureThreshold {_SHUTDOWN}": 96,
            f"nvmlDeviceGetTemperatureThreshold {_SLOWDOWN}": 93,
            "nvmlDeviceGetPerformanceState": 8,
            "nvmlDeviceGetUtilizationRates": (0, 0),
            "nvmlDeviceGetCurrentClocksEventReasons": FUNCTION_NOT_FOUND,
            "nvmlDeviceGetCurrentClocksThrottleReasons": _IDLE,
            "nvmlDeviceGetPcieReplayCounter": 0,
            "nvmlDeviceGetPersistenceMode": 0,
            "nvmlDeviceGetComputeMode": 0,
            "nvmlDeviceGetGspFirmwareVersion": FUNCTION_NOT_FOUND,
            "nvmlDeviceGetGpuFabricInfo": FUNCTION_NOT_FOUND,
            **_PROCESSES,
            "nvmlDeviceGetComputeRunningProcesses_v3": FUNCTION_NOT_FOUND,
        },
    )


def _system(driver: str, *, nvml: str, cuda: int, gpus: int) -> Recording:
    return {
        "nvmlSystemGetDriverVersion": driver,
        "nvmlSystemGetNVMLVersion": nvml,
        "nvmlSystemGetCudaDriverVersion_v2": cuda,
        "nvmlDeviceGetCount_v2": gpus,
        **{f"nvmlDeviceGetHandleByIndex_v2 {index}": "" for index in range(gpus)},
    }


def _gpu(index: int, answers: Recording) -> Recording:
    """The answers with the index of the GPU put in as the first argument."""
    return {_call(call, index): answer for call, answer in answers.items()}


def _call(call: str, index: int) -> str:
    function, *rest = call.split()
    return " ".join((function, str(index), *rest))


def _pcie(*, now: tuple[int, int], maximum: tuple[int, int]) -> Recording:
    answers: dict[str, Answer] = {}
    for which, (generation, width) in (("Curr", now), ("Max", maximum)):
        answers |= {f"nvmlDeviceGet{which}PcieLinkGeneration": generation, f"nvmlDeviceGet{which}PcieLinkWidth": width}
    return answers


def _clocks(*, sm: tuple[int, int], memory: tuple[int, int]) -> Recording:
    """Now and at most, in MHz."""
    answers: dict[str, Answer] = {}
    for clock, (now, maximum) in ((_GRAPHICS, sm), (_SM, sm), (_MEMORY, memory)):
        answers |= {f"nvmlDeviceGetClockInfo {clock}": now, f"nvmlDeviceGetMaxClockInfo {clock}": maximum}
    return answers


def _power(usage: int, *, enforced: int, default: int) -> Recording:
    """Milliwatts."""
    return {
        "nvmlDeviceGetPowerUsage": usage,
        "nvmlDeviceGetEnforcedPowerLimit": enforced,
        "nvmlDeviceGetPowerManagementDefaultLimit": default,
    }
