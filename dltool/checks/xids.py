"""The errors of GPUs that the driver numbers and writes into the kernel's log: Xids."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import tables, texts
from dltool.checks import check
from dltool.checks.hardware import (
    answers,
    events,
    indices,
    is_recent,
    no_gpu,
    reboot,
    reset,
    scope,
    send,
    told,
    why_no_log,
)
from dltool.checks.memory import FAULTS
from dltool.errors import CannotRun
from dltool.lang import tr
from dltool.machine import KernelEvent, Machine
from dltool.results import Evidence, Finding, Remedy, Scope, Status

XID_LIST = "https://docs.nvidia.com/deploy/xid-errors/"
RECOVERY = 154
"""The Xid whose text says what the driver asks for: see gpu-reset-required."""
_OF_PROGRAMS = (13, 31, 43, 45)
"""Xids that a faulty program makes, should the table be missing."""
_JUDGED_ELSEWHERE = {79: "gpu-fell-off-bus", 119: "gsp-failed", 120: "gsp-failed"}
_OF_MEMORY = (48, 63, 64, 94, 95, 140)
_NVLINK_5 = range(144, 151)
"""Xids of Blackwell's NVLink, whose text says whether they are fatal."""
_LIVED_THROUGH = {Status.FAIL: Status.WARN, Status.WARN: Status.INFO}
"""What an Xid is worth a day later."""


@check(
    "gpu-xid",
    zh="""
    自驱动加载以来，它是否报告过 GPU 的错误（Xid）？

    Xid 是驱动给 GPU 错误的编号。有些是程序的错误（13、31、43、45），与机器好坏无关；另一些出在显存、链路或板卡上。
    需要复位或维修的，在一天之内算作故障。

    解决：先看编号的含义：`dltool doctor --explain xid-48`。属于程序的，用 `CUDA_LAUNCH_BLOCKING=1` 和 `compute-sanitizer`
    找出错误；要求复位的，停止该 GPU 上的程序后运行 `sudo nvidia-smi --gpu-reset -i INDEX`，或重启机器；
    反复出现的，把 `sudo nvidia-bug-report.sh` 的结果交给管理方或厂商。

    预防：使用所在驱动分支的最新补丁版本，保证散热和供电；把内核日志中的 Xid 纳入监控，对出错的节点先停止调度。
    """,
)
def gpu_xid(machine: Machine) -> Iterator[Finding]:
    """Has the driver reported errors (Xids) of a GPU since it was loaded?

    An Xid is the driver's number for an error of a GPU. Some are faults of programs (13, 31, 43, 45) and say nothing of the
    machine; others are of the memory, of the links or of the board. Those that need a reset or a repair fail, for a day.

    Mend: See first what the number means: `dltool doctor --explain xid-48`. Where it is the program, find the fault with
    `CUDA_LAUNCH_BLOCKING=1` and `compute-sanitizer`. Where a reset is asked for, stop what runs on the GPU, then
    `sudo nvidia-smi --gpu-reset -i INDEX`, or restart the machine. What comes again goes to whoever runs the machine, or to the
    vendor, with what `sudo nvidia-bug-report.sh` collects.

    Prevent: Run the newest patch of the driver's branch, and see to cooling and power. Watch the kernel's log for Xids, and
    schedule nothing on a node that has one.

    See: https://docs.nvidia.com/deploy/xid-errors/ https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    inapplicable = no_gpu(machine) or why_no_log(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    by_code: dict[int, list[KernelEvent]] = {}
    for event in events(machine, "xid"):
        by_code.setdefault(event.code or 0, []).append(event)
    for code, found in by_code.items():
        yield _xid(machine, code, found)
    if not by_code:
        yield _none(machine)


def _none(machine: Machine) -> Finding:
    log = machine.kernel_log
    back = log.reaches_back_s if log else None
    evidence = (
        Evidence(fact="the log reaches back, in seconds", value=back, read_from=log.source if log else ""),
        Evidence(fact="messages left out by the kernel", value=log.suppressed if log else None, read_from="kernel log"),
    )
    return Finding(status=Status.PASS, summary=tr("no Xid in the kernel's log", "内核日志中没有 Xid"), evidence=evidence)


def _xid(machine: Machine, code: int, found: list[KernelEvent]) -> Finding:
    row, status, devices = _row(code), _status(machine, code, found), indices(machine, found)
    cause = _JUDGED_ELSEWHERE.get(code) or (_memory_cause(machine, devices) if code in _OF_MEMORY else None)
    look_up = tr(f"NVIDIA's list says what it is: {XID_LIST}", f"含义见 NVIDIA 的列表：{XID_LIST}")
    return Finding(
        status=status,
        summary=_summary(code, row, found),
        why=row.get("note", "") if row else look_up,
        evidence=told(machine, found),
        remedies=_remedies(row, devices) if status.is_problem or status is Status.UNKNOWN else (),
        scope=Scope.ENVIRONMENT if status is Status.INFO else scope(machine),
        devices=devices,
        caused_by=cause if status.is_problem else None,
        doc=XID_LIST,
    )


def _summary(code: int, row: tables.Row | None, found: list[KernelEvent]) -> str:
    count = sum(event.count for event in found)
    times = tr(f"{count} times", f"出现 {count} 次") if count > 1 else tr("once", "出现一次")
    buses = ", ".join(dict.fromkeys(event.pci_bus_id for event in found if event.pci_bus_id))
    where = buses or tr("an unnamed GPU", "未指明的 GPU")
    meaning = row["meaning"] if row else tr("not in our table", "不在我们的表中")
    return tr(f"Xid {code} ({times}, {where}): {meaning}", f"Xid {code}（{where} 上{times}）：{meaning}")


def _row(code: int) -> tables.Row | None:
    try:
        rows = texts.rows("compat/xid")
    except CannotRun:
        return None
    return next((row for row in rows if (row.get("number") or row.get("code")) == str(code) and "meaning" in row), None)


def _status(machine: Machine, code: int, found: list[KernelEvent]) -> Status:
    """What the gravest event of one code is worth, and less where that was a day ago or more."""
    row = _row(code)
    status = max((_gravity(code, row, event) for event in found), key=lambda each: each.severity)
    if any(map(is_recent, found)):
        return status
    if code == 79 and all(answers(machine, event.pci_bus_id) for event in found):
        return Status.INFO
    return _LIVED_THROUGH.get(status, status)


def _gravity(code: int, row: tables.Row | None, event: KernelEvent) -> Status:
    """What a recent Xid is worth: programs' faults are told, what asks for a reset or a repair fails."""
    if code == RECOVERY:
        return Status.INFO
    if code in _NVLINK_5:
        return Status.FAIL if re.search(r"(?<![a-z-])fatal", event.text, re.IGNORECASE) else Status.INFO
    if row is None:
        return Status.INFO if code in _OF_PROGRAMS else Status.UNKNOWN
    fatal, action = row.get("fatal", ""), row.get("action", "")
    if fatal == "yes":
        return Status.FAIL
    if code in _OF_PROGRAMS or "application" in row.get("causes", "").split():
        return Status.INFO
    if action in ("none", "follow-other", "") or fatal == "":
        again = bool(row.get("if_again")) and event.count > 1
        return Status.WARN if again or action in ("reset-gpu", "reboot", "provider") else Status.INFO
    return Status.WARN


def _remedies(row: tables.Row | None, devices: tuple[int, ...]) -> tuple[Remedy, ...]:
    if row is None:
        return (Remedy(text=tr(f"Look it up in NVIDIA's list: {XID_LIST}", f"在 NVIDIA 的列表中查找：{XID_LIST}")), send())
    action, again = row.get("action", ""), row.get("if_again", "")
    own = {
        "restart-app": (Remedy(text=_action(action)),),
        "check-app": (Remedy(text=_action(action), commands=("CUDA_LAUNCH_BLOCKING=1 compute-sanitizer COMMAND",)),),
        "reset-gpu": (reset(devices),),
        "reboot": (reboot(),),
        "provider": (send(),),
    }.get(action, (Remedy(text=_action(action)), reset(devices)))
    return (*own, send()) if again == "provider" and action != "provider" else own


def _action(action: str) -> str:
    try:
        rows = texts.rows("compat/xid_actions")
    except CannotRun:
        rows = ()
    known = next((row["mend"] for row in rows if row.get("action") == action and row.get("mend")), None)
    return known or tr("Look at the driver and the GPU.", "检查驱动和 GPU。")


def _memory_cause(machine: Machine, devices: tuple[int, ...]) -> str | None:
    """The check of the memory that finds the same fault in the GPU's own counters."""
    gpus = [gpu for gpu in machine.gpus if gpu.index in devices]
    return next((name for name, has in FAULTS.items() if any(map(has, gpus))), None)
