"""The one door to NVML, NVIDIA's management library: every call passes through `Nvml.ask`.

A call that is not supported, not permitted or not known to the driver is an `NvmlError` with NVML's own name for it, never a
crash. NVML documentation: https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

THROTTLE_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Bits of nvmlClocksEventReasons (nvml.h)."""

COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}
RECOVERY_ACTIONS = {
    0: "none",
    1: "gpu_reset",
    2: "node_reboot",
    3: "drain_p2p",
    4: "drain_and_reset",
    5: "recover_imex_domain",
    6: "bus_reset",
    7: "system_reboot",
}
"""nvmlDeviceGpuRecoveryAction_t."""
FABRIC_STATES = {0: "not_supported", 1: "not_started", 2: "in_progress", 3: "completed"}


class NvmlError(Exception):
    """A call that NVML refused.

    Attributes:
        name: NVML's name, "NVML_ERROR_NOT_SUPPORTED".
        function: the call, "nvmlDeviceGetPowerUsage".
    """

    def __init__(self, name: str, function: str, text: str) -> None:
        super().__init__(f"{text} ({name} in {function})")
        self.name = name
        self.function = function


class Nvml:
    """A started NVML.

    Args:
        on_call: told the name and arguments of every call before it is made, so that a call that hangs can be named.

    Raises:
        NvmlError: NVML cannot start here.
    """

    def __init__(self, on_call: Callable[[str, tuple[Any, ...]], None] | None = None) -> None:
        import pynvml

        self._pynvml: Any = pynvml
        self._mismatch: Any = getattr(pynvml, "NVMLLibraryMismatchError", ())
        self._on_call = on_call or (lambda _function, _args: None)
        self._names = {
            value: name for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_") and isinstance(value, int)
        }
        self.ask("nvmlInit")

    def ask(self, function: str, *args: Any) -> Any:
        """Call `function`; texts come back as `str` whatever the binding's version makes of them.

        Raises:
            NvmlError: the call is not supported, not permitted, unknown to this driver or binding, or failed.
        """
        self._on_call(function, args)
        call = getattr(self._pynvml, function, None)
        if call is None:
            raise NvmlError("NVML_ERROR_FUNCTION_NOT_FOUND", function, "nvidia-ml-py is too old for this call")
        try:
            answer = call(*args)
        except self._mismatch:  # what the binding makes of FUNCTION_NOT_FOUND where a call has versions
            raise NvmlError("NVML_ERROR_FUNCTION_NOT_FOUND", function, "Function Not Found") from None
        except self._pynvml.NVMLError as error:
            code = int(error.value)
            raise NvmlError(self._names.get(code, f"NVML error {code}"), function, str(error)) from None
        return answer.decode(errors="replace") if isinstance(answer, bytes) else answer

    def constant(self, name: str) -> Any:
        """A constant or structure of the binding, `None` where it is too old to have it."""
        return getattr(self._pynvml, name, None)

    def field(self, handle: Any, name: str) -> int:
        """One of NVML's numbered fields ("NVML_FI_DEV_GET_GPU_RECOVERY_ACTION") that holds a whole number.

        Raises:
            NvmlError: the field is not known to this driver or binding, or not supported.
        """
        function = "nvmlDeviceGetFieldValues"
        number = self.constant(name)
        if number is None:
            raise NvmlError("NVML_ERROR_FUNCTION_NOT_FOUND", function, "nvidia-ml-py is too old for this field")
        (answer,) = self.ask(function, handle, [number])
        if answer.nvmlReturn:
            code = int(answer.nvmlReturn)
            raise NvmlError(self._names.get(code, f"NVML error {code}"), function, f"{name} was refused")
        return int(answer.value.uiVal)

    def throttle_reasons(self, handle: Any) -> tuple[str, ...]:
        """Why the clocks are not higher now; empty when nothing holds them."""
        try:
            bits = self.ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        except NvmlError as error:
            if error.name != "NVML_ERROR_FUNCTION_NOT_FOUND":
                raise
            bits = self.ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)  # its name before R535
        return reasons(bits)

    def close(self) -> None:
        """Let NVML go; its failure to stop is nobody's concern."""
        try:
            self.ask("nvmlShutdown")
        except NvmlError:
            pass


def reasons(bits: int) -> tuple[str, ...]:
    """The names of set reason bits; one that this table lacks is shown as its number."""
    names = [name for bit, name in THROTTLE_REASONS.items() if bits & bit]
    rest = bits & ~sum(THROTTLE_REASONS)
    return (*names, hex(rest)) if rest else tuple(names)
