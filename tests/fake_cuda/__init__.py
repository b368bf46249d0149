"""A libcuda.so.1 that starts, or does not, as the environment says (fake_cuda.c says how)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_cuda.c")


def build(directory: Path) -> None:
    """Compile the library into `directory`.

    Raises:
        RuntimeError: it does not compile; says why.
    """
    gcc = shutil.which("gcc")
    assert gcc, "no gcc"
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-fPIC", "-shared", "-Wl,-soname,libcuda.so.1"]
    command = [gcc, *flags, "-o", str(directory / "libcuda.so.1"), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"it does not compile:\n{done.stderr}")
