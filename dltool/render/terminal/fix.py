"""What `doctor --fix` would do or did: the steps with their way back, what is left to people, what became of each problem."""

from __future__ import annotations

from rich.text import Text

from dltool.lang import tr
from dltool.render.terminal.findings import headline_style, looked_at
from dltool.render.terminal.page import Page, visible
from dltool.results import Fix, FixLeft, FixOutcome, FixStep, FixTarget, Report
from dltool.units import seconds

_STATES = {"done": "green", "failed": "bold red", "not done": "yellow"}
_OUTCOMES = {"mended": "bold green", "remains": "bold yellow", "new": "bold red", "unclear": "bold yellow"}


def show(report: Report, page: Page) -> None:
    """The headline as ever, then what is done about it."""
    fix = report.fix
    if fix is None:
        return
    if not page.verbose:
        page.line(Text(visible(report.headline), style=headline_style(report.findings)))
        if report.machine is not None:
            page.line(looked_at(report.machine), style="dim")
    _summary(fix, page)
    for note in fix.notes:
        page.labelled(tr("note", "注意"), note, indent=0, label_style="bold yellow")
    for number, step in enumerate(fix.steps, 1):
        if fix.state == "planned" or page.verbose or number == 1:
            page.line()
        _step(number, step, page)
    if fix.left:
        _all_left(fix.left, page)
    if fix.outcome:
        _outcomes(fix.outcome, page)
    _ending(fix, page)


def _summary(fix: Fix, page: Page) -> None:
    page.line()
    if fix.unfinished is not None:
        _unfinished(fix, page)
    where = fix.place.prefix or fix.place.python if fix.place else ""
    count = len(fix.steps)
    done = sum(step.state == "done" for step in fix.steps)
    if not count:
        text = tr("Nothing of this can be mended inside the Python environment.", "以下问题都无法在 Python 环境之内修复。")
        page.line(text if fix.left else tr("There is nothing to mend.", "没有需要修复的问题。"), style="bold")
    elif fix.state == "planned":
        steps = f"{count} step{'s' * (count > 1)}"
        text = tr(f"Plan: {steps} in {where}; nothing is done yet", f"计划：在 {where} 中执行 {count} 步；尚未执行任何操作")
        page.line(text, style="bold")
    else:
        text = tr(f"Done: {done} of {count} steps in {where}", f"已完成：{where} 中的 {done}/{count} 步")
        page.line(text, style="bold" if fix.state == "done" else "bold red")
        if fix.failure:
            page.labelled(tr("stopped by", "停止原因"), fix.failure, indent=0, label_style="red")


def _unfinished(fix: Fix, page: Page) -> None:
    earlier = fix.unfinished
    if earlier is None:
        return
    when = f"{earlier.created[:16].replace('T', ' ')} UTC"
    text = tr(
        f"A fix of {when} did not come to its end: {earlier.done} of {earlier.total} steps were done.",
        f"{when} 的修复没有完成：{earlier.total} 步中完成了 {earlier.done} 步。",
    )
    page.line(text, style="bold yellow")
    if fix.state == "planned" and fix.steps:
        page.line(tr("The steps below go on from there.", "下面的步骤从那里继续。"), indent=2)
    if fix.state == "planned" and earlier.undo:
        page.line(tr("To take it back instead:", "若要撤销它："), indent=2)
        for command in earlier.undo:
            page.command(command, indent=4)
    page.line()


def _step(number: int, step: FixStep, page: Page) -> None:
    took = f", {seconds(step.seconds)}" if step.seconds is not None and page.verbose else ""
    state = {"done": tr("done", "已完成"), "failed": tr("failed", "失败"), "not done": tr("not done", "未执行")}.get(step.state)
    mark = Text(f"  [{state}{took}]", style=_STATES[step.state]) if state else Text("")
    page.line(Text(f"{number:>2} ", style="dim").append(visible(step.title), style="bold").append_text(mark))
    if step.state == "done" and not page.verbose:  # what became of it is told below
        return
    for target in step.mends:
        _target(tr("mends", "修复"), target, page)
    for command in step.commands:
        page.command(f"$ {command}", indent=5)
    for command in step.undo if step.state == "planned" else ():
        page.command(tr("undo ", "撤销 ") + command, indent=3)
    for note in step.notes if step.state == "planned" else ():
        page.labelled(tr("note ", "注意 "), note, indent=3, style="dim")


def _target(label: str, target: FixTarget, page: Page) -> None:
    page.labelled(label, f"{target.summary} [{target.finding}]", indent=3)
    if target.along:
        page.line(tr("and with it: ", "并随之解决：") + ", ".join(target.along), indent=9, style="dim")


def _all_left(left: tuple[FixLeft, ...], page: Page) -> None:
    page.line()
    page.line(tr("Do this yourself:", "请自行处理："), style="bold")
    for one in left:
        page.line()
        page.labelled("-", f"{one.target.summary} [{one.target.finding}]", indent=1)
        if one.target.along:
            page.line(tr("and with it: ", "并随之解决：") + ", ".join(one.target.along), indent=3, style="dim")
        if one.why:
            page.line(one.why, indent=3, style="yellow")
        for remedy in one.remedies:
            page.labelled(tr("fix", "修复"), remedy.text, indent=3, label_style="bold green")
            if remedy.why:
                page.line(f"({remedy.why})", indent=7, style="yellow")
            for command in remedy.commands:
                page.command(command, indent=7)


def _outcomes(outcomes: tuple[FixOutcome, ...], page: Page) -> None:
    words = {"mended": tr("mended", "已修复"), "remains": tr("still there", "仍存在"), "new": tr("new", "新出现"),
             "unclear": tr("half done", "未做完")}  # fmt: skip
    page.line()
    page.line(tr("Looked at again:", "重新检查："), style="bold")
    wide = max(map(len, words.values()))
    for one in outcomes:
        label = words[one.state].ljust(wide)
        page.labelled(label, f"{one.summary} [{one.finding}]", indent=1, label_style=_OUTCOMES[one.state])


def _ending(fix: Fix, page: Page) -> None:
    page.line()
    if fix.state == "planned":
        if fix.carry_out:
            page.line(
                tr(
                    "First a list of everything that is installed is written down. To do it:",
                    "第一步之前会先记录已安装的全部软件包。执行：",
                )
            )
            page.command(fix.carry_out, indent=2)
        return
    if fix.undo:
        page.line(tr("To undo all of it:", "全部撤销："))
        for command in fix.undo:
            page.command(command, indent=2)
    else:
        page.line(tr("Nothing is installed that was not before, and nothing is gone.", "安装的软件包与之前完全相同。"))
    if fix.record:
        page.line(tr(f"log and record: {fix.record}", f"日志与记录：{fix.record}"), style="dim")
