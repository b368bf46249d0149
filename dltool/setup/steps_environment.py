"""The environment: its manager, the interpreter that it starts from, and itself."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import tables
from dltool.results import Risk, Step
from dltool.setup.situation import Situation, commands, fill

_GET = {
    "uv": ("curl -LsSf https://astral.sh/uv/install.sh | sh", "winget install --id=astral-sh.uv -e"),
    "pixi": ("curl -fsSL https://pixi.sh/install.sh | sh", "winget install prefix-dev.pixi"),
    "conda": (
        "curl -LO https://github.com/conda-forge/miniforge/releases/latest/download/Miniforge3-Linux-$(uname -m).sh"
        " && bash Miniforge3-Linux-$(uname -m).sh -b",
        "winget install CondaForge.Miniforge3",
    ),
}
"""How a manager is installed, on Linux and on Windows, as its own pages say."""
_REMOVE = {"uv": "rm ~/.local/bin/uv ~/.local/bin/uvx", "pixi": "rm -r ~/.pixi", "conda": "rm -r ~/miniforge3"}
_APT, _DNF = "sudo apt-get install python{python} python{python}-venv", "sudo dnf install python{python}"
_ZYPPER = "sudo zypper install python{digits}"
_INTERPRETER = {
    "Ubuntu": _APT, "Debian": _APT, "Red Hat": _DNF, "Rocky": _DNF, "AlmaLinux": _DNF, "Fedora": _DNF, "Amazon Linux": _DNF,
    "Azure Linux": "sudo tdnf install python3", "Arch": "sudo pacman -S python", "openSUSE": _ZYPPER, "SLES": _ZYPPER,
}  # fmt: skip


def row_of(manager: str) -> tables.Row:
    """The row of an environment manager."""
    return next(row for row in tables.rows("compat/environment_managers") if row["manager"] == manager)


def steps(situation: Situation) -> Iterator[Step]:
    """What is to be there before anything is installed."""
    if situation.wishes.manager == "venv":
        yield _interpreter(situation)
    else:
        yield _manager(situation)
    yield _pixi(situation) if situation.wishes.manager == "pixi" else _environment(situation)


def _manager(situation: Situation) -> Step:
    name = situation.wishes.manager
    return Step(
        id="manager",
        title=f"{name}, where it is not there yet",
        why=f"It brings Python {situation.python} itself, without root and without touching the system's.",
        state="optional",
        commands=commands(_GET[name][situation.windows]),
        verify=(f"{name} --version",),
        undo=() if situation.windows else (_REMOVE[name],),
        source=row_of(name)["source"],
    )


def _interpreter(situation: Situation) -> Step:
    python, distro = situation.python, situation.distro
    have = situation.machine.python if situation.machine else None
    there = have is not None and have.version.startswith(f"{python}.")
    template = _INTERPRETER.get(distro.family, "") if distro else ""
    if situation.windows:
        template = "winget install Python.Python.{python}"
    notes = []
    if distro is not None and distro.python not in (None, python) and not there:
        notes.append(f"{distro} ships Python {distro.python}: for another one --manager uv is easier.")
    install = (
        template.replace(" install ", " remove ")
        .replace("pacman -S", "pacman -Rs")
        .replace("winget remove", "winget uninstall")
    )
    return Step(
        id="python",
        title=f"Python {python}{' is there' if there else ''}",
        why="venv starts from an interpreter that is there, and torch has wheels for this one.",
        state="done" if there else "needed",
        commands=() if there else _filled(template, python),
        verify=(f"py -{python} --version" if situation.windows else f"python{python} -m venv --help",),
        undo=() if there or (distro and distro.python == python) else _filled(install, python),
        risk=Risk.READ_ONLY if there else Risk.ROOT,
        notes=tuple(notes),
    )


def _filled(template: str, python: str) -> tuple[str, ...]:
    return commands(template, python=python, digits=python.replace(".", ""))


_OWN = "torch and its companions pin one another; in an environment of their own nothing else moves them."


def _environment(situation: Situation) -> Step:
    name, place = situation.wishes.manager, situation.wishes.place
    row, windows = row_of(name), situation.windows
    create = "py -{python} -m venv {path}" if name == "venv" and windows else row["create"]
    if name == "conda" and situation.wishes.mirror.conda:
        create += f" --override-channels -c {situation.wishes.mirror.conda}/conda-forge"
    remove = row["remove"].replace("rm -rf", "Remove-Item -Recurse -Force") if windows else row["remove"]
    cells = (create, row["activate_powershell" if windows else "activate_posix"])
    values = {"path": place, "name": place, "python": situation.python}
    return Step(
        id="environment",
        title=f"Environment {place} ({name}, Python {situation.python})",
        why=_OWN,
        commands=tuple(part for cell in cells for part in commands(cell, **values)),
        verify=(f"{situation.interpreter} --version",),
        undo=(fill(remove, **values),),
        source=row["source"],
    )


def _pixi(situation: Situation) -> Step:
    """pixi installs what its file names, and `setup export` writes the file."""
    place = situation.wishes.place
    return Step(
        id="environment",
        title=f"Environment {place} (pixi, Python {situation.python})",
        why=_OWN,
        commands=(f"mkdir {place}", f"{situation.again('export pixi')} -o {place}/pixi.toml"),
        verify=(f"pixi list --manifest-path {place}   # once torch is installed",),
        undo=(f"Remove-Item -Recurse -Force {place}" if situation.windows else f"rm -r {place}",),
        source=row_of("pixi")["source"],
    )
