"""What driver and kernel wrote down of the GPUs' health: Xids, GPUs that are gone, did not start, or ask for a reset."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import tables
from dltool.checks import check
from dltool.checks.hardware import (
    REBOOT,
    SEND,
    answers,
    events,
    indices,
    is_lost,
    is_recent,
    no_gpu,
    read_log,
    reset,
    scope,
    told,
    why_no_log,
)
from dltool.checks.memory import FAULTS
from dltool.errors import CannotRun
from dltool.machine import KernelEvent, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

XID_LIST = "https://docs.nvidia.com/deploy/xid-errors/"
_OF_PROGRAMS = (13, 31, 43, 45)
"""Xids that a faulty program makes, should the table be missing."""
_JUDGED_ELSEWHERE = {79: "gpu-fell-off-bus", 119: "gsp-failed", 120: "gsp-failed"}
_OF_MEMORY = (48, 63, 64, 94, 95, 140)
_RECOVERY = 154
"""The Xid whose text says what the driver asks for."""
_NVLINK_5 = range(144, 151)
"""Xids of Blackwell's NVLink, whose text says whether they are fatal."""


@check("gpu-xid")
def gpu_xid(machine: Machine) -> Iterator[Finding]:
    """Has the driver reported errors (Xids) of a GPU since it was loaded?

    An Xid is the driver's number for an error of a GPU. Some are faults of programs (13, 31, 43, 45) and say nothing of the
    machine; others are of the memory, of the links or of the board. Those that need a reset or a repair fail, for a day.
    """
    inapplicable = no_gpu(machine) or why_no_log(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    found = events(machine, "xid")
    by_code: dict[int, list[KernelEvent]] = {}
    for event in found:
        by_code.setdefault(event.code or 0, []).append(event)
    for code, of_code in by_code.items():
        yield _xid(machine, code, of_code)
    if not found:
        yield _nothing_in_log(machine, "no Xid")


def _nothing_in_log(machine: Machine, what: str) -> Finding:
    log = machine.kernel_log
    back = log.reaches_back_s if log else None
    evidence = (
        Evidence(fact="the log reaches back, in seconds", value=back, read_from=log.source if log else ""),
        Evidence(fact="messages left out by the kernel", value=log.suppressed if log else None, read_from="kernel log"),
    )
    return Finding(status=Status.PASS, summary=f"{what} in the kernel's log", evidence=evidence)


def _xid(machine: Machine, code: int, found: list[KernelEvent]) -> Finding:
    row = _xid_row(code)
    recent = [event for event in found if is_recent(event)]
    count = sum(event.count for event in found)
    status = max((_gravity(code, row, event.text, event.count) for event in found), key=lambda each: each.severity)
    if not recent and code == 79 and all(answers(machine, event.pci_bus_id) for event in found):
        status = Status.INFO
    elif not recent:
        status = {Status.FAIL: Status.WARN, Status.WARN: Status.INFO}.get(status, status)
    where = ", ".join(dict.fromkeys(event.pci_bus_id for event in found if event.pci_bus_id)) or "an unnamed GPU"
    devices = indices(machine, found)
    meaning = row["meaning"] if row else "not in our table"
    times = f"{count} times" if count > 1 else "once"
    cause = _JUDGED_ELSEWHERE.get(code) or (_memory_cause(machine, devices) if code in _OF_MEMORY else None)
    return Finding(
        status=status,
        summary=f"Xid {code} ({times}, {where}): {meaning}",
        why=row.get("note", "") if row else f"NVIDIA's list says what it is: {XID_LIST}",
        evidence=told(machine, found),
        remedies=_xid_remedies(row, devices) if status.is_problem or status is Status.UNKNOWN else (),
        scope=Scope.ENVIRONMENT if status is Status.INFO else scope(machine),
        devices=devices,
        caused_by=cause if status.is_problem else None,
        doc=XID_LIST,
    )


def _xid_row(code: int) -> tables.Row | None:
    try:
        rows = tables.rows("compat/xid")
    except CannotRun:
        return None
    return next((row for row in rows if (row.get("number") or row.get("code")) == str(code) and "meaning" in row), None)


def _gravity(code: int, row: tables.Row | None, text: str, count: int) -> Status:
    """What a recent Xid is worth: programs' faults are told, what asks for a reset or a repair fails."""
    if code == _RECOVERY:
        return Status.INFO  # see gpu-reset-required
    if code in _NVLINK_5:
        return Status.FAIL if re.search(r"(?<![a-z-])fatal", text, re.IGNORECASE) else Status.INFO
    if row is None:
        return Status.INFO if code in _OF_PROGRAMS else Status.UNKNOWN
    fatal, action = row.get("fatal", ""), row.get("action", "")
    if code in _OF_PROGRAMS or "application" in row.get("causes", "").split():
        return Status.FAIL if fatal == "yes" else Status.INFO
    if fatal == "yes":
        return Status.FAIL
    if action in ("none", "follow-other", "") or fatal == "":
        again = bool(row.get("if_again")) and count > 1
        return Status.WARN if again or action in ("reset-gpu", "reboot", "provider") else Status.INFO
    return Status.WARN


def _xid_remedies(row: tables.Row | None, devices: tuple[int, ...]) -> tuple[Remedy, ...]:
    if row is None:
        return (Remedy(text=f"Look it up in NVIDIA's list: {XID_LIST}"), SEND)
    action, again = row.get("action", ""), row.get("if_again", "")
    own = {
        "restart-app": (Remedy(text=_action(action)),),
        "check-app": (Remedy(text=_action(action), commands=("CUDA_LAUNCH_BLOCKING=1 compute-sanitizer COMMAND",)),),
        "reset-gpu": (reset(devices),),
        "reboot": (REBOOT,),
        "provider": (SEND,),
    }.get(action, (Remedy(text=_action(action)), reset(devices)))
    return (*own, SEND) if again == "provider" and SEND not in own else own


def _action(action: str) -> str:
    try:
        rows = tables.rows("compat/xid_actions")
    except CannotRun:
        rows = ()
    return next(
        (row["mend"] for row in rows if row.get("action") == action and row.get("mend")), "Look at the driver and the GPU."
    )


def _memory_cause(machine: Machine, devices: tuple[int, ...]) -> str | None:
    """The check of the memory that finds the same fault in the GPU's own counters."""
    gpus = [gpu for gpu in machine.gpus if gpu.index in devices]
    for name, has in FAULTS.items():
        if any(has(gpu) for gpu in gpus):
            return name
    return None


@check("gpu-fell-off-bus")
def gpu_fell_off_bus(machine: Machine) -> Iterator[Finding]:
    """Does every GPU still answer on the PCI Express bus?

    A GPU that lost power, overheated, sits badly or broke is gone for the driver until the machine is switched off and on.
    Newer drivers say so without an Xid number, and at their start without a word to NVML: the GPU is only missing there.
    """
    inapplicable = no_gpu(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    fallen = [*events(machine, "fell_off_bus"), *(event for event in events(machine, "xid") if event.code == 79)]
    back = [event for event in fallen if answers(machine, event.pci_bus_id) and not is_recent(event)]
    gone = [event for event in fallen if event not in back]
    silent = [device.bus_id for device in machine.pci or () if device.responds is False]
    lost = [gpu for gpu in machine.gpus if gpu.pci_bus_id not in silent and is_lost(machine, gpu)]
    if not gone and not silent and not lost:
        known = machine.kernel_log is not None or any(device.responds for device in machine.pci or ()) or machine.gpus
        if back:
            yield Finding(
                status=Status.INFO,
                summary="a GPU fell off the bus some time ago and is back",
                evidence=told(machine, back),
                devices=indices(machine, back),
            )
        elif known:
            yield Finding(status=Status.PASS, summary="every GPU answers on the PCI bus")
        else:
            yield Finding(status=Status.UNKNOWN, summary=f"neither bus nor log could be read: {machine.why_missing('pci')}")
        return
    at = [gpu.pci_bus_id or f"index {gpu.index}" for gpu in lost]
    where = dict.fromkeys([*silent, *(event.pci_bus_id for event in gone if event.pci_bus_id), *at])
    config = (
        Evidence(fact=f"configuration space of {bus_id}", value="all ones: nothing there", read_from="/sys/bus/pci/devices")
        for bus_id in silent
    )
    yield Finding(
        status=Status.FAIL,
        summary=f"the GPU at {', '.join(where) or 'an unnamed place'} fell off the bus: the driver cannot reach it any more",
        why="Mostly power, heat, a loose card or riser, or a dead board. A reset by software does not bring it back.",
        evidence=(
            *config,
            *(Evidence(fact=f"answers of GPU {gpu.index}", value="NVML_ERROR_GPU_IS_LOST", read_from="NVML") for gpu in lost),
            *told(machine, gone),
        ),
        remedies=(
            Remedy(
                text="Move work off the machine, switch it off, wait, and switch it on: a warm restart often does not suffice.",
                commands=("sudo poweroff",),
                risk=Risk.REBOOT,
            ),
            read_log("xid|nvrm|fallen|aer"),
            SEND,
        ),
        scope=scope(machine),
        devices=tuple(sorted({*indices(machine, gone), *(gpu.index for gpu in lost)})),
    )


@check("gpu-init-failed", caused_by=("gpu-fell-off-bus", "kernel-module-flavour", "gsp-failed"))
def gpu_init_failed(machine: Machine) -> Iterator[Finding]:
    """Could the driver start every GPU?

    RmInitAdapter is the driver's start of one GPU. Where it fails, the GPU is on the bus and held by the driver, but NVML and
    CUDA do not see it: a GPU too old or too new for the driver, memory windows (BARs) that the firmware could not place, a
    board that does not answer.
    """
    inapplicable = no_gpu(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    failed = events(machine, "init_failed", "probe_failed", "bar_invalid", "unsupported_gpu")
    held = [event for event in failed if not answers(machine, event.pci_bus_id)]
    shown = {device.bus_id for device in machine.pci or () if device.kernel_driver != "vfio-pci"}
    missing = shown - {gpu.pci_bus_id for gpu in machine.gpus} if machine.pci is not None else {""}
    held = [event for event in held if event.pci_bus_id is not None or (missing and not machine.os.container)]
    if not held:
        if machine.gpus:
            yield Finding(status=Status.PASS, summary=f"the driver started {len(machine.gpus)} GPU(s)")
        else:
            yield Finding(status=Status.SKIP, summary="no GPU answers, and the log names no failed start")
        return
    kinds = {event.kind for event in held}
    bar = Remedy(text="In the firmware's setup switch on Above 4G Decoding and Resizable BAR, or boot with realloc.",
                 commands=("sudo lspci -vvs BUS_ID", "sudo reboot"), risk=Risk.REBOOT)  # fmt: skip
    legacy = Remedy(text="Install the driver branch that supports this GPU.", commands=("dltool compat --gpu NAME",))
    where = ", ".join(dict.fromkeys(event.pci_bus_id for event in held if event.pci_bus_id)) or "an unnamed place"
    yield Finding(
        status=Status.FAIL,
        summary=f"this driver does not support the GPU at {where}"
        if "unsupported_gpu" in kinds
        else f"the driver could not start the GPU at {where}",
        evidence=told(machine, held),
        remedies=(
            *((legacy,) if "unsupported_gpu" in kinds else ()),
            *((bar,) if "bar_invalid" in kinds else ()),
            read_log("nvrm|nvidia"),
            REBOOT,
            SEND,
        ),
        scope=scope(machine),
        devices=indices(machine, held),
    )


@check("gsp-failed", caused_by=("gpu-fell-off-bus",))
def gsp_failed(machine: Machine) -> Iterator[Finding]:
    """Does the system processor (GSP) of each GPU run its firmware?

    From Turing on a processor on the GPU does much of the driver's work. When it does not start, the GPU does not; when it
    hangs (Xid 119, 120), every call into the driver waits. Firmware of another version than the driver, bugs of some
    drivers, and hardware faults do this.
    """
    inapplicable = no_gpu(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    found = [*events(machine, "gsp_failed"), *(event for event in events(machine, "xid") if event.code in (119, 120))]
    recent = [event for event in found if is_recent(event) or not answers(machine, event.pci_bus_id)]
    if not found:
        if machine.gpus or machine.kernel_log is not None:
            yield Finding(status=Status.PASS, summary="no failure of a GPU's system processor is known")
        else:
            yield Finding(status=Status.UNKNOWN, summary=f"the kernel's log: {machine.why_missing('kernel_log')}")
        return
    firmware = any("firmware load" in event.text or "firmware image" in event.text for event in found)
    devices = indices(machine, found)
    files = Remedy(
        text="The firmware files of the driver are missing: install the driver's packages anew, all of one version.",
        commands=("ls /lib/firmware/nvidia/", "cat /proc/driver/nvidia/version"),
        risk=Risk.READ_ONLY,
    )
    yield Finding(
        status=Status.FAIL if recent else Status.WARN,
        summary="the system processor (GSP) of a GPU " + ("found no firmware" if firmware else "failed or did not answer"),
        evidence=told(machine, found),
        remedies=(
            *((files,) if firmware else ()),
            reset(devices),
            Remedy(
                text="Update the driver to the newest patch of its branch: several had bugs here. "
                "With the proprietary module on Turing to Hopper the GSP can be left out.",
                commands=(
                    "echo 'options nvidia NVreg_EnableGpuFirmware=0' | sudo tee /etc/modprobe.d/nvidia-gsp.conf",
                    "sudo reboot",
                ),
                risk=Risk.REBOOT,
            ),
            SEND,
        ),
        scope=scope(machine),
        devices=devices,
    )


@check("gpu-reset-required", caused_by=("gpu-fell-off-bus", "gpu-xid", "ecc-uncorrected"))
def gpu_reset_required(machine: Machine) -> Iterator[Finding]:
    """Does the driver ask for a reset of a GPU, or for a restart of the machine?

    After some errors a GPU is listed as if it were well, yet every program gets "CUDA-capable device(s) is/are busy or
    unavailable". Drivers from R570 on say in NVML what they need; older ones only write it into the kernel's log.
    """
    inapplicable = no_gpu(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    asked = [gpu for gpu in machine.gpus if gpu.recovery_action not in (None, "none")]
    last: dict[str | None, KernelEvent] = {}
    for event in events(machine, "xid", "reset_required"):  # the newest first: it overrules those before it
        if event.kind == "reset_required" or event.code == _RECOVERY:
            last.setdefault(event.pci_bus_id, event)
    written = [
        event
        for event in last.values()
        if is_recent(event)
        and not re.search(r"\bto \S+ \(None\)", event.text)
        and not any(gpu.recovery_action == "none" for gpu in machine.gpus if event.pci_bus_id in (None, gpu.pci_bus_id))
    ]
    if not asked and not written:
        known = machine.kernel_log is not None or any(gpu.recovery_action for gpu in machine.gpus)
        summary = (
            "no GPU needs a reset" if known else "whether a GPU needs a reset is not known: neither NVML nor the log tells"
        )
        # Drivers before R570 without a readable log are the rule, not a reason for a question mark: gpu-xid has it already.
        yield Finding(status=Status.PASS if known else Status.SKIP, summary=summary)
        return
    devices = tuple(sorted({gpu.index for gpu in asked} | set(indices(machine, written))))
    wants = {gpu.recovery_action for gpu in asked}
    restart = any("reboot" in (action or "") for action in wants) or any("Reboot" in event.text for event in written)
    yield Finding(
        status=Status.FAIL,
        summary=f"the driver asks for {'a restart of the machine' if restart else 'a reset'}: GPU "
        + (", ".join(map(str, devices)) or "not named"),
        evidence=(
            *(
                Evidence(fact=f"recovery action of GPU {gpu.index}", value=gpu.recovery_action, read_from="NVML field 230")
                for gpu in asked
            ),
            *told(machine, written),
        ),
        remedies=(REBOOT, SEND) if restart else (reset(devices), REBOOT),
        scope=scope(machine),
        devices=devices,
    )
