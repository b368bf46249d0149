"""What is fuzzed: each reader as a function of bytes, with honest inputs to begin with."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import recorded
from system_texts import ELF, READ

from dltool import checks, known_errors, machine
from dltool.errors import DltoolError
from dltool.policy.reading import from_toml
from dltool.probe import elf, kernel_log, ld_so, nvml
from dltool.results import Status


class Target(NamedTuple):
    """A reader of bytes."""

    ask: Callable[[bytes], Any]
    seeds: tuple[bytes, ...]


@cache
def _place() -> Path:
    return Path(tempfile.mkdtemp(prefix="dltool-fuzz-"), "file")


def _file(data: bytes) -> str:
    _place().write_bytes(data)
    return str(_place())


def _elf(data: bytes) -> None:
    path = _file(data)
    for ask in (elf.dynamic, elf.versions_needed, elf.versions_provided, elf.cxx11_strings, elf.has_gpu_code, elf.gpu_code):
        ask(path)


def _snapshot(data: bytes) -> None:
    found = checks.run(machine.from_json(data, source="fuzz"))
    crashed = [finding.summary for finding in found if finding.status is Status.CRASH]
    if crashed:
        raise AssertionError(crashed)


def _policy(data: bytes) -> None:
    from_toml(data, source="fuzz", ids=checks.CHECKS.names())


def _kernel_log(data: bytes) -> None:
    text = data.decode(errors="replace")
    kernel_log.parse(text, "fuzz", now_s=2000.0)
    kernel_log.parse(text, "fuzz")


def _nvml(data: bytes) -> None:
    facts, gaps, _ = nvml._parse(data.decode(errors="replace"))
    nvml._assemble(facts, gaps)


def _honest(*ends: str) -> tuple[bytes, ...]:
    return tuple(row.honest for row in READ if row.at.endswith(ends))


_POLICY = b"""schema = "dltool/policy/1"
[gpu]
model = ["H100 SXM", "A100"]
min_memory_gb = 80.0
[[waiver]]
id = "gpu-xid"
reason = \"\"\"a board
is ordered\"\"\"
expires = 2027-01-31
[bench.gemm]
bf16 = "600 TFLOP/s"
"""
TARGETS = {
    "elf": Target(_elf, tuple((ELF / name).read_bytes() for name in ("sm80.so", "mixed.so", "sm80_compressed.so"))),
    "ld-so-cache": Target(lambda data: ld_so.read_cache(_file(data), elf.X86_64), _honest("ld.so.cache")),
    "snapshot": Target(_snapshot, tuple(recorded.load(name).to_json() for name in recorded.NAMES)),
    "toml": Target(_policy, (_POLICY, b'gpu = {model = ["H100 SXM"]}\nhost.min_shm_gb = 64.0\n')),
    "kernel-log": Target(_kernel_log, _honest("kmsg", "dmesg", "journalctl")),
    "nvml": Target(_nvml, _honest("nvidia-smi")),
    "log": Target(
        known_errors.recognise, (b"RuntimeError: CUDA error: no kernel image is available\nCUDA out of memory.\n", b"Xid 79\n")
    ),
}


def run(name: str, data: bytes) -> None:
    """Ask a target; it may refuse, and nothing else."""
    with contextlib.suppress(DltoolError):
        TARGETS[name].ask(data)
