"""Which of the GPUs a CUDA program is let see."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool.checks import check
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Status

_UNSET = Remedy(
    text="Unset it, or name GPUs that exist; look for what sets it: shell profile, .env, launcher, notebook.",
    commands=("unset CUDA_VISIBLE_DEVICES", "grep -rn CUDA_VISIBLE_DEVICES ~/.bashrc ~/.profile .env 2>/dev/null"),
)


@check("gpus-hidden", caused_by=("driver-not-answering", "driver-missing"))
def gpus_hidden(machine: Machine) -> Iterator[Finding]:
    """Does CUDA_VISIBLE_DEVICES let programs see the GPUs?

    CUDA reads the list up to the first entry that names no GPU here and forgets the rest; an empty list or -1 hides all.
    nvidia-smi ignores the variable, so the machine looks healthy.
    """
    value = machine.environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        yield Finding(status=Status.PASS, summary="CUDA_VISIBLE_DEVICES is not set: every GPU is visible")
        return
    if not machine.gpus:
        yield Finding(status=Status.SKIP, summary="no GPU to be hidden")
        return
    visible, stopped_at = _visible(value, machine)
    count = len(machine.gpus)
    evidence = (Evidence(fact="CUDA_VISIBLE_DEVICES", value=value, read_from="environment"),)
    if not visible:
        yield Finding(
            status=Status.FAIL,
            summary=f'CUDA_VISIBLE_DEVICES="{value}" hides all GPUs ({count} here): CUDA programs find no device',
            evidence=evidence,
            remedies=(_UNSET,),
        )
    elif stopped_at is not None:
        yield Finding(
            status=Status.WARN,
            summary=f'CUDA_VISIBLE_DEVICES="{value}": `{stopped_at}` names no GPU here, so it and all after it are dropped',
            why=f"{len(visible)} of {count} GPUs remain visible.",
            evidence=evidence,
            remedies=(_UNSET,),
        )
    elif len(visible) < count:
        yield Finding(
            status=Status.INFO, summary=f"CUDA_VISIBLE_DEVICES shows {len(visible)} of {count} GPUs", evidence=evidence
        )
    else:
        yield Finding(status=Status.PASS, summary=f"CUDA_VISIBLE_DEVICES shows all {count} GPUs", evidence=evidence)


def visible_gpus(machine: Machine) -> tuple[Gpu, ...]:
    """The GPUs that CUDA programs see; all where the variable names none of them, for then that is the fault to mend."""
    value = machine.environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return machine.gpus
    kept, _ = _visible(value, machine)
    seen = tuple(gpu for gpu in machine.gpus if any(_is(gpu, entry) for entry in kept))
    return seen or machine.gpus


def _is(gpu: Gpu, entry: str) -> bool:
    if entry.isascii() and entry.isdecimal():
        return gpu.index == int(entry)
    return entry.startswith("MIG-") or (gpu.uuid or "").lower().startswith(entry.lower())


def _visible(value: str, machine: Machine) -> tuple[list[str], str | None]:
    """The entries that CUDA keeps, and the one that ended its reading. -1 ends it on purpose."""
    kept: list[str] = []
    for entry in (part.strip() for part in value.split(",")):
        if not _names_a_gpu(entry, machine):
            return kept, None if entry in ("-1", "") else entry
        if entry in kept:
            return [], entry  # a GPU named twice makes CUDA refuse the whole list
        kept.append(entry)
    return kept, None


def _names_a_gpu(entry: str, machine: Machine) -> bool:
    if re.fullmatch(r"[0-9]{1,9}", entry):
        return int(entry) < len(machine.gpus)
    if entry.startswith("MIG-"):
        return any(gpu.mig_enabled or _mig_unknown(gpu, machine) for gpu in machine.gpus)
    if entry.startswith("GPU-"):
        matching = [gpu for gpu in machine.gpus if (gpu.uuid or "").lower().startswith(entry.lower())]
        return len(matching) == 1 or any(gpu.uuid is None for gpu in machine.gpus)  # a beginning must be unique
    return False


def _mig_unknown(gpu: Gpu, machine: Machine) -> bool:
    reason = machine.why_missing(f"gpus.{gpu.index}.mig_enabled")
    return gpu.mig_enabled is None and "NOT_SUPPORTED" not in reason
