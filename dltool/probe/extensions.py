"""Compiled files in site-packages that hold GPU code or are linked against PyTorch, found in a bounded time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence

from dltool.machine import Distribution, Extension
from dltool.probe import elf

_SHARED = re.compile(r".+\.so(\.\d+)*")
_NO_PACKAGE = re.compile(r".*\.(dist-info|egg-info|data|pth)|__pycache__|bin|include|share")
_KNOWN_TO_HAVE_NONE = frozenset((
    "PIL", "cffi", "cryptography", "functorch", "lxml", "matplotlib", "mypy", "mypyc", "numpy", "numpy.libs", "nvidia",
    "pandas", "pip", "pyarrow", "scipy", "scipy.libs", "setuptools", "sklearn", "sympy", "tokenizers", "torch", "triton",
))  # fmt: skip
_DEEP = frozenset((
    "apex", "cupy", "deepspeed", "flash_attn", "flash_attn_3", "jax_plugins", "llama_cpp", "mmcv", "natten", "onnxruntime",
    "sgl_kernel", "tensorflow", "transformer_engine", "vllm", "xformers",
))  # fmt: skip
"""Packages that keep their compiled files some directories down."""
_DEPTH = 3
_OF_TORCH = re.compile(r"lib(torch|c10)(_\w+)?\.so")
_BUILT_FOR = re.compile(r".+_cuda(\d{3})(_\w+)?\.so")
_BROUGHT_BY = {"selective_scan_cuda": "mamba-ssm", "common_ops": "sgl-kernel", "_vllm_fa2_C": "vllm"}
"""Where a module is named otherwise than its distribution."""
MOST = 400
_FEWEST_CONTAINERS = 16


def find(
    sites: Sequence[str], distributions: Sequence[Distribution], *, cuda: str | None, deadline: float
) -> tuple[Extension, ...]:
    """The extensions in these directories, sorted by path; fewer when the deadline (of time.monotonic) comes before the end.

    Args:
        sites: directories of the import path.
        distributions: whose names are given to what they bring.
        cuda: of PyTorch, which chooses among files that are made for one CUDA release each (bitsandbytes).
        deadline: when to stop.
    """
    found: list[Extension] = []
    for site in sites:
        for path in _compiled(site, deadline):
            if time.monotonic() > deadline or len(found) >= MOST:
                return tuple(found)
            extension = _extension(path, site, distributions, cuda, deadline)
            if extension is not None:
                found.append(extension)
    return tuple(found)


def code_of(path: str, deadline: float) -> elf.GpuCode | None:
    """The GPU code in a file; None too where the time let so little be seen that the rest may well be other."""
    code = elf.gpu_code(path, deadline=deadline)
    return code if code is not None and (code.complete or code.containers >= _FEWEST_CONTAINERS) else None


def _compiled(directory: str, deadline: float, depth: int = 0) -> Iterator[str]:
    """Shared libraries in a directory and, as far as it is worth it, below: those of known packages first."""
    if time.monotonic() > deadline:
        return
    try:
        with os.scandir(directory) as entries:
            listed = sorted(entries, key=lambda entry: (entry.name not in _DEEP, entry.name))
    except OSError:
        return
    for entry in listed:
        if _SHARED.fullmatch(entry.name):
            yield entry.path
        elif depth < _DEPTH and _worth_it(entry, depth):
            yield from _compiled(entry.path, deadline, depth + 1 if entry.name in _DEEP or depth else _DEPTH)


def _worth_it(entry: os.DirEntry[str], depth: int) -> bool:
    if _NO_PACKAGE.fullmatch(entry.name) or (depth == 0 and entry.name in _KNOWN_TO_HAVE_NONE):
        return False
    try:
        return entry.is_dir()
    except OSError:
        return False


def _extension(
    path: str, site: str, distributions: Sequence[Distribution], cuda: str | None, deadline: float
) -> Extension | None:
    built_for = _BUILT_FOR.fullmatch(path.rpartition("/")[2])
    if built_for and cuda and built_for[1] != "".join(cuda.split(".")[:2]):
        return None
    code = code_of(path, deadline) if elf.has_gpu_code(path) else None
    if code is None and not _is_of_torch(path):
        return None
    return Extension(
        package=_package(path, site, distributions),
        path=path,
        machine_code=code.machine_code if code else (),
        machine_code_in_part=code.machine_code_in_part if code else (),
        ptx=code.ptx if code else (),
        needs=elf.versions_needed(path),
        cxx11_abi=elf.cxx11_strings(path),
    )


def _is_of_torch(path: str) -> bool:
    dynamic = elf.dynamic(path)
    return dynamic is not None and any(_OF_TORCH.fullmatch(name) for name in dynamic.needed)


def _package(path: str, site: str, distributions: Sequence[Distribution]) -> str:
    """The distribution behind `flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so` or `xformers/_C.so`."""
    module = path[len(site) :].strip("/").split("/")[0].partition(".")[0]
    name = _BROUGHT_BY.get(module) or module.replace("_", "-").lower()
    here = [one for one in distributions if one.location == site]
    for one in sorted(here, key=lambda one: -len(one.name)):
        if name == one.name or name.startswith(f"{one.name}-"):
            return f"{one.name} {one.version}"
    return module
