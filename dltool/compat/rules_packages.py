"""Rules of what stands beside PyTorch: companions, cuDNN, toolkit and compilers, packages built on it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import tables
from dltool.compat import builds, packages
from dltool.compat.drivers import cuda_release
from dltool.compat.gpucode import is_known
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, limited, noted, rule, seen, unknown
from dltool.compat.versions import accepts, known_version, major, minor, version
from dltool.results import Finding

NCCL = ("nccl", "nvidia-nccl-cu11", "nvidia-nccl-cu12", "nvidia-nccl-cu13")
COMPANIONS = ("torchvision", "torchaudio", "torchtext", "torchdata", "triton", "triton-windows", "numpy")


@rule("companions")
def companions(question: Question) -> Iterator[Finding]:
    """torchvision, torchaudio and the like are compiled for one torch; NumPy 2 needs wheels that know it."""
    if question.torch is None or builds.torch_release(question.torch) is None:
        return
    for name, installed in question.packages.items():
        if name in COMPANIONS:
            yield _companion(question, name, installed)


def _companion(question: Question, name: str, installed: str) -> Finding:
    torch = question.torch or ""
    row = packages.companion(torch, name, windows=question.os == "windows")
    if row is None:
        return unknown(f"which {name} goes with torch {torch} is not in the table")
    published = row["builds"].split()
    if published and question.build is not None and question.build not in published:
        return broken(
            f"{name} {row['version']} has no build for {question.build}",
            seen(f"builds of {name} {row['version']}", row["builds"], "companions", row["source"]),
            why=f"Its CUDA must be that of torch. {row['note'].capitalize()}.",
            fix=f"Take a torch build of {row['builds']}, or do without {name}.",
        )
    if not row["accepts"]:
        return broken(f"no {name} goes with torch {torch}", seen(name, "none", "companions", row["source"]), why=row["note"],
                      fix=f"Do without {name}, or take an older torch.")  # fmt: skip
    belongs = row["version"] or row["accepts"]
    if question.python and row["python"] and not accepts(row["python"], question.python):
        return broken(
            f"{name} {belongs} has no release for Python {question.python}",
            asked("Python", question.python),
            seen(f"Python of {name} {belongs}", row["python"], "companions", row["source"]),
            why="Its metadata excludes this Python: pip refuses it.",
            fix="Take another patch release of Python.",
        )
    least = _least_capability(name, installed or row["version"])
    if least and any(version(capability) < version(least) for capability in question.compute_capabilities):
        return limited(
            f"{name} {installed or row['version']} is for compute capability {least} and later",
            seen(f"least compute capability of {name}", least, "other_stack"),
            why="It may start on older GPUs and fail in single kernels.",
            fix="Do without torch.compile on this GPU, or take an older torch.",
        )
    if not installed:
        return good(f"{name} {belongs} goes with torch {torch}", seen(name, belongs, "companions", row["source"]))
    have = known_version(installed)
    evidence = (asked(name, installed), seen(f"goes with torch {torch}", row["accepts"], "companions", row["source"]))
    if have is None:
        return unknown(f"`{installed}` is no version of {name}", *evidence)
    label = have.local or ""
    if question.build and re.fullmatch(r"cu\d+|cpu", label) and label != question.build:
        return broken(
            f"{name} {installed} is built for {label}, torch for {question.build}",
            *evidence,
            why="Each loads the CUDA libraries of its own build; operators are missing.",
            fix=f"Install {name} {belongs} of {question.build}.",
        )
    if accepts(row["accepts"], have.public):
        return good(f"{name} {installed} goes with torch {torch}", *evidence)
    if name == "numpy":
        return limited(
            f"torch {torch} was compiled for NumPy 1: tensors and arrays do not pass between it and NumPy {installed}",
            *evidence,
            why=row["note"] or "The C interface of NumPy 2 is another one.",
            fix="Install numpy<2, or a newer torch.",
            commands=('python -m pip install "numpy<2"',),
        )
    return broken(
        f"{name} {installed} does not go with torch {torch}",
        *evidence,
        why=row["note"] or f"{name} is compiled for one torch: undefined symbols, or pip changes torch.",
        fix=f"Install {name} {belongs}.",
    )


def _least_capability(name: str, installed: str) -> str:
    """The lowest compute capability that the table knows for a version of a package; empty where it knows none."""
    if known_version(installed) is None:
        return ""
    rows, _ = packages.stack_rows(name, installed)
    return min((row["min_cc"] for row in rows if row["min_cc"]), key=version, default="")


@rule("cudnn")
def cudnn(question: Question) -> Iterator[Finding]:
    """cuDNN is published for some CUDA majors and serves some GPUs; its major must be the one that PyTorch was built with."""
    release = builds.torch_release(question.torch) if question.torch else None
    brought = builds.cudnn_of_build(release, question.build) if release and question.build else None
    cuda = question.cuda_of_torch or question.cuda
    if question.cudnn is not None:
        yield from _replaced(question.cudnn, brought, cuda, question)
    elif brought is not None and cuda is not None:
        for capability in filter(is_known, question.compute_capabilities):
            yield from _serves(brought, cuda, capability, own=True)


def _replaced(cudnn: str, brought: str | None, cuda: str | None, question: Question) -> Iterator[Finding]:
    if brought is not None and major(cudnn) != major(brought):
        yield broken(
            f"cuDNN {cudnn} cannot stand in for {brought}, which torch was built with",
            asked("cuDNN", cudnn),
            why=f"Programs load libcudnn.so.{major(brought)}; another major has other libraries and symbols.",
            fix=f"Keep cuDNN {brought}.",
        )
    elif brought is not None and version(minor(cudnn)) < version(minor(brought)):
        yield limited(
            f"cuDNN {cudnn} is older than {brought}, which torch was built with",
            asked("cuDNN", cudnn),
            why="Within a major only a later minor is promised to serve.",
            fix=f"Keep cuDNN {brought}.",
        )
    if brought is None and question.torch is not None and question.build not in (None, "cpu"):
        yield unknown(f"which cuDNN torch {question.torch}+{question.build} was built with is not in the table")
    if cuda is None:
        return
    if packages.cudnn_is_newer_than_data(cudnn):
        yield unknown(f"cuDNN {cudnn} is newer than this data", asked("cuDNN", cudnn))
        return
    if packages.cudnn_row(cudnn, major(cuda)) is None:
        last = packages.last_cudnn(major(cuda))
        yield broken(
            f"there is no cuDNN {cudnn} for CUDA {major(cuda)}",
            asked("cuDNN", cudnn),
            seen(f"last cuDNN for CUDA {major(cuda)}", last, "cudnn"),
            why="cuDNN is published per CUDA major, and old majors are left behind.",
            fix=f"Keep the cuDNN that torch brings ({brought})." if brought else f"Take cuDNN {last} or earlier.",
        )
        return
    for capability in filter(is_known, question.compute_capabilities):
        yield from _serves(cudnn, cuda, capability, own=False)


def _serves(cudnn: str, cuda: str, capability: str, *, own: bool) -> Iterator[Finding]:
    row = packages.cudnn_row(cudnn, major(cuda))
    if row is None:
        yield unknown(f"which GPUs cuDNN {cudnn} serves with CUDA {major(cuda)} is not in the table")
        return
    device = version(capability)
    least, most = known_version(row["min_cc"]), known_version(row["max_cc"])
    evidence = (
        asked("compute capability", capability),
        seen(
            f"cuDNN {cudnn} with CUDA {major(cuda)}",
            f"{row['min_cc'] or '?'} to {row['max_cc'] or '?'}",
            "cudnn",
            row["source"],
        ),
    )
    if least is None and device < version("5.0"):
        yield limited(
            f"whether cuDNN {cudnn} still serves compute capability {capability} is not known",
            *evidence,
            why="Where it does not, convolutions fail; the rest of torch works.",
            fix="Take a torch with cuDNN 8.5 or earlier to be sure.",
        )
    elif least is not None and device < least:
        summary = f"cuDNN {cudnn} does not serve compute capability {capability}"
        if own:
            yield limited(
                summary,
                *evidence,
                why="Convolutions and recurrent layers fail; the rest of torch works.",
                fix="Take a torch with an older cuDNN, or switch it off: torch.backends.cudnn.enabled = False.",
            )
        else:
            yield broken(summary, *evidence, why="CUDNN_STATUS_ARCH_MISMATCH.", fix="Take an older cuDNN.")
    elif most is not None and device.major > most.major:
        yield limited(f"cuDNN {cudnn} is older than compute capability {capability}", *evidence,
                      why="It has no kernels for this GPU.", fix="Take a torch with a newer cuDNN.")  # fmt: skip
    else:
        yield good(f"cuDNN {cudnn} serves compute capability {capability}", *evidence)


@rule("nccl")
def nccl(question: Question) -> Iterator[Finding]:
    """NCCL is built per CUDA major, and torch calls what its own release has."""
    for name, installed in question.packages.items():
        if name not in NCCL:
            continue
        have = known_version(installed)
        built = re.fullmatch(r"nvidia-nccl-cu(\d+)", name)
        cuda = question.cuda_of_torch
        if built and cuda and built[1] != str(major(cuda)):
            yield broken(
                f"{name} is for CUDA {built[1]}, torch for CUDA {cuda}",
                asked(name, installed or "any"),
                why="It loads the runtime of another CUDA major into the same process.",
                fix=f"Keep nvidia-nccl-cu{major(cuda)}, which torch brings.",
            )
            continue
        row = builds.torch_release(question.torch) if question.torch else None
        pinned = known_version(row["nccl"]) if row else None
        if have is None or row is None or pinned is None:
            yield unknown(f"which NCCL belongs is not known: {name} {installed}".strip())
        elif have < pinned:
            yield limited(
                f"NCCL {installed} is older than {row['nccl']}, which torch {row['torch']} brings",
                asked(name, installed),
                seen(f"NCCL of torch {row['torch']}", row["nccl"], "torch_releases", row["source"]),
                why="Functions that torch calls may be missing: undefined symbol at import.",
                fix=f"Keep NCCL {row['nccl']}.",
            )
        else:
            yield good(f"NCCL {installed} is not older than torch {row['torch']} needs", asked(name, installed))


@rule("toolkit")
def toolkit(question: Question) -> Iterator[Finding]:
    """Extensions are compiled by an nvcc of torch's CUDA major, for a GPU that it knows, with a host compiler that it takes."""
    if question.cuda is None:
        return
    row = cuda_release(question.cuda)
    if row is None:
        yield unknown(f"CUDA {question.cuda} is not in the table, which ends with {tables.rows('compat/cuda')[-1]['cuda']}")
        return
    for capability in question.compute_capabilities:
        yield from _compiles(question.cuda, row, capability)
    built = question.cuda_of_torch
    if built is None:
        return
    evidence = (asked("toolkit", question.cuda), asked("CUDA of torch", built))
    if major(built) != major(question.cuda):
        yield broken(
            f"nvcc {question.cuda} does not build extensions for a torch of CUDA {built}",
            *evidence,
            why="torch.utils.cpp_extension refuses another major.",
            fix=f"Install the toolkit {built} beside the other and point CUDA_HOME at it.",
        )
    elif minor(built) != minor(question.cuda):
        yield noted(f"nvcc {question.cuda} builds extensions for a torch of CUDA {built}, with a warning", *evidence)
    else:
        yield good(f"nvcc {question.cuda} is of the CUDA that torch was built with", *evidence)


def _compiles(cuda: str, row: tables.Row, capability: str) -> Iterator[Finding]:
    span = f"{row['min_cc']} to {row['max_cc']}"
    evidence = (asked("compute capability", capability), seen(f"CUDA {cuda} compiles for", span, "cuda", row["source"]))
    device = version(capability)
    if row["min_cc"] and device < version(row["min_cc"]):
        yield broken(f"nvcc {cuda} no longer compiles for compute capability {capability}", *evidence,
                     why="The architecture was dropped.", fix="Take an older toolkit.")  # fmt: skip
    elif row["max_cc"] and device > version(row["max_cc"]):
        yield broken(f"nvcc {cuda} does not know compute capability {capability} yet", *evidence,
                     why="nvcc fatal: Unsupported gpu architecture.", fix="Take a newer toolkit.")  # fmt: skip
    else:
        yield good(f"nvcc {cuda} compiles for compute capability {capability}", *evidence)


@rule("host-compiler")
def host_compiler(question: Question) -> Iterator[Finding]:
    """nvcc refuses a gcc that is newer than it knows."""
    have = known_version(question.gcc)
    if have is None or question.cuda is None:
        return
    row = packages.host_compiler(question.cuda)
    most = known_version(row["gcc_max"]) if row else None
    if row is None or most is None:
        yield unknown(f"which gcc nvcc {question.cuda} takes is not in the table")
        return
    evidence = (
        asked("gcc", question.gcc),
        seen(f"nvcc {question.cuda} takes gcc up to", row["gcc_max"], "host_compilers", row["source"]),
    )
    if have.major > most.major:
        yield broken(
            f"gcc {question.gcc} is too new for nvcc {question.cuda}",
            *evidence,
            why="#error -- unsupported GNU version! host_config.h compares the majors.",
            fix=f"Install gcc {row['gcc_max']} and compile with CC=gcc-{row['gcc_max']} CXX=g++-{row['gcc_max']}.",
        )
    elif (least := known_version(row["gcc_min"])) is not None and have.major < least.major:
        yield limited(
            f"gcc {question.gcc} is older than nvcc {question.cuda} is tested with",
            *evidence,
            why="The header refuses newer compilers only; C++17 code may fail.",
            fix=f"Take gcc {row['gcc_min']} or later.",
        )
    else:
        yield good(f"nvcc {question.cuda} takes gcc {question.gcc}", *evidence)


@rule("stack")
def stack(question: Question) -> Iterator[Finding]:
    """Packages built on torch or CUDA: flash-attn, xformers, onnxruntime-gpu and others."""
    for name, installed in question.packages.items():
        if name in (*COMPANIONS, *NCCL) or not installed:
            continue
        if known_version(installed) is None:
            yield unknown(f"`{installed}` is no version of {name}")
            continue
        rows, known = packages.stack_rows(name, installed)
        if not known:
            yield unknown(f"{name} is not in the tables")
        elif not rows:
            yield unknown(f"{name} {installed} is not in the tables", asked(name, installed))
        else:
            yield _alternatives(question, name, installed, rows)


def _alternatives(question: Question, name: str, installed: str, rows: list[tables.Row]) -> Finding:
    """One row must hold; if none does, the first difference of the nearest is the answer."""
    against = [list(_objections(question, row)) for row in rows]
    evidence = (asked(name, installed), seen(f"{name} {installed}", _needs(rows[0]), "other_stack", rows[0]["source"]))
    if [] in against:
        fitting = rows[against.index([])]
        ready = fitting["wheels_for_torch"].split()
        if ready and question.torch and minor(question.torch) not in ready:
            return limited(
                f"{name} {installed} has no ready wheel for torch {question.torch}",
                *evidence,
                why=f"Wheels are for torch {', '.join(ready)}; pip compiles it here, which needs nvcc and takes long.",
                fix=f"Take another release of {name}, or one of these torch releases.",
            )
        return good(f"{name} {installed} goes with what was asked", *evidence, why=fitting["note"])
    nearest = min(against, key=len)
    return broken(
        f"{name} {installed} {nearest[0]}",
        *evidence,
        why=rows[against.index(nearest)]["note"] or "Its published builds do not cover this.",
        fix=f"Take another release of {name}, or a torch that suits it.",
    )


def _needs(row: tables.Row) -> str:
    cells = {name: row[name] for name in ("torch", "python", "cuda_major", "min_cc") if row[name]}
    return ", ".join(f"{name.replace('_', ' ')} {cell}" for name, cell in cells.items()) or "no limits known"


def _objections(question: Question, row: tables.Row) -> Iterator[str]:
    """What speaks against a row, in words that follow the package's name."""
    if question.torch and row["torch"] and not accepts(row["torch"], question.torch):
        yield f"needs torch {row['torch']}"
    if question.python and row["python"] and not accepts(row["python"], minor(question.python)):
        yield f"needs Python {row['python']}"
    cuda = question.cuda_of_torch or question.cuda
    if cuda and row["cuda_major"] and str(major(cuda)) not in row["cuda_major"].split():
        yield f"is built for CUDA {row['cuda_major'].replace(' ', ' or ')}, not for {cuda}"
    elif cuda and not packages.cuda_suits(row["cuda"], cuda):
        yield f"is built for CUDA {row['cuda']}, not for {cuda}"
    brought = _brought_cudnn(question)
    if brought and row["cudnn_major"] and str(major(brought)) not in row["cudnn_major"].split():
        yield f"needs cuDNN {row['cudnn_major']}, torch brings {brought}"
    for capability in question.compute_capabilities:
        if row["min_cc"] and version(capability) < version(row["min_cc"]):
            yield f"needs compute capability {row['min_cc']} or later"
    where = row["os"].split()
    systems, processors = {"linux", "windows"} & set(where), {"x86_64", "aarch64"} & set(where)
    here = "windows" if question.os == "windows" else "linux"
    if (systems and here not in systems) or (processors and question.arch not in processors):
        yield f"is published for {row['os']} only"


def _brought_cudnn(question: Question) -> str | None:
    """cuDNN that the torch in question brings."""
    row = builds.torch_release(question.torch) if question.torch else None
    return builds.cudnn_of_build(row, question.build) if row and question.build else None
