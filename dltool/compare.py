"""What is new since an earlier report."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from dltool.lang import tr
from dltool.results import Evidence, Finding, Report, Status

KNOWN = "baseline-known"
"""The id of the finding that says how many others are hidden."""
_NEVER_HIDDEN = (Status.PASS, Status.SKIP)


def identity(finding: Finding) -> tuple[str, tuple[int, ...], str]:
    """What makes findings of two runs the same: their check, the GPUs concerned, and the outcome. Not the words."""
    return finding.id, finding.devices, finding.status.value


def hide_known(report: Report, baseline: Report) -> Report:
    """The report without the findings that `baseline` has too, and with one that says which these are.

    A baseline hides only as many findings of one identity as it holds: what comes on top is new, and where the words tell which
    one is the old one, that is the hidden one. What passed or does not apply stays, so that a count of it stays true.
    """
    left = Counter(identity(finding) for finding in baseline.findings)
    words = {(identity(finding), finding.summary) for finding in baseline.findings}
    kept = list(report.findings)
    hidden = []
    for finding in sorted(report.findings, key=lambda finding: (identity(finding), finding.summary) not in words):
        if finding.status not in _NEVER_HIDDEN and left[identity(finding)] > 0:
            left[identity(finding)] -= 1
            kept.remove(finding)
            hidden.append(finding)
    return replace(report, findings=(*kept, _told(hidden, baseline))) if hidden else report


def _told(hidden: list[Finding], baseline: Report) -> Finding:
    count = len(hidden)
    where = f"baseline of {baseline.created}"
    return Finding(
        id=KNOWN,
        status=Status.INFO,
        summary=tr(f"{count} known finding{'s are' if count > 1 else ' is'} hidden", f"已隐藏 {count} 项已知结果"),
        why=tr("The baseline has the same of the same GPUs.", "基线中有同样的 GPU 的同样结果。"),
        evidence=tuple(
            Evidence(fact=finding.id, value=f"{finding.status.value}: {finding.summary}", read_from=where) for finding in hidden
        ),
    )
