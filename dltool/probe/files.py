"""Questions about files, answered with "no" where they may not be asked, and the beginnings of files as text.

pathlib raises when a directory on the way is closed: one unreadable entry of a search path would cost us all the others. No
more of a file is read than it can have: what has its name may be anything.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

MOST_BYTES = 2**20
"""Of a text file."""


def is_dir(path: Path | str) -> bool:
    """Whether there is a directory that can be seen."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path | str) -> bool:
    """Whether there is a file that can be seen."""
    return os.path.isfile(path)  # noqa: PTH113


def exists(path: Path | str) -> bool:
    """Whether there is anything that can be seen."""
    return os.path.exists(path)  # noqa: PTH110


def size(path: Path | str) -> int | None:
    """The bytes of a file that can be seen."""
    try:
        return os.path.getsize(path)  # noqa: PTH202
    except OSError:
        return None


def are_one(path: Path | str, other: Path | str) -> bool:
    """Whether both are names of one file."""
    try:
        return os.path.samefile(path, other)  # noqa: PTH121
    except OSError:
        return False


def glob(directory: Path, pattern: str) -> list[Path]:
    """What matches in a directory, sorted; nothing where it may not be entered."""
    return sorted(directory.glob(pattern)) if is_dir(directory) else []


def text(path: Path, most: int = MOST_BYTES) -> str:
    """The beginning of a text file; bytes that are no UTF-8 are replaced.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(most).decode(errors="replace").replace("\r\n", "\n")
    except ValueError as error:  # a zero byte in the path, which was itself read from a file
        raise OSError(errno.EINVAL, str(error)) from None


def text_or_nothing(path: Path, most: int = MOST_BYTES) -> str:
    """The beginning of a text file, empty where it cannot be read."""
    try:
        return text(path, most)
    except OSError:
        return ""


def line(path: Path) -> str | None:
    """What a small file of the kernel says, without blanks around it; None where it cannot be read."""
    try:
        return text(path).strip()
    except OSError:
        return None


def number(of: str | None) -> int | None:
    """A whole number as the kernel writes it: of 64 bits at most; None for anything else."""
    return int(of) if of and re.fullmatch(r"[0-9]{1,20}", of) and int(of) < 2**64 else None


_CUDA_LIBRARIES = [
    "cudart",
    "cudnn",
    "cublas",
    "cublasLt",
    "nvJitLink",
    "cusparse",
    "cusolver",
    "cufft",
    "curand",
    "nccl",
    "nvrtc",
    "cusparseLt",
]


def cuda_library(*more: str) -> re.Pattern[str]:
    """What finds the file of a CUDA library by its soname (group 1): those that PyTorch loads, and `more`."""
    names = "|".join((*_CUDA_LIBRARIES, *more))
    cuda_11 = r"libcudart\.so\.11\.0|libnvrtc\.so\.11\.2"  # whose sonames have two numbers
    return re.compile(rf"(lib(?:{names})\.so\.\d+|{cuda_11})$")
