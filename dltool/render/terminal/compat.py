"""The answer of `dltool compat`: the verdict, what stands in the way, what holds, and what to install."""

from __future__ import annotations

from dltool.lang import tr
from dltool.render.terminal.page import Page
from dltool.results import Compatibility, Finding, Report, Status

_STYLES = {"ok": "bold green", "warning": "bold yellow", "error": "bold red", "unknown": "bold cyan"}
_MARKS = {
    Status.PASS: ("ok", "green"),
    Status.INFO: ("note", "cyan"),
    Status.WARN: ("WARN", "yellow"),
    Status.FAIL: ("FAIL", "red"),
    Status.UNKNOWN: ("?", "cyan"),
}


def show(report: Report, page: Page) -> None:
    """Verdict first, then the rules from the gravest on, then what to install."""
    answer = report.compat
    if answer is None:
        return
    page.line(_headline(answer), style=_STYLES[answer.verdict])
    for text in answer.assumed:
        page.line(tr(f"assumed: {text}", f"假定：{text}"), style="dim")
    page.line()
    for finding in sorted(answer.findings, key=lambda finding: -finding.status.severity):
        _finding(finding, page)
    _recommendation(answer, page)
    until = answer.data_until
    page.line(
        tr(f"tables of {until}; what is newer is unknown to them", f"数据表截至 {until}；更新的内容不在其中"), style="dim"
    )


def _headline(answer: Compatibility) -> str:
    if not answer.findings:
        return tr("nothing to judge: give two things that must go together", "没有可判断的内容：请给出两项需要搭配的东西")
    return {
        "ok": tr("ok: these go together", "ok：可以搭配"),
        "warning": tr("warning: this works with a limit", "warning：可用，但有限制"),
        "error": tr("error: this does not work", "error：不能搭配"),
        "unknown": tr("unknown: the tables do not say", "unknown：数据表中没有"),
    }[answer.verdict]


def _finding(finding: Finding, page: Page) -> None:
    mark, style = _MARKS[finding.status]
    page.labelled(mark.ljust(4), finding.summary, indent=0, label_style=style)
    if finding.status is Status.PASS and not page.verbose:
        return
    if finding.why:
        page.labelled("    ", finding.why, indent=0)
    for evidence in finding.evidence:
        page.labelled("    ", f"{evidence.fact}: {evidence.value}  ({evidence.read_from})", indent=0, style="dim")
    for remedy in finding.remedies:
        page.labelled(tr("     fix", "    解决"), remedy.text, indent=0)
        for command in remedy.commands:
            page.command(command, indent=9)


def _recommendation(answer: Compatibility, page: Page) -> None:
    page.line()
    found = answer.recommend
    if found is None:
        page.line(tr("No published PyTorch suits all of this.", "没有已发布的 PyTorch 符合全部条件。"), style="bold")
        for text in answer.relax:
            page.labelled(tr("  with", "  改为"), text, indent=0)
        if not answer.relax:
            no_change = tr(
                "No single change helps: build PyTorch from source, or use NVIDIA's own containers.",
                "只改一项也不行：请从源码构建 PyTorch，或使用 NVIDIA 自己的容器。",
            )
            page.line(no_change, indent=2)
    else:
        name = f"torch {found.torch}+{found.build}"
        page.line(f"{name}: {found.why}", style="bold")
        for command in found.install:
            page.command(command, indent=2)
    page.line()
