"""Rules of PyTorch: is the build published, and has it wheels for this system, Python and C library?"""

from __future__ import annotations

from collections.abc import Iterator

from dltool import tables
from dltool.compat import builds
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, limited, noted, rule, seen, unknown
from dltool.compat.versions import known_version, minor, version
from dltool.lang import tr
from dltool.results import Finding


def _release(question: Question) -> tables.Row | None:
    return builds.torch_release(question.torch) if question.torch else None


@rule("torch-published")
def torch_published(question: Question) -> Iterator[Finding]:
    """A release is published in some builds only."""
    if question.torch is None:
        return
    row = _release(question)
    if row is None:
        yield _no_release(question.torch)
        return
    if row["status"] != "released":
        yield unknown(
            tr(
                f"torch {row['torch']} was {row['status']} when this data was gathered",
                f"收集本数据时 torch {row['torch']} 的状态是 {row['status']}，尚未发布",
            ),
            asked("torch", question.torch),
        )
    if question.build is not None:
        yield _published(question, row, question.build)


def _no_release(torch: str) -> Finding:
    newest = builds.releases()[0]["torch"]
    have = known_version(torch)
    if have is not None and have > version(newest):
        summary = tr(
            f"torch {torch} is newer than this data, which ends with {newest}",
            f"torch {torch} 比本数据新，数据到 {newest} 为止",
        )
    else:
        summary = tr(f"torch {torch} is not in the table of releases", f"版本表中没有 torch {torch}")
    return unknown(summary, asked("torch", torch))


def _published(question: Question, row: tables.Row, build: str) -> Finding:
    name = f"torch {row['torch']}"
    evidence = seen("builds", row["builds"], "torch_releases", row["source"])
    elsewhere = question.os == "windows" or question.arch != "x86_64"
    if elsewhere and build != "cpu" and not _code_known(question):
        where = f"{question.os} {question.arch}"
        return noted(
            tr(
                f"whether {name}+{build} is published for {where} is not in the table",
                f"数据表中没有 {name}+{build} 是否为 {where} 发布",
            )
        )
    if build not in row["builds"].split() and not _code_known(question):
        return broken(
            tr(f"{name} was not published as {build}", f"{name} 没有发布 {build} 构建"),
            evidence,
            why=tr("Each release has wheels for a few CUDA versions.", "每个版本只为少数几个 CUDA 版本提供 wheel。"),
            fix=tr(f"Take one of: {row['builds']}.", f"请从中选择：{row['builds']}。"),
        )
    return good(tr(f"{name} is published as {build}", f"{name} 发布了 {build} 构建"), evidence)


def _code_known(question: Question) -> bool:
    return question.torch is not None and question.build is not None and code_of(question) is not None


def code_of(question: Question) -> builds.TorchCode | None:
    """The GPU code inside the build in question; None where the table does not know it."""
    return builds.torch_code(
        question.torch or "", question.build or "", windows=question.os == "windows", processor=question.arch
    )


@rule("torch-has-cuda")
def torch_has_cuda(question: Question) -> Iterator[Finding]:
    """A CPU build does not use a GPU; on Windows and early aarch64 PyPI serves nothing else."""
    wants_gpu = bool(question.compute_capabilities or question.driver)
    if question.build == "cpu" and wants_gpu:
        yield limited(
            tr("this is a CPU build: the GPU lies idle", "这是 CPU 构建：GPU 会闲置"),
            asked("build", question.build),
            why=tr(
                "torch.cuda.is_available() is False, whatever the driver.",
                "无论驱动如何，torch.cuda.is_available() 都是 False。",
            ),
            fix=tr("Install a CUDA build from PyTorch's own index.", "从 PyTorch 自己的索引安装 CUDA 构建。"),
        )


@rule("python-wheel")
def python_wheel(question: Question) -> Iterator[Finding]:
    """Wheels are published for some Pythons."""
    row = _release(question)
    have = known_version(question.python)
    if row is None or have is None:
        return
    name, here = f"torch {row['torch']}", f"Python {minor(question.python or '')}"
    if not (row["python_min"] and row["python_max"]):
        yield unknown(
            tr(f"for which Pythons {name} has wheels is not in the table", f"数据表中没有 {name} 为哪些 Python 提供 wheel")
        )
        return
    span = f"{row['python_min']} to {row['python_max']}"
    evidence = (asked("Python", question.python), seen(f"wheels of {name}", span, "torch_releases", row["source"]))
    if version(row["python_min"]).release[:2] <= have.release[:2] <= version(row["python_max"]).release[:2]:
        yield good(tr(f"{name} has wheels for {here}", f"{name} 有用于 {here} 的 wheel"), *evidence)
        return
    too_old = have < version(row["python_min"])
    yield broken(
        tr(f"{name} has no wheel for {here}", f"{name} 没有用于 {here} 的 wheel"),
        *evidence,
        why=tr(
            f"pip says that no matching distribution was found; wheels are for Python {span}.",
            f"pip 会报告找不到匹配的软件包；现有 wheel 用于 Python {row['python_min']} 到 {row['python_max']}。",
        ),
        fix=_other_python(too_old),
    )


def _other_python(too_old: bool) -> str:
    if too_old:
        return tr("Take a newer Python, or an older torch.", "换用更新的 Python，或更旧的 torch。")
    return tr("Take an older Python, or a newer torch.", "换用更旧的 Python，或更新的 torch。")


@rule("glibc")
def glibc(question: Question) -> Iterator[Finding]:
    """Wheels need a C library of their age or later; musl has none."""
    if question.musl and question.torch is not None:
        yield broken(
            tr("PyTorch publishes no wheels for musl (Alpine)", "PyTorch 不为 musl（Alpine）发布 wheel"),
            asked("C library", "musl"),
            why=tr("The wheels are manylinux, built for glibc.", "wheel 属于 manylinux，针对 glibc 构建。"),
            fix=tr("Take an image with glibc: debian, ubuntu.", "换用带 glibc 的镜像：debian、ubuntu。"),
        )
        return
    row, have = _release(question), known_version(question.glibc)
    if row is None or have is None or question.os == "windows":
        return
    name, least = f"torch {row['torch']}", known_version(row["glibc_min"])
    if least is None:
        yield unknown(tr(f"the least glibc for {name} is not in the table", f"数据表中没有 {name} 所需的最低 glibc"))
        return
    evidence = (
        asked("glibc", question.glibc),
        seen(f"least glibc for {name}", row["glibc_min"], "torch_releases", row["source"]),
    )
    if have >= least:
        told = tr(f"glibc {question.glibc} is new enough for {name}", f"glibc {question.glibc} 对 {name} 来说足够新")
        yield good(told, *evidence)
        return
    tag = f"manylinux_{row['glibc_min'].replace('.', '_')}"
    yield broken(
        tr(f"glibc {question.glibc} is too old for {name}", f"glibc {question.glibc} 对 {name} 来说太旧"),
        *evidence,
        why=tr(f"The wheels are tagged {tag}: pip skips them here.", f"wheel 的标签是 {tag}：pip 在这里会跳过它们。"),
        fix=tr("Take an older torch, a newer distribution, or a container.", "换用更旧的 torch、更新的发行版，或使用容器。"),
    )


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
        index = builds.wheel_index(question.build)
        yield noted(
            tr(
                f"a plain `pip install torch=={row['torch']}` gives a CPU build on {system}",
                f"在 {system} 上直接 `pip install torch=={row['torch']}` 得到的是 CPU 构建",
            ),
            seen("PyPI serves", served, "torch_releases", row["source"]),
            why=tr(f"Name PyTorch's index: {index}", f"请指定 PyTorch 的索引：{index}"),
        )
