"""The checks: pure rules over a `Machine`, registered by name, and their runner.

A check is a function of a machine that yields findings. Its docstring opens with the question that it answers and goes on with
what it means when the answer is no, then paragraphs that begin with "Mend:", "Prevent:" and "See:" (links): `dltool doctor
--explain` shows it. `zh` is the same in Chinese, without the links. A new check is one function in the file of its subject.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dltool.lang import tr
from dltool.machine import Machine
from dltool.registry import Registry
from dltool.results import Evidence, Finding, Remedy, Status, root_problems

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Rule = Callable[[Machine], Iterable[Finding]]
SLOW_S = 1.0
LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """A rule under its name."""

    id: str
    rule: Rule
    caused_by: tuple[str, ...] = ()
    """Checks whose failure explains a failure of this one, the likeliest first."""
    zh: str = ""
    """The docstring of the rule in Chinese, without links; empty: it has none."""
    facts: tuple[str, ...] = ()
    """Paths into `Machine` without which the rule is not asked."""
    platforms: tuple[str, ...] = ()
    """Where it applies, of `declarations.PLATFORMS`; empty: everywhere."""
    limit_s: float = LIMIT_S
    """How long the rule of a plugin may take; ours need no limit."""
    plugin: Any = None
    """The `plugins.Plugin` that brings it; None for ours."""

    @property
    def question(self) -> str:
        """What the check asks, in one line."""
        return self.explanation.partition("\n")[0]

    @property
    def explanation(self) -> str:
        """The question, what it means when the answer is no, how to mend and to prevent it, and where to read on."""
        english = inspect.cleandoc(self.rule.__doc__ or "")
        text, see, links = english.partition("\n\nSee: ")
        return tr(text, inspect.cleandoc(self.zh) or text) + see.replace("See: ", tr("See: ", "参见：")) + links


def _brought(entry: EntryPoint) -> Iterable[tuple[str, Check]]:
    from dltool.checks import plugins

    return plugins.declared(entry)


CHECKS: Registry[Check] = Registry(
    "check", package="dltool.checks", entry_points="dltool.checks", brought=_brought, listing="dltool doctor --list"
)


def check(
    name: str,
    *,
    caused_by: tuple[str, ...] = (),
    zh: str = "",
    facts: tuple[str, ...] = (),
    platforms: tuple[str, ...] = (),
    limit_s: float = LIMIT_S,
) -> Callable[[Rule], Rule]:
    """Register a rule as the check `name`, in the words of the fault that it finds.

    Args:
        name: lower case with dashes.
        caused_by: checks whose failure explains a failure of this one, the likeliest first.
        zh: the docstring in Chinese, without its links.
        facts: paths into `Machine`, "gpus" or "python.torch": where one is not there the rule is not asked, and a finding
            says why.
        platforms: of `declarations.PLATFORMS`; elsewhere the rule is not asked.
        limit_s: how long a plugin's rule may take.
    """

    def decorate(rule: Rule) -> Rule:
        CHECKS.add(name, Check(name, rule, caused_by, zh, facts, platforms, limit_s))
        return rule

    return decorate


def run(
    machine: Machine,
    *,
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Finding, ...]:
    """Judge a machine.

    A check that raises becomes a `crash` finding and costs no other check; a slow one says so; a plugin that could not be
    loaded is a finding too.

    Args:
        machine: the facts.
        only: names of the checks to run; all by default.
        skip: names of checks to leave out.
        clock: seconds, for noticing slow checks.

    Raises:
        UsageError: a name in `only` or `skip` is unknown.
    """
    left_out = {CHECKS.get(name).id for name in skip}
    chosen = [CHECKS.get(name) for name in only] or [item for _, item in CHECKS]
    asked = [item for item in chosen if item.id not in left_out]
    answered = _hindered(asked, machine)
    answered |= _of_plugins([item for item in asked if item.plugin and item.id not in answered], machine)
    findings: list[Finding] = []
    for item in asked:
        findings += answered[item.id] if item.id in answered else _run_one(item, machine, clock)
    findings += _broken_plugins()
    return _with_causes(findings)


def _hindered(asked: list[Check], machine: Machine) -> dict[str, tuple[Finding, ...]]:
    """The checks that declare what is not here, each with a finding that says so."""
    declaring = [item for item in asked if item.facts or item.platforms]
    if not declaring:
        return {}
    from dltool.checks import declarations

    told = {item.id: declarations.hindrance(item, machine) for item in declaring}
    brings = {item.id: item.plugin.distribution if item.plugin else "" for item in declaring}
    return {name: (replace(found, id=name, plugin=brings[name]),) for name, found in told.items() if found is not None}


def _of_plugins(asked: list[Check], machine: Machine) -> dict[str, tuple[Finding, ...]]:
    if not asked:
        return {}
    from dltool.checks import plugins

    found = plugins.run(asked, machine)
    return {name: tuple(replace(finding, id=name) for finding in mine) for name, mine in found.items()}


def _run_one(item: Check, machine: Machine, clock: Callable[[], float]) -> Iterator[Finding]:
    began = clock()
    try:
        found = [replace(finding, id=item.id) for finding in item.rule(machine)] or [_silent(item)]
    except Exception as error:
        found = [_crash(item, error)]
    yield from found
    took = clock() - began
    if took > SLOW_S:
        summary = tr(f"the check itself took {took:.1f} s", f"该检查本身用了 {took:.1f} 秒")
        yield Finding(id=item.id, status=Status.INFO, summary=summary)


def _silent(item: Check) -> Finding:
    """Of a check that says nothing: nobody may take that for a pass."""
    summary = tr("the check has nothing to say about what was read", "该检查对所读取的内容没有给出结论")
    return Finding(id=item.id, status=Status.UNKNOWN, summary=summary)


def _crash(item: Check, error: Exception) -> Finding:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f"{last.tb_frame.f_code.co_filename.rpartition('dltool')[2]}:{last.tb_lineno}" if last else "unknown"
    return Finding(
        id=item.id,
        status=Status.CRASH,
        summary=tr(
            f"the check {item.id} broke: {type(error).__name__}: {error}",
            f"检查 {item.id} 自身出错：{type(error).__name__}: {error}",
        ),
        why=tr(
            "This is a bug of dltool (or of a plugin), not of the machine: nothing is known about what the check looks at.",
            "这是 dltool（或某个插件）的缺陷，不是本机的问题：该检查所关注的内容目前一无所知。",
        ),
        evidence=(Evidence(fact="raised at", value=where, read_from="traceback"),),
        remedies=(
            Remedy(
                text=tr("Report it with the machine's facts.", "请附上本机的事实快照报告此问题。"),
                commands=("dltool snapshot -o machine.json",),
            ),
        ),
    )


def _broken_plugins() -> Iterator[Finding]:
    for plugin, reason in CHECKS.broken.items():
        yield Finding(
            id="plugin-broken",
            status=Status.WARN,
            summary=tr(
                f"the plugin {plugin} is broken: not all of its checks could be loaded",
                f"插件 {plugin} 有缺陷：它的检查未能全部加载",
            ),
            evidence=(Evidence(fact="import error", value=reason, read_from="entry point dltool.checks"),),
            remedies=(Remedy(text=tr("Mend or uninstall the distribution that brings it.", "修复或卸载提供该插件的软件包。")),),
        )


def _with_causes(findings: list[Finding]) -> tuple[Finding, ...]:
    """Each finding under its root cause: what a caused fault explains is explained by the cause of that fault."""
    failed = {finding.id for finding in findings if finding.status is Status.FAIL}
    if not failed:
        return tuple(findings)
    direct = {name: next((cause for cause in item.caused_by if cause in failed), None) for name, item in CHECKS}
    return tuple(
        replace(finding, caused_by=_root(finding.id, direct))
        if finding.caused_by is None and (finding.status.is_problem or finding.status is Status.UNKNOWN)
        else finding
        for finding in findings
    )


def _root(name: str, direct: Mapping[str, str | None]) -> str | None:
    """The end of the chain of causes from `name`; None where it is its own root."""
    seen = [name]
    while (cause := direct.get(seen[-1])) is not None and cause not in seen:
        seen.append(cause)
    return seen[-1] if len(seen) > 1 else None


def headline(findings: Iterable[Finding], machine: Machine) -> str:
    """The one thing to know: the gravest problem that no other explains, or that the machine is well."""
    findings = tuple(findings)
    if roots := root_problems(findings):
        others = len(roots) - 1
        more = tr(f" (and {others} more)", f"（另有 {others} 项）") if others else ""
        return roots[0].summary + more
    absent = next((f.summary for f in findings if f.id == "gpu-absent" and f.status is Status.INFO), None)
    what = absent or describe(machine)
    unknown = sum(finding.status is Status.UNKNOWN for finding in findings)
    if not unknown:
        return tr(f"healthy{';' if absent else ':'} {what}", f"健康：{what}")
    things = f"{unknown} thing{'s' if unknown > 1 else ''}"
    return tr(f"no problem found: {what}; {things} could not be looked at", f"未发现问题：{what}；有 {unknown} 项无法查看")


def describe(machine: Machine) -> str:
    """GPUs, driver and PyTorch in one line."""
    names = [gpu.name or tr("unnamed GPU", "未命名的 GPU") for gpu in machine.gpus]
    parts = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
    if machine.driver.version:
        parts.append(tr(f"driver {machine.driver.version}", f"驱动 {machine.driver.version}"))
    if machine.driver.cuda_version:
        parts.append(f"CUDA {machine.driver.cuda_version}")
    if machine.python and machine.python.torch:
        parts.append(f"torch {machine.python.torch.version}")
    return tr(", ", "，").join(parts) or tr("nothing known", "一无所知")
