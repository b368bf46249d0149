"""Who does the work? The kernel that one step runs, as the profiler or the library itself calls it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from dltool.bench.devices import Device, Step, import_torch
from dltool.bench.support import unit_of

_MKL = re.compile(r"^MKL_VERBOSE ([A-Z0-9_]+)\(", re.MULTILINE)
_ONEDNN = re.compile(r"^onednn_verbose,(?:v\d+,)?(?:primitive,)?exec,cpu,([^,]+),([^,]*),", re.MULTILINE)
_ONEDNN_ISA = re.compile(r"^onednn_verbose,.*info,cpu,isa:(.*)$", re.MULTILINE)
_MKL_HEADER = re.compile(r"^MKL_VERBOSE oneMKL.*$|^MKL_VERBOSE Intel\(R\) MKL.*$", re.MULTILINE)
_MKL_SETS = ("AVX-512", "AVX2", "AVX", "SSE4.2")
_LONGEST = 200


def watch(device: Device, step: Step) -> str | None:
    """The kernel in which a step spends the most time; None where nobody tells.

    On a GPU its name by CUPTI; on a CPU the library, its function and the instructions that it takes.
    """
    if device.kind == "cuda":
        return _cuda_kernel(device, step)
    if device.kind != "cpu":
        return None
    try:
        return _cpu_path(step)
    except OSError:  # this process has no standard output that could be turned aside
        return None


def _cuda_kernel(device: Device, step: Step) -> str | None:
    torch = import_torch()
    activity = torch.profiler.ProfilerActivity.CUDA
    try:
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(tempfile.TemporaryFile())
            stack.enter_context(_into(log.fileno(), 2))  # the profiler tells its stages to stderr
            profile = stack.enter_context(torch.profiler.profile(activities=[activity]))
            step()
            torch.cuda.synchronize(device.name)
        return heaviest(profile.events())
    except (RuntimeError, OSError):  # CUPTI is in other hands, or may not be used here
        return None


def heaviest(events: Any) -> str | None:
    """The name of the kernel with the most time of all events on the GPU; sums and copies only where there is nothing else."""
    times: dict[str, float] = {}
    for event in events:
        if str(event.device_type).endswith("CUDA"):
            times[event.name] = times.get(event.name, 0.0) + event.time_range.elapsed_us()
    ranked = sorted(times, key=lambda name: -times[name])
    kernels = [name for name in ranked if unit_of(name) != "helper"] or ranked
    return kernels[0][:_LONGEST] if kernels else None


def _cpu_path(step: Step) -> str:
    headers = _headers()
    return path_of(_said(step), headers)


def path_of(said: str, headers: str) -> str:
    """What oneDNN and MKL said during a step, in one line; nothing said is a loop of torch's own.

    Args:
        said: their verbose lines.
        headers: the lines with which they began, which name the instructions that they take.
    """
    onednn = _ONEDNN.findall(said)
    if onednn:
        primitive, implementation = onednn[-1]
        isa = _ONEDNN_ISA.search(headers)
        return f"oneDNN {primitive} {implementation or (isa[1].strip() if isa else '')}".strip()
    mkl = _MKL.findall(said)
    if mkl:
        return f"MKL {mkl[-1]} {mkl_instructions(headers)}"
    return "torch, no library"


def mkl_instructions(headers: str) -> str:
    """The instruction set that MKL says it was started for.

    To a CPU that is not Intel's it says "Intel(R) Architecture processors": it takes AVX2 there at best.
    Source: rates of MKL 2024.2 on Zen 5, 100 % of the AVX2 peak and 50 % of the AVX-512 peak.
    """
    header = _MKL_HEADER.search(headers)
    if header is None:
        return "instructions unknown"
    if "Intel(R) Architecture processors" in header[0]:
        return "AVX2"
    return next((name for name in _MKL_SETS if name in header[0]), "instructions unknown")


@cache
def _headers() -> str:
    """What both libraries say once in a process, when they are first asked to speak."""
    torch = import_torch()
    wide = torch.ones((64, 64))
    narrow = torch.ones((64, 64), dtype=torch.int8)

    def both() -> None:
        torch.mm(wide, wide)
        torch._int_mm(narrow, narrow)

    return _said(both)


def _said(step: Callable[[], object]) -> str:
    """What a step writes to the process's standard output while MKL and oneDNN are talkative."""
    torch = import_torch()
    with tempfile.TemporaryFile() as file, _into(file.fileno(), 1):
        with contextlib.ExitStack() as talk:
            for library in (torch.backends.mkl, torch.backends.mkldnn):
                if library.is_available():
                    talk.enter_context(library.verbose(1))
            step()
        _flush()
        file.seek(0)
        return file.read().decode(errors="replace")


@contextlib.contextmanager
def _into(descriptor: int, standard: int) -> Iterator[None]:
    """Standard output (1) or error (2) of the process into a file, whoever writes: the libraries are no Python."""
    _flush()
    kept = os.dup(standard)
    try:
        os.dup2(descriptor, standard)
        yield
    finally:
        _flush()
        os.dup2(kept, standard)
        os.close(kept)


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
