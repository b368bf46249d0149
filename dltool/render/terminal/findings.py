"""What doctor found: the one thing to know, the problems with their remedies, and a count of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.text import Text

from dltool.machine import Machine
from dltool.render import COUNTED
from dltool.render.terminal.page import Page, visible
from dltool.results import Finding, Remedy, Report, Risk, Scope, Status, root_problems

_STYLES = {
    Status.FAIL: "bold red",
    Status.CRASH: "bold magenta",
    Status.WARN: "bold yellow",
    Status.UNKNOWN: "cyan",
    Status.INFO: "cyan",
    Status.PASS: "green",
    Status.SKIP: "dim",
}
_RISKS = {Risk.ROOT: " (as root)", Risk.REBOOT: " (as root, restarts the machine)"}
_SCOPES = {Scope.HOST: "for whoever runs this host", Scope.PROVIDER: "for the provider of this machine: send them this"}
_INDENT = 8
_EVIDENCE = 4


def show(report: Report, page: Page) -> None:
    """Problems that nothing explains first, each with what it explains; then notes; then the count."""
    findings = report.findings
    page.line(Text(visible(report.headline), style=_headline_style(findings)))
    if report.machine is not None:
        page.line(_looked_at(report.machine), style="dim")
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
    counts = Counter(finding.status for finding in findings)
    parts = [f"{counts[status]} {word}" for status, word in COUNTED.items() if counts[status]]
    page.line(f"{', '.join(parts)}." + ("" if page.verbose else " All of them: -v"), style="dim")
    if roots:
        page.line(f"What a finding means: dltool doctor --explain {roots[0].id}", style="dim")


def _looked_at(machine: Machine) -> str:
    """Which system and which Python environment were judged: the wrong one explains many a surprise."""
    python = machine.python
    inside = [machine.os.container, "WSL" if machine.os.wsl else None, machine.os.tegra]
    parts = [machine.os.distribution, *(f"in {name}" for name in inside if name)]
    if python is not None:
        torch = f"with torch {python.torch.version}" if python.torch else "without torch"
        parts.append(f"Python {python.version} {torch} at {python.executable}")
    return "looked at: " + ", ".join(part for part in parts if part)


def _headline_style(findings: Iterable[Finding]) -> str:
    worst = max((finding.status for finding in findings), key=lambda status: status.severity, default=Status.PASS)
    return _STYLES[worst] if worst.is_problem else "bold green"


def _head(finding: Finding, page: Page) -> None:
    source = f", from {finding.plugin}" if finding.plugin else ""
    name = "" if finding.status.is_problem else f" [{finding.id}{source}]"  # that of a problem has a line of its own
    page.labelled(f"{finding.status.value.upper():<7}", finding.summary + name, indent=0, label_style=_STYLES[finding.status])


def _problem(finding: Finding, explained: list[Finding], page: Page) -> None:
    _head(finding, page)
    devices = f" · GPU {', '.join(map(str, finding.devices))}" if finding.devices else ""
    scope = f" · {_SCOPES[finding.scope]}" if finding.scope in _SCOPES else ""
    source = f" · from {finding.plugin}" if finding.plugin else ""
    page.line(f"{finding.id}{devices}{scope}{source}", style="dim", indent=_INDENT)
    if finding.why:
        page.line(finding.why, indent=_INDENT)
    shown = finding.evidence if page.verbose else finding.evidence[:_EVIDENCE]
    for fact in shown:
        value = "none" if fact.value is None else str(fact.value)
        page.labelled("seen", f"{fact.fact}: {value}  ({fact.read_from})", indent=_INDENT, style="dim")
    if len(shown) < len(finding.evidence):
        page.line(f"and {len(finding.evidence) - len(shown)} more like these: -v", indent=_INDENT, style="dim")
    for remedy in finding.remedies:
        _remedy(remedy, page)
    for other in explained:
        seen = "; ".join(f"{fact.fact}: {fact.value}" for fact in other.evidence if page.verbose)
        page.labelled("explains", f"{other.id}: {other.summary}" + (f" ({seen})" if seen else ""), indent=_INDENT, style="dim")
    page.line()


def _remedy(remedy: Remedy, page: Page) -> None:
    page.labelled("fix", remedy.text + _RISKS.get(remedy.risk, ""), indent=_INDENT, label_style="bold green")
    for command in remedy.commands:
        page.command(command, indent=_INDENT + 4)
