"""CUDA's reading of CUDA_VISIBLE_DEVICES, and PyTorch's where it is another.

Sources: the CUDA C++ programming guide (environment variables), the MIG user guide (device names), and PyTorch's
`torch.cuda._parse_visible_devices` with its tests, which were written after what the driver does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from dltool.machine import Gpu, Machine, MigDevice

_NUMBER = re.compile(r"\s*(?P<number>[+-]?[0-9]+)(?P<rest>.*)", re.ASCII | re.DOTALL)


class Stop(Enum):
    """Why the reading of the list ended before its end."""

    ON_PURPOSE = "an empty entry or a negative number"
    NOT_HERE = "no such GPU or MIG instance here"
    AMBIGUOUS = "the beginning of several"
    TWICE = "named before, which makes the whole list void"
    MIXED = "of another kind than the first"
    WORD = "neither number nor UUID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What CUDA makes of a list."""

    gpus: tuple[Gpu | None, ...] = ()
    """The GPUs that are shown, in order; None where an entry may name one whose UUID is not known."""
    stop: Stop | None = None
    at: str = ""
    """The entry at which the reading ended."""
    cut: tuple[tuple[str, int], ...] = ()
    """Entries of which only the number at the beginning was read: ("0-3", 0)."""
    mig: str | None = None
    """The MIG instance that is used."""
    mig_ignored: int = 0
    """How many MIG instances are named behind it."""


def read(value: str, machine: Machine) -> Reading:
    """How CUDA reads the list on this machine: the kind of its first entry is that of all."""
    entries = value.split(",")
    first = entries[0].strip()
    if first.startswith("MIG-"):
        return _one_instance([entry.strip() for entry in entries], machine)
    if first.startswith("GPU-"):
        return _collected(entries, lambda entry: _by_uuid(entry.strip(), machine))
    return _collected(entries, lambda entry: _by_number(entry, machine))


def torch_count(value: str, machine: Machine) -> int | None:
    """How many GPUs PyTorch 2 counts before it starts CUDA; None where it leaves the count to CUDA.

    It asks NVML and reads the list itself. Unlike CUDA it takes no blank before a UUID.
    """
    if value.startswith("MIG-") or any(gpu.uuid is None for gpu in machine.gpus):
        return None
    if not value.startswith("GPU-"):
        return len(_collected(value.split(","), lambda entry: _by_number(entry, machine)).gpus)
    found: list[int] = []
    for entry in value.split(","):
        matching = [gpu.index for gpu in machine.gpus if (gpu.uuid or "").lower().startswith(entry.lower())]
        if not entry.startswith("GPU-") or len(matching) != 1:
            break
        if matching[0] in found:
            return 0
        found.append(matching[0])
    return len(found)


_Named = tuple[Gpu | None, Stop | None]


def _collected(entries: list[str], named: Callable[[str], _Named]) -> Reading:
    """The GPUs up to the first entry that is none."""
    kept: list[Gpu | None] = []
    cut: list[tuple[str, int]] = []
    for entry in entries:
        gpu, stop = named(entry)
        if stop is not None:
            return Reading(gpus=tuple(kept), stop=stop, at=entry.strip(), cut=tuple(cut))
        if gpu is not None and gpu in kept:
            return Reading(stop=Stop.TWICE, at=entry.strip())
        kept.append(gpu)
        number = _NUMBER.fullmatch(entry)
        if number and number["rest"].strip():
            cut.append((entry.strip(), int(number["number"])))
    return Reading(gpus=tuple(kept), cut=tuple(cut))


def _by_number(entry: str, machine: Machine) -> _Named:
    """The C library's strtol reads the entry: blanks, a sign, digits, and whatever follows is not looked at."""
    number = _NUMBER.match(entry)
    if number is None:
        blank, other = not entry.strip(), entry.strip().startswith(("GPU-", "MIG-"))
        return None, Stop.ON_PURPOSE if blank else Stop.MIXED if other else Stop.WORD
    digits = number["number"].lstrip("+")
    if digits.startswith("-") and digits.strip("-0"):
        return None, Stop.ON_PURPOSE
    index = int(digits) if len(digits) < 10 else len(machine.gpus)
    return (machine.gpus[index], None) if index < len(machine.gpus) else (None, Stop.NOT_HERE)


def _by_uuid(entry: str, machine: Machine) -> _Named:
    """A UUID, or the beginning of one if there is no other GPU that it begins."""
    if not entry.startswith("GPU-"):
        return None, Stop.MIXED if entry else Stop.ON_PURPOSE
    matching = [gpu for gpu in machine.gpus if (gpu.uuid or "").lower().startswith(entry.lower())]
    if len(matching) == 1:
        return matching[0], None
    if matching:
        return None, Stop.AMBIGUOUS
    return None, None if any(gpu.uuid is None for gpu in machine.gpus) else Stop.NOT_HERE


def _one_instance(entries: list[str], machine: Machine) -> Reading:
    """A program uses one MIG instance: the first that is named."""
    first = entries[0]
    owners = [gpu for gpu in machine.gpus if _may_have(gpu, first, machine)]
    if not owners:
        return Reading(stop=Stop.NOT_HERE, at=first)
    sure = [gpu for gpu in machine.gpus for device in gpu.mig_devices or () if _is_named(first, gpu, device)]
    if len(sure) > 1:
        return Reading(stop=Stop.AMBIGUOUS, at=first)
    if first in entries[1:]:
        return Reading(stop=Stop.TWICE, at=first)
    more = sum(entry.startswith("MIG-") for entry in entries[1:])
    return Reading(gpus=(sure[0] if sure else owners[0] if len(owners) == 1 else None,), mig=first, mig_ignored=more)


def instance_names(gpu: Gpu) -> tuple[str, ...]:
    """The names by which CUDA knows the MIG instances of a GPU."""
    return tuple(name for device in gpu.mig_devices or () for name in _names(gpu, device)[:1])


def _names(gpu: Gpu, device: MigDevice) -> tuple[str, ...]:
    """By UUID since R470, before that by GPU and numbers."""
    numbered = gpu.uuid and device.gpu_instance is not None and device.compute_instance is not None
    old = f"MIG-{gpu.uuid}/{device.gpu_instance}/{device.compute_instance}" if numbered else None
    return tuple(filter(None, (device.uuid, old)))


def _is_named(entry: str, gpu: Gpu, device: MigDevice) -> bool:
    """Whether the entry is a name of the instance, or the beginning of its UUID."""
    names = [name.lower() for name in _names(gpu, device)]
    return any(name == entry.lower() or ("/" not in entry and name.startswith(entry.lower())) for name in names)


def _may_have(gpu: Gpu, entry: str, machine: Machine) -> bool:
    """Whether the instance may be one of this GPU: for certain, or because its instances are not known."""
    if gpu.mig_enabled is False or (gpu.mig_enabled is None and not _mig_unknown(gpu, machine)):
        return False
    devices = gpu.mig_devices
    if devices is None or any(device.uuid is None for device in devices):
        return gpu.mig_instances != 0 or devices is None
    numbered = all(device.gpu_instance is not None for device in devices) and gpu.uuid is not None
    if entry.startswith("MIG-GPU-") and not numbered:
        return True
    return any(_is_named(entry, gpu, device) for device in devices)


def _mig_unknown(gpu: Gpu, machine: Machine) -> bool:
    return "NOT_SUPPORTED" not in machine.why_missing(f"gpus.{gpu.index}.mig_enabled")
