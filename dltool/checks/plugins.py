"""Checks that other distributions bring under the entry point `dltool.checks`.

A stranger's code may hang, crash, end the process or print. So a plugin is imported and its checks are run in a child process
(`plugin_child`), each check under its own time limit; whatever happens there becomes a finding here. See docs/plugins.md.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from dltool import child, lang
from dltool.checks import Check, declarations
from dltool.lang import tr
from dltool.machine import Machine
from dltool.registry import BrokenPlugin
from dltool.results import Evidence, Finding, Remedy, Status

IMPORT_LIMIT_S = 10.0
MEMORY_BYTES = 4 * 2**30
MOST_OUTPUT = 16 * 2**20
_AT_ONCE = 4


class Order(Struct, frozen=True, kw_only=True):
    """What this process is to do."""

    name: str
    value: str
    group: str
    language: str = "en"
    machine: Machine | None = None
    """None: only say which checks there are."""
    checks: tuple[str, ...] = ()
    """The checks to run, in this order."""


class Declared(Struct, frozen=True, kw_only=True):
    """A check that the plugin registered."""

    id: str
    doc: str = ""
    zh: str = ""
    caused_by: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    limit_s: float = 5.0


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of what this process says."""

    declared: tuple[Declared, ...] | None = None
    """The first line: what the plugin brings."""
    began: str | None = None
    found: dict[str, Any] | None = None
    """A finding of the check that began last."""
    raised: str | None = None
    """The check that began last broke: with which error."""
    at: str = ""
    """Where it was raised, "module.py:12"."""
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Plugin:
    """An entry point of another distribution, and what became of its checks that did not come back."""

    entry: EntryPoint
    dead: dict[str, Finding] = field(default_factory=dict)
    """Checks that hung or killed their process: they are not started again."""

    @property
    def distribution(self) -> str:
        """The distribution that brings it, "dltool-mine 1.0"."""
        return f"{self.entry.dist.name} {self.entry.dist.version}" if self.entry.dist else self.entry.value

    def ask(self, machine: Machine | None, checks: Sequence[Check] = ()) -> tuple[list[Step], child.Answer]:
        """Start the child: all lines that it wrote in full, and how it ended."""
        order = Order(
            name=self.entry.name, value=self.entry.value, group=self.entry.group,
            language=lang.spoken(), machine=machine, checks=tuple(item.id for item in checks),
        )  # fmt: skip
        answer = child.python(
            "dltool.checks.plugin_child",
            timeout_s=IMPORT_LIMIT_S + sum(item.limit_s for item in checks),
            feed=msgspec.json.encode(order),
            memory_bytes=MEMORY_BYTES,
            keep_bytes=MOST_OUTPUT,
        )
        return list(_steps(answer.output)), answer


def declared(entry: EntryPoint) -> Iterator[tuple[str, Check]]:
    """The checks that a plugin brings, by their names; nothing of it is imported here.

    Raises:
        BrokenPlugin: it cannot be imported, registers no check, or declares what does not exist.
    """
    plugin = Plugin(entry)
    steps, answer = plugin.ask(None)
    brought = next((step.declared for step in steps if step.declared is not None), None)
    if brought is None:
        raise BrokenPlugin(_why_not_imported(answer))
    if not brought:
        raise BrokenPlugin("it registers no check")
    for one in brought:
        if wrong := declarations.mistake(one.facts, one.platforms, one.limit_s):
            raise BrokenPlugin(f"its check {one.id} declares {wrong}")
        yield one.id, _check(plugin, one)


def run(checks: Sequence[Check], machine: Machine) -> dict[str, tuple[Finding, ...]]:
    """What plugins' checks find, by check; one child process for each plugin, several side by side."""
    by_plugin: dict[int, list[Check]] = {}
    for item in checks:
        by_plugin.setdefault(id(item.plugin), []).append(item)
    language, found = lang.spoken(), dict[str, tuple[Finding, ...]]()

    def one(items: list[Check]) -> dict[str, tuple[Finding, ...]]:
        with lang.speaking(language):
            return _judged(items, machine)

    if by_plugin:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for part in pool.map(one, by_plugin.values()):
                found |= part
    return found


def _check(plugin: Plugin, one: Declared) -> Check:
    def rule(machine: Machine) -> tuple[Finding, ...]:
        return run([item], machine)[one.id]

    rule.__doc__ = one.doc
    item = Check(
        one.id, rule, one.caused_by, one.zh, facts=one.facts, platforms=one.platforms, limit_s=one.limit_s, plugin=plugin
    )
    return item


def _judged(items: list[Check], machine: Machine) -> dict[str, tuple[Finding, ...]]:
    """Run the checks of one plugin: where one kills the process, a new process runs those behind it."""
    plugin: Plugin = items[0].plugin
    found: dict[str, tuple[Finding, ...]] = {item.id: (plugin.dead[item.id],) for item in items if item.id in plugin.dead}
    left = [item for item in items if item.id not in found]
    while left:
        steps, answer = plugin.ask(machine, left)
        done = _by_check(steps)
        for item in left[: max(1, len(done))]:
            mine = done.get(item.id, [])
            findings = [_finding(step, item) for step in mine if step.found is not None or step.raised is not None]
            if not any(step.ended for step in mine):
                findings.append(_cut_off(item, answer, began=bool(mine)))
                plugin.dead[item.id] = _from(findings[-1], item)
            found[item.id] = tuple(_from(finding, item) for finding in findings)
        left = [item for item in left if item.id not in found]
    return found


def _steps(output: str) -> Iterator[Step]:
    for line in output.split("\n")[:-1]:
        try:
            yield msgspec.json.decode(line, type=Step)
        except (msgspec.DecodeError, RecursionError):  # the beginning was dropped because there was too much
            continue


def _by_check(steps: Sequence[Step]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in steps:
        if step.began is not None:
            found[step.began] = [step]
        elif found:
            found[next(reversed(found))].append(step)
    return found


def _finding(step: Step, item: Check) -> Finding:
    if step.found is None:
        return _broke(item, step.raised or "", Evidence(fact="raised at", value=step.at, read_from="traceback"))
    try:
        return msgspec.convert(step.found, Finding)
    except msgspec.ValidationError as error:
        seen = Evidence(fact="finding", value=str(step.found)[:200], read_from="the check's answer")
        return _broke(item, f"its finding is none: {error}", seen)


def _cut_off(item: Check, answer: child.Answer, *, began: bool) -> Finding:
    """The check that was running when the process ended."""
    said = (answer.errors.strip().splitlines() or ["nothing"])[-1][:200]
    seen = Evidence(fact="last words", value=said, read_from="standard error")
    late = answer.timed_out or answer.returncode == -signal.SIGALRM
    if not began:
        return _broke(item, f"its plugin {_why_not_imported(answer)}", seen)
    if not late:
        how = "took too much memory" if answer.over_memory else child.how_it_ended(answer.returncode, item.limit_s)
        return _broke(item, f"its process {how}", seen)
    return Finding(
        status=Status.UNKNOWN,
        summary=tr(
            f"the check {item.id} did not end within {item.limit_s:g} s and was stopped",
            f"检查 {item.id} 未能在 {item.limit_s:g} 秒内结束，已被终止",
        ),
        why=tr("Nothing is known about what it looks at.", "它所关注的内容目前一无所知。"),
        evidence=(seen,),
        remedies=(_leave_out(item),),
    )


def _broke(item: Check, reason: str, seen: Evidence) -> Finding:
    return Finding(
        status=Status.CRASH,
        summary=tr(f"the check {item.id} broke: {reason}", f"检查 {item.id} 自身出错：{reason}"),
        why=tr(
            "This is a bug of the plugin, not of the machine: nothing is known about what the check looks at.",
            "这是插件的缺陷，不是本机的问题：该检查所关注的内容目前一无所知。",
        ),
        evidence=(seen,),
        remedies=(_leave_out(item),),
    )


def _leave_out(item: Check) -> Remedy:
    return Remedy(
        text=tr(
            f"Report it to those who make {item.plugin.distribution}; until then leave the check out.",
            f"请向 {item.plugin.distribution} 的维护者报告；在此之前可跳过该检查。",
        ),
        commands=(f"dltool doctor --skip {item.id}",),
    )


def _from(finding: Finding, item: Check) -> Finding:
    return replace(finding, plugin=item.plugin.distribution)


def _why_not_imported(answer: child.Answer) -> str:
    if answer.over_memory:
        return "took too much memory while it was imported"
    if answer.returncode == 1 and answer.errors.strip():
        return answer.errors.strip().splitlines()[-1][:300]
    return f"{child.how_it_ended(answer.returncode, IMPORT_LIMIT_S)} while it was imported"
