"""Rules of packages built on PyTorch or CUDA: flash-attn, xformers, onnxruntime-gpu and others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dltool import tables
from dltool.compat import builds, packages
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, limited, rule, seen, unknown
from dltool.compat.rules_nccl import NCCL
from dltool.compat.rules_packages import COMPANIONS
from dltool.compat.versions import accepts, known_version, major, minor, version
from dltool.lang import tr
from dltool.results import Finding

_PINNING = frozenset({"vllm", "xformers"})
"""Their wheels name one PyTorch in their metadata."""


class Objection(NamedTuple):
    """What speaks against a row of the table."""

    about: str
    """"torch", "python", "cuda", "cuda minor", "cudnn", "gpu" or "platform"."""
    text: str
    """In words that follow the package's name."""


@rule("stack")
def stack(question: Question) -> Iterator[Finding]:
    """Packages built on torch or CUDA: flash-attn, xformers, onnxruntime-gpu and others."""
    for name, installed in question.packages.items():
        if name not in (*COMPANIONS, *NCCL) and installed:
            yield _package(question, name, installed)


def _package(question: Question, name: str, installed: str) -> Finding:
    if known_version(installed) is None:
        return unknown(tr(f"`{installed}` is no version of {name}", f"`{installed}` 不是 {name} 的版本号"))
    rows, known = packages.stack_rows(name, installed)
    if not known:
        return unknown(tr(f"{name} is not in the tables", f"数据表中没有 {name}"))
    if not rows:
        return _between(question, name, installed) or unknown(
            tr(f"{name} {installed} is not in the tables", f"数据表中没有 {name} {installed}"), asked(name, installed)
        )
    return _alternatives(question, name, installed, rows)


def _alternatives(question: Question, name: str, installed: str, rows: list[tables.Row]) -> Finding:
    """One row must hold; if none does, the first difference of the nearest is the answer."""
    evidence = (asked(name, installed), seen(f"{name} {installed}", _needs(rows[0]), "other_stack", rows[0]["source"]))
    row, objections = _nearest(question, rows)
    if objections:
        return broken(
            f"{name} {installed} {objections[0].text}",
            *evidence,
            why=packages.note(row) or tr("Its published builds do not cover this.", "其已发布的构建不包括这种情况。"),
            fix=tr(
                f"Take another release of {name}, or a torch that suits it.", f"换用 {name} 的另一个版本，或与之相配的 torch。"
            ),
        )
    ready = row["wheels_for_torch"].split()
    if ready and question.torch and minor(question.torch) not in ready:
        return limited(
            tr(
                f"{name} {installed} has no ready wheel for torch {question.torch}",
                f"{name} {installed} 没有针对 torch {question.torch} 的现成 wheel",
            ),
            *evidence,
            why=tr(
                f"Wheels are for torch {', '.join(ready)}; pip compiles it here, which needs nvcc and takes long.",
                f"现成的 wheel 针对 torch {'、'.join(ready)}；pip 会在本机编译，这需要 nvcc，而且很慢。",
            ),
            fix=tr(
                f"Take another release of {name}, or one of these torch releases.",
                f"换用 {name} 的另一个版本，或上述 torch 版本之一。",
            ),
        )
    suits = tr(f"{name} {installed} goes with what was asked", f"{name} {installed} 与所问的各项相配")
    return good(suits, *evidence, why=packages.note(row))


def _between(question: Question, name: str, installed: str) -> Finding | None:
    """What speaks against a release without a row: that with which the next before it and the next after it agree."""
    sides, common = packages.stack_neighbours(name, installed), objection(question, name, installed)
    if sides is None or common is None:
        return None
    return broken(
        f"{name} {installed} {common.text}",
        asked(name, installed),
        seen(name, f"{sides[0][0]['version']}, {sides[1][0]['version']}", "other_stack", sides[0][0]["source"]),
        why=tr("So do the releases before and after it.", "它之前和之后的版本都是如此。"),
        fix=tr(f"Take another release of {name}, or a torch that suits it.", f"换用 {name} 的另一个版本，或与之相配的 torch。"),
    )


def objection(question: Question, name: str, installed: str) -> Objection | None:
    """What speaks first against a package, by the row of the table that comes nearest; None where nothing does."""
    rows, _ = packages.stack_rows(name, installed)
    if rows:
        return next(iter(_nearest(question, rows)[1]), None)
    sides = packages.stack_neighbours(name, installed)
    before, after = (_nearest(question, side)[1] for side in sides) if sides else ([], [])
    return next((one for one in before if one in after), None)


def pins_torch(name: str, installed: str) -> bool:
    """Whether a release asks for one PyTorch exactly, so that pip brings it."""
    return name in _PINNING and any(row["torch"].startswith("==") for row in packages.stack_rows(name, installed)[0])


def _nearest(question: Question, rows: list[tables.Row]) -> tuple[tables.Row, list[Objection]]:
    """The row against which least speaks, the first of equals, and what that is."""
    against = [(row, list(_objections(question, row))) for row in rows]
    return min(against, key=lambda pair: len(pair[1]))


def _needs(row: tables.Row) -> str:
    cells = {name: row[name] for name in ("torch", "python", "cuda_major", "min_cc") if row[name]}
    return ", ".join(f"{name.replace('_', ' ')} {cell}" for name, cell in cells.items()) or "no limits known"


def _objections(question: Question, row: tables.Row) -> Iterator[Objection]:
    """The gravest first: of what pip accepted the last ones may be wrong."""
    if question.torch and row["torch"] and not accepts(row["torch"], question.torch):
        yield Objection("torch", tr(f"needs torch {row['torch']}", f"需要 torch {row['torch']}"))
    for capability in question.compute_capabilities:
        if row["min_cc"] and version(capability) < version(row["min_cc"]):
            least = row["min_cc"]
            yield Objection("gpu", tr(f"needs compute capability {least} or later", f"需要计算能力 {least} 或更高"))
        if row["max_cc"] and version(capability) > version(row["max_cc"]):
            last = row["max_cc"]
            text = tr(
                f"has no code for compute capability {capability}, only up to {last}",
                f"不含计算能力 {capability} 的代码，最高到 {last}",
            )
            yield Objection("gpu", text)
    yield from _of_cuda(question, row)
    if question.python and row["python"] and not accepts(row["python"], minor(question.python)):
        yield Objection("python", tr(f"needs Python {row['python']}", f"需要 Python {row['python']}"))
    yield from _of_platform(question, row)


def _of_cuda(question: Question, row: tables.Row) -> Iterator[Objection]:
    cuda = question.cuda_of_torch or question.cuda
    if cuda and row["cuda_major"] and str(major(cuda)) not in row["cuda_major"].split():
        en, zh = (row["cuda_major"].replace(" ", word) for word in (" or ", " 或 "))
        yield Objection("cuda", tr(f"is built for CUDA {en}, not for {cuda}", f"针对 CUDA {zh} 构建，而不是 {cuda}"))
    elif cuda and not packages.cuda_suits(row["cuda"], cuda):
        text = tr(f"is built for CUDA {row['cuda']}, not for {cuda}", f"针对 CUDA {row['cuda']} 构建，而不是 {cuda}")
        yield Objection("cuda minor", text)
    brought = _brought_cudnn(question)
    if brought and row["cudnn_major"] and str(major(brought)) not in row["cudnn_major"].split():
        wanted = row["cudnn_major"]
        text = tr(f"needs cuDNN {wanted}, torch brings {brought}", f"需要 cuDNN {wanted}，而 torch 自带 {brought}")
        yield Objection("cudnn", text)


def _of_platform(question: Question, row: tables.Row) -> Iterator[Objection]:
    where = row["os"].split()
    systems, processors = {"linux", "windows"} & set(where), {"x86_64", "aarch64"} & set(where)
    here = "windows" if question.os == "windows" else "linux"
    if (systems and here not in systems) or (processors and question.arch not in processors):
        yield Objection("platform", tr(f"is published for {row['os']} only", f"只为 {row['os']} 发布"))


def _brought_cudnn(question: Question) -> str | None:
    """cuDNN that the torch in question brings."""
    row = builds.torch_release(question.torch) if question.torch else None
    return builds.cudnn_of_build(row, question.build) if row and question.build else None
