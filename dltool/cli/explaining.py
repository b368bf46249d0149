"""`dltool doctor --explain`, and a log on stdin: what a check is about, what an error means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dltool.cli.common import Output, as_json, deliver, finish, report, say, style
from dltool.errors import UsageError
from dltool.lang import tr

if TYPE_CHECKING:
    from dltool.explanation import Explanation
    from dltool.known_errors import Reading
    from dltool.results import Report


def explain(text: str, out: Output) -> None:
    """Say what a check looks at, or what an error text means.

    Raises:
        UsageError: there is nothing to explain, or a name is not known.
    """
    from dltool import checks, known_errors
    from dltool.cli import stdin

    remedy = "Name a check (dltool doctor --list) or paste an error text in quotes; - reads a log from stdin."
    if text == "-":
        reading = known_errors.read(stdin.everything())
        if not reading.lines:
            raise UsageError("stdin is empty: there is nothing to explain", remedy=remedy)
    elif not text.strip():
        raise UsageError("--explain needs a check or an error text", remedy=remedy)
    elif told := _of_check(text):
        _deliver(told, out)
        return
    else:
        named = known_errors.by_name(text)
        errors = (named,) if named else known_errors.recognise(text)
        if not errors and re.fullmatch(r"[\w.-]+", text):  # one word: a name, mistyped
            checks.CHECKS.get(text)
        reading = known_errors.Reading(lines=0 if named else text.count("\n") + 1, errors=errors)
    if reading.errors or out.format_name != "text":
        finish(_of_log(reading), out, keep=None)
    deliver(_unknown(), out)


def explain_stdin(out: Output) -> None:
    """Explain the log on stdin and leave; come back where there is none, or nothing known in it."""
    from dltool import known_errors
    from dltool.cli import stdin

    pieces = stdin.waiting()
    if pieces is None:
        return
    reading = known_errors.read(pieces)
    if reading.errors:
        finish(_of_log(reading), out, keep=None)
    count = reading.lines
    lines = tr(f"the {count} line{'s' * (count != 1)} on stdin", f"标准输入的 {count} 行")
    say(
        tr(f"no known error in {lines}: this is about the machine", f"{lines}中没有已知错误：以下是对本机的检查"),
        quiet=out.quiet,
    )


def _of_log(reading: Reading) -> Report:
    """The report of what was found in a text."""
    found, lines = len(reading.errors), reading.lines
    english = f"{found or 'no'} known error{'s' * (found != 1)} in {lines} line{'s' * (lines != 1)}"
    headline = tr(english, f"{lines} 行中有 {found} 个已知错误") if lines else ""
    return report("doctor", log=reading.errors, headline=headline)


def _unknown() -> str:
    return tr(
        "No known error is in this text.\n\n"
        "That says nothing about the machine: dltool doctor judges it. More of the output may help: the first error counts,\n"
        "and dltool doctor < FILE reads a whole log.\n",
        "这段文字中没有已知的错误。\n\n"
        "这并不说明机器没有问题：请用 dltool doctor 检查本机。给出更多输出会有帮助，因为最先出现的错误才是关键；\n"
        "dltool doctor < FILE 可以读取整个日志。\n",
    )


def _deliver(told: Explanation, out: Output) -> None:
    import msgspec

    from dltool.render.terminal import explanation

    if out.format_name == "json":
        deliver(as_json(msgspec.to_builtins(told)), out)
    else:
        deliver(explanation.text(told, style(out)), out)


def _of_check(name: str) -> Explanation | None:
    """What a check, a rule of the policy or an active check is about; None where it is none."""
    from dltool import checks, policy, probing
    from dltool.explanation import parse

    if name in probing.PROBES:
        note = tr("Only with:", "仅在使用以下命令时运行：") + " dltool doctor --probe"
        return parse(name, probing.PROBES[name].explanation, note=note)
    if name in policy.EXPLANATIONS:
        return parse(name, policy.EXPLANATIONS[name])
    if name in _OWN:
        return parse(name, tr(*_OWN[name]))
    if name not in checks.CHECKS.names():
        return None
    item = checks.CHECKS.get(name)
    plugin = item.plugin.distribution if item.plugin else ""
    note = tr(f"This check comes from {plugin}.", f"此检查来自 {plugin}。") if plugin else ""
    return parse(name, item.explanation, caused_by=item.caused_by, note=note)


_OWN = {
    "baseline-known": (
        "What of this is known already?\n\nWhat the report after --baseline has too is not shown and does not count.",
        "其中哪些是已知的？\n\n--baseline 所给报告中已有的结果不再显示，也不计入。",
    ),
    "plugin-broken": (
        "Could every plugin be loaded?\n\nAn entry point of another distribution could not be loaded: what it brings is not "
        "here.\n\nMend: Bring the distribution up to date, or uninstall it.",
        "所有插件都能加载吗？\n\n另一个软件包的入口点无法加载：它提供的内容不可用。\n\n解决：更新该软件包，或将其卸载。",
    ),
}
"""Findings that no check makes: English and Chinese."""
