"""Processes that hang in the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.hardware import is_recent
from dltool.lang import tr
from dltool.machine import Machine, StuckProcess
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_FILE_SERVER, _DRIVER = re.compile(r"nfs|rpc_|cifs|smb|lustre|ll_|ceph"), re.compile(r"nv|os_acquire|uvm|rm_")


@check(
    "processes-stuck",
    caused_by=("gpu-fell-off-bus", "gpu-xid", "driver-not-answering"),
    zh="""是否有进程卡在内核里？

    处于 D 状态的进程在等待设备或文件服务器，连 `kill -9` 也结束不了；它占用的 GPU 显存也不会释放。常见原因是 NFS 服务器失联，
    或 GPU 驱动在等一块不再响应的 GPU。一次快照看不出等了多久：只有内核日志也报告它阻塞超过 120 秒，才视为问题。

    解决：文件服务器失联则先恢复它；GPU 不响应则看内核日志中的 Xid，通常需要重启机器。

    预防：NFS 用 `soft` 或带超时的方式挂载；训练前先运行 `dltool doctor`。""",
)
def processes_stuck(machine: Machine) -> Iterator[Finding]:
    """Does a process hang inside the kernel?

    A process in state D waits for a device or a file server, and not even `kill -9` ends it; the GPU memory that it holds
    is not given back. Most often an NFS server is gone, or the driver waits for a GPU that no longer answers. One look
    cannot tell how long it has waited: only where the kernel's log says too that it was blocked for more than 120 seconds
    is it a problem.

    Mend: get the file server going again; for a GPU look for Xids in the kernel's log, most often the machine must be
    restarted.

    Prevent: mount NFS `soft` or with a time limit, and run `dltool doctor` before long jobs.

    See: https://docs.kernel.org/admin-guide/sysctl/kernel.html https://docs.nvidia.com/deploy/xid-errors/
    """
    stuck = machine.stuck_processes
    if stuck is None:
        reason = machine.why_missing("stuck_processes")
        status = Status.UNKNOWN if "stuck_processes" in machine.gaps else Status.SKIP
        yield Finding(status=status, summary=tr(f"processes could not be looked at: {reason}", f"无法查看进程：{reason}"))
        return
    events = machine.kernel_log.events if machine.kernel_log else ()
    told = {event.code for event in events if event.kind == "hung_task" and is_recent(event)}
    sure = [one for one in stuck if one.pid in told]
    if sure:
        yield _hung(sure)
    elif waiting := [one for one in stuck if _on_what(one)]:
        yield Finding(
            status=Status.INFO,
            summary=tr(f"waiting in the kernel just now: {_named(waiting)}", f"此刻正在内核中等待：{_named(waiting)}"),
            why=tr("That may be over in a moment; look again.", "可能片刻就结束，请再看一次。"),
            evidence=tuple(map(_evidence, waiting)),
        )
    else:
        yield Finding(status=Status.PASS, summary=tr("no process hangs in the kernel", "没有进程卡在内核里"))


def _hung(stuck: list[StuckProcess]) -> Finding:
    return Finding(
        status=Status.WARN,
        summary=tr(f"hanging in the kernel for more than 120 s: {_named(stuck)}", f"卡在内核中超过 120 秒：{_named(stuck)}"),
        why=tr("It cannot be ended, and keeps the GPU memory that it holds.", "它无法被结束，占用的显存也不会释放。"),
        evidence=tuple(map(_evidence, stuck)),
        remedies=(
            Remedy(
                text=tr("See what it waits for.", "查看它在等什么。"),
                commands=(
                    f"sudo cat /proc/{stuck[0].pid}/stack",
                    "sudo dmesg | grep -iE 'blocked for more|NVRM|nfs' | tail -20",
                ),
                risk=Risk.ROOT,
            ),
            Remedy(
                text=tr("If it waits for a GPU, restart the machine.", "若在等待 GPU，请重启机器。"),
                commands=("sudo reboot",),
                risk=Risk.REBOOT,
            ),
        ),
        scope=Scope.HOST,
    )


def _on_what(one: StuckProcess) -> bool:
    return bool(one.waits_in and (_FILE_SERVER.search(one.waits_in) or _DRIVER.match(one.waits_in)))


def _named(stuck: list[StuckProcess]) -> str:
    return ", ".join(f"{one.name or '?'} ({one.pid})" for one in stuck[:5])


def _evidence(one: StuckProcess) -> Evidence:
    return Evidence(fact=f"process {one.pid}", value=f"D, {one.waits_in or 'place not shown'}", read_from="/proc")
