"""The options that say how an environment is to be made: shared by the commands of `setup`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.asking import Asking
from dltool.errors import UsageError

if TYPE_CHECKING:
    from dltool.compat.ask import Asked
    from dltool.machine import Machine
    from dltool.results import Plan
    from dltool.setup.distro import Distro

_DESCRIBES = ("driver", "gpu", "cc", "os", "arch", "glibc", "kernel_module", "compat_package")
"""What makes it another machine than this one; the rest is what is wanted on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What is wanted, besides what must work together."""

    purpose: Annotated[str, typer.Option("--for", help="training, inference or building-extensions.", metavar="PURPOSE")] = (
        "training"
    )
    manager: Annotated[str, typer.Option("--manager", help="venv, conda, uv or pixi.", metavar="NAME")] = "venv"
    mirror: Annotated[
        list[str] | None,
        typer.Option("--mirror", help="Name of a mirror (tuna, sjtu, aliyun ...) or its address.", metavar="NAME|URL"),
    ] = None
    distro: Annotated[
        str | None, typer.Option("--distro", help="Linux distribution: ubuntu24.04, debian12, rhel9.", metavar="NAME")
    ] = None
    cpu: Annotated[bool, typer.Option("--cpu", help="A machine without a GPU.")] = False
    machine: Annotated[
        Path | None, typer.Option("--machine", help="Plan for the machine in this snapshot.", metavar="FILE")
    ] = None


def plan_for(asking: Asking, planning: Planning, *, directory: str | None = None) -> Plan:
    """The plan that the options ask for; nothing asked about the machine is this one.

    Raises:
        UsageError: a value is none, says too little, or contradicts another.
    """
    from dltool.setup.plan import make
    from dltool.setup.wishes import wishes

    _contradictions(asking, planning)
    wanted = wishes(purpose=planning.purpose, manager=planning.manager, mirrors=planning.mirror or (), directory=directory)
    elsewhere = planning.cpu or planning.distro or any(getattr(asking, name) for name in _DESCRIBES)
    machine = None if elsewhere else _machine(planning.machine)
    asked = _asked(asking, machine, cpu=planning.cpu)
    _impossible(asked)
    distro, told = _distro(planning.distro, machine, asked)
    from msgspec.structs import replace as with_

    return make(asked.question, with_(wanted, distro=distro), machine=machine, assumed=(*asked.assumed, *told))


def _contradictions(asking: Asking, planning: Planning) -> None:
    given = [name for name in ("driver", "gpu", "cc", "kernel_module") if getattr(asking, name)]
    if planning.cpu and given:
        raise UsageError(f"--cpu says that there is no GPU, --{given[0].replace('_', '-')} is of one", remedy="Leave one out.")
    if planning.cpu and asking.torch and "+cu" in asking.torch:
        raise UsageError(f"--cpu says that there is no GPU, --torch {asking.torch} is a CUDA build", remedy="Leave one out.")
    if planning.distro and (asking.os or "").casefold() == "windows":
        raise UsageError("--distro is of Linux, --os is windows", remedy="Leave one of them out.")
    described = [name for name in _DESCRIBES if getattr(asking, name)] + ["distro"] * bool(planning.distro)
    if planning.machine and (described or planning.cpu):
        named = described[0].replace("_", "-") if described else "cpu"
        raise UsageError(f"--machine says what is there, --{named} too", remedy="Leave one of them out.")


def _machine(path: Path | None) -> Machine:
    from dltool import probe
    from dltool.machine import load

    return load(path) if path is not None else probe.read()


def _impossible(asked: Asked) -> None:
    from dltool.compat import builds

    torch, python = asked.question.torch, asked.question.python
    rows = builds.releases()
    if torch is not None and asked.question.build is None and builds.torch_release(torch) is None:
        raise UsageError(
            f"torch {torch} is not in the tables",
            remedy=f"They hold {rows[-1]['torch']} to {rows[0]['torch']}; another one needs its build too: {torch}+cu130.",
        )
    if python is not None and not python.startswith("3."):
        raise UsageError(f"there is no PyTorch in the tables for Python {python}", remedy="Write it like 3.12.")


def _asked(asking: Asking, machine: Machine | None, *, cpu: bool) -> Asked:
    """The question: of a machine only what a new environment cannot change."""
    from msgspec.structs import replace as with_

    from dltool.compat.question import Question, of_machine

    base = Question(cpu_only=cpu)
    if machine is not None:
        base = with_(of_machine(machine), torch=None, build=None, python=None, packages={})
    open_build = asking.torch is not None and "+" not in asking.torch
    found = asking.ask(base)
    if open_build:  # which build is for the plan to say, not for what a plain pip would take
        kept = tuple(text for text in found.assumed if "without a build" not in text)
        found = with_(found, question=with_(found.question, build=None), assumed=kept)
    return found


def _distro(named: str | None, machine: Machine | None, asked: Asked) -> tuple[Distro | None, tuple[str, ...]]:
    """The distribution, and what had to be assumed of it."""
    from dltool.setup import distro

    if named is not None:
        found = distro.resolve(named)
        return found, () if any(mark.isdigit() for mark in named) or not found.release else (f"{found}",)
    if machine is not None:
        return distro.of_machine(machine), ()
    if asked.question.os == "windows":
        return None, ()
    return distro.resolve(distro.DEFAULT), (f"{distro.DEFAULT}; another with --distro",)
