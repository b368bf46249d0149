"""The commands that make an environment, for each manager: pure, so that `--dry-run` shows what would run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dltool.errors import CannotRun
from dltool.results import Environment

MANAGERS = ("venv", "uv", "conda")
PIP_DEFAULT = ""
"""The index that means: wherever pip looks by itself."""
_WITH_TORCH = re.compile(r"(torch|torchvision|torchaudio|torchtext|triton|pytorch-triton|nvidia-.+)$")
"""What PyTorch's own index serves along with torch."""
_INSTALL_LIMIT_S = 4 * 3600.0
"""Some gigabytes over a slow line; pip itself gives up on a line that is dead."""
_FOREIGN = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONPYCACHEPREFIX", "PYTHONUSERBASE", "PYTHONPLATLIBDIR", "VIRTUAL_ENV",
    "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_LOG", "PIP_USER", "PIP_PYTHON", "PIP_REPORT", "PIP_DRY_RUN", "PIP_SRC",
    "NVIDIA_TF32_OVERRIDE",
)  # fmt: skip
"""Variables that would lead an installation elsewhere, or the proof astray."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Commands that belong together: done by all of them, or to be done again."""

    id: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    limit_s: float


def jobs(
    environment: Environment, directory: Path, *, interpreter: str | None, scratch: Path, dependencies: bool = True
) -> tuple[Job, ...]:
    """What is to be done in an empty directory, in order.

    Args:
        interpreter: the Python that venv copies; None where the manager finds one.
        scratch: where downloads and caches go while it is made.
        dependencies: whether what the requirements need is installed too; a complete list of pins needs none.

    Raises:
        CannotRun: a manager that makes no environment in a directory.
    """
    if environment.manager not in MANAGERS:
        raise CannotRun(
            f"`{environment.manager}` environments are exported, not created here",
            remedy=f"dltool setup export {environment.manager}, or create one with --manager {', '.join(MANAGERS)}.",
        )
    first = Job(
        id="environment",
        title=f"making the environment with {environment.manager}, Python {environment.python}",
        commands=_make(environment, directory, interpreter),
        limit_s=1800.0,
    )
    return (first, *_installs(environment, directory, scratch, dependencies))


def _make(environment: Environment, directory: Path, interpreter: str | None) -> tuple[tuple[str, ...], ...]:
    where = str(directory)
    if environment.manager == "uv":
        return (("uv", "venv", "--allow-existing", "--python", interpreter or environment.python, where),)
    if environment.manager == "conda":
        channels = ("--override-channels", "-c", f"{environment.channels}/conda-forge") if environment.channels else ()
        # `conda create` would remove a directory that is there already, and with it what tells how far we are.
        return (("conda", "install", "--yes", "--prefix", where, *channels, f"python={environment.python}", "pip"),)
    return ((interpreter or f"python{environment.python}", "-m", "venv", where),)


def _installs(environment: Environment, directory: Path, scratch: Path, dependencies: bool) -> tuple[Job, ...]:
    """PyTorch from its index first, then the rest from the usual one, which must leave PyTorch as it is."""
    with_torch, rest = split(environment.requirements)
    built = tuple(pin for pin in rest if name_of(pin) in environment.compiled)
    ready = tuple(pin for pin in rest if pin not in built)
    first, second = _sources(environment)
    if first == second:
        with_torch, ready = (*with_torch, *ready), ()
    install = _installer(environment, directory, scratch, dependencies)
    # The pins of torch once more: installed already, they hold the choice of the others' versions.
    held = with_torch if dependencies else ()
    title = _and(f"installing torch {environment.torch}+{environment.build}", with_torch[1:])
    jobs = [_job("torch", title, (*install, *first, *with_torch))]
    if ready:
        jobs.append(_job("packages", _and("installing", ready), (*install, *second, *ready, *held)))
    if built:
        tools = (*install, *second, "ninja", "setuptools", "wheel", *held)
        compiling = (*install, *second, "--no-build-isolation", *built, *held)
        jobs.append(_job("compiled", _and("compiling", built), tools, compiling))
    return tuple(jobs)


def _job(name: str, title: str, *commands: tuple[str, ...]) -> Job:
    return Job(id=name, title=title, commands=commands, limit_s=_INSTALL_LIMIT_S)


def _sources(environment: Environment) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The options for torch and those for the rest."""
    usual = source(environment.extra_index)
    if environment.index_kind == "links":
        return ("--find-links", environment.index, *usual), usual
    return source(environment.index), usual


def _and(title: str, pins: Iterable[str]) -> str:
    more = list(pins)
    shown = ", ".join(more[:3]) + (f" and {len(more) - 3} more" if len(more) > 3 else "")
    return " ".join(filter(None, (title, "with" if more and " " in title else "", shown)))


def _installer(environment: Environment, directory: Path, scratch: Path, dependencies: bool) -> tuple[str, ...]:
    python = str(python_in(directory))
    alone = () if dependencies else ("--no-deps",)
    if environment.manager == "uv":
        return ("uv", "pip", "install", "--python", python, "--cache-dir", str(scratch / "uv"), *alone)
    quiet = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
    return (python, "-m", "pip", "install", *quiet, "--cache-dir", str(scratch / "pip"), *alone)


def check(environment: Environment, directory: Path) -> tuple[str, ...]:
    """The command that says whether every package has what it requires."""
    python = str(python_in(directory))
    return ("uv", "pip", "check", "--python", python) if environment.manager == "uv" else (python, "-m", "pip", "check")


def split(requirements: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What comes from PyTorch's index (torch first, then whatever else carries a build's label), and the rest."""
    every = sorted(requirements, key=lambda pin: not re.match(r"torch\b(?!-)", pin))
    ours = tuple(pin for pin in every if is_of_torch(name_of(pin)) or re.search(r"==[^;@]*\+(cu\d+|cpu)", pin))
    return ours, tuple(pin for pin in every if pin not in ours)


def is_of_torch(name: str) -> bool:
    """Whether PyTorch's own index serves it along with torch."""
    return _WITH_TORCH.match(name) is not None


def name_of(requirement: str) -> str:
    """`"Torch_Vision==0.29"` -> `"torch-vision"`."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else requirement


def source(index: str | None) -> tuple[str, ...]:
    """The options that name where wheels are: an index, or a folder of wheels, besides which no index is asked."""
    if not index:
        return ()
    folder = local_folder(index)
    if folder is not None and any(folder.glob("*.whl")):
        return ("--no-index", "--find-links", str(folder))
    return ("--index-url", index)


def local_folder(index: str) -> Path | None:
    """The directory that a path or a file:// URL names; None for an index elsewhere."""
    parts = urlsplit(index)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(os.path.abspath(index)) if not parts.scheme or len(parts.scheme) == 1 else None  # noqa: PTH100


def python_in(directory: Path) -> Path:
    """The interpreter of an environment."""
    return directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def surroundings(scratch: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables for the commands: the user's own, so that mirrors and proxies hold, but what is written goes to `scratch`.

    `scratch` lies inside the new environment and is removed at the end.
    """
    kept = {name: value for name, value in environment.items() if name not in _FOREIGN}
    tmp, cache = str(scratch / "tmp"), str(scratch / "cache")
    return kept | {
        "TMPDIR": tmp,
        "TEMP": tmp,
        "TMP": tmp,
        "XDG_CACHE_HOME": cache,
        "PIP_CACHE_DIR": str(scratch / "pip"),
        "PIP_USER": "0",
        "PIP_NO_INPUT": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "UV_CACHE_DIR": str(scratch / "uv"),
        "UV_PYTHON_INSTALL_DIR": str(scratch.parent / ".python"),
        "UV_NO_PROGRESS": "1",
        "CONDA_PKGS_DIRS": str(scratch / "conda"),
        "CONDA_REGISTER_ENVS": "false",
        "TRITON_CACHE_DIR": str(scratch / "cache/triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "cache/inductor"),
        "CUDA_CACHE_PATH": str(scratch / "cache/cuda"),
        "LC_ALL": "C.UTF-8",
    }


def activation(environment: Environment, directory: Path) -> str:
    """What a person types to use it."""
    if environment.manager == "conda":
        return f"conda activate {shlex.quote(str(directory))}"
    return f"source {shlex.quote(str(directory / 'bin/activate'))}"


def shown(command: Iterable[str]) -> str:
    """A command for people and logs: quoted for a shell, without the password of an index."""
    return shlex.join(map(without_credentials, command))


def without_credentials(text: str) -> str:
    """`https://user:secret@host/simple` -> `https://***@host/simple`."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)
