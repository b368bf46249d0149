"""Words that every format says alike: of counts, risks and of who can mend a thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dltool.lang import tr
from dltool.results import Finding, Risk, Scope, Status


def counted(findings: Iterable[Finding]) -> str:
    """How many findings there are of which outcome, the gravest first: "3 failed, 80 passed."."""
    words = {
        Status.FAIL: tr("failed", "项失败"),
        Status.CRASH: tr("crashed", "项自身出错"),
        Status.WARN: tr("warned", "项警告"),
        Status.UNKNOWN: tr("could not look", "项无法查看"),
        Status.INFO: tr("noted", "项提示"),
        Status.PASS: tr("passed", "项通过"),
        Status.SKIP: tr("do not apply", "项不适用"),
    }
    counts = Counter(finding.status for finding in findings)
    parts = [f"{counts[status]} {word}" for status, word in words.items() if counts[status]]
    return tr(", ", "，").join(parts) + tr(".", "。")


def needs(risk: Risk) -> str:
    """What is to be said behind a remedy, with a space before it; nothing where a user may just do it."""
    if risk is Risk.ROOT:
        return tr(" (as root)", "（需要 root）")
    return tr(" (as root, restarts the machine)", "（需要 root，会重启机器）") if risk is Risk.REBOOT else ""


def for_whom(scope: Scope) -> str:
    """Who can mend it, where it is not the user."""
    if scope is Scope.HOST:
        return tr("for whoever runs this host", "请交给本机的管理员处理")
    if scope is Scope.PROVIDER:
        return tr("for the provider of this machine: send them this", "请把这些内容发给机器的提供方")
    return ""
