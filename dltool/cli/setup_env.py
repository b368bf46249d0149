"""`dltool setup create` and what comes after it: list, remove, freeze, clone."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.asking import Asking
from dltool.cli.common import Output, Python, deliver, finish, guarded, report, say
from dltool.cli.planning import Planning, plan_for
from dltool.errors import CannotRun, ExitCode, UsageError

if TYPE_CHECKING:
    from dltool.machine import Machine
    from dltool.probe import environments
    from dltool.results import Environment, EnvironmentFound
    from dltool.setup.apply import Wish

_LINE = 200
Directory = Annotated[Path, typer.Argument(help="Directory of the environment.", metavar="DIR")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How an environment is made, whatever is in it."""

    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            help="Where the wheels of torch are instead: an URL, a folder of wheels, or `pip`: wherever pip looks by itself.",
            metavar="URL|DIR|pip",
        ),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False
    keep: Annotated[bool, typer.Option("--keep", help="Leave what there is when a step fails.")] = False


def register(app: typer.Typer) -> None:
    """Add the commands to `dltool setup`."""
    for name, command in (("create", create), ("list", list_), ("remove", remove), ("freeze", freeze), ("clone", clone)):
        app.command(name)(command)


@guarded
def create(out: Output, planning: Planning, asking: Asking, making: Making, directory: Directory) -> None:
    """Make the environment of the plan in DIR, and prove it: versions, imports, a checked product on every device.

    Nothing outside DIR is written: downloads and caches lie in it until the end. A failure leaves DIR as it was and its log
    beside it; after Ctrl-C or a crash the same command goes on. Example: dltool setup create ~/envs/dl --with torchvision
    """
    from dltool.setup.apply import Wish

    found = plan_for(asking, planning, directory=str(directory))
    if found.environment is None:
        finish(report("setup create", plan=found), out, keep=None)
        return
    for text in (*found.problems, *(f"not done here: {step.title}" for step in found.steps if _is_of_the_host(step))):
        say(f"warning: {text}; see: dltool setup plan", quiet=out.quiet)
    environment = _elsewhere(found.environment, making.index)
    interpreter = _interpreter(environment)
    _make(
        "setup create",
        Wish(environment=environment, directory=directory, interpreter=interpreter, gpus=_gpus_here(), keep=making.keep),
        out,
        dry_run=making.dry_run,
    )


def _is_of_the_host(step: object) -> bool:
    """Whether it needs root and is not there yet: not for us to do."""
    return getattr(step, "id", "") in ("driver", "toolkit", "cudnn") and getattr(step, "state", "") == "needed"


def _elsewhere(environment: Environment, index: str | None) -> Environment:
    """With torch from another index; a folder of wheels serves everything.

    Raises:
        UsageError: no such folder.
    """
    from msgspec.structs import replace

    from dltool.setup.recipe import PIP_DEFAULT, local_folder

    if index is None:
        return environment
    if index == "pip":
        return replace(environment, index=PIP_DEFAULT, index_kind="index")
    folder = local_folder(index)
    if folder is None:
        return replace(environment, index=index, index_kind="index")
    if not folder.is_dir():
        raise UsageError(f"--index {index}: there is no such folder", remedy="Name an URL, a folder of wheels, or `pip`.")
    return replace(environment, index=str(folder), index_kind="index", extra_index=environment.extra_index or str(folder))


def _interpreter(environment: Environment) -> str | None:
    """The Python for it; None where the manager brings one.

    Raises:
        CannotRun: venv needs one that is not here.
    """
    from dltool.probe import environments

    if environment.manager not in ("venv", "uv"):
        return None
    found = environments.python_for(environment.python)
    if found is None and environment.manager == "venv":
        raise CannotRun(
            f"there is no Python {environment.python} here that runs",
            remedy="Ask for one that is here (dltool setup list) with --python, or let uv bring it: --manager uv.",
        )
    return found


def _gpus_here() -> int:
    from dltool import probe
    from dltool.checks.visibility import visible_gpus

    return len(visible_gpus(probe.read()))


def _make(command: str, wish: Wish, out: Output, *, dry_run: bool) -> None:
    """Make it, show how it went, and leave; on a failure the last lines of the log first."""
    from dltool.render.steps import steps
    from dltool.render.terminal.page import visible
    from dltool.setup import apply

    if dry_run:
        finish(report(command, creation=apply.planned(wish)), out, keep=None)
        return
    for terminates in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(terminates, signal.default_int_handler)  # what the commands do ends with us
    try:
        with steps(len(wish.jobs()) + 1, quiet=out.quiet) as telling:
            made = apply.create(wish, telling)
    except apply.StepFailed as failure:
        say("\n".join(f"  | {visible(line)[:_LINE]}" for line in failure.tail) + "\n")
        raise
    except KeyboardInterrupt:
        say(f"interrupted: the same command goes on from here; to take it away: dltool setup remove {wish.directory}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finish(report(command, creation=made.creation, findings=made.findings), out, keep=None)


@guarded
def list_(
    out: Output,
    directories: Annotated[
        list[Path] | None, typer.Argument(help="Further directories: an environment, or what holds some.", metavar="DIR")
    ] = None,
) -> None:
    """List the Python environments here with their torch build, and whether it suits this driver and GPU.

    They are read from files; none is started. Example: dltool setup list ~/projects
    """
    from dltool import probe
    from dltool.probe import environments

    found = environments.find(directories or ())
    machine = probe.read()
    finish(report("setup list", environments=tuple(_judged(one, machine) for one in found)), out, keep=None)


def _judged(found: environments.Found, machine: Machine) -> EnvironmentFound:
    from dltool.compat import torch_build
    from dltool.probe import environments
    from dltool.results import EnvironmentFound
    from dltool.setup.workplace import MARKER

    reading = environments.read(found)
    python = reading.python
    torch = python.torch if python else None
    verdict, why = _verdict(reading, machine)
    return EnvironmentFound(
        path=found.path,
        kind=found.kind,
        found_by=found.found_by,
        python=python.version if python else None,
        torch=torch.version.partition("+")[0] if torch else None,
        build=torch_build(torch.version, torch.cuda) if torch else None,
        verdict=verdict,
        why=why,
        packages=reading.packages,
        active=found.found_by in ("VIRTUAL_ENV", "CONDA_PREFIX"),
        created_here=(found.prefix / MARKER).is_file(),
    )


def _verdict(reading: environments.Reading, machine: Machine) -> tuple[str | None, str]:
    """The word, and the gravest reason."""
    from msgspec.structs import replace

    from dltool import compat
    from dltool.compat.answer import verdict

    python = reading.python
    broken = reading.broken or (python.torch.import_broken if python and python.torch else None)
    if broken or python is None:
        return "error", broken or "it could not be read"
    if python.torch is None:
        return None, "PyTorch is not installed"
    question = compat.of_machine(replace(machine, python=python))
    if question.torch is None:
        return "unknown", f"torch {python.torch.version} is none of the published builds that the tables know"
    findings = sorted(compat.judge(question), key=lambda finding: -finding.status.severity)
    word = verdict(findings)
    if word != "ok":
        return word, findings[0].summary
    return word, "no GPU here: this build computes on the CPU" if question.cpu_only and question.build != "cpu" else ""


@guarded
def remove(
    directory: Directory,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No talk on stderr.")] = False,
) -> None:
    """Remove an environment that `setup create` or `setup clone` made, and nothing that others put into DIR.

    Example: dltool setup remove ~/envs/dl --yes
    """
    from dltool.setup import removal

    marker = removal.check(directory)
    made = marker.environment
    if not yes:
        what = f"{directory}: {made.manager}, Python {made.python}, torch {made.torch}+{made.build}, {marker.state}"
        _confirm(f"Remove {what}?")
    removed = removal.remove(directory)
    if removed.left:
        say(f"{directory} stays: it holds what dltool did not make: {', '.join(removed.left[:10])}", quiet=quiet)
    else:
        say(f"{directory} is removed" if removed.gone else f"{directory} is empty, as it was before", quiet=quiet)


def _confirm(question: str) -> None:
    """Ask.

    Raises:
        UsageError: there is nobody to ask, or the answer is no.
    """
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageError("there is nobody to ask whether it shall be removed", remedy="Say so with --yes.")
    if not typer.confirm(question, err=True):
        raise UsageError("nothing is removed", remedy="Answer y to remove it.")


@guarded
def freeze(out: Output, python: Python = None) -> None:
    """Describe an environment so that it can be rebuilt elsewhere: torch build and index, every pin, driver and glibc floor.

    Example: dltool setup freeze --python ~/envs/dl/bin/python -o dltool-env.json
    """
    import msgspec
    from msgspec.structs import replace

    from dltool import __version__, probe
    from dltool.probe import installed
    from dltool.setup import freeze as freezing

    if out.format not in (None, "json"):
        raise UsageError(f"a frozen environment is JSON, not {out.format}", remedy="Leave --format out.")
    machine = probe.read(python=python)
    packages = installed.of(machine.python.executable) if machine.python else ()
    now = report("setup freeze").created
    frozen = replace(freezing.freeze(machine, packages), created=now, dltool=__version__)
    for name, why in frozen.left_out.items():
        say(f"warning: {name} is left out: {why}", quiet=out.quiet)
    deliver(msgspec.json.format(msgspec.json.encode(frozen), indent=2).decode() + "\n", out)
    if out.output is None:
        say("rebuild it anywhere with: dltool setup clone FILE DIR", quiet=out.quiet)


@guarded
def clone(
    out: Output,
    making: Making,
    file: Annotated[Path, typer.Argument(help="Written by dltool setup freeze; - is stdin.", metavar="FILE")],
    directory: Annotated[
        Path | None, typer.Argument(help="Where to rebuild it; without, the machine is only judged.", metavar="[DIR]")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only judge this machine against it.")] = False,
    manager: Annotated[str, typer.Option("--manager", help="venv, uv or conda.", metavar="NAME")] = "venv",
) -> None:
    """Judge whether a frozen environment works on this machine, and rebuild it in DIR as `setup create` would.

    Exit code 1: it does not work here, and nothing is made. Example: dltool setup clone dltool-env.json ~/envs/same
    """
    from dltool import probe
    from dltool.probe import environments
    from dltool.setup import freeze as freezing
    from dltool.setup.apply import Wish

    frozen = freezing.load(file)
    machine = probe.read()
    answer = freezing.judge(frozen, machine, interpreter=environments.python_for(frozen.python))
    if directory is None or check or answer.verdict == "error":
        finish(report("setup clone", compat=answer), out, keep=None)
        return
    for finding in answer.findings:
        if finding.status.is_problem:
            say(f"warning: {finding.summary}", quiet=out.quiet)
    environment = _elsewhere(freezing.environment(frozen, manager=manager, directory=str(directory)), making.index)
    wish = Wish(
        environment=environment,
        directory=directory,
        interpreter=_interpreter(environment),
        gpus=_gpus_here(),
        dependencies=False,
        keep=making.keep,
    )
    _make("setup clone", wish, out, dry_run=making.dry_run)
