"""Rules of the kernel modules on Linux: open or proprietary."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.compat import drivers
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, rule, seen, unknown
from dltool.compat.versions import known_version
from dltool.lang import tr
from dltool.results import Finding, Risk, Scope

_OPEN_FROM = 515
"""First branch with open kernel modules."""


@rule("kernel-module")
def kernel_module(question: Question) -> Iterator[Finding]:
    """Some GPUs need the open kernel modules, some the proprietary ones."""
    kind = question.kernel_module
    if kind is None or question.os != "linux" or question.tegra:
        return
    for capability in question.compute_capabilities:
        row = drivers.kernel_module_rule(capability)
        if row is not None:
            yield _flavour(question, kind, capability, row)
            continue
        yield unknown(
            tr(
                f"which kernel modules compute capability {capability} needs is not in the table",
                f"数据表中没有计算能力 {capability} 需要哪种内核模块",
            )
        )


def _flavour(question: Question, kind: str, capability: str, row: dict[str, str]) -> Finding:
    evidence = (asked("kernel module", kind), seen(row["architecture"], row[kind], "kernel_modules", row["source"]))
    other = {"open": "proprietary", "proprietary": "open"}[kind]
    zh = {"open": "开放", "proprietary": "专有"}
    if kind == "open" and _before_open(question):
        return broken(
            tr(f"driver {question.driver} has no open kernel modules", f"驱动 {question.driver} 没有开源内核模块"),
            *evidence,
            why=tr(f"They came with branch {_OPEN_FROM}.", f"它们从 {_OPEN_FROM} 分支才有。"),
            fix=tr("Install the proprietary ones, or a newer driver.", "安装专有内核模块，或更新的驱动。"),
            risk=Risk.REBOOT,
            scope=Scope.HOST,
        )
    grace = kind == "proprietary" and capability == "9.0" and "superchip" in question.gpu_segments
    if row[kind] == "unsupported" or grace:
        return broken(
            tr(
                f"the {kind} kernel modules do not drive {row['architecture']}",
                f"{zh[kind]}内核模块不支持 {row['architecture']}",
            ),
            *evidence,
            why=tr("RmInitAdapter fails, and no device appears.", "RmInitAdapter 失败，不会出现任何设备。"),
            fix=tr(
                f"Install the {other} kernel modules of the same driver version.", f"安装同一驱动版本的{zh[other]}内核模块。"
            ),
            risk=Risk.REBOOT,
            scope=Scope.HOST,
        )
    return good(
        tr(f"the {kind} kernel modules drive {row['architecture']}", f"{zh[kind]}内核模块支持 {row['architecture']}"), *evidence
    )


def _before_open(question: Question) -> bool:
    have = known_version(question.driver)
    return have is not None and have.major < _OPEN_FROM
