"""The memory of the GPUs: errors that ECC met, rows and pages that are replaced or wait to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dltool.checks import check
from dltool.checks.hardware import REBOOT, SEND, named, no_answer, reset, scope
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Status


def _volatile(gpu: Gpu) -> int:
    return (gpu.ecc_errors.uncorrected_volatile or 0) if gpu.ecc_errors is not None else 0


FAULTS: dict[str, Callable[[Gpu], bool]] = {
    "rows-remap-failed": lambda gpu: gpu.remapped_rows is not None and gpu.remapped_rows.failed,
    "ecc-uncorrected": lambda gpu: _volatile(gpu) > 0,
    "rows-remap-pending": lambda gpu: gpu.remapped_rows is not None and gpu.remapped_rows.pending,
    "pages-retirement-pending": lambda gpu: bool(gpu.retired_pages_pending),
}
"""The checks of device memory, the gravest first, each with what finds a GPU at fault."""


@check("ecc-uncorrected", caused_by=("rows-remap-failed",))
def ecc_uncorrected(machine: Machine) -> Iterator[Finding]:
    """Has a GPU's memory had errors that ECC could not correct, since the driver was loaded?

    The program that met one is killed, its data is lost. From Ampere on the driver sets the faulty row aside and goes on;
    otherwise the GPU has to be reset. Errors that ECC corrected, and those of former times, are no fault.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    hit = [gpu for gpu in machine.gpus if FAULTS["ecc-uncorrected"](gpu)]
    counted = [gpu for gpu in machine.gpus if gpu.ecc_errors is not None and gpu.ecc_errors.uncorrected_volatile is not None]
    if not hit:
        yield _none_now(machine, counted)
        return
    set_aside = all(
        gpu.remapped_rows is not None and gpu.remapped_rows.uncorrected > 0 and not gpu.remapped_rows.failed for gpu in hit
    )
    devices, count = tuple(gpu.index for gpu in hit), sum(map(_volatile, hit))
    yield Finding(
        status=Status.WARN if set_aside else Status.FAIL,
        summary=f"{named(hit)}: {count} memory error{'s' if count > 1 else ''} that ECC could not correct",
        why="Counted since the driver was loaded. The programs that met them were killed or have wrong data."
        + (" The driver has set the faulty rows aside, so the GPU can go on until its next reset." if set_aside else ""),
        evidence=tuple(
            Evidence(fact=f"uncorrected errors of GPU {gpu.index}", value=_volatile(gpu), read_from="NVML, volatile counter")
            for gpu in hit
        ),
        remedies=(reset(devices), SEND),
        scope=scope(machine),
        devices=devices,
    )


def _none_now(machine: Machine, counted: list[Gpu]) -> Finding:
    before = [gpu for gpu in counted if gpu.ecc_errors is not None and (gpu.ecc_errors.uncorrected_aggregate or 0) > 0]
    if before:
        return Finding(
            status=Status.INFO,
            summary=f"{named(before)}: memory errors in former times, none since the driver was loaded",
            evidence=tuple(
                Evidence(
                    fact=f"uncorrected errors of GPU {gpu.index}, in its life",
                    value=gpu.ecc_errors.uncorrected_aggregate if gpu.ecc_errors else None,
                    read_from="NVML, aggregate counter",
                )
                for gpu in before
            ),
            devices=tuple(gpu.index for gpu in before),
        )
    if counted:
        return Finding(status=Status.PASS, summary=f"no uncorrected memory error on {len(counted)} GPU(s)")
    if any(gpu.ecc_enabled for gpu in machine.gpus):
        reason = next(machine.why_missing(f"gpus.{gpu.index}.ecc_errors") for gpu in machine.gpus if gpu.ecc_enabled)
        return Finding(status=Status.UNKNOWN, summary=f"the counters of ECC could not be read: {reason}")
    if any(gpu.ecc_enabled is False for gpu in machine.gpus):
        return Finding(
            status=Status.INFO, summary="ECC is switched off: errors of the memory are neither corrected nor counted"
        )
    return Finding(status=Status.SKIP, summary="no GPU here counts memory errors")


@check("rows-remap-pending", caused_by=("rows-remap-failed", "ecc-uncorrected"))
def rows_remap_pending(machine: Machine) -> Iterator[Finding]:
    """Does a GPU wait for a reset to replace faulty rows of its memory?

    From Ampere on spare rows take the place of faulty ones, but only at the next reset. Until then the GPU works, with a
    greater risk of the same error again.
    """
    yield from _flag(
        machine,
        "rows-remap-pending",
        known=lambda gpu: gpu.remapped_rows is not None,
        status=Status.WARN,
        summary="faulty rows of memory are replaced only at the next reset",
        evidence=lambda gpu: ("rows to be remapped", gpu.remapped_rows.uncorrected if gpu.remapped_rows else None),
        remedies=lambda devices: (reset(devices), REBOOT),
    )


@check("rows-remap-failed")
def rows_remap_failed(machine: Machine) -> Iterator[Finding]:
    """Has a GPU run out of spare rows for faulty ones?

    The memory then has a fault that nothing hides any more. NVIDIA replaces such boards.
    """
    yield from _flag(
        machine,
        "rows-remap-failed",
        known=lambda gpu: gpu.remapped_rows is not None,
        status=Status.FAIL,
        summary="a faulty row of memory could not be replaced; the board has to be",
        evidence=lambda gpu: ("rows with uncorrected errors", gpu.remapped_rows.uncorrected if gpu.remapped_rows else None),
        remedies=lambda _: (SEND,),
    )


@check("pages-retirement-pending", caused_by=("ecc-uncorrected",))
def pages_retirement_pending(machine: Machine) -> Iterator[Finding]:
    """Does a GPU wait for a restart of the driver to leave out faulty pages of its memory?

    Before Ampere faulty pages are retired, 64 at most, and that takes effect when the driver is loaded anew.
    """
    yield from _flag(
        machine,
        "pages-retirement-pending",
        known=lambda gpu: gpu.retired_pages_pending is not None,
        status=Status.WARN,
        summary="faulty pages of memory are left out only after the next reset",
        evidence=lambda gpu: ("pages pending", gpu.retired_pages_pending),
        remedies=lambda devices: (reset(devices), REBOOT),
    )


def _flag(
    machine: Machine,
    name: str,
    *,
    known: Callable[[Gpu], bool],
    status: Status,
    summary: str,
    evidence: Callable[[Gpu], tuple[str, int | bool | None]],
    remedies: Callable[[tuple[int, ...]], tuple[Remedy, ...]],
) -> Iterator[Finding]:
    """The finding of a check that looks at one flag of each GPU's memory."""
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    hit = [gpu for gpu in machine.gpus if FAULTS[name](gpu)]
    devices = tuple(gpu.index for gpu in hit)
    if hit:
        facts = [(gpu.index, *evidence(gpu)) for gpu in hit]
        yield Finding(
            status=status,
            summary=f"{named(hit)}: {summary}",
            evidence=tuple(
                Evidence(fact=f"{fact}, GPU {index}", value=value, read_from="NVML") for index, fact, value in facts
            ),
            remedies=remedies(devices),
            scope=scope(machine),
            devices=devices,
            caused_by="ecc-uncorrected" if status is Status.WARN and all(map(FAULTS["ecc-uncorrected"], hit)) else None,
        )
    elif any(known(gpu) for gpu in machine.gpus):
        yield Finding(status=Status.PASS, summary="no GPU's memory is concerned")
    else:
        yield Finding(status=Status.SKIP, summary="no GPU here has this feature, or tells of it")
