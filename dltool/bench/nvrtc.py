"""CUDA source to a running kernel, with what a PyTorch wheel brings: NVRTC compiles, the driver loads and launches.

No nvcc, no headers, no compiler of the host. `torch.cuda._compile_kernel` does the same, but wants a CUDA toolkit to be there.
Source: https://docs.nvidia.com/cuda/nvrtc and https://docs.nvidia.com/cuda/cuda-driver-api (modules, execution control).
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dltool.errors import CannotRun

_PLAIN = re.compile(r"libnvrtc\.so\.\d+")
"""Not libnvrtc.alt.so.12, nor libnvrtc-builtins."""


def library(paths: Sequence[str] = ()) -> Any:
    """NVRTC: the one beside torch if there is one, else the system's.

    Args:
        paths: where packages are installed; where this Python looks by default.

    Raises:
        CannotRun: there is none.
    """
    packages = [Path(path) / "nvidia" for path in paths or sys.path]
    found = [file for folder in packages for file in sorted(folder.glob("*/lib/libnvrtc.so.*"), reverse=True)]
    beside = [str(file) for file in found if _PLAIN.fullmatch(file.name)]
    for name in [*beside, "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise CannotRun("this dtype needs NVRTC, which is not here", remedy="It comes with the CUDA builds of PyTorch.")


def compile_cubin(nvrtc: Any, source: str, capability: tuple[int, int]) -> bytes:
    """Machine code for one compute capability.

    Raises:
        CannotRun: it does not compile for it; says the first error.
    """
    program = ctypes.c_void_p()
    _nvrtc(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"measure.cu", 0, None, None))
    try:
        target = f"sm_{capability[0]}{capability[1]}"
        options = (ctypes.c_char_p * 1)(f"--gpu-architecture={target}".encode())
        if nvrtc.nvrtcCompileProgram(program, 1, options):
            raise CannotRun(f"NVRTC cannot compile it for {target}: {_first_error(nvrtc, program)}", remedy="Leave it out.")
        size = ctypes.c_size_t()
        _nvrtc(nvrtc, nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
        code = ctypes.create_string_buffer(size.value)
        _nvrtc(nvrtc, nvrtc.nvrtcGetCUBIN(program, code))
        return code.raw
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


class Loaded:
    """A kernel on the current device.

    Args:
        driver: libcuda.
        code: what `compile_cubin` gave.
        name: of the kernel; it was declared extern "C".

    Raises:
        CannotRun: the driver refuses it.
    """

    def __init__(self, driver: Any, code: bytes, name: str) -> None:
        self._driver, self._module, self._function = driver, ctypes.c_void_p(), ctypes.c_void_p()
        self._check("load", driver.cuModuleLoadData(ctypes.byref(self._module), code))
        self._check("find", driver.cuModuleGetFunction(ctypes.byref(self._function), self._module, name.encode()))

    def launch(self, blocks: int, threads: int, pointers: Sequence[int], number: int, stream: int) -> None:
        """Start it with some addresses in device memory and one int as its arguments; does not wait.

        Raises:
            CannotRun: the driver refuses.
        """
        values: list[Any] = [*(ctypes.c_void_p(pointer) for pointer in pointers), ctypes.c_int(number)]
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        shape = [ctypes.c_uint(count) for count in (blocks, 1, 1, threads, 1, 1, 0)]
        self._check("launch", self._driver.cuLaunchKernel(self._function, *shape, ctypes.c_void_p(stream), addresses, None))

    def _check(self, what: str, code: int) -> None:
        if code:
            name = ctypes.c_char_p()
            self._driver.cuGetErrorName(code, ctypes.byref(name))
            said = (name.value or str(code).encode()).decode(errors="replace")
            raise CannotRun(f"the driver cannot {what} the kernel: {said}", remedy="dltool doctor tells what is wrong with it.")


def driver() -> Any:
    """The driver's library.

    Raises:
        CannotRun: there is none.
    """
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise CannotRun("no NVIDIA driver is here", remedy="dltool doctor tells what is missing.") from None


def _nvrtc(nvrtc: Any, code: int) -> None:
    if code:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise CannotRun(f"NVRTC failed: {nvrtc.nvrtcGetErrorString(code).decode()}", remedy="Install PyTorch anew.")


def _first_error(nvrtc: Any, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value + 1)
    nvrtc.nvrtcGetProgramLog(program, log)
    lines = [line for line in log.value.decode(errors="replace").splitlines() if "error" in line]
    return lines[0].strip()[:200] if lines else "no reason given"
