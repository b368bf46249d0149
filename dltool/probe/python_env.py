"""One Python environment, read from its files: no package of it is imported, so a broken one can be examined.

Which environment: the one asked for, else the activated one, else that which runs dltool. Who installed dltool with pipx wants
to know about the project's environment, not about pipx's.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from dltool.errors import UsageError
from dltool.machine import Distribution, Library, PythonEnv, TorchBuild
from dltool.probe import child, files

_RELEVANT = re.compile(
    r"(torch.*|pytorch.*|triton.*|nvidia-.*|numpy|cuda-.*|cudatoolkit|cudnn|nccl|libtorch|tensorflow.*|tensorrt.*|jax.*|"
    r"onnxruntime.*|cupy.*|flash-attn.*|xformers|bitsandbytes|deepspeed|vllm|transformer-engine.*|apex|mkl|libblas|openblas|"
    r"libcu[a-z]+|libnvjitlink|libstdcxx.*|causal-conv1d|mamba-ssm|natten|ctranslate2|exllamav2|faiss-gpu.*|gsplat|mmcv.*|"
    r"pyg-lib|pytorch3d|sgl-kernel|spconv.*|faiss-cpu|faster-whisper|tf-nightly.*|torchao|auto-gptq|autoawq.*|gptqmodel|"
    r"llama-cpp-python|detectron2|fbgemm-gpu.*|dgl)"
)
_LIBRARY = files.cuda_library()
_MOST_BYTES = 64 * 2**10
"""Of version.py and INSTALLER, which have some hundred."""
_COMPILED_FOR = re.compile(r"_C\.(?:cpython-|cp)(\d)(\d+)(t?)-.+")
"""`_C.cpython-311-x86_64-linux-gnu.so`, `_C.cp311-win_amd64.pyd`; `313t` is the build without the global lock."""

_WHEEL_OF = {
    "libcudart": "cuda-runtime",
    "libnvrtc": "cuda-nvrtc",
    "libcublas": "cublas",
    "libcublasLt": "cublas",
    "libnvJitLink": "nvjitlink",
    "libcusparse": "cusparse",
    "libcusolver": "cusolver",
    "libcufft": "cufft",
    "libcurand": "curand",
}
"""The wheel that brings a library, by its name."""
# The empty entry is the working directory, whose json.py is not ours to import.
_ASK_PATH = (
    "import sys; path = sys.path; sys.path = [*filter(None, path)]; import json, platform, sysconfig; "
    "print(json.dumps([sys.executable, platform.python_version(), platform.python_implementation(), sys.prefix, "
    "sys.base_prefix, path, bool(sysconfig.get_config_var('Py_GIL_DISABLED')), sysconfig.get_path('include')]))"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """An environment, the CUDA libraries that its wheels bring, and the reasons for what is missing."""

    python: PythonEnv | None
    libraries: tuple[Library, ...] = ()
    gaps: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and its import path: as it says of itself, or as its files tell."""

    executable: str
    version: str
    implementation: str
    prefix: str
    base_prefix: str
    path: list[str]
    free_threaded: bool
    include: str | None = None
    """Where its headers belong."""


def read(executable: str | None = None, *, timeout_s: float = 5.0, environment: Mapping[str, str] = os.environ) -> Reading:
    """Read the environment of `executable`, by default of the activated one.

    Raises:
        UsageError: `executable` was asked for and is no Python.
    """
    chosen = executable or _activated(environment)
    if chosen is None:
        interpreter = Interpreter(
            sys.executable,
            platform.python_version(),
            platform.python_implementation(),
            sys.prefix,
            sys.base_prefix,
            sys.path,
            bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            sysconfig.get_path("include"),
        )
    else:
        found = ask(chosen, timeout_s)
        if isinstance(found, str):
            if executable:
                raise UsageError(
                    f"{executable} is not a Python that runs: {found}", remedy="Name one: --python ~/venv/bin/python"
                )
            return Reading(None, gaps={"python": f"the activated {chosen}: {found}"})
        interpreter = found
    gaps: dict[str, str] = {}
    python = examine(interpreter, gaps)
    return Reading(python, tuple(_wheel_libraries(interpreter, python.distributions)), gaps)


def examine(interpreter: Interpreter, gaps: dict[str, str]) -> PythonEnv:
    """What is installed where this interpreter imports from, read from files; `gaps` takes the reasons for what is missing."""
    distributions = tuple(_distributions(interpreter))
    torch = _torch(interpreter, distributions, gaps)
    return PythonEnv(
        executable=interpreter.executable,
        version=interpreter.version,
        implementation=interpreter.implementation,
        prefix=interpreter.prefix,
        kind=_kind(interpreter),
        distributions=distributions,
        torch=torch,
        has_headers=files.exists(Path(interpreter.include, "Python.h")) if interpreter.include else None,
    )


def _activated(environment: Mapping[str, str]) -> str | None:
    """The interpreter of an activated environment that is not the one running now."""
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = environment.get(variable)
        if not prefix:
            continue
        if _same(prefix, sys.prefix):
            return None
        for name in ("bin/python", "python.exe", "Scripts/python.exe"):
            if os.path.lexists(Path(prefix) / name):  # a link to a Python that is gone is a broken environment, not none
                return str(Path(prefix) / name)
    return None


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def ask(executable: str, timeout_s: float) -> Interpreter | str:
    """What the interpreter says of itself, or why it does not."""
    if shutil.which(executable) is None:
        return "there is no such program"
    try:
        answer = child.run([executable, "-c", _ASK_PATH], timeout_s=timeout_s)
    except OSError as error:
        return error.strerror or str(error)
    if answer.timed_out:
        return f"it did not start within {timeout_s:g} s"
    if answer.returncode is not None and answer.returncode < 0:
        return f"it died of signal {-answer.returncode}"
    try:
        return msgspec.convert(dict(zip(Interpreter.__slots__, json.loads(answer.output), strict=True)), Interpreter)
    except (ValueError, TypeError, RecursionError):
        reason = (answer.errors.strip().splitlines() or [""])[-1]
        return reason if reason and "import json" not in reason else "it does not answer like Python"


def _kind(interpreter: Interpreter) -> str:
    if files.is_dir(Path(interpreter.prefix) / "conda-meta"):
        return "conda"
    return "venv" if interpreter.prefix != interpreter.base_prefix else "system"


def _distributions(interpreter: Interpreter) -> Iterator[Distribution]:
    """Every relevant distribution on the import path, first found first; a name can come twice, and that is a fact too."""
    seen: set[str] = set()
    for entry in interpreter.path:
        directory = Path(entry)
        if not entry or str(directory) in seen or not files.is_dir(directory):
            continue
        seen.add(str(directory))
        yield from _in_directory(directory)
    for record in files.glob(Path(interpreter.prefix) / "conda-meta", "*.json"):
        name, version, _ = (*record.stem.rsplit("-", 2), "", "")[:3]
        if _RELEVANT.fullmatch(name) and version:
            yield Distribution(name=name, version=version, location=str(record.parent), installer="conda")


def _in_directory(directory: Path) -> Iterator[Distribution]:
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError:
        return
    for entry in names:
        match = re.fullmatch(r"(.+?)-(\d[^-]*)(?:-py[\d.]+)?\.(?:dist|egg)-info", entry)
        if match is None:
            continue
        name = re.sub(r"[-_.]+", "-", match[1]).lower()
        if _RELEVANT.fullmatch(name):
            yield Distribution(
                name=name,
                version=match[2],
                location=str(directory),
                installer=_first_line(directory / entry / "INSTALLER"),
            )


def _torch(interpreter: Interpreter, distributions: tuple[Distribution, ...], gaps: dict[str, str]) -> TorchBuild | None:
    """PyTorch as `import torch` would find it: the first package of that name on the import path, before bare directories."""
    found = [Path(entry) / "torch" for entry in interpreter.path if entry and files.is_dir(Path(entry) / "torch")]
    package = next((path for path in found if files.is_file(path / "__init__.py")), found[0] if found else None)
    if package is None:
        gaps["python.torch"] = "not installed in this environment"
        return None
    text = _read(package / "version.py")
    assigned = dict(filter(None, map(_assignment, text.splitlines())))
    version = _literal(assigned.get("__version__")) or next((d.version for d in distributions if d.name == "torch"), None)
    if version is None:
        gaps["python.torch"] = f"{package} has no version.py: the remains of a removed or interrupted installation"
        return None
    return TorchBuild(
        version=version,
        location=str(package),
        cuda=_literal(assigned.get("cuda")),
        hip=_literal(assigned.get("hip")),
        cudnn=_cudnn(package, distributions),
        debug={"True": True, "False": False}.get(assigned.get("debug", "")),
        git_version=_literal(assigned.get("git_version")),
        import_broken=_missing_part(package, interpreter),
    )


def _missing_part(package: Path, interpreter: Interpreter) -> str | None:
    """What an interrupted installation left out or another Python's put in, as far as the names of files tell."""
    if not files.is_file(package / "__init__.py"):
        return f"{package}/__init__.py is missing"
    compiled = [path.name for path in sorted(package.glob("_C.*")) if path.suffix in (".so", ".pyd")]
    if not compiled:
        return f"{package}/_C (the compiled part) is missing"
    made_for = [f"{match[1]}.{match[2]}{match[3]}" for match in map(_COMPILED_FOR.fullmatch, compiled) if match]
    release = re.match(r"\d+\.\d+", interpreter.version)
    if release is None or interpreter.implementation != "CPython" or len(made_for) < len(compiled):
        return None  # one that does not tell, such as `_C.abi3.so` or `_C.so`, may serve any Python
    own = f"{release[0]}{'t' if interpreter.free_threaded else ''}"
    return None if own in made_for else f"{package}/_C is compiled for Python {', '.join(made_for)}, this is Python {own}"


def _assignment(line: str) -> tuple[str, str] | None:
    """Name and value in a line such as `cuda: Optional[str] = '12.8'`."""
    target, sign, value = line.partition("=")
    name = target.partition(":")[0].rstrip()
    return (name, value.strip()) if sign and name.isidentifier() else None


def _literal(text: str | None) -> str | None:
    match = re.fullmatch(r"""['"](.*)['"]""", text or "")
    return match[1] if match else None


def _cudnn(package: Path, distributions: tuple[Distribution, ...]) -> str | None:
    """The cuDNN that this torch brings: the wheel beside it, or the file inside it (torch 1.x and conda)."""
    wheel = next((d for d in distributions if re.fullmatch(r"nvidia-cudnn(-cu\d+)?", d.name)), None)
    if wheel is not None:
        return wheel.version
    bundled = next((package / "lib").glob("libcudnn.so.*"), None)
    return bundled.name.removeprefix("libcudnn.so.") if bundled else None


def _wheel_libraries(interpreter: Interpreter, distributions: tuple[Distribution, ...]) -> Iterator[Library]:
    """CUDA libraries in site-packages/nvidia/*/lib and torch/lib, with the distribution that brought each."""
    for entry in dict.fromkeys(filter(files.is_dir, filter(None, interpreter.path))):
        versions = {d.name: d.version for d in distributions if d.location == str(Path(entry))}
        for directory in sorted([*Path(entry).glob("nvidia/*/lib"), *Path(entry).glob("torch/lib")]):
            part = directory.parent.name
            for path in sorted(directory.glob("lib*.so.*")):
                match = _LIBRARY.match(path.name)
                if match:
                    brought_by = _brought_by(part, match[1], versions)
                    yield Library(
                        soname=match[1],
                        path=str(path),
                        version=versions.get(brought_by or ""),
                        source="wheel",
                        package=f"{brought_by} {versions[brought_by]}" if brought_by else part,
                    )


def _brought_by(part: str, soname: str, versions: Mapping[str, str]) -> str | None:
    """The distribution behind a file in nvidia/PART/lib; the wheels of CUDA 13 share nvidia/cu13/lib."""
    name = _WHEEL_OF.get(soname.partition(".so")[0]) if re.fullmatch(r"cu\d+", part) else part.replace("_", "-")
    return next((own for own in versions if name and re.fullmatch(rf"nvidia-{re.escape(name)}(-cu\d+)?", own)), None)


def _first_line(path: Path) -> str | None:
    return next(iter(_read(path).split("\n")), "").strip() or None


def _read(path: Path) -> str:
    return files.text_or_nothing(path, _MOST_BYTES)
