"""The steps of a fix, one by one: recorded before, logged, ended with us, and stopped by the first that fails."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from msgspec.structs import replace

from dltool.errors import CannotRun
from dltool.lang import tr
from dltool.results import Fix, FixStep, FrozenPackage
from dltool.setup import recipe, running, trouble, workplace
from dltool.setup.apply import Telling
from dltool.setup.fixing import record, shapes
from dltool.setup.fixing.record import Keeper

_TAIL = 15
_LIMIT_S = 4 * 3600.0
"""Some gigabytes over a slow line."""
_USERS_OWN = ("XDG_CACHE_HOME", "PIP_CACHE_DIR", "UV_CACHE_DIR", "UV_PYTHON_INSTALL_DIR")
"""The user's caches are used: what was downloaded once need not be again, for the way back either."""

Now = Callable[[], tuple[FrozenPackage, ...]]


@dataclass(frozen=True, slots=True)
class Done:
    """How a fix went, and the last lines of what failed."""

    fix: Fix
    tail: tuple[str, ...] = ()


def do(fix: Fix, folder: Path, installed: Now, telling: Telling) -> Done:
    """Carry out the steps of a plan.

    Args:
        folder: where records of fixes are kept.
        installed: everything that is installed in the environment now.
        telling: who shows how far it is.

    Raises:
        CannotRun: a program is missing, another fix is at work, or the record cannot be written: nothing was done.
        KeyboardInterrupt: the running command was ended; the record tells how far it is.
    """
    assert fix.place is not None
    calls = [_calls(step, fix.place.python) for step in fix.steps]
    _check_programs(calls)
    with record.claimed(folder) as lock:
        try:
            keeper = record.begin(folder, fix.place, fix.steps, installed())
            scratch = keeper.directory / "tmp"
            scratch.mkdir()
            if keeper.goes_on and fix.place.packages:
                was = {f"{package.name}-{package.version}" for package in keeper.record.before}
                workplace.sweep([Path(fix.place.packages)], keep=was)
        except OSError as error:
            raise workplace.cannot_write(folder, error) from None
        try:
            return _Run(fix, keeper, lock, telling, scratch).through(calls, installed)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _calls(step: FixStep, python: str) -> tuple[tuple[str, ...], ...]:
    """What is run is put together from what was understood of each line, never the line itself."""
    found = [shapes.read(line, python=python) for line in step.commands]
    home = os.path.expanduser(python)  # noqa: PTH111 - a string in, a string out
    calls = tuple(
        tuple(home if word == python else word for word in call.argv()) for call in found if isinstance(call, shapes.Pip)
    )
    assert len(calls) == len(found), step.commands
    return calls


def _check_programs(calls: list[tuple[tuple[str, ...], ...]]) -> None:
    for program in dict.fromkeys(command[0] for step in calls for command in step):
        if shutil.which(program) is None:
            raise CannotRun(
                tr(f"there is no {program} here", f"这里没有 {program}"),
                remedy=tr(
                    "Install it, or run the lines by hand with what you use.", "请先安装它，或用你的工具手动执行这些命令。"
                ),
            )


class _Run:
    def __init__(self, fix: Fix, keeper: Keeper, lock: int, telling: Telling, scratch: Path) -> None:
        self.fix = fix
        self.keeper = keeper
        self.lock = lock
        self.telling = telling
        self.scratch = scratch
        own = {name: os.environ[name] for name in _USERS_OWN if name in os.environ}
        made = {name: text for name, text in recipe.surroundings(scratch).items() if name not in _USERS_OWN}
        # pip must not draw bars, ask for a newer pip, or write where root would.
        self.environment = made | own | {"TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch),
                                         "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_PROGRESS_BAR": "off"}  # fmt: skip

    def through(self, calls: list[tuple[tuple[str, ...], ...]], installed: Now) -> Done:
        """Every step; the first that fails is the last."""
        steps = [replace(step, state="not done") for step in self.fix.steps]
        failure: str = ""
        tail: tuple[str, ...] = ()
        with self.keeper.log.open("ab") as log:
            for number, commands in enumerate(calls):
                steps[number], ended = self._step(number, commands, log)
                if ended is not None:
                    failure, tail = _meaning(ended), ended.lines[-_TAIL:]
                    break
        if not failure:
            self._note(self.keeper.finish)
        return Done(
            replace(
                self.fix,
                state="failed" if failure else "done",
                steps=tuple(steps),
                record=str(self.keeper.directory),
                undo=self.keeper.way_back(installed()),
                failure=failure,
            ),
            tail,
        )

    def _step(self, number: int, commands: tuple[tuple[str, ...], ...], log: IO[bytes]) -> tuple[FixStep, running.Ended | None]:
        step = self.fix.steps[number]
        began = time.monotonic()
        state, failed = "failed", None
        self.telling.begin(step.title)
        try:
            for command in (*self._ahead(commands), *commands):
                ended = self._command(command, log)
                if "--dry-run" in command and "no such option" in ended.text:
                    continue  # a pip from before 22.2
                if ended.returncode != 0:
                    failed = ended
                    break
            else:
                state = "done"
        finally:
            took = time.monotonic() - began
            self.telling.end(state, took)
        step = replace(step, state=state, seconds=round(took, 3))
        self._note(lambda: self.keeper.step(number, step))
        return step, failed

    def _ahead(self, commands: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, ...]]:
        """Nothing is removed before it is known that what takes its place can be had."""
        if not any("uninstall" in command[:4] for command in commands):
            return
        for command in commands:
            if "install" in command[:4]:
                verb = command.index("install") + 1
                fresh = ("--reinstall",) if command[0] == "uv" else ("--ignore-installed",)
                yield (*command[:verb], "--dry-run", *fresh, *command[verb:])

    def _command(self, command: tuple[str, ...], log: IO[bytes]) -> running.Ended:
        try:
            return running.run(
                command,
                environment=self.environment,
                cwd=self.scratch,
                log=log,
                tell=self.telling.detail,
                limit_s=_LIMIT_S,
                lock=self.lock,
            )
        except OSError as error:  # it does not start, or the log cannot be written
            return running.Ended(127, (f"{command[0]}: {error.strerror or error}",))

    def _note(self, write: Callable[[], None]) -> None:
        """How far it is, where that can still be written: on a full disk the first record stands, and less is known as done."""
        try:
            write()
        except OSError as error:
            self.telling.detail(str(error))


def _meaning(ended: running.Ended) -> str:
    """What stopped it and what to do, in one line."""
    if ended.returncode is None:
        hours = f"{_LIMIT_S / 3600:.0f}"
        return tr(
            f"no end after {hours} h. Run it again when the network is better.", f"{hours} 小时后仍未结束。请在网络好转后重试。"
        )
    what, remedy = trouble.meaning(ended.text) or (trouble.last_words(ended.lines), "See the lines above.")
    return f"{what}. {remedy}"
