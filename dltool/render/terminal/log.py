"""Known errors in a text that was given to doctor: what each means, why, how to mend it, and which check looks further."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from dltool.lang import tr
from dltool.render import words
from dltool.render.terminal.page import Page, visible
from dltool.results import LogError, Report

_INDENT = 8


def show(report: Report, page: Page) -> None:
    """The errors in the order of the text."""
    if report.headline:
        page.line(Text(visible(report.headline), style="bold"))
        page.line()
    for error in report.log:
        _one(error, page)
    checks = list(dict.fromkeys(check for error in report.log for check in error.checks))
    if len(checks) > 1 and len(report.log) > 1:
        page.line(tr("Look for the causes on the machine where it happened:", "请在出错的机器上查找起因："), style="dim")
        page.command(f"dltool doctor --only {','.join(checks)}", indent=4)


def _one(error: LogError, page: Page) -> None:
    page.labelled(_place(error), error.means, indent=0, label_style="bold red", style="bold")
    whom = words.for_whom(error.scope)
    scope = f" · {whom}" if whom else ""
    page.line(f"{error.id}{_times(error)}{scope}", style="dim", indent=_INDENT)
    if error.text:
        page.labelled(tr("seen", "依据"), error.text, indent=_INDENT, style="dim")
    if error.where:
        page.labelled(tr("at", "位置"), ", ".join(error.where), indent=_INDENT, style="dim")
    if error.why:
        page.line(error.why, indent=_INDENT)
    page.labelled(tr("fix", "解决"), error.mend, indent=_INDENT, label_style="bold green")
    if error.prevent:
        page.labelled(tr("prevent", "预防"), error.prevent, indent=_INDENT)
    if error.checks:
        page.labelled(tr("check", "检查"), f"dltool doctor --only {','.join(error.checks)}", indent=_INDENT)
    page.line()


def _place(error: LogError) -> str:
    """As wide as what stands below it is indented."""
    place = tr(f"line {error.line}", f"第{error.line}行") if error.line else tr("known", "已知")
    return place + " " * (_INDENT - 1 - cell_len(place))


def _times(error: LogError) -> str:
    if error.count < 2:
        return ""
    return tr(
        f" · {'more than ' if error.more else ''}{error.count} lines", f" · {'超过 ' if error.more else ''}{error.count} 行"
    )
