"""The options of `dltool doctor` that mend what was found, and the way from a plan to its outcome."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltool.cli.common import say
from dltool.errors import CannotRun, ExitCode, UsageError
from dltool.lang import tr

if TYPE_CHECKING:
    from dltool.machine import Machine
    from dltool.results import Finding, Fix, FixOutcome, FixPlace, FixStep, FrozenPackage

_LINE = 200
_PATIENCE_S = 60.0
"""For an interpreter to start on a busy machine: in the middle of a fix its answer must not be missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixing:
    """The options, and what follows from them."""

    fix: Annotated[bool, typer.Option("--fix", help="Plan what mends it in the Python environment, and how to undo that.")] = (
        False
    )
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Carry out the plan of --fix, then look again.")] = False
    index: Annotated[
        str | None,
        typer.Option(
            "--index", help="Where --fix gets wheels of torch: an URL, a folder of wheels, or `pip`.", metavar="URL|DIR|pip"
        ),
    ] = None

    def check(self, *, replayed: bool, others: Iterable[str]) -> None:
        """Refuse what makes no sense.

        Args:
            replayed: a snapshot is judged.
            others: options that were given and ask for another answer.

        Raises:
            UsageError: see its text.
        """
        if not self.fix:
            given = "--yes" if self.yes else "--index" if self.index is not None else None
            if given:
                raise UsageError(
                    tr(f"{given} is for --fix", f"{given} 只能与 --fix 一起使用"), remedy=f"dltool doctor --fix {given}"
                )
            return
        if self.yes and replayed:
            raise UsageError(
                tr("--yes and --machine exclude one another", "--yes 与 --machine 不能同时使用"),
                remedy=tr(
                    "A snapshot can be planned for, not mended: leave --yes out.",
                    "快照只能用来制定计划，不能修复：请去掉 --yes。",
                ),
            )
        for name in others:
            raise UsageError(
                tr(f"--fix and {name} exclude one another", f"--fix 与 {name} 不能同时使用"),
                remedy=tr("Leave one of them out.", "请去掉其中一个。"),
            )
        self.source()

    def source(self) -> str | None:
        """Where wheels come from instead; None is as the remedies say, "" wherever pip looks by itself.

        Raises:
            UsageError: no such folder, or a password in the address.
        """
        if self.index is None or self.index == "pip":
            return None if self.index is None else ""
        from dltool.setup.recipe import local_folder, without_credentials

        if without_credentials(self.index) != self.index:
            raise UsageError(
                tr(
                    "the address of --index holds a password, which would end up in files",
                    "--index 的地址含有密码，会被写进文件",
                ),
                remedy=tr("Put it into ~/.netrc, which pip reads.", "请把它放进 ~/.netrc，pip 会读取。"),
            )
        folder = local_folder(self.index)
        if folder is None:
            return self.index
        if not folder.is_dir():
            raise UsageError(
                tr(f"--index {self.index}: there is no such folder", f"--index {self.index}：没有这个目录"),
                remedy=tr("Name an URL, a folder of wheels, or `pip`.", "请给出 URL、wheel 目录或 `pip`。"),
            )
        return str(folder)


@dataclass(frozen=True, slots=True)
class Mending:
    """A plan for the machine that was judged."""

    fixing: Fixing
    machine: Machine
    here: bool
    """False: the machine is a snapshot's."""

    def plan(self, findings: tuple[Finding, ...]) -> Fix:
        """What would be done; an unfinished fix of the same environment is gone on with."""
        from msgspec.structs import replace

        from dltool.setup.fixing import plan as planning

        place = self._place()
        known = {package.name: package for package in self._installed(place)}
        made = planning.plan(findings, place=place, installed=known, trusted=_own(), index=self.fixing.source())
        if not self.here or place is None:
            return made
        if os.name == "posix":
            made = self._going_on(made, place)
        return replace(made, carry_out=self._again() if made.steps else None)

    def _again(self) -> str:
        """The command that carries the plan out: as it was typed, and --yes."""
        typed = [word for word in sys.argv[1:] if word not in ("--yes", "-y")]
        return shlex.join(["dltool", *(typed if "doctor" in typed else ("doctor", "--fix")), "--yes"])

    @contextlib.contextmanager
    def looking_again(self, fix: Fix) -> Iterator[None]:
        """Whatever happens before the report is out, the way back is told."""
        try:
            yield
        except BaseException:
            _say_undo(fix.undo)
            raise

    def _going_on(self, made: Fix, place: FixPlace) -> Fix:
        from msgspec.structs import replace

        from dltool.setup.fixing import plan as planning
        from dltool.setup.fixing import record, words

        found = record.unfinished(_folder(), place, self._installed(place))
        if found is None:
            return made
        told, earlier = found
        return replace(planning.resumed(made, earlier.steps) if words.blocked(place) is None else made, unfinished=told)

    def carry_out(self, fix: Fix, *, quiet: bool) -> Fix:
        """Do the steps.

        Raises:
            CannotRun: nothing could be begun.
            Exit: interrupted.
        """
        from dltool.render.steps import steps
        from dltool.render.terminal.page import visible

        if not fix.steps or fix.place is None:
            return fix
        if os.name != "posix":
            raise CannotRun(
                tr("on Windows the steps are planned only", "在 Windows 上只给出计划"),
                remedy=tr("Run the lines of the plan by hand.", "请手动执行计划中的命令。"),
            )
        from dltool.setup.fixing import doing

        for terminates in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(terminates, signal.default_int_handler)  # what the commands do ends with us
        place = fix.place
        try:
            with steps(len(fix.steps), quiet=quiet) as telling:
                done = doing.do(fix, _folder(), lambda: self._installed(place), telling)
        except KeyboardInterrupt:
            self._interrupted(place)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        if done.fix.failure:
            say("\n".join(f"  | {visible(line)[:_LINE]}" for line in done.tail))
        return done.fix

    def _interrupted(self, place: FixPlace) -> None:
        """Say how to go on and how to go back."""
        from dltool.setup.fixing import record

        found = record.unfinished(_folder(), place, self._installed(place))
        say(tr(f"interrupted; to go on: {self._again()}", f"已中断；继续执行：{self._again()}"))
        _say_undo(found[0].undo if found else ())

    def _place(self) -> FixPlace | None:
        from dltool.probe import mendable

        python = self.machine.python
        if python is None:
            return None
        return mendable.place(python) if self.here else mendable.recorded(python)

    def _installed(self, place: FixPlace | None) -> tuple[FrozenPackage, ...]:
        from dltool.probe import installed
        from dltool.results import FrozenPackage

        if place is None or self.machine.python is None:
            return ()
        if self.here:
            return installed.of(place.python, timeout_s=_PATIENCE_S)
        return tuple(
            FrozenPackage(name=one.name, version=one.version, source="conda" if one.installer == "conda" else "index")
            for one in reversed(self.machine.python.distributions)
        )


def _say_undo(commands: Iterable[str]) -> None:
    for line in commands:
        say(tr(f"to undo: {line}", f"撤销：{line}"))


def _folder() -> Path:
    """Where the records of fixes are kept, beside the reports."""
    from dltool import store

    return store.directory().with_name("fixes")


def _own() -> frozenset[str]:
    """The ids of what dltool itself judges: what a plugin or a policy advises is not run."""
    from dltool.checks import CHECKS
    from dltool.probing import PROBES

    return frozenset((*(name for name, item in CHECKS if item.rule.__module__.startswith("dltool.checks.")), *PROBES))


def outcome(before: Iterable[Finding], after: Iterable[Finding], steps: Iterable[FixStep] = ()) -> tuple[FixOutcome, ...]:
    """Of every problem that was or is: mended, still there, or new. Those of one check are told apart by what they say.

    One that is gone although its step did not come to its end is unclear: what it was about may be gone too.
    """
    from dltool.results import FixOutcome

    was, now = ([finding for finding in findings if finding.status.is_problem] for findings in (before, after))
    said: Callable[[Any], tuple[str, str]] = lambda finding: (finding.id, finding.summary)  # noqa: E731
    same = {said(finding) for finding in was} & {said(finding) for finding in now}
    told = [FixOutcome(finding=one.id, summary=one.summary, state="remains") for one in now if said(one) in same]
    others = [finding for finding in was if said(finding) not in same]
    for one in (finding for finding in now if said(finding) not in same):
        earlier = next((other for other in others if other.id == one.id), None)
        if earlier is not None:  # the same fault, with other versions in its words
            others.remove(earlier)
        told.append(FixOutcome(finding=one.id, summary=one.summary, state="new" if earlier is None else "remains"))
    half = {target.finding for step in steps if step.state != "done" for target in step.mends}
    gone = [FixOutcome(finding=one.id, summary=one.summary, state="unclear" if one.id in half else "mended") for one in others]
    return (*gone, *sorted(told, key=lambda one: one.state != "remains"))
