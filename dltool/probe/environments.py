"""The Python environments on this machine: where they usually lie, and what is in each, read from files.

No interpreter is started to list them: an environment may be broken, or a stranger's.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dltool.errors import UsageError
from dltool.machine import PythonEnv
from dltool.probe import files, installed, python_env
from dltool.probe.python_env import Interpreter

_HOMES = (
    (".virtualenvs/*", "venv"), (".local/share/virtualenvs/*", "venv"), (".cache/pypoetry/virtualenvs/*", "venv"),
    (".local/share/pipx/venvs/*", "venv"), (".local/pipx/venvs/*", "venv"), (".local/share/uv/tools/*", "uv"),
    (".local/share/uv/python/*", "uv"), (".pyenv/versions/*", "pyenv"), (".pyenv/versions/*/envs/*", "venv"),
    (".conda/envs/*", "conda"), ("micromamba", "conda"), ("micromamba/envs/*", "conda"),
)  # fmt: skip
"""Below the home directory: where a tool keeps its environments, and its kind."""
_CONDA_BASES = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "conda")
_VARIABLES = (
    ("PYENV_ROOT", "versions/*", "pyenv"), ("UV_PYTHON_INSTALL_DIR", "*", "uv"), ("WORKON_HOME", "*", "venv"),
    ("MAMBA_ROOT_PREFIX", ".", "conda"), ("MAMBA_ROOT_PREFIX", "envs/*", "conda"),
    ("CONDA_ENVS_PATH", "*", "conda"), ("CONDA_ENVS_DIRS", "*", "conda"),
)  # fmt: skip
_SYSTEM = ("/usr/local", "/usr")
_PY_VERSION = re.compile(r'^#define PY_VERSION\s+"([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """A place that holds a Python, and why it was looked at."""

    prefix: Path
    kind: str
    found_by: str
    executable: Path | None = None
    """Named only where several Pythons share a prefix."""

    @property
    def path(self) -> str:
        """What people call it by."""
        return str(self.executable or self.prefix)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the files of an environment tell; `broken` says why it cannot run."""

    python: PythonEnv | None
    packages: int | None = None
    broken: str | None = None


def find(
    given: Iterable[Path] = (),
    *,
    environment: Mapping[str, str] = os.environ,
    home: Path | None = None,
    cwd: Path | None = None,
    system: bool = True,
) -> list[Found]:
    """Every environment in the usual places, the activated one first, each once.

    Args:
        given: further directories: an environment, or what holds some.

    Raises:
        UsageError: there is none in a given directory.
    """
    home, cwd = home or Path.home(), cwd or Path.cwd()
    found = [*_activated(environment), *_given(given), *_below(cwd, "this directory")]
    found += _places([(str(home / place), kind) for place, kind in _HOMES])
    found += _places(
        [
            (str(Path(part) / place), kind)
            for name, place, kind in _VARIABLES
            for part in environment.get(name, "").split(os.pathsep)
            if part
        ]
    )
    found += _conda(home, environment)
    if system:
        found += _system()
    once: dict[str, Found] = {}
    for one in found:
        once.setdefault(os.path.realpath(one.prefix) if one.executable is None else one.path, one)
    return list(once.values())


def _activated(environment: Mapping[str, str]) -> Iterator[Found]:
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = environment.get(variable)
        if prefix and files.is_dir(prefix):
            yield Found(Path(prefix), kind_of(Path(prefix)) or "venv", variable)
    own = Path(sys.prefix)
    if sys.prefix != sys.base_prefix or kind_of(own) == "conda":
        yield Found(own, kind_of(own) or "venv", "dltool runs in it")


def _given(directories: Iterable[Path]) -> Iterator[Found]:
    for directory in directories:
        found = list(_below(directory.absolute(), "given"))
        if not found:
            raise UsageError(f"there is no Python environment in {directory}", remedy="Name one, or what holds some.")
        yield from found


def _below(directory: Path, found_by: str) -> Iterator[Found]:
    """The directory itself, and those right below it."""
    for prefix in (directory, *files.glob(directory, "*"), *files.glob(directory, ".pixi/envs/*")):
        kind = kind_of(prefix)
        if kind:
            yield Found(prefix, kind, found_by)


def _places(patterns: Iterable[tuple[str, str]]) -> Iterator[Found]:
    for pattern, kind in patterns:
        base, star, _ = pattern.partition("*")
        for prefix in files.glob(Path(base), pattern[len(base) :]) if star else [Path(pattern)]:
            # Aliases such as pyenv's `3.11` are links to another entry.
            if not prefix.is_symlink() and (kind_of(prefix) or _site_packages(prefix)):
                yield Found(prefix, kind_of(prefix) or kind, str(Path(base)))


def _conda(home: Path, environment: Mapping[str, str]) -> Iterator[Found]:
    """Bases, their `envs`, and those that conda wrote down in ~/.conda/environments.txt."""
    bases = [parent / name for parent in (home, Path("/opt")) for name in _CONDA_BASES]
    if environment.get("CONDA_EXE"):
        bases.insert(0, Path(environment["CONDA_EXE"]).parent.parent)
    yield from _places([(str(place), "conda") for base in bases for place in (base, base / "envs/*")])
    register = home / ".conda/environments.txt"
    lines = files.text_or_nothing(register).splitlines()
    for line in filter(None, map(str.strip, lines)):
        if kind_of(Path(line)) == "conda":
            yield Found(Path(line), "conda", str(register))


def _system() -> Iterator[Found]:
    for prefix in map(Path, _SYSTEM):
        for executable in files.glob(prefix / "bin", "python3.*"):
            if re.fullmatch(r"python3\.\d+t?", executable.name) and not executable.is_symlink():
                yield Found(prefix, "system", str(executable.parent), executable)


def kind_of(prefix: Path) -> str | None:
    """ "venv", "uv" or "conda" by the marks that these leave; None for anything else."""
    if files.is_file(prefix / "pyvenv.cfg"):
        return "uv" if "uv" in _config(prefix) else "venv"
    return "conda" if files.is_dir(prefix / "conda-meta") and _site_packages(prefix) else None


def read(found: Found) -> Reading:
    """What the files of an environment say."""
    interpreter = interpreter_of(found)
    if isinstance(interpreter, str):
        return Reading(None, broken=interpreter)
    gaps: dict[str, str] = {}
    python = python_env.examine(interpreter, gaps)
    return Reading(python, installed.count(interpreter.path), broken=_dangling(Path(interpreter.executable)))


def _dangling(executable: Path) -> str | None:
    gone = executable.is_symlink() and not files.exists(executable)
    return f"its interpreter {os.path.realpath(executable)} is gone" if gone else None


def interpreter_of(found: Found) -> Interpreter | str:
    """The interpreter as the files of its prefix tell, or why they do not."""
    prefix = found.prefix
    names = (prefix / name for name in ("bin/python", "bin/python3", "python.exe", "Scripts/python.exe"))
    executable = found.executable or next((path for path in names if os.path.lexists(path)), None)
    if executable is None:
        return "it has no Python"
    config = _config(prefix)
    name = found.executable.name if found.executable else None
    minor = _minor(prefix, config, name)
    if minor is None:
        return "its files do not tell the version of its Python"
    base = Path(config["home"]).parent if config.get("home") else prefix
    with_base = found.kind not in ("venv", "uv") or config.get("include-system-site-packages", "").lower() == "true"
    path = _site_packages(prefix, minor)
    if with_base:
        path = [*_user_site(minor), *path, *(_site_packages(base, minor) if base != prefix else [])]
    return Interpreter(
        executable=str(executable),
        version=_version(prefix, config, minor),
        implementation=config.get("implementation", "CPython"),
        prefix=str(prefix),
        base_prefix=str(base),
        path=path,
        free_threaded=minor.endswith("t"),
    )


def _config(prefix: Path) -> dict[str, str]:
    """`pyvenv.cfg`, keys in lower case."""
    lines = files.text_or_nothing(prefix / "pyvenv.cfg").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {key.strip().lower(): value.strip() for key, sign, value in pairs if sign}


def _minor(prefix: Path, config: Mapping[str, str], executable: str | None) -> str | None:
    """ "3.11" or "3.13t": by the executable's name, by pyvenv.cfg, by the directory of the library."""
    if executable:
        return executable.removeprefix("python")
    told = re.match(r"[0-9]{1,3}\.[0-9]{1,3}", config.get("version", config.get("version_info", "")))
    libraries = [path.parent.name.removeprefix("python") for path in files.glob(prefix, "lib/python3*/site-packages")]
    libraries = [library for library in libraries if re.fullmatch(r"3\.[0-9]{1,3}t?", library)]
    fitting = [library for library in libraries if told is None or library.removesuffix("t") == told[0]]
    return next(iter(fitting), told[0] if told else None)


def _version(prefix: Path, config: Mapping[str, str], minor: str) -> str:
    """As full as the files tell it: pyvenv.cfg, conda's record, the header file, else "3.11"."""
    told = re.match(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", config.get("version", config.get("version_info", "")))
    if told:
        return told[0]
    for record in files.glob(prefix / "conda-meta", "python-3.*.json"):
        return record.name.split("-")[1]
    for header in files.glob(prefix, f"include/python{minor}*/patchlevel.h"):
        found = _PY_VERSION.search(files.text_or_nothing(header))
        if found:
            return found[1]
    return minor.removesuffix("t")


def _site_packages(prefix: Path, minor: str = "3*") -> list[str]:
    """Where the packages of a prefix are; Debian calls it dist-packages."""
    patterns = [f"lib/python{minor}/site-packages", "Lib/site-packages", f"lib/python{minor}/dist-packages"]
    if minor != "3*":
        patterns.append("lib/python3/dist-packages")
    found = [str(path) for pattern in patterns for path in files.glob(prefix, pattern)]
    if str(prefix) == "/usr":  # Debian's Python looks below /usr/local too
        found = [*_site_packages(Path("/usr/local"), minor), *found]
    return found


def _user_site(minor: str) -> list[str]:
    path = Path.home() / f".local/lib/python{minor}/site-packages"
    return [str(path)] if files.is_dir(path) else []


def python_for(version: str, *, timeout_s: float = 5.0) -> str | None:
    """An interpreter of this version ("3.12" or "3.12.7") that runs: this one, that of PATH, or of one of the tools here.

    Returns:
        One of the same minor version; where the patch version was told, that very one if there is one.
    """
    minor = ".".join(version.split(".")[:2])
    fitting: dict[str, str] = {}
    for candidate in _candidates(minor):
        answer = python_env.ask(candidate, timeout_s)
        if isinstance(answer, Interpreter) and f"{answer.version}.".startswith(f"{version}."):
            return candidate
        if isinstance(answer, Interpreter) and answer.version.startswith(f"{minor}."):
            fitting.setdefault(answer.version, candidate)
    return next(iter(fitting.values()), None)


def _candidates(minor: str) -> Iterator[str]:
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == minor:
        yield sys.executable
    for name in (f"python{minor}", "python3", "python"):
        on_path = shutil.which(name)
        if on_path:
            yield on_path
    for found in find():
        interpreter = interpreter_of(found) if found.kind in ("pyenv", "uv", "system", "conda") else ""
        if isinstance(interpreter, Interpreter) and interpreter.version.startswith(f"{minor}."):
            yield interpreter.executable
