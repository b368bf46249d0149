"""What a check is about, for `dltool doctor --explain`."""

from __future__ import annotations

from dltool.explanation import Explanation
from dltool.lang import tr
from dltool.render import Style
from dltool.render.terminal.page import Page


def text(told: Explanation, style: Style) -> str:
    """The question and what it means, then how to mend and to prevent it, and where to read on."""
    page = Page(style)
    page.line(told.id, style="dim")
    page.line()
    page.line(told.question, style="bold")
    for paragraph in told.why:
        page.line()
        page.line(paragraph)
    page.line()
    labelled = (
        (tr("Mend", "解决"), told.mend),
        (tr("Prevent", "预防"), told.prevent),
        (tr("Often caused by", "常见起因"), ", ".join(told.caused_by)),
    )
    for label, words in labelled:
        if words:
            page.line(f"{label}{tr(': ', '：')}{words}")
    for link in told.see:
        page.command(f"{tr('See: ', '参见：')}{link}", indent=0)
    if told.note:
        page.line(told.note)
    return page.text().rstrip("\n") + "\n"
