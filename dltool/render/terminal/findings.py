"""What doctor found: the one thing to know, the problems with their remedies, and a count of the rest."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from dltool.lang import tr
from dltool.machine import Machine
from dltool.render import words
from dltool.render.terminal.page import Page, visible
from dltool.results import Finding, Remedy, Report, Status, root_problems

STYLES = {
    Status.FAIL: "bold red",
    Status.CRASH: "bold magenta",
    Status.WARN: "bold yellow",
    Status.UNKNOWN: "cyan",
    Status.INFO: "cyan",
    Status.PASS: "green",
    Status.SKIP: "dim",
}
_INDENT = 8
_EVIDENCE = 4


def show(report: Report, page: Page) -> None:
    """Problems that nothing explains first, each with what it explains; then notes; then the count."""
    findings = report.findings
    page.line(Text(visible(report.headline), style=headline_style(findings)))
    if report.machine is not None:
        page.line(looked_at(report.machine), style="dim")
    page.line()
    roots = root_problems(findings)
    for finding in roots:
        _problem(finding, [other for other in findings if other.caused_by == finding.id], page)
    notes = [f for f in findings if f.status in (Status.UNKNOWN, Status.INFO) and f.caused_by is None]
    if not page.verbose:
        notes = [note for note in notes if note.summary not in report.headline]
    rest = [f for f in findings if f.status in (Status.PASS, Status.SKIP)] if page.verbose else []
    for finding in (*notes, *rest):
        _head(finding, page)
    if notes or rest:
        page.line()
    page.line(words.counted(findings) + ("" if page.verbose else tr(" All of them: -v", "查看全部：-v")), style="dim")
    if roots:
        means = tr("What a finding means: ", "某项结果的含义：")
        page.line(f"{means}dltool doctor --explain {roots[0].id}", style="dim")


def looked_at(machine: Machine) -> str:
    """Which system and which Python environment were judged: the wrong one explains many a surprise."""
    python = machine.python
    inside = [machine.os.container, "WSL" if machine.os.wsl else None, machine.os.tegra]
    parts = [machine.os.distribution, *(tr(f"in {name}", f"位于 {name} 中") for name in inside if name)]
    if python is not None:
        version = python.torch.version if python.torch else ""
        torch = tr(f"with torch {version}", f"带 torch {version}") if version else tr("without torch", "没有 torch")
        at = tr(f"Python {python.version} {torch} at", f"Python {python.version}（{torch}），位于")
        parts.append(f"{at} {python.executable}")
    return tr("looked at: ", "检查对象：") + tr(", ", "，").join(part for part in parts if part)


def headline_style(findings: Iterable[Finding]) -> str:
    """That of the gravest."""
    worst = max((finding.status for finding in findings), key=lambda status: status.severity, default=Status.PASS)
    return STYLES[worst] if worst.is_problem else "bold green"


def _head(finding: Finding, page: Page) -> None:
    source = tr(f", from {finding.plugin}", f"，来自 {finding.plugin}") if finding.plugin else ""
    name = "" if finding.status.is_problem else f" [{finding.id}{source}]"  # that of a problem has a line of its own
    page.labelled(f"{finding.status.value.upper():<7}", finding.summary + name, indent=0, label_style=STYLES[finding.status])


def _problem(finding: Finding, explained: list[Finding], page: Page) -> None:
    _head(finding, page)
    devices = f" · GPU {', '.join(map(str, finding.devices))}" if finding.devices else ""
    whom = words.for_whom(finding.scope)
    scope = f" · {whom}" if whom else ""
    source = tr(f" · from {finding.plugin}", f" · 来自 {finding.plugin}") if finding.plugin else ""
    page.line(f"{finding.id}{devices}{scope}{source}", style="dim", indent=_INDENT)
    if finding.why:
        page.line(finding.why, indent=_INDENT)
    shown = finding.evidence if page.verbose else finding.evidence[:_EVIDENCE]
    for fact in shown:
        value = "none" if fact.value is None else str(fact.value)
        page.labelled(tr("seen", "依据"), f"{fact.fact}: {value}  ({fact.read_from})", indent=_INDENT, style="dim")
    if len(shown) < len(finding.evidence):
        more = len(finding.evidence) - len(shown)
        page.line(tr(f"and {more} more like these: -v", f"另有 {more} 条类似的：-v"), indent=_INDENT, style="dim")
    for remedy in finding.remedies:
        _remedy(remedy, page)
    for other in explained:
        seen = "; ".join(f"{fact.fact}: {fact.value}" for fact in other.evidence if page.verbose)
        page.labelled(
            tr("explains", "导致"), f"{other.id}: {other.summary}" + (f" ({seen})" if seen else ""), indent=_INDENT, style="dim"
        )
    page.line()


def _remedy(remedy: Remedy, page: Page) -> None:
    page.labelled(tr("fix", "解决"), remedy.text + words.needs(remedy.risk), indent=_INDENT, label_style="bold green")
    for command in remedy.commands:
        page.command(command, indent=_INDENT + 4)
