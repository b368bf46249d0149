"""A libnvidia-ml.so.1 that answers as recorded (fake_nvml.c says how), for tests of what reads NVML."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SOURCE = Path(__file__).with_name("fake_nvml.c")


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer of a call that returns an error."""

    code: int


Answer = str | int | tuple[int, ...] | Refused
Recording = dict[str, Answer]
"""Calls with their arguments ("nvmlDeviceGetClockInfo 0 1": GPU 0, clock 1) and their answers."""


class Play(Protocol):
    """The fixture `nvml`: let NVML answer as recorded in every process that the test starts from here on."""

    def __call__(self, recording: Mapping[str, Answer], *, error: str = "", hang: str = "", crash: str = "") -> None:
        """`error`, `hang` and `crash` name calls that misbehave, as in fake_nvml.c: error="nvmlDeviceGetName 3=15"."""


def compiler() -> str | None:
    return shutil.which("gcc")


def build(directory: Path) -> None:
    """Compile the library into `directory`, with an empty libcuda.so.1 beside it.

    Raises:
        RuntimeError: it does not compile; says why.
    """
    gcc = compiler()
    assert gcc, "no gcc"
    flags = [gcc, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-fPIC", "-shared"]
    nothing = directory / "nothing.c"
    nothing.write_text("")
    for name, source in (("libnvidia-ml.so.1", SOURCE), ("libcuda.so.1", nothing)):
        command = [*flags, f"-Wl,-soname,{name}", "-o", str(directory / name), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} does not compile:\n{done.stderr}")


def write(recording: Mapping[str, Answer], path: Path) -> None:
    """Write the answers as the library reads them."""
    path.write_text("".join(f"{call} = {_text(answer)}\n" for call, answer in recording.items()))


def _text(answer: Answer) -> str:
    if isinstance(answer, Refused):
        return f"!{answer.code}"
    return " ".join(map(str, answer)) if isinstance(answer, tuple) else str(answer)


def environment(libraries: Path, answers: Path, *, error: str = "", hang: str = "", crash: str = "") -> dict[str, str]:
    """The variables under which a new process finds the library and its answers; `error` and so on as in fake_nvml.c."""
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, (str(libraries), os.environ.get("LD_LIBRARY_PATH")))),
        "FAKE_NVML_ANSWERS": str(answers),
        "FAKE_NVML_ERROR": error,
        "FAKE_NVML_HANG": hang,
        "FAKE_NVML_CRASH": crash,
    }
