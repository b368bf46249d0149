"""A plan: what is chosen, then the steps in order, each with its reason, its commands, its check and its way back."""

from __future__ import annotations

from dltool.render.terminal.page import Page
from dltool.results import Finding, Plan, Report, Risk, Status, Step

_RISKS = {Risk.ROOT: "needs {root}", Risk.REBOOT: "needs {root} and a restart"}
_SYSTEMS = {"linux": "Linux", "wsl": "WSL", "windows": "Windows"}
_SHOWN = (Status.WARN, Status.FAIL, Status.UNKNOWN)


def show(report: Report, page: Page) -> None:
    """What it comes to first, then how."""
    plan = report.plan
    if plan is None:
        return
    _headline(plan, page)
    for text in plan.assumed:
        page.labelled("assumed", text, indent=2)
    for text in plan.problems:
        relax = text.startswith("relax ")
        page.labelled("fix " if relax else "FAIL", text, indent=2, label_style="bold" if relax else "red")
    if plan.compat is not None:
        for finding in plan.compat.findings:
            _limit(finding, plan, page)
    for number, step in enumerate(plan.steps, 1):
        page.line()
        _step(number, step, page, root="an administrator" if _os(plan) == "windows" else "root")
    page.line()
    if plan.compat is not None and plan.compat.data_until:
        page.line(f"tables of {plan.compat.data_until}; what is newer is unknown to them", style="dim")


def _headline(plan: Plan, page: Page) -> None:
    found = plan.environment
    purpose = plan.purpose.replace("-", " ")
    if found is None:
        page.line(f"No plan for {purpose}: nothing suits all of this.", style="bold red")
    else:
        chosen = f"torch {found.torch}+{found.build}, Python {found.python}, {found.manager}"
        page.line(f"Plan for {purpose} on {_where(plan)}: {chosen}", style="bold")


def _where(plan: Plan) -> str:
    """The machine in a few words."""
    asked = plan.compat.question if plan.compat is not None else {}
    gpus = ", ".join(asked.get("compute_capabilities", ()))
    with_what = "without GPU" if asked.get("cpu_only") else f"compute capability {gpus}" if gpus else "any GPU"
    return f"{_SYSTEMS[_os(plan)]} {asked.get('arch', 'x86_64')}, {with_what}"


def _os(plan: Plan) -> str:
    return str(plan.compat.question.get("os", "linux")) if plan.compat is not None else "linux"


def _limit(finding: Finding, plan: Plan, page: Page) -> None:
    """What holds with a limit only, or is beyond the tables; what fails is among the problems already."""
    if finding.status not in _SHOWN or finding.summary in plan.problems or not plan.steps:
        return
    mark, style = ("WARN", "yellow") if finding.status is Status.WARN else ("?", "cyan")
    page.labelled(mark.ljust(4), f"{finding.summary}. {finding.why}".rstrip(), indent=2, label_style=style)


def _step(number: int, step: Step, page: Page, *, root: str) -> None:
    marks = [] if step.state == "needed" else [step.state]
    if step.risk in _RISKS and step.state != "done":
        marks.append(_RISKS[step.risk].format(root=root))
    style = "dim" if step.state == "done" else "bold"
    page.labelled(f"{number:>2}", step.title + (f"  [{', '.join(marks)}]" if marks else ""), indent=0, style=style)
    if step.why:
        page.line(step.why, indent=3)
    for command in step.commands:
        page.command(f"$ {command}", indent=5)
    if step.state != "done" or page.verbose:
        _lines("check", step.verify, page)
        _lines("undo", step.undo, page)
    for note in step.notes:
        page.labelled("note ", note, indent=3)
    if page.verbose and step.source:
        page.labelled("from ", step.source, indent=3, style="dim")


def _lines(label: str, commands: tuple[str, ...], page: Page) -> None:
    """Short commands behind a label, one a line, never wrapped: they are to be copied."""
    for place, command in enumerate(commands):
        page.command(f"{label if not place else '':<5} {command}", indent=3)
