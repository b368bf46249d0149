"""Rules of what stands beside PyTorch: companions, toolkit and host compiler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dltool import tables
from dltool.compat import builds, packages
from dltool.compat.drivers import cuda_release
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, limited, noted, rule, seen, unknown
from dltool.compat.versions import accepts, known_version, major, minor, version
from dltool.lang import tr
from dltool.results import Finding

COMPANIONS = ("torchvision", "torchaudio", "torchtext", "torchdata", "triton", "triton-windows", "numpy")


@rule("companions")
def companions(question: Question) -> Iterator[Finding]:
    """torchvision, torchaudio and the like are compiled for one torch; NumPy 2 needs wheels that know it."""
    if question.torch is None or builds.torch_release(question.torch) is None:
        return
    for name, installed in question.packages.items():
        if name in COMPANIONS:
            yield _companion(question, name, installed)


class _Pair(NamedTuple):
    """A companion beside a torch, and the row of the table for the two."""

    question: Question
    torch: str
    name: str
    installed: str
    """Empty: any version, wanted along with torch."""
    row: tables.Row

    @property
    def belongs(self) -> str:
        """The version, or the range, that goes with this torch."""
        return self.row["version"] or self.row["accepts"]


def _companion(question: Question, name: str, installed: str) -> Finding:
    torch = question.torch or ""
    row = packages.companion(torch, name, windows=question.os == "windows")
    if row is None:
        return unknown(
            tr(f"which {name} goes with torch {torch} is not in the table", f"数据表中没有与 torch {torch} 搭配的 {name}")
        )
    pair = _Pair(question, torch, name, installed, row)
    return _not_published(pair) or _not_for_gpu(pair) or (_installed(pair) if installed else _wanted(pair))


def _not_published(pair: _Pair) -> Finding | None:
    """There is none for this build, this torch or this Python."""
    question, name, row = pair.question, pair.name, pair.row
    published = row["builds"].split()
    if published and question.build is not None and question.build not in published:
        note = packages.note(row)
        return broken(
            tr(
                f"{name} {row['version']} has no build for {question.build}",
                f"{name} {row['version']} 没有 {question.build} 的构建",
            ),
            seen(f"builds of {name} {row['version']}", row["builds"], "companions", row["source"]),
            why=tr(f"Its CUDA must be that of torch. {note}".rstrip(), f"它的 CUDA 必须与 torch 的一致。{note}"),
            fix=tr(
                f"Take a torch build of {row['builds']}, or do without {name}.",
                f"使用 {row['builds']} 之一的 torch 构建，或不使用 {name}。",
            ),
        )
    if not row["accepts"]:
        return broken(
            tr(f"no {name} goes with torch {pair.torch}", f"没有与 torch {pair.torch} 搭配的 {name}"),
            seen(name, "none", "companions", row["source"]),
            why=packages.note(row),
            fix=tr(f"Do without {name}, or take an older torch.", f"不使用 {name}，或换用更旧的 torch。"),
        )
    if question.python and row["python"] and not accepts(row["python"], question.python):
        return broken(
            tr(
                f"{name} {pair.belongs} has no release for Python {question.python}",
                f"{name} {pair.belongs} 没有用于 Python {question.python} 的版本",
            ),
            asked("Python", question.python),
            seen(f"Python of {name} {pair.belongs}", row["python"], "companions", row["source"]),
            why=tr("Its metadata excludes this Python: pip refuses it.", "它的元数据排除了这个 Python，pip 会拒绝安装。"),
            fix=tr("Take another patch release of Python.", "换用 Python 的另一个补丁版本。"),
        )
    return None


def _not_for_gpu(pair: _Pair) -> Finding | None:
    """The GPU is older than what it is made for."""
    name, shown = pair.name, pair.installed or pair.row["version"]
    least = _least_capability(name, shown)
    if not least or all(version(capability) >= version(least) for capability in pair.question.compute_capabilities):
        return None
    return limited(
        tr(f"{name} {shown} is for compute capability {least} and later", f"{name} {shown} 面向计算能力 {least} 及以上的 GPU"),
        seen(f"least compute capability of {name}", least, "other_stack"),
        why=tr("It may start on older GPUs and fail in single kernels.", "在更旧的 GPU 上也许能启动，但个别核函数会失败。"),
        fix=tr(
            "Do without torch.compile on this GPU, or take an older torch.",
            "在该 GPU 上不使用 torch.compile，或换用更旧的 torch。",
        ),
    )


def _wanted(pair: _Pair) -> Finding:
    return good(
        tr(
            f"{pair.name} {pair.belongs} goes with torch {pair.torch}", f"{pair.name} {pair.belongs} 与 torch {pair.torch} 相配"
        ),
        seen(pair.name, pair.belongs, "companions", pair.row["source"]),
    )


def _installed(pair: _Pair) -> Finding:
    """Is this version, of this build, the one that goes with torch?"""
    name, installed, torch, build, row = pair.name, pair.installed, pair.torch, pair.question.build, pair.row
    have = known_version(installed)
    evidence = (asked(name, installed), seen(f"goes with torch {torch}", row["accepts"], "companions", row["source"]))
    if have is None:
        return unknown(tr(f"`{installed}` is no version of {name}", f"`{installed}` 不是 {name} 的版本号"), *evidence)
    label = have.local or ""
    if build and re.fullmatch(r"cu\d+|cpu", label) and label != build:
        return broken(
            tr(
                f"{name} {installed} is built for {label}, torch for {build}",
                f"{name} {installed} 针对 {label} 构建，而 torch 针对 {build}",
            ),
            *evidence,
            why=tr(
                "Each loads the CUDA libraries of its own build; operators are missing.",
                "两者各自加载自己构建所用的 CUDA 库，会缺少算子。",
            ),
            fix=tr(f"Install {name} {pair.belongs} of {build}.", f"安装 {build} 的 {name} {pair.belongs}。"),
        )
    if accepts(row["accepts"], have.public):
        return good(tr(f"{name} {installed} goes with torch {torch}", f"{name} {installed} 与 torch {torch} 相配"), *evidence)
    if name == "numpy":
        return limited(
            tr(
                f"torch {torch} was compiled for NumPy 1: tensors and arrays do not pass between it and NumPy {installed}",
                f"torch {torch} 针对 NumPy 1 编译：张量和数组无法在它与 NumPy {installed} 之间传递",
            ),
            *evidence,
            why=packages.note(row) or tr("The C interface of NumPy 2 is another one.", "NumPy 2 的 C 接口不同。"),
            fix=tr("Install numpy<2, or a newer torch.", "安装 numpy<2，或换用更新的 torch。"),
            commands=('python -m pip install "numpy<2"',),
        )
    return broken(
        tr(f"{name} {installed} does not go with torch {torch}", f"{name} {installed} 与 torch {torch} 不相配"),
        *evidence,
        why=packages.note(row)
        or tr(
            f"{name} is compiled for one torch: undefined symbols, or pip changes torch.",
            f"{name} 只针对一个 torch 编译：会出现未定义符号，或者 pip 会改动 torch。",
        ),
        fix=tr(f"Install {name} {pair.belongs}.", f"安装 {name} {pair.belongs}。"),
    )


def _least_capability(name: str, installed: str) -> str:
    """The lowest compute capability that the table knows for a version of a package; empty where it knows none."""
    if known_version(installed) is None:
        return ""
    rows, _ = packages.stack_rows(name, installed)
    return min((row["min_cc"] for row in rows if row["min_cc"]), key=version, default="")


@rule("toolkit")
def toolkit(question: Question) -> Iterator[Finding]:
    """Extensions are compiled by an nvcc of torch's CUDA major, for a GPU that it knows, with a host compiler that it takes."""
    if question.cuda is None:
        return
    row = cuda_release(question.cuda)
    if row is None:
        end = tables.rows("compat/cuda")[-1]["cuda"]
        yield unknown(
            tr(
                f"CUDA {question.cuda} is not in the table, which ends with {end}",
                f"数据表中没有 CUDA {question.cuda}，该表到 {end} 为止",
            )
        )
        return
    for capability in question.compute_capabilities:
        yield _compiles(question.cuda, row, capability)
    if question.cuda_of_torch is not None:
        yield _builds_extensions(question.cuda, question.cuda_of_torch)


def _builds_extensions(cuda: str, built: str) -> Finding:
    evidence = (asked("toolkit", cuda), asked("CUDA of torch", built))
    if major(built) != major(cuda):
        return broken(
            tr(
                f"nvcc {cuda} does not build extensions for a torch of CUDA {built}",
                f"nvcc {cuda} 不能为 CUDA {built} 的 torch 编译扩展",
            ),
            *evidence,
            why=tr("torch.utils.cpp_extension refuses another major.", "torch.utils.cpp_extension 拒绝不同的主版本。"),
            fix=tr(
                f"Install the toolkit {built} beside the other and point CUDA_HOME at it.",
                f"另外安装 {built} 的工具包，并让 CUDA_HOME 指向它。",
            ),
        )
    if minor(built) != minor(cuda):
        return noted(
            tr(
                f"nvcc {cuda} builds extensions for a torch of CUDA {built}, with a warning",
                f"nvcc {cuda} 能为 CUDA {built} 的 torch 编译扩展，但会有警告",
            ),
            *evidence,
        )
    return good(
        tr(f"nvcc {cuda} is of the CUDA that torch was built with", f"nvcc {cuda} 与构建 torch 的 CUDA 一致"), *evidence
    )


def _compiles(cuda: str, row: tables.Row, capability: str) -> Finding:
    span = f"{row['min_cc']} to {row['max_cc']}"
    evidence = (asked("compute capability", capability), seen(f"CUDA {cuda} compiles for", span, "cuda", row["source"]))
    device = version(capability)
    if row["min_cc"] and device < version(row["min_cc"]):
        return broken(
            tr(
                f"nvcc {cuda} no longer compiles for compute capability {capability}",
                f"nvcc {cuda} 已不再为计算能力 {capability} 编译",
            ),
            *evidence,
            why=tr("The architecture was dropped.", "该架构已被移除。"),
            fix=tr("Take an older toolkit.", "换用更旧的工具包。"),
        )
    if row["max_cc"] and device > version(row["max_cc"]):
        return broken(
            tr(f"nvcc {cuda} does not know compute capability {capability} yet", f"nvcc {cuda} 还不认识计算能力 {capability}"),
            *evidence,
            why=tr("nvcc fatal: Unsupported gpu architecture.", "报错 nvcc fatal: Unsupported gpu architecture。"),
            fix=tr("Take a newer toolkit.", "换用更新的工具包。"),
        )
    return good(
        tr(f"nvcc {cuda} compiles for compute capability {capability}", f"nvcc {cuda} 能为计算能力 {capability} 编译"),
        *evidence,
    )


@rule("host-compiler")
def host_compiler(question: Question) -> Iterator[Finding]:
    """nvcc refuses a gcc that is newer than it knows."""
    have = known_version(question.gcc)
    if have is None or question.cuda is None:
        return
    row = packages.host_compiler(question.cuda)
    most = known_version(row["gcc_max"]) if row else None
    if row is None or most is None:
        yield unknown(
            tr(f"which gcc nvcc {question.cuda} takes is not in the table", f"数据表中没有 nvcc {question.cuda} 接受哪些 gcc")
        )
        return
    evidence = (
        asked("gcc", question.gcc),
        seen(f"nvcc {question.cuda} takes gcc up to", row["gcc_max"], "host_compilers", row["source"]),
    )
    if have.major > most.major:
        new = row["gcc_max"]
        yield broken(
            tr(
                f"gcc {question.gcc} is too new for nvcc {question.cuda}",
                f"gcc {question.gcc} 对 nvcc {question.cuda} 来说太新",
            ),
            *evidence,
            why=tr(
                "#error -- unsupported GNU version! host_config.h compares the majors.",
                "#error -- unsupported GNU version! host_config.h 会比较主版本号。",
            ),
            fix=tr(
                f"Install gcc {new} and compile with CC=gcc-{new} CXX=g++-{new}.",
                f"安装 gcc {new}，并用 CC=gcc-{new} CXX=g++-{new} 编译。",
            ),
        )
    elif (least := known_version(row["gcc_min"])) is not None and have.major < least.major:
        yield limited(
            tr(
                f"gcc {question.gcc} is older than nvcc {question.cuda} is tested with",
                f"gcc {question.gcc} 比 nvcc {question.cuda} 测试过的版本旧",
            ),
            *evidence,
            why=tr(
                "The header refuses newer compilers only; C++17 code may fail.",
                "头文件只拒绝更新的编译器；C++17 代码可能编译失败。",
            ),
            fix=tr(f"Take gcc {row['gcc_min']} or later.", f"使用 gcc {row['gcc_min']} 或更新的版本。"),
        )
    else:
        yield good(
            tr(f"nvcc {question.cuda} takes gcc {question.gcc}", f"nvcc {question.cuda} 接受 gcc {question.gcc}"), *evidence
        )
