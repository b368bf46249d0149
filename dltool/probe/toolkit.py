"""CUDA toolkits on disk, and copies of CUDA libraries that LD_LIBRARY_PATH puts before all others. Nothing is run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from dltool.machine import Library, Toolkit
from dltool.probe import files

_SHADOWING = files.cuda_library("cuda", "nvidia-ml")


def toolkits(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> tuple[Toolkit, ...]:
    """Every toolkit that a build could use, each once, with all the ways that lead to it."""
    found: dict[str, tuple[Path, list[str]]] = {}
    for way, path in _candidates(root, environment):
        real = os.path.realpath(path)
        if files.is_dir(real):
            found.setdefault(real, (Path(real), []))[1].append(way)
    return tuple(
        Toolkit(
            path=str(path),
            version=_version(path),
            found_by=tuple(dict.fromkeys(ways)),
            has_nvcc=any(files.exists(path / "bin" / name) for name in ("nvcc", "nvcc.exe")),
        )
        for path, ways in found.values()
        if files.is_dir(path / "bin") or _version(path)
    )


def _candidates(root: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if environment.get(variable):
            yield variable, Path(environment[variable])
    nvcc = shutil.which("nvcc", path=environment.get("PATH", ""))
    if nvcc:
        yield "PATH", _behind_wrapper(Path(nvcc)).parent.parent
    for place in (*files.glob(root / "usr/local", "cuda*"), root / "opt/cuda", root / "usr/lib/cuda"):
        yield f"/{place.parent.relative_to(root)}", place


def _behind_wrapper(nvcc: Path) -> Path:
    """The nvcc that a small shell script starts; distributions and modules put such scripts on the PATH."""
    real = Path(os.path.realpath(nvcc))
    try:
        with real.open("rb") as file:
            head = file.read(512)
    except OSError:
        return real
    match = re.search(rb"(/[^\s\"']+/bin/nvcc)\b", head) if head.startswith(b"#!") else None
    return Path(os.path.realpath(os.fsdecode(match[1]))) if match else real


def _version(path: Path) -> str | None:
    """The toolkit's version from version.json (11.1 on), version.txt (before), or its header."""
    for name, pattern in (
        ("version.json", r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)"'),
        ("version.txt", r"CUDA Version ([\d.]+)"),
        ("include/cuda.h", r"#define\s+CUDA_VERSION\s+(\d+)"),
    ):
        try:
            match = re.search(pattern, (path / name).read_text(errors="replace"))
        except OSError:
            continue
        if match:
            code = match[1]
            return code if "." in code else f"{int(code) // 1000}.{int(code) % 1000 // 10}"
    return None


def shadowing_libraries(environment: Mapping[str, str] = os.environ) -> tuple[Library, ...]:
    """CUDA libraries in the directories of LD_LIBRARY_PATH, in the order in which the loader would find them."""
    libraries = []
    for entry in dict.fromkeys(filter(None, environment.get("LD_LIBRARY_PATH", "").split(":"))):
        directory = Path(entry)
        for path in files.glob(directory, "lib*.so.*"):
            match = _SHADOWING.match(path.name)
            if match:
                libraries.append(
                    Library(soname=match[1], path=str(path), version=_file_version(path), source="LD_LIBRARY_PATH")
                )
    return tuple(libraries)


def _file_version(path: Path) -> str | None:
    """The version in the name of the file behind the links, libcudnn.so.9 -> libcudnn.so.9.1.0."""
    match = re.search(r"\.so\.(\d+(?:\.\d+)+)$", os.path.realpath(path))
    return match[1] if match else None
