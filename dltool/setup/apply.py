"""From nothing to an environment that has shown that it works, or back to nothing.

Only the directory is written, besides the log of a failure beside it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from msgspec.structs import replace

from dltool.errors import CannotRun, UsageError
from dltool.results import Creation, CreationStep, Environment, Finding
from dltool.setup import proof, recipe, running, trouble, workplace
from dltool.setup.recipe import Job
from dltool.setup.workplace import Workplace, cannot_write, claim

_TAIL = 15


class Telling(Protocol):
    """Who shows how far it is."""

    def begin(self, title: str) -> None:
        """A step begins."""

    def detail(self, text: str) -> None:
        """What it says."""

    def end(self, state: str, seconds: float) -> None:
        """It is over: "done", "kept" or "failed"."""


class StepFailed(CannotRun):
    """A step did not work; `tail` are the last lines of the log."""

    def __init__(self, message: str, *, remedy: str, tail: tuple[str, ...]) -> None:
        super().__init__(message, remedy=remedy)
        self.tail = tail


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be made."""

    environment: Environment
    directory: Path
    interpreter: str | None = None
    """The Python for venv."""
    gpus: int = 0
    """How many GPUs there are to prove it on."""
    dependencies: bool = True
    """False: the requirements are complete."""
    keep: bool = False
    """Leave what there is after a failure."""

    @property
    def place(self) -> Path:
        """The directory, from the root, links kept."""
        return Path(os.path.abspath(self.directory))  # noqa: PTH100

    def jobs(self) -> tuple[Job, ...]:
        """The steps before the proof."""
        scratch = self.place / workplace.SCRATCH
        return recipe.jobs(
            self.environment, self.place, interpreter=self.interpreter, scratch=scratch, dependencies=self.dependencies
        )

    def prove(self) -> tuple[str, ...]:
        """The command of the proof."""
        return proof.command(self.environment, self.place, all_imported=self.dependencies)


@dataclass(frozen=True, slots=True)
class Made:
    """How it went, and what the proof found."""

    creation: Creation
    findings: tuple[Finding, ...] = ()


def planned(wish: Wish) -> Creation:
    """What would be done, without doing it.

    Raises:
        UsageError: the directory is somebody else's.
        CannotRun: no such manager.
    """
    if wish.place.exists():
        workplace.check_is_ours_or_empty(wish.place)
    steps = [
        CreationStep(id=job.id, title=job.title, state="planned", commands=tuple(map(recipe.shown, job.commands)))
        for job in wish.jobs()
    ]
    commands = (recipe.shown(recipe.check(wish.environment, wish.place)), recipe.shown(wish.prove()))
    steps.append(CreationStep(id="proof", title=_PROOF, state="planned", commands=commands))
    return replace(_creation(wish, "planned"), steps=tuple(steps), log=None)


_PROOF = "proving it: versions, imports, a product of matrices on every device"


def create(wish: Wish, telling: Telling) -> Made:
    """Make the environment, or go on where an earlier run stopped, and prove it.

    A failure leaves the directory as it was found, unless `wish.keep`; being interrupted or killed leaves it to be taken up.

    Raises:
        UsageError: the directory is somebody else's, or of another plan.
        CannotRun: a program is missing, or another run is at work there.
        StepFailed: a step did not work.
        KeyboardInterrupt: its commands were ended, the marker tells how far it is.
    """
    jobs = wish.jobs()
    _check_programs(wish, jobs)
    with claim(wish.place) as place:
        _check_same(wish, place)
        try:
            return _Run(wish, place, telling).through(jobs)
        except OSError as error:  # of our own files: marker, log, scratch
            _give_up(wish, place)
            raise cannot_write(wish.place, error) from None
        except StepFailed as failure:
            log = _give_up(wish, place)
            raise StepFailed(str(failure), remedy=f"{failure.remedy} {log}", tail=failure.tail) from None


def _check_programs(wish: Wish, jobs: tuple[Job, ...]) -> None:
    """Refuse before anything is touched.

    Raises:
        CannotRun: no such interpreter, or the manager is not installed.
    """
    program = jobs[0].commands[0][0]
    if shutil.which(program) is None:
        missing = f"Python {wish.environment.python}" if wish.environment.manager == "venv" else wish.environment.manager
        raise CannotRun(
            f"there is no {missing} here ({program})",
            remedy="Install it, ask for a Python that is here (dltool setup list), or let uv bring one: --manager uv.",
        )


def _check_same(wish: Wish, place: Workplace) -> None:
    """Refuse to go on with another plan.

    Raises:
        UsageError: what is there was planned otherwise, or is being removed.
    """
    found = place.found
    if found is None:
        return
    remove = f"dltool setup remove {recipe.shown([str(wish.directory)])}"
    if found.state == "removing":
        raise UsageError(f"{wish.directory} is half removed", remedy=f"Finish that: {remove}")
    wanted = _without_secrets(wish.environment)
    same = replace(found.environment, directory=None) == replace(wanted, directory=None)
    if not same or found.dependencies != wish.dependencies:
        has = f"torch {found.environment.torch}+{found.environment.build} on Python {found.environment.python}"
        raise UsageError(
            f"{wish.directory} is of another plan: {found.environment.manager} with {has}"
            + ("" if found.state == "finished" else ", unfinished"),
            remedy=f"Name another directory, repeat the command that began it, or remove it: {remove}",
        )


def _without_secrets(environment: Environment) -> Environment:
    index, extra = (recipe.without_credentials(text or "") for text in (environment.index, environment.extra_index))
    return replace(environment, index=index, extra_index=extra or None)


class _Run:
    """One run through the steps."""

    def __init__(self, wish: Wish, place: Workplace, telling: Telling) -> None:
        self.wish = wish
        self.place = place
        self.telling = telling
        self.steps: list[CreationStep] = []
        self.surroundings = recipe.surroundings(place.scratch)
        self.began = time.monotonic()

    def through(self, jobs: tuple[Job, ...]) -> Made:
        """All steps, then the proof."""
        marker = self.place.begin(_without_secrets(self.wish.environment), dependencies=self.wish.dependencies)
        with self.place.log.open("ab") as log:
            for job in jobs:
                self._job(job, log, kept=job.id in marker.done)
            findings = self._proof(log)
        return self._made(findings)

    def _job(self, job: Job, log: IO[bytes], *, kept: bool) -> None:
        with self._step(job.id, job.title, tuple(map(recipe.shown, job.commands)), kept=kept):
            if kept:
                return
            self._prepare(job)
            for command in job.commands:
                ended = self._command(command, log, job.limit_s)
                if ended.returncode != 0:
                    raise self._failure(job, ended)
            self.place.done(job.id)

    def _prepare(self, job: Job) -> None:
        """A step that was broken off before begins anew: what it left half-made goes."""
        if job.id == "environment":
            self.place.clear()
            if self.wish.environment.manager == "conda":
                # By this file conda knows an environment.
                (self.place.directory / "conda-meta").mkdir()
                (self.place.directory / "conda-meta/history").touch()
            return
        workplace.sweep(self.place.directory.glob("lib/python3*/site-packages"))

    def _proof(self, log: IO[bytes]) -> tuple[Finding, ...]:
        wish = self.wish
        check, prove = recipe.check(wish.environment, wish.place), wish.prove()
        findings: tuple[Finding, ...] = ()
        with self._step("proof", _PROOF, (recipe.shown(check), recipe.shown(prove))) as finished:
            consistent = proof.consistency(self._command(check, log, 600.0))
            errors_path = self.place.scratch / "proof.txt"
            with errors_path.open("wb") as errors:
                ended = self._command(prove, log, proof.LIMIT_S, errors=errors)
            errors_text = errors_path.read_text(errors="replace")
            log.write(errors_text.encode())
            findings = (*proof.judge(wish.environment, ended, errors_text, gpus=wish.gpus), consistent)
            if proof.failed(findings):
                finished("failed")
        return findings

    def _command(
        self, command: tuple[str, ...], log: IO[bytes], limit_s: float, *, errors: IO[bytes] | None = None
    ) -> running.Ended:
        home = {"HOME": str(self.place.scratch / "cache")} if errors else {}  # what is imported may write where it likes
        try:
            return running.run(
                command,
                environment=self.surroundings | home,
                cwd=self.place.scratch / "tmp",
                log=log,
                tell=self.telling.detail if errors is None else lambda _text: None,
                limit_s=limit_s,
                lock=self.place.lock,
                errors=errors,
            )
        except (FileNotFoundError, PermissionError) as error:
            return running.Ended(127, (f"{command[0]} cannot be started: {error.strerror}",))

    def _failure(self, job: Job, ended: running.Ended) -> StepFailed:
        if ended.returncode is None:
            what, remedy = f"no end after {job.limit_s / 60:.0f} min", "Run it again when the network is better."
        else:
            what, remedy = trouble.meaning(ended.text) or (trouble.last_words(ended.lines), "See the lines above.")
        if what == "the index cannot be reached" and job.id != "environment":
            index = self.wish.environment.extra_index if job.id == "packages" else self.wish.environment.index
            what = f"the index cannot be reached: {recipe.without_credentials(index or 'that of pip itself')}"
        return StepFailed(f"{job.title} failed: {what}", remedy=remedy, tail=ended.lines[-_TAIL:])

    @contextlib.contextmanager
    def _step(self, name: str, title: str, commands: tuple[str, ...], *, kept: bool = False) -> Iterator[Callable[[str], None]]:
        """Tell and time a step; the function that it gives says that it ended otherwise than done."""
        state = ["kept" if kept else "done"]
        began = time.monotonic()
        self.telling.begin(title)
        try:
            yield lambda word: state.__setitem__(0, word)
        except BaseException:
            state[0] = "failed"
            raise
        finally:
            seconds = time.monotonic() - began
            self.telling.end(state[0], seconds)
            self.steps.append(CreationStep(id=name, title=title, state=state[0], commands=commands, seconds=round(seconds, 3)))

    def _made(self, findings: tuple[Finding, ...]) -> Made:
        creation = replace(
            _creation(self.wish, "finished"), steps=tuple(self.steps), seconds=round(time.monotonic() - self.began, 3)
        )
        if proof.failed(findings):
            note = _give_up(self.wish, self.place)
            return Made(replace(creation, state="failed", activate=None, log=None, notes=(note,)), findings)
        self.place.finish()
        return Made(creation, findings)


def _creation(wish: Wish, state: str) -> Creation:
    environment = replace(_without_secrets(wish.environment), directory=str(wish.place))
    return Creation(
        directory=str(wish.place),
        state=state,
        environment=environment,
        interpreter=wish.interpreter,
        log=str(wish.place / workplace.LOG),
        activate=recipe.activation(wish.environment, wish.place),
    )


def _give_up(wish: Wish, place: Workplace) -> str:
    """Put the directory back as it was found and the log beside it.

    Returns:
        What became of both, as a sentence.
    """
    if wish.keep:
        return f"{wish.directory} is left as it is: run again to go on; log: {place.log}"
    if place.found is not None:
        place.restore()
        return f"{wish.directory} is left as it was found: run again to go on; log: {place.log}"
    log = beside(wish.place)
    try:
        text = place.log.read_bytes() if place.log.exists() else b""
        place.restore()
        log.write_bytes(text)
    except OSError as error:
        return f"What was made could not all be removed: {error}"
    return f"{wish.directory} is as it was before; log: {log}"


def beside(directory: Path) -> Path:
    """Where the log of a failure goes."""
    return directory.with_name(f"{directory.name}.dltool-setup.log")
