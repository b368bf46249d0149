"""Which copies of CUDA's libraries PyTorch would get here, and the GPU code in them: read from files, nothing is loaded.

A process is made up that does what `import torch` does (see `ld_so` for the loader's rules): torch/__init__.py loads
libtorch_global_deps.so, then by their paths those of its wheels' libraries whose users would not find them, then torch/_C. The
libraries that others load only when they are needed (libcuda by cudart, the parts of cuDNN) are asked for in their name.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from dltool.machine import Extension, Library, LoadedLibrary, PythonEnv, TorchBuild
from dltool.probe import elf, extensions, files, ld_so
from dltool.probe.ld_so import Loaded, Process, Read

BY_TORCH = "PyTorch"
_OF_INTEREST = files.cuda_library("cuda", "stdc\\+\\+", r"cudnn_\w+")
_FOR_TORCH_CODE = ("libtorch_cuda.so", "libtorch_cuda_cu.so", "libtorch_hip.so")
_RESOLVE_S, _TORCH_CODE_S, _EXTENSIONS_S = 2.0, 0.05, 0.05
_MOST_SOURCE = 2**20


class Reading(Struct, frozen=True, kw_only=True):
    """What would load, and what the environment's compiled files hold."""

    loads: tuple[LoadedLibrary, ...] | None = None
    torch: TorchBuild | None = None
    extensions: tuple[Extension, ...] = ()
    gaps: dict[str, str] = {}


def read(
    python: PythonEnv | None,
    wheels: Sequence[Library],
    *,
    environment: Mapping[str, str] = os.environ,
    cache: Mapping[str, str] | None = None,
    default_directories: Sequence[str] = (),
) -> Reading:
    """What PyTorch gets in this environment.

    Args:
        python: the interpreter and its PyTorch.
        wheels: the CUDA libraries that wheels brought into it.
        environment: of the process.
        cache: names and paths of ldconfig's cache; that of this machine by default.
        default_directories: where the loader looks last; those of this machine by default.
    """
    if os.name != "posix" or not hasattr(os, "pread"):
        return Reading(gaps={"loads": "only Linux's loader is known"})
    gaps: dict[str, str] = {}
    world = _World(python, wheels, ld_so.read_cache() if cache is None else cache, default_directories)
    torch = python.torch if python else None
    loads = None
    try:
        process = world.process(environment)
        loads = tuple(world.libraries(process, environment))
    except TimeoutError:
        gaps["loads"] = f"the loader's search took more than {_RESOLVE_S:g} s"
        process = None
    if torch is not None:
        torch = _with_code(torch, process, gaps)
    return Reading(loads=loads, torch=torch, extensions=_extensions(python), gaps=gaps)


class _World:
    """The files of one environment, and the processes that can be made up over them."""

    def __init__(
        self,
        python: PythonEnv | None,
        wheels: Sequence[Library],
        cache: Mapping[str, str],
        default_directories: Sequence[str],
    ) -> None:
        self._python = python
        self._wheels: dict[str, Library] = {}
        for library in wheels:
            self._wheels.setdefault(library.soname, library)
        self._versions = {os.path.realpath(library.path): library.version for library in wheels}
        self._read = Read(time.monotonic() + _RESOLVE_S)
        self._cache = cache
        self._default = default_directories

    def process(self, environment: Mapping[str, str]) -> Process:
        """A Python that has imported torch, if it has one."""
        executable = self._python.executable if self._python else None
        process = Process(executable, environment, self._read, cache=self._cache, default_directories=self._default)
        torch = self._python.torch if self._python else None
        if torch is not None:
            self._import_torch(process, Path(torch.location))
        process.open("libcuda.so.1", process.find("libcudart.so"))
        cudnn = process.find("libcudnn.so")
        if cudnn is not None:
            for part in files.glob(Path(cudnn.path).parent, f"libcudnn_*.so.{(cudnn.dynamic.soname or '').rpartition('.')[2]}"):
                process.open(part.name, cudnn)
        process.open("libstdc++.so.6")
        return process

    def _import_torch(self, process: Process, package: Path) -> None:
        first = package / "lib/libtorch_global_deps.so"
        if files.is_file(first):
            when_missing, always, provided_that = _preloads(package / "__init__.py")
            if not process.open(str(first), undo=True):
                for name in when_missing:
                    self._preload(process, name)
                process.open(str(first))
            elif provided_that is not None and any(provided_that in one.path for one in process.loaded):
                for name in always:
                    self._preload(process, name)
        for compiled in self._compiled_part(package):
            process.open(str(compiled))

    def _preload(self, process: Process, name: str) -> None:
        wheel = next((one for soname, one in self._wheels.items() if soname.startswith(name)), None)
        if wheel is not None:
            process.open(wheel.path, found_by=BY_TORCH)

    def _compiled_part(self, package: Path) -> list[Path]:
        release = (self._python.version if self._python else "").split(".")[:2]
        parts = [path for path in files.glob(package, "_C.*") if path.name.endswith(".so")]
        own = [path for path in parts if f"-{''.join(release)}" in path.name]
        return (own or parts)[:1]

    def libraries(self, process: Process, environment: Mapping[str, str]) -> Iterator[LoadedLibrary]:
        """The libraries of interest that the process has, and the copies that each takes the place of."""
        own = self._own(process, environment)
        cudnn = process.find("libcudnn.so")
        for one in process.loaded:
            match = _OF_INTEREST.match(one.dynamic.soname or "")
            if match is None:
                continue
            real = os.path.realpath(one.path)
            other = own.get(match[1])
            displaced = other if other is not None and os.path.realpath(other) != real else None
            if (
                match[1].startswith("libcudnn_")
                and cudnn
                and not displaced
                and Path(one.path).parent == Path(cudnn.path).parent
            ):
                continue  # a part of cuDNN that lies where the whole does
            yield LoadedLibrary(
                soname=match[1],
                path=_shown(one.path),
                real_path=_readable(real) if real != _shown(one.path) else None,
                version=self._version(real),
                found_by=one.found_by,
                needed_by=_shown(one.asked_by.path) if one.asked_by else None,
                size_bytes=files.size(real) if match[1].startswith("libcuda.") else None,
                provides=elf.versions_provided(real) if match[1].startswith("libstdc++") else (),
                instead_of=_shown(displaced) if displaced else None,
                instead_of_version=self._version(os.path.realpath(displaced)) if displaced else None,
            )

    def _own(self, process: Process, environment: Mapping[str, str]) -> dict[str, str]:
        """PyTorch's own copies: what loads where the environment puts nothing before them, or lies in its wheels."""
        changed = any(environment.get(name) for name in (ld_so.LIBRARY_PATH, ld_so.PRELOAD))
        clean = self.process({}) if changed else process
        loaded = {one.dynamic.soname: one.path for one in clean.loaded if one.dynamic.soname}
        if any(os.path.realpath(path) in self._versions for path in loaded.values()):  # conda's torch uses no wheels
            loaded |= {name: wheel.path for name, wheel in self._wheels.items() if name in loaded}
        return loaded

    def _version(self, real_path: str) -> str | None:
        directory, _, name = real_path.rpartition("/")
        if real_path in self._versions:
            return self._versions[real_path]
        match = re.search(r"\.so\.(\d+(?:\.\d+)+)$", name)
        if match is None and name.startswith("libcudnn_"):  # its parts are of one version
            whole = next((path for path in self._versions if path.startswith(f"{directory}/libcudnn.so.")), None)
            return self._versions[whole] if whole else None
        return match[1] if match else None


def _preloads(source: Path) -> tuple[list[str], list[str], str | None]:
    """What this torch loads by path: when its dependencies are not found; always; and the part of a path that `always` needs.

    Both are literals in torch/__init__.py, `_load_global_deps`, which has changed with nearly every release.
    """
    text = files.text_or_nothing(source, _MOST_SOURCE)
    when_missing = re.findall(r"""["']\w+["']: ["'](lib\w+\.so\.)\*\[0-9\]["']""", text)
    always = re.findall(r"""_preload_cuda_deps\(\s*["']\w+["'], ["'](lib\w+\.so\.)\*\[0-9\]["']\s*\)""", text)
    condition = re.search(r"""["']([\w/]*libcudart\.so)["'] not in _maps""", text)
    return when_missing, always, condition[1] if condition else None


def _with_code(torch: TorchBuild, process: Process | None, gaps: dict[str, str]) -> TorchBuild:
    """What this build was compiled for and needs, as its files tell."""
    own = [one for one in process.loaded if _is_torchs(one)] if process else []
    c10 = next((one.path for one in own if one.dynamic.soname == "libc10.so"), str(Path(torch.location) / "lib/libc10.so"))
    needs = newest(name for one in own for name in elf.versions_needed(one.path))
    torch = replace(torch, needs=needs, cxx11_abi=elf.cxx11_strings(c10))
    if torch.cuda is None:
        return torch
    deadline = time.monotonic() + _TORCH_CODE_S
    beside = [str(Path(torch.location) / "lib" / name) for name in _FOR_TORCH_CODE]
    for path in (*(one.path for one in own if one.dynamic.soname in _FOR_TORCH_CODE), *beside):
        code = extensions.code_of(path, deadline)
        if code is not None:
            return replace(
                torch,
                machine_code=code.machine_code,
                machine_code_in_part=code.machine_code_in_part,
                ptx=code.ptx,
                code_read_from=_readable(path),
            )
    gaps["python.torch.machine_code"] = "no GPU code was found in libtorch_cuda.so, or not within the time"
    return torch


def _is_torchs(one: Loaded) -> bool:
    return bool(re.match(r"lib(torch|c10)(_\w+)?\.so$", one.dynamic.soname or ""))


def newest(names: Iterable[str]) -> tuple[str, ...]:
    """Of each family of symbol versions the newest, "GLIBC_2.28" before "GLIBC_2.4"."""
    best: dict[str, str] = {}
    for name in names:
        family = name.partition("_")[0]
        if family not in best or _number(best[family]) < _number(name):
            best[family] = name
    return tuple(best[family] for family in sorted(best))


def _number(name: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", name.partition("_")[2])]


def _extensions(python: PythonEnv | None) -> tuple[Extension, ...]:
    if python is None:
        return ()
    places = [one.location for one in python.distributions if not one.location.endswith("conda-meta")]
    if python.torch is not None:
        places.insert(0, str(Path(python.torch.location).parent))
    found = extensions.find(
        tuple(dict.fromkeys(places)),
        python.distributions,
        cuda=python.torch.cuda if python.torch else None,
        deadline=time.monotonic() + _EXTENSIONS_S,
    )
    return tuple(replace(one, path=_readable(one.path), package=_readable(one.package)) for one in found)


def _shown(path: str) -> str:
    """Without the detours of an RPATH, where that makes no difference."""
    short = os.path.normpath(path)
    return _readable(short if os.path.realpath(short) == os.path.realpath(path) else path)


def _readable(path: str) -> str:
    """A path that any JSON can hold: bytes that are no UTF-8 are replaced."""
    return os.fsencode(path).decode(errors="replace")
