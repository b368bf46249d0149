"""The recorded machines of tests/machines, and copies of them in which some facts are others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dltool import checks, machine
from dltool.machine import Machine
from dltool.probe import kernel_log
from dltool.results import Finding

DIRECTORY = Path(__file__).with_name("machines")
NAMES = tuple(sorted(path.stem for path in DIRECTORY.glob("*.json")))
DRIVER = "driver.version|kernel_module_version|nvml_library_version"
"""The path of the driver's version wherever a whole driver shows it."""
NO_DRIVER: dict[str, Any] = {
    "gpus": [],
    "driver": {"nvml_error": "NVML_ERROR_LIBRARY_NOT_FOUND", "modules": []},
    "pci.*.kernel_driver": None,
    "gaps.gpus": "NVML Shared Library Not Found (NVML_ERROR_LIBRARY_NOT_FOUND in nvmlInit)",
    "gaps.driver.kernel_module_version": "/proc/driver/nvidia/version: No such file or directory",
}
"""What a machine shows whose driver was never installed."""


class Fault(NamedTuple):
    """A recorded machine with some facts changed, and what the check must answer."""

    machine: str
    facts: dict[str, Any]
    check: str
    status: str
    says: str
    """In the summary."""
    commands: tuple[str, ...] = ()
    """Each in some command of some remedy."""


@cache
def load(name: str) -> Machine:
    """The recorded machine of this name."""
    return machine.load(DIRECTORY / f"{name}.json")


def altered(name: str, facts: Mapping[str, Any]) -> Machine:
    """A recorded machine with other facts, by their paths.

    "gpus.*.name" is the name of every GPU, "driver.version|libcuda" are two facts of one value. None as an element of a list,
    a gap or a variable takes it out.
    """
    document = msgspec.json.decode(load(name).to_json())
    for path, value in facts.items():
        _put(document, path.split("."), deepcopy(value))
    return msgspec.convert(document, Machine)


def _put(inside: Any, path: list[str], value: Any) -> None:
    key, *rest = path
    if key in ("gaps", "environment") and rest:
        inside, key, rest = inside[key], ".".join(rest), []
        if value is None:
            inside.pop(key, None)
            return
    for one in list(_keys(inside, key)):
        if rest:
            _put(inside[one], rest, value)
        elif value is None and isinstance(inside, list):
            del inside[one]
        else:
            inside[one] = value


def _keys(inside: Any, key: str) -> Iterator[Any]:
    if isinstance(inside, list):
        yield from range(len(inside)) if key == "*" else [int(key)]
    else:
        yield from key.split("|")


def log(*lines: str, age_s: float = 600.0, loaded_s: float | None = 90_000.0) -> dict[str, Any]:
    """The facts of a kernel log with these lines in it, read by the probe's own parser."""
    now = 200_000.0
    text = [f"[ {now - 100_000:.6f}] Linux version 5.15"]
    if loaded_s is not None:
        text.append(f"[ {now - loaded_s:.6f}] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.15")
    text += [f"[ {now - age_s:.6f}] {line}" for line in lines]
    found = kernel_log.parse("\n".join(text), "/dev/kmsg", now_s=now)
    assert found is not None
    return {"kernel_log": msgspec.to_builtins(found)}


def judge(of: Machine) -> dict[str, Finding]:
    """The gravest finding of each check."""
    ordered = sorted(checks.run(of), key=lambda finding: finding.status.severity)
    return {finding.id: finding for finding in ordered}


def problems(of: Machine) -> dict[str, str]:
    """The checks that found something to mend, and the status."""
    return {name: finding.status.value for name, finding in judge(of).items() if finding.status.is_problem}


def commands(finding: Finding) -> str:
    """Every command of every remedy, one a line."""
    return "\n".join(command for remedy in finding.remedies for command in remedy.commands)
