"""A world: the files, variables and limits in which a command is run. Nothing outside of the command's processes changes."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Need = Literal["mounts", "cgroup", "gcc"]
OVERLAID = (
    "dev",
    "etc",
    "sys/module",
    "sys/bus/pci/devices",
    "sys/bus/pci/drivers",
    "usr/bin",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib64",
)
"""Directories of a machine over which a world's own files may be laid."""
BOUND = ("proc/driver",)
"""Directories of which a world has the whole."""
CGROUPS = Path("/sys/fs/cgroup")
CANNOT_START = 127
"""The exit code of a shell for a program that is not there."""
_FOREIGN = (
    "CUDA_",
    "LD_",
    "NVIDIA_",
    "NCCL_",
    "TORCH_",
    "PYTORCH_",
    "OMP_",
    "VIRTUAL_ENV",
    "CONDA_",
    "PYTHON",
    "XDG_",
    "FAKE_",
)
_DEVICES = r"""
save="$root/../devices"; mkdir -p "$save" && mount -t tmpfs none "$save" && mkdir "$save/dev" && mount --rbind /dev "$save/dev"
mkdir "$save/changes" "$save/work"
mount -t overlay overlay -o "lowerdir=$root/dev:/dev,upperdir=$save/changes,workdir=$save/work" /dev
for one in shm pts; do [ ! -d "$save/dev/$one" ] || mount --rbind "$save/dev/$one" "/dev/$one"; done
"""
"""An overlay hides what is mounted below: shared memory and terminals are put back. It is writable, as device files are."""


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a command."""

    returncode: int | None
    """None where it was ended after its time; negative for a signal."""
    stdout: str
    stderr: str
    seconds: float


@dataclass(slots=True)
class World:
    """Where a command is run.

    Attributes:
        directory: holds all of it.
        venv: the Python environment that is judged; its bin comes first on the PATH.
        variables: put into the environment of the command.
        mounts: shell lines that are run in the mount namespace before the command.
        cgroups: controller -> file -> value, of a control group that the command is in.
        limits: words for ulimit.
    """

    directory: Path
    venv: Path
    variables: dict[str, str] = field(default_factory=dict)
    mounts: list[str] = field(default_factory=list)
    cgroups: dict[str, dict[str, str]] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The files that the command sees over the machine's own: root/dev/nvidia0 is /dev/nvidia0."""
        return self.directory / "root"

    def file(self, path: str, text: str = "", *, executable: bool = False) -> Path:
        """A file of this world, by its path in it."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        if executable:
            place.chmod(0o755)
        return place

    def environment(self) -> dict[str, str]:
        """The variables under which the command runs: an activated environment, and nothing of CUDA from outside."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        own = {"HOME": str(home), "VIRTUAL_ENV": str(self.venv), "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
        path = f"{self.venv}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return {**kept, **own, "PATH": path, **self.variables}

    def command(self, arguments: Sequence[str]) -> list[str]:
        """What is really started for a command."""
        lines = [f"ulimit {words}" for words in self.limits]
        lines += [f"echo $$ > {group}/cgroup.procs" for group in self._groups()]
        lines += self._overlays() + self.mounts
        if not lines:
            return list(arguments)
        # LD_LIBRARY_PATH and the like are for the command, not for what builds its world.
        script = "\n".join(["set -e", f"root={self.root}", *lines, 'exec env "$@"'])
        space = ["unshare", "--mount", "--propagation", "private"] if self.mounts or self._overlays() else []
        return [*space, "/bin/bash", "-c", script, "world", *(f"{k}={v}" for k, v in self.variables.items()), *arguments]

    def run(self, arguments: Sequence[str], *, timeout_s: float = 60.0) -> Run:
        """Run a command in this world; after its time it and its children are killed."""
        for group, files in self._groups().items():
            group.mkdir(exist_ok=True)
            for name, value in files.items():
                (group / name).write_text(value)
        try:
            return self._run(self.command(arguments), timeout_s)
        finally:
            for group in self._groups():
                _remove(group)

    def _run(self, command: list[str], timeout_s: float) -> Run:
        environment = self.environment()
        if command[0] in ("unshare", "/bin/bash"):
            environment = {name: value for name, value in environment.items() if name not in self.variables}
            environment["PATH"] = f"{self.venv}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        began = time.perf_counter()
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                       text=True, errors="replace", env=environment, cwd=self.directory,
                                       start_new_session=True)  # fmt: skip
        except OSError as error:  # of an environment whose interpreter is gone
            return Run(CANNOT_START, "", f"{command[0]}: {error.strerror}", time.perf_counter() - began)
        try:
            out, err = process.communicate(timeout=timeout_s)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            (out, err), code = process.communicate(), None
        return Run(code, out, err, time.perf_counter() - began)

    def _overlays(self) -> list[str]:
        laid = [place for place in OVERLAID if (self.root / place).is_dir()]
        lines = [_DEVICES] if "dev" in laid else []
        lines += [f'mount -t overlay overlay -o "lowerdir=$root/{place}:/{place}" /{place}' for place in laid if place != "dev"]
        return lines + [f'mount --bind "$root/{place}" /{place}' for place in BOUND if (self.root / place).is_dir()]

    def _groups(self) -> dict[Path, dict[str, str]]:
        name = f"dltool-{os.getpid()}-{self.directory.name}"
        return {CGROUPS / controller / name: files for controller, files in self.cgroups.items()}


def _remove(group: Path) -> None:
    """A group can be removed once the last of its processes is gone."""
    for _ in range(100):
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.02)


@functools.cache
def why_not(need: Need) -> str | None:
    """Why this machine cannot have worlds that need this; None where it can."""
    if need == "gcc":
        return None if shutil.which("gcc") else "no gcc"
    if need == "cgroup":
        return None if all(os.access(CGROUPS / name, os.W_OK) for name in ("cpu", "memory")) else "no control group may be made"
    if shutil.which("unshare") is None:
        return "no unshare"
    line = 'd=$(mktemp -d) && mount -t overlay overlay -o "lowerdir=$d:/usr/bin" /usr/bin && mount --bind "$d" /proc/driver'
    tried = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-c", line], capture_output=True, check=False
    )
    return None if tried.returncode == 0 else "mount namespaces with overlays are not permitted"
