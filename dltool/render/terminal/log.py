"""Known errors in a text that was given to doctor: what each means, why, how to mend it, and which check looks further."""

from __future__ import annotations

from rich.text import Text

from dltool.render.terminal.page import Page, visible
from dltool.results import LogError, Report, Scope

_SCOPES = {Scope.HOST: "for whoever runs the host", Scope.PROVIDER: "for the provider of the machine: send them this"}
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
        page.line("Look for the causes on the machine where it happened:", style="dim")
        page.command(f"dltool doctor --only {','.join(checks)}", indent=4)


def _one(error: LogError, page: Page) -> None:
    page.labelled(f"{_place(error):<{_INDENT - 1}}", error.means, indent=0, label_style="bold red", style="bold")
    scope = f" · {_SCOPES[error.scope]}" if error.scope in _SCOPES else ""
    page.line(f"{error.id}{_times(error)}{scope}", style="dim", indent=_INDENT)
    if error.text:
        page.labelled("seen", error.text, indent=_INDENT, style="dim")
    if error.where:
        page.labelled("at", ", ".join(error.where), indent=_INDENT, style="dim")
    if error.why:
        page.line(error.why, indent=_INDENT)
    page.labelled("fix", error.mend, indent=_INDENT, label_style="bold green")
    if error.prevent:
        page.labelled("prevent", error.prevent, indent=_INDENT)
    if error.checks:
        page.labelled("check", f"dltool doctor --only {','.join(error.checks)}", indent=_INDENT)
    page.line()


def _place(error: LogError) -> str:
    return f"line {error.line}" if error.line else "known"


def _times(error: LogError) -> str:
    if error.count < 2:
        return ""
    return f" · {'more than ' if error.more else ''}{error.count} lines"
