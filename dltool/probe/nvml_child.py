"""The process that asks NVML: run as `python -m dltool.probe.nvml_child`, it writes each step at once (see `probe.nvml`)."""

from __future__ import annotations

import ctypes
import io
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dltool.nvml import COMPUTE_MODES, FABRIC_STATES, RECOVERY_ACTIONS, Nvml, NvmlError

MAX_NVLINKS = 18  # NVML_NVLINK_MAX_LINKS


@dataclass(frozen=True, slots=True)
class _Fact:
    """One NVML call about a GPU, the fields it fills, and how its answer becomes their values."""

    fields: str
    function: str
    args: tuple[Any, ...] = ()
    convert: Callable[[Any], Any] = lambda answer: answer


def _identity(pci: Any) -> tuple[str, str, str]:
    bus = pci.busId.decode() if isinstance(pci.busId, bytes) else pci.busId
    ids = [f"{word & 0xFFFF:04x}:{word >> 16:04x}" for word in (pci.pciDeviceId, pci.pciSubSystemId)]
    return re.sub(r"^0000(?=[0-9a-fA-F]{4}:)", "", bus).lower(), ids[0], ids[1]


_SM, _MEMORY = 1, 2  # nvmlClockType_t
_CURRENT_LINK = "nvmlDeviceGetCurrPcieLink"
_FACTS = (
    _Fact("name", "nvmlDeviceGetName"),
    _Fact("uuid", "nvmlDeviceGetUUID"),
    _Fact("serial", "nvmlDeviceGetSerial"),
    _Fact("pci_bus_id pci_device_id pci_subsystem_id", "nvmlDeviceGetPciInfo", convert=_identity),
    _Fact("compute_capability", "nvmlDeviceGetCudaComputeCapability", convert=lambda cc: f"{cc[0]}.{cc[1]}"),
    _Fact("cuda_cores", "nvmlDeviceGetNumGpuCores"),
    _Fact("vbios", "nvmlDeviceGetVbiosVersion"),
    _Fact("memory_bus_bits", "nvmlDeviceGetMemoryBusWidth"),
    _Fact("bar1_total_bytes", "nvmlDeviceGetBAR1MemoryInfo", convert=lambda bar1: bar1.bar1Total),
    _Fact("pcie_generation", f"{_CURRENT_LINK}Generation"),
    _Fact("pcie_generation_max", "nvmlDeviceGetMaxPcieLinkGeneration"),
    _Fact("pcie_width", f"{_CURRENT_LINK}Width"),
    _Fact("pcie_width_max", "nvmlDeviceGetMaxPcieLinkWidth"),
    _Fact("pcie_replays", "nvmlDeviceGetPcieReplayCounter"),
    _Fact("sm_mhz", "nvmlDeviceGetClockInfo", (_SM,)),
    _Fact("sm_mhz_max", "nvmlDeviceGetMaxClockInfo", (_SM,)),
    _Fact("memory_mhz", "nvmlDeviceGetClockInfo", (_MEMORY,)),
    _Fact("memory_mhz_max", "nvmlDeviceGetMaxClockInfo", (_MEMORY,)),
    _Fact("power_w", "nvmlDeviceGetPowerUsage", convert=lambda mw: mw / 1000),
    _Fact("power_limit_w", "nvmlDeviceGetEnforcedPowerLimit", convert=lambda mw: mw / 1000),
    _Fact("power_limit_default_w", "nvmlDeviceGetPowerManagementDefaultLimit", convert=lambda mw: mw / 1000),
    _Fact("temperature_c", "nvmlDeviceGetTemperature", (0,)),
    _Fact("temperature_slowdown_c", "nvmlDeviceGetTemperatureThreshold", (1,)),
    _Fact("performance_state", "nvmlDeviceGetPerformanceState", convert=lambda state: state if state < 32 else None),
    _Fact("utilization_percent", "nvmlDeviceGetUtilizationRates", convert=lambda rates: rates.gpu),
    _Fact("ecc_enabled", "nvmlDeviceGetEccMode", convert=lambda modes: bool(modes[0])),
    _Fact("retired_pages_pending", "nvmlDeviceGetRetiredPagesPendingStatus", convert=bool),
    _Fact(
        "remapped_rows",
        "nvmlDeviceGetRemappedRows",
        convert=lambda rows: {
            "corrected": rows[0],
            "uncorrected": rows[1],
            "pending": bool(rows[2]),
            "failed": bool(rows[3]),
        },
    ),
    _Fact("persistence_mode", "nvmlDeviceGetPersistenceMode", convert=bool),
    _Fact("compute_mode", "nvmlDeviceGetComputeMode", convert=lambda mode: COMPUTE_MODES.get(mode, str(mode))),
)


class Child:
    """Asks NVML for everything, one fact at a time."""

    def __init__(self) -> None:
        self._where = ""

    def main(self) -> None:
        """Read everything, the libraries first: what they are is wanted most when nothing else can be had."""
        self._libraries()
        try:
            nvml = Nvml(self._trace)
        except NvmlError as error:
            _say("=", "driver.nvml_error", error.name)
            for fact in ("gpus", "driver.version", "driver.cuda_version"):
                _say("!", fact, str(error))
            return
        self._system(nvml)
        for index in self._devices(nvml):
            self._where = f" of GPU {index}"
            self._device(nvml, index)
            self._where = ""
        nvml.close()

    def _trace(self, function: str, args: tuple[Any, ...]) -> None:
        # A handle has no text of its own, and which GPU is meant is told by `_where`.
        plain = " ".join(str(arg) for arg in args if isinstance(arg, int))
        sys.stdout.write(f"> {function} {plain}".rstrip() + self._where + "\n")
        sys.stdout.flush()

    def _libraries(self) -> None:
        """Which files the loader gives us, before anything is asked of them. Loading them starts nothing."""
        for name, fact in (("libnvidia-ml.so.1", "nvml_library"), ("libcuda.so.1", "libcuda")):
            try:
                ctypes.CDLL(name)
            except (OSError, UnicodeDecodeError) as error:  # the latter: ctypes at a path that is no UTF-8
                _say("!", f"driver.{fact}", str(error))
        for path in _mapped_files():
            if re.search(r"/libcuda\.so[^/]*$", path):
                _say("=", "driver.libcuda", path)
            elif match := re.search(r"/libnvidia-ml\.so\.([0-9.]+)$", path):
                _say("=", "driver.nvml_library", path)
                if "." in match[1]:
                    _say("=", "driver.nvml_library_version", match[1])

    def _system(self, nvml: Nvml) -> None:
        self._fill("driver.version", lambda: nvml.ask("nvmlSystemGetDriverVersion"))
        self._fill("driver.cuda_version", lambda: _cuda_version(nvml.ask("nvmlSystemGetCudaDriverVersion_v2")))
        self._fill("driver.nvml_library_version", lambda: _plausible(nvml.ask("nvmlSystemGetNVMLVersion")), gap=False)

    def _devices(self, nvml: Nvml) -> Iterator[int]:
        try:
            yield from range(nvml.ask("nvmlDeviceGetCount"))
        except NvmlError as error:
            _say("!", "gpus", str(error))

    def _device(self, nvml: Nvml, index: int) -> None:
        base = f"gpus.{index}"
        _say("=", f"{base}.index", index)
        try:
            handle = nvml.ask("nvmlDeviceGetHandleByIndex", index)
        except NvmlError as error:
            _say("!", base, str(error))
            return
        for fact in _FACTS:
            self._fact(nvml, base, fact, handle)
        self._fill(f"{base}.memory_total_bytes {base}.memory_used_bytes", lambda: _memory(nvml, handle))
        self._fill(f"{base}.throttle_reasons", lambda: nvml.throttle_reasons(handle))
        self._fill(f"{base}.ecc_errors", lambda: _ecc_errors(nvml, handle))
        self._fill(f"{base}.mig_enabled", lambda: bool(nvml.ask("nvmlDeviceGetMigMode", handle)[0]))
        self._fill(f"{base}.mig_instances {base}.mig_devices", lambda: _mig_devices(nvml, handle))
        self._fill(f"{base}.gsp_firmware", lambda: _gsp_firmware(nvml, handle))
        self._fill(f"{base}.recovery_action", lambda: _recovery_action(nvml, handle))
        self._fill(f"{base}.fabric_state", lambda: _fabric(nvml, handle))
        self._fill(f"{base}.nvlinks", lambda: _nvlinks(nvml, handle))
        self._fill(f"{base}.processes", lambda: _processes(nvml, handle))

    def _fact(self, nvml: Nvml, base: str, fact: _Fact, handle: Any) -> None:
        paths = " ".join(f"{base}.{name}" for name in fact.fields.split())
        self._fill(paths, lambda: fact.convert(nvml.ask(fact.function, handle, *fact.args)))

    def _fill(self, paths: str, ask: Callable[[], Any], *, gap: bool = True) -> None:
        """Ask for the values of `paths`; a refusal, or an answer that makes no sense, is a gap in each."""
        names = paths.split()
        try:
            answer = ask()
        except NvmlError as error:
            reason = str(error)
        except Exception as error:  # a binding or driver that answers with something else than its documentation says
            reason = f"unexpected answer: {type(error).__name__}: {error}"
        else:
            for name, value in zip(names, answer if len(names) > 1 else (answer,), strict=True):
                _say("=", name, value)
            return
        for name in names if gap else ():
            _say("!", name, reason)


def _memory(nvml: Nvml, handle: Any) -> tuple[int, int]:
    """Total and used bytes; version 2 keeps what the driver reserves apart from what is used."""
    version = nvml.constant("nvmlMemory_v2")
    try:
        memory = nvml.ask("nvmlDeviceGetMemoryInfo", handle, version)
    except NvmlError as error:
        if error.name != "NVML_ERROR_FUNCTION_NOT_FOUND":
            raise
        memory = nvml.ask("nvmlDeviceGetMemoryInfo", handle)
    return memory.total, memory.used


def _ecc_errors(nvml: Nvml, handle: Any) -> dict[str, int | None]:
    """The four counters; one that is refused is None. All refused is a refusal."""
    counters: dict[str, int | None] = {}
    refusal: NvmlError | None = None
    for kind, span in itertools.product(("corrected", "uncorrected"), ("volatile", "aggregate")):
        ids = int(kind == "uncorrected"), int(span == "aggregate")
        try:
            counters[f"{kind}_{span}"] = nvml.ask("nvmlDeviceGetTotalEccErrors", handle, *ids)
        except NvmlError as error:
            counters[f"{kind}_{span}"], refusal = None, error
    if refusal is not None and set(counters.values()) == {None}:
        raise refusal
    return counters


def _processes(nvml: Nvml, handle: Any) -> list[dict[str, Any]]:
    try:
        found = nvml.ask("nvmlDeviceGetComputeRunningProcesses_v3", handle)
    except NvmlError as error:
        if error.name != "NVML_ERROR_FUNCTION_NOT_FOUND":
            raise
        found = nvml.ask("nvmlDeviceGetComputeRunningProcesses_v2", handle)  # before R510
    return [{"pid": one.pid, "memory_bytes": one.usedGpuMemory} for one in found]


def _mig_devices(nvml: Nvml, handle: Any) -> tuple[int | None, list[dict[str, Any]] | None]:
    """How many slices MIG made, and which; both None while MIG is off."""
    if not nvml.ask("nvmlDeviceGetMigMode", handle)[0]:
        return None, None
    devices = []
    for index in range(nvml.ask("nvmlDeviceGetMaxMigDeviceCount", handle)):
        try:
            slice_ = nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        except NvmlError as error:
            if error.name == "NVML_ERROR_NOT_FOUND":
                continue
            raise
        name, uuid = (_or_none(nvml, function, slice_) for function in ("nvmlDeviceGetName", "nvmlDeviceGetUUID"))
        memory = _or_none(nvml, "nvmlDeviceGetMemoryInfo", slice_)
        instance, compute = (_or_none(nvml, f"nvmlDeviceGet{kind}InstanceId", slice_) for kind in ("Gpu", "Compute"))
        devices.append(
            {"index": index, "name": name, "uuid": uuid, "gpu_instance": instance, "compute_instance": compute,
             "memory_bytes": memory.total if memory else None}
        )  # fmt: skip
    return len(devices), devices


def _or_none(nvml: Nvml, function: str, handle: Any) -> Any:
    try:
        return nvml.ask(function, handle)
    except NvmlError:
        return None


def _recovery_action(nvml: Nvml, handle: Any) -> str:
    action = nvml.field(handle, "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION")
    return RECOVERY_ACTIONS.get(action, str(action))


class _FabricInfo(ctypes.Structure):
    """nvmlGpuFabricInfo_t. nvidia-ml-py up to 13.580 at least has the state in the wrong place."""

    _fields_ = (
        ("cluster", ctypes.c_ubyte * 16),
        ("status", ctypes.c_int),
        ("clique", ctypes.c_uint32),
        ("state", ctypes.c_uint32),
    )


def _fabric(nvml: Nvml, handle: Any) -> str:
    info = _FabricInfo()
    nvml.ask("nvmlDeviceGetGpuFabricInfo", handle, ctypes.byref(info))
    return FABRIC_STATES.get(info.state, str(info.state))


def _gsp_firmware(nvml: Nvml, handle: Any) -> str:
    text = ctypes.create_string_buffer(64)  # NVML_GSP_FIRMWARE_VERSION_BUF_SIZE; older bindings do not bring their own
    nvml.ask("nvmlDeviceGetGspFirmwareVersion", handle, text)
    return text.value.decode(errors="replace")


def _nvlinks(nvml: Nvml, handle: Any) -> list[dict[str, Any]]:
    """The links up to the first that the board does not have; one whose state is refused is neither up nor down."""
    links: list[dict[str, Any]] = []
    refusal: NvmlError | None = None
    for link in range(MAX_NVLINKS):
        active: bool | None = None
        try:
            active = bool(nvml.ask("nvmlDeviceGetNvLinkState", handle, link))
        except NvmlError as error:
            if error.name in ("NVML_ERROR_NOT_SUPPORTED", "NVML_ERROR_INVALID_ARGUMENT"):
                break
            refusal = error
        links.append({"link": link, "active": active, "version": _nvlink_version(nvml, handle, link)})
    if refusal is not None and all(link["active"] is None for link in links):
        raise refusal
    return links


def _nvlink_version(nvml: Nvml, handle: Any, link: int) -> int | None:
    try:
        return int(nvml.ask("nvmlDeviceGetNvLinkVersion", handle, link))
    except NvmlError:
        return None


def _cuda_version(code: int) -> str:
    return f"{code // 1000}.{code % 1000 // 10}"


def _plausible(version: str) -> str:
    """NVML's version text is "13.580.95.05": the driver's, behind the CUDA major in newer ones."""
    return re.sub(r"^\d{1,2}\.(?=\d{3}\.)", "", version)


def _mapped_files() -> list[str]:
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return sorted({line.split(maxsplit=5)[5] for line in maps.splitlines() if line.count(" ") >= 5 and "/" in line})


def _say(kind: str, path: str, value: Any) -> None:
    text = " ".join(str(value).split()) if kind == "!" else json.dumps(value)  # a line holds no line break
    sys.stdout.write(f"{kind} {path} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # the parent's encoding, whatever the locale is
    Child().main()
