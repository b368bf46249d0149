"""Rules of PyTorch: is the build published for this system and Python, and does it hold code that the GPU runs?"""

from __future__ import annotations

from collections.abc import Iterator

from dltool import tables
from dltool.compat import builds
from dltool.compat.drivers import cuda_release
from dltool.compat.gpucode import TEGRA, code_runs_on, is_known, ptx_runs_on
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, limited, noted, rule, seen, unknown
from dltool.compat.versions import known_version, major, minor, version
from dltool.results import Finding


def _release(question: Question) -> tables.Row | None:
    return builds.torch_release(question.torch) if question.torch else None


@rule("torch-published")
def torch_published(question: Question) -> Iterator[Finding]:
    """A release is published in some builds only."""
    if question.torch is None:
        return
    row = _release(question)
    newest = builds.releases()[0]["torch"]
    if row is None:
        have = known_version(question.torch)
        beyond = have is not None and have > version(newest)
        where = f"newer than this data, which ends with {newest}" if beyond else "not in the table of releases"
        yield unknown(f"torch {question.torch} is {where}", asked("torch", question.torch))
        return
    if row["status"] != "released":
        yield unknown(f"torch {row['torch']} was {row['status']} when this data was gathered", asked("torch", question.torch))
    if question.build is None:
        return
    elsewhere = question.os == "windows" or question.arch != "x86_64"
    if elsewhere and question.build != "cpu" and not _code_known(question):
        where = f"{question.os} {question.arch}"
        yield noted(f"whether torch {row['torch']}+{question.build} is published for {where} is not in the table")
    elif question.build not in row["builds"].split() and not _code_known(question):
        yield broken(
            f"torch {row['torch']} was not published as {question.build}",
            seen("builds", row["builds"], "torch_releases", row["source"]),
            why="Each release has wheels for a few CUDA versions.",
            fix=f"Take one of: {row['builds']}.",
        )
    else:
        yield good(
            f"torch {row['torch']} is published as {question.build}",
            seen("builds", row["builds"], "torch_releases", row["source"]),
        )


def _code_known(question: Question) -> bool:
    return question.torch is not None and question.build is not None and _code(question) is not None


def _code(question: Question) -> builds.TorchCode | None:
    return builds.torch_code(
        question.torch or "", question.build or "", windows=question.os == "windows", processor=question.arch
    )


@rule("torch-has-cuda")
def torch_has_cuda(question: Question) -> Iterator[Finding]:
    """A CPU build does not use a GPU; on Windows and early aarch64 PyPI serves nothing else."""
    wants_gpu = bool(question.compute_capabilities or question.driver)
    if question.build == "cpu" and wants_gpu:
        yield limited(
            "this is a CPU build: the GPU lies idle",
            asked("build", question.build),
            why="torch.cuda.is_available() is False, whatever the driver.",
            fix="Install a CUDA build from PyTorch's own index.",
        )


@rule("python-wheel")
def python_wheel(question: Question) -> Iterator[Finding]:
    """Wheels are published for some Pythons."""
    row = _release(question)
    have = known_version(question.python)
    if row is None or have is None:
        return
    if not (row["python_min"] and row["python_max"]):
        yield unknown(f"for which Pythons torch {row['torch']} has wheels is not in the table")
        return
    span = f"{row['python_min']} to {row['python_max']}"
    evidence = (
        asked("Python", question.python),
        seen(f"wheels of torch {row['torch']}", span, "torch_releases", row["source"]),
    )
    if version(row["python_min"]).release[:2] <= have.release[:2] <= version(row["python_max"]).release[:2]:
        yield good(f"torch {row['torch']} has wheels for Python {minor(question.python or '')}", *evidence)
        return
    old = have < version(row["python_min"])
    yield broken(
        f"torch {row['torch']} has no wheel for Python {minor(question.python or '')}",
        *evidence,
        why=f"pip says that no matching distribution was found; wheels are for Python {span}.",
        fix="Take a newer Python, or an older torch." if old else "Take an older Python, or a newer torch.",
    )


@rule("glibc")
def glibc(question: Question) -> Iterator[Finding]:
    """Wheels need a C library of their age or later; musl has none."""
    if question.musl and question.torch is not None:
        yield broken(
            "PyTorch publishes no wheels for musl (Alpine)",
            asked("C library", "musl"),
            why="The wheels are manylinux, built for glibc.",
            fix="Take an image with glibc: debian, ubuntu.",
        )
        return
    row, have = _release(question), known_version(question.glibc)
    if row is None or have is None or question.os == "windows":
        return
    least = known_version(row["glibc_min"])
    if least is None:
        yield unknown(f"the least glibc for torch {row['torch']} is not in the table")
        return
    evidence = (
        asked("glibc", question.glibc),
        seen(f"least glibc for torch {row['torch']}", row["glibc_min"], "torch_releases", row["source"]),
    )
    if have >= least:
        yield good(f"glibc {question.glibc} is new enough for torch {row['torch']}", *evidence)
    else:
        yield broken(
            f"glibc {question.glibc} is too old for torch {row['torch']}",
            *evidence,
            why=f"The wheels are tagged manylinux_{row['glibc_min'].replace('.', '_')}: pip skips them here.",
            fix="Take an older torch, a newer distribution, or a container.",
        )


@rule("gpu-code")
def gpu_code(question: Question) -> Iterator[Finding]:
    """A build holds machine code for some architectures, and PTX for later ones or not."""
    if question.torch is None or question.build in (None, "cpu") or _release(question) is None:
        return
    code = _code(question)
    for capability in filter(is_known, question.compute_capabilities):
        yield _covers(question, code, capability)


def _covers(question: Question, code: builds.TorchCode | None, capability: str) -> Finding:
    what = f"torch {question.torch}+{question.build}"
    cuda = question.cuda_of_torch
    lowest = cuda_release(cuda or "")
    if lowest is not None and lowest["min_cc"] and version(capability) < version(lowest["min_cc"]):
        return broken(
            f"CUDA {cuda} of {what} no longer compiles for compute capability {capability}",
            seen(f"lowest compute capability of CUDA {cuda}", lowest["min_cc"], "cuda", lowest["source"]),
            why="Neither machine code nor PTX for this GPU can be inside: no kernel image is available.",
            fix="Take a build for an older CUDA.",
        )
    if code is None and _newer_than_cuda(capability, cuda):
        return broken(
            f"CUDA {cuda} of {what} is older than compute capability {capability}",
            asked("compute capability", capability),
            why="The compiler did not know this GPU yet, and no build of that time carries PTX for it.",
            fix="Take a build for a newer CUDA.",
        )
    if code is None:
        return unknown(f"which GPU code {what} holds on {question.os} {question.arch} is not in the table")
    evidence = (
        asked("compute capability", capability),
        seen(f"code in {what}", " ".join(code.machine_code), "torch_archs", code.source),
    )
    fits = [sm for sm in code.machine_code if code_runs_on(sm, capability, built_with=cuda)]
    if fits:
        return _lifted(capability, fits, what, evidence) or good(
            f"{fits[-1]} code of {what} runs on compute capability {capability}", *evidence
        )
    if any(ptx_runs_on(ptx, capability) for ptx in code.ptx or ()):
        return limited(
            f"{what} has no machine code for compute capability {capability}, only PTX",
            *evidence,
            why="The driver compiles the PTX at the first run, which takes minutes, and libraries like cuDNN have none.",
            fix="Take a newer build that names the GPU.",
        )
    if code.ptx is None and not _newer_than_cuda(capability, cuda):
        return unknown(
            f"{what} has no machine code for compute capability {capability}; whether PTX is inside is not known", *evidence
        )
    return broken(
        f"{what} has no code for compute capability {capability}",
        *evidence,
        why="CUDA error: no kernel image is available for execution on the device.",
        fix="Take a build that holds code for this GPU.",
    )


def _lifted(capability: str, fits: list[str], what: str, evidence: tuple[object, ...]) -> Finding | None:
    """Desktop code on a Tegra chip: allowed from CUDA 13.2 on, and bound to the JetPack."""
    own = f"sm_{capability.replace('.', '')}"
    if capability not in TEGRA or own in fits:
        return None
    return limited(
        f"{fits[-1]} code of {what} runs on this Tegra (compute capability {capability}) from CUDA 13.2 on",
        *evidence,  # type: ignore[arg-type]
        why="CUDA 13.2 made Jetson and server GPUs one platform; the JetPack must go with it, and no device was tried.",
        fix="Check it there with a matrix product; else take NVIDIA's own wheel for this JetPack.",
    )


def _newer_than_cuda(capability: str, cuda: str | None) -> bool:
    """A GPU that the toolkit did not know yet: frameworks of that time carried no PTX for it, as far as is known."""
    row = cuda_release(cuda or "")
    return row is not None and bool(row["max_cc"]) and major(capability) > major(row["max_cc"])


@rule("platform")
def platform(question: Question) -> Iterator[Finding]:
    """Where the wheels of a build are: PyPI has one build per release and system."""
    row = _release(question)
    if row is None or question.build is None:
        return
    column = {"windows": "windows"}.get(question.os, "linux_aarch64" if question.arch == "aarch64" else "")
    served = row[column] if column else row["default_build"]
    if column and served == "cpu" and question.build != "cpu":
        system = "Windows" if question.os == "windows" else "Linux aarch64"
        yield noted(
            f"a plain `pip install torch=={row['torch']}` gives a CPU build on {system}",
            seen("PyPI serves", served, "torch_releases", row["source"]),
            why=f"Name PyTorch's index: {builds.wheel_index(question.build)}",
        )
