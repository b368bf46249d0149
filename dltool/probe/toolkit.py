"""CUDA toolkits on disk, the compiler beside them, and copies of CUDA libraries that the loader would find.

Nothing is run, but a host compiler whose version no file name tells.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dltool.machine import HostCompiler, Library, Toolkit
from dltool.probe import child, files, ld_so

_SHADOWING = files.cuda_library("cuda", "nvidia-ml")
_CACHED = files.cuda_library(r"cudnn_\w+")


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
    match = re.search(rb"(/[^\s\"'\0]+/bin/nvcc)\b", head) if head.startswith(b"#!") else None
    return Path(os.path.realpath(os.fsdecode(match[1]))) if match else real


def _version(path: Path) -> str | None:
    """The toolkit's version from version.json (11.1 on), version.txt (before), or its header."""
    for name, pattern in (
        ("version.json", r'"cuda"\s*:\s*\{[^{}]*"version"\s*:\s*"([0-9.]{1,40})"'),
        ("version.txt", r"CUDA Version ([0-9.]{1,40})"),
        ("include/cuda.h", r"#define\s+CUDA_VERSION\s+([0-9]{1,6})\b"),
    ):
        try:
            match = re.search(pattern, files.text(path / name))
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


def cached_libraries(cache: Mapping[str, str] | None = None) -> tuple[Library, ...]:
    """CUDA libraries in the loader's cache: what programs get that bring none of their own."""
    found = ld_so.read_cache() if cache is None else cache
    return tuple(
        Library(soname=match[1], path=path, version=_file_version(Path(path)), source="ld.so.cache")
        for name, path in sorted(found.items())
        if (match := _CACHED.fullmatch(name))
    )


def has_libcuda_link(cache: Mapping[str, str] | None = None) -> bool | None:
    """Whether there is a libcuda.so without a number beside the libcuda.so.1 of the loader's cache; None without that."""
    found = ld_so.read_cache() if cache is None else cache
    numbered = found.get("libcuda.so.1")
    if numbered is None:
        return None
    return "libcuda.so" in found or files.exists(Path(numbered).with_name("libcuda.so"))


def host_compiler(environment: Mapping[str, str] = os.environ, *, timeout_s: float = 2.0) -> HostCompiler | None:
    """The C++ compiler that nvcc calls here: the one that a variable names, else the g++ or gcc on the PATH."""
    search = environment.get("PATH", "")
    named = ((name, environment.get(name, "").split(" ")[0]) for name in ("NVCC_CCBIN", "CUDAHOSTCXX", "CXX"))
    for way, name in (*named, ("PATH", "g++"), ("PATH", "gcc")):
        path = shutil.which(name, path=search) if name else None
        if path is not None:
            return HostCompiler(path=path, version=_gcc_version(path, timeout_s), found_by=way)
    return None


def _gcc_version(path: str, timeout_s: float, *, run: Callable[..., child.Answer] = child.run) -> str | None:
    """By the name of the file behind the links (x86_64-linux-gnu-g++-13), else as it says itself."""
    real = Path(os.path.realpath(path)).name
    match = re.search(r"(?:gcc|g\+\+)-(\d+(?:\.\d+)*)$", real)
    if match:
        return match[1]
    if not re.search(r"(?:gcc|g\+\+|^c\+\+|^cc)$", real):
        return None
    try:
        said = str(run([path, "-dumpfullversion"], timeout_s=timeout_s).output).strip()
    except OSError:
        return None
    return said if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}", said) else None


def triton_ptxas(environment: Mapping[str, str] = os.environ) -> str | None:
    """The CUDA release of the toolkit whose ptxas Triton is told to use."""
    path = environment.get("TRITON_PTXAS_PATH")
    return _version(Path(os.path.realpath(path)).parent.parent) if path else None
