"""What the steps of a plan are written for, and how commands come out of the tables."""

from __future__ import annotations

import re

from msgspec import Struct

from dltool import tables
from dltool.compat.drivers import cuda_release
from dltool.compat.question import Question
from dltool.compat.versions import known_version, minor, version
from dltool.machine import Machine
from dltool.setup.distro import Distro
from dltool.setup.wishes import Wishes


class Situation(Struct, frozen=True, kw_only=True):
    """One environment to be made on one machine."""

    question: Question
    """With torch, build and Python chosen."""
    wishes: Wishes
    requirements: tuple[str, ...]
    compiled: tuple[str, ...] = ()
    """Packages that pip compiles."""
    machine: Machine | None = None
    """None: a machine that is not here."""
    move_driver: bool = False
    """The driver that is there is too old, or too new, for anything."""

    @property
    def distro(self) -> Distro | None:
        """The Linux distribution; None on Windows, and where the tables do not know it."""
        return None if self.question.os == "windows" else self.wishes.distro

    @property
    def windows(self) -> bool:
        """Whether commands are those of PowerShell."""
        return self.question.os == "windows"

    @property
    def python(self) -> str:
        """The Python minor version; the middle of those in use where nothing is known of torch."""
        return minor(self.question.python or "3.12")

    @property
    def interpreter(self) -> str:
        """How the interpreter of the environment is called from outside it."""
        place, manager = self.wishes.place, self.wishes.manager
        if manager == "conda":
            return f"conda run -n {place} python"
        if manager == "pixi":
            return f"pixi run --manifest-path {place} python"
        return rf"{place}\Scripts\python.exe" if self.windows else f"{place}/bin/python"

    @property
    def container(self) -> str | None:
        """The kind of container that this is; None outside one."""
        return self.machine.os.container if self.machine else None

    @property
    def toolkit(self) -> str | None:
        """The CUDA toolkit that must be there: only where something is compiled."""
        asked = minor(self.question.cuda) if self.question.cuda else None
        wanted = self.wishes.purpose == "building-extensions" or bool(self.compiled)
        return asked or (self.question.cuda_of_torch if wanted else None)

    def again(self, command: str) -> str:
        """A command of dltool that gives this very environment, whatever machine it runs on."""
        question, wishes = self.question, self.wishes
        described = "--cpu" if question.cpu_only else f"--cc {','.join(question.compute_capabilities)}".removesuffix("--cc ")
        options = [
            f"--torch {question.torch}+{question.build}",
            f"--python {question.python}",
            f"--os {question.os}",
            f"--arch {question.arch}",
            described,
            *(f"--with {name}=={version}" if version else f"--with {name}" for name, version in question.packages.items()),
            *(f"--mirror {name}" for name in wishes.mirror.names),
            f"--for {wishes.purpose}" if wishes.purpose != "training" else "",
        ]
        return " ".join(("dltool setup", command, *filter(None, options)))


def fill(template: str, **values: str) -> str:
    """A command with its placeholders replaced; those that are not named stay."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)


def commands(template: str, **values: str) -> tuple[str, ...]:
    """The commands of a cell, each on its own."""
    return tuple(part for part in fill(template, **values).split(" && ") if part)


def newest_update(cuda: str) -> tables.Row | None:
    """The newest update of a CUDA minor: 12.8 -> the row of 12.8.1."""
    rows = [row for row in tables.rows("compat/cuda") if minor(row["cuda"]) == minor(cuda)]
    return max(rows, key=lambda row: version(row["cuda"]), default=cuda_release(cuda))


def task(name: str, distribution: str) -> tables.Row | None:
    """A row of toolkit_install.csv."""
    rows = tables.rows("compat/toolkit_install")
    return next((row for row in rows if row["task"] == name and row["distribution"] == distribution), None)


def is_newer(one: str | None, other: str | None) -> bool:
    """Whether the major of one version is greater; unknown ones are not."""
    left, right = known_version(one), known_version(other)
    return left is not None and right is not None and left.major > right.major
