"""Rules of NCCL: one per CUDA major, and not older than the one that PyTorch was built with."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool.compat import builds
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, limited, rule, seen, unknown
from dltool.compat.versions import known_version, major
from dltool.lang import tr
from dltool.results import Finding

NCCL = ("nccl", "nvidia-nccl-cu11", "nvidia-nccl-cu12", "nvidia-nccl-cu13")


@rule("nccl")
def nccl(question: Question) -> Iterator[Finding]:
    """NCCL is built per CUDA major, and torch calls what its own release has."""
    for name, installed in question.packages.items():
        if name in NCCL:
            yield _other_cuda_major(question, name, installed) or _old_nccl(question, name, installed)


def _other_cuda_major(question: Question, name: str, installed: str) -> Finding | None:
    built = re.fullmatch(r"nvidia-nccl-cu(\d+)", name)
    cuda = question.cuda_of_torch
    if not built or not cuda or built[1] == str(major(cuda)):
        return None
    return broken(
        tr(f"{name} is for CUDA {built[1]}, torch for CUDA {cuda}", f"{name} 面向 CUDA {built[1]}，而 torch 面向 CUDA {cuda}"),
        asked(name, installed or "any"),
        why=tr(
            "It loads the runtime of another CUDA major into the same process.",
            "它会把另一个 CUDA 主版本的运行时加载进同一个进程。",
        ),
        fix=tr(f"Keep nvidia-nccl-cu{major(cuda)}, which torch brings.", f"保留 torch 自带的 nvidia-nccl-cu{major(cuda)}。"),
    )


def _old_nccl(question: Question, name: str, installed: str) -> Finding:
    row = builds.torch_release(question.torch) if question.torch else None
    have, pinned = known_version(installed), known_version(row["nccl"]) if row else None
    if have is None or row is None or pinned is None:
        what = f"{name} {installed}".strip()
        return unknown(tr(f"which NCCL belongs is not known: {what}", f"不知道应搭配哪个 NCCL：{what}"))
    if have >= pinned:
        return good(
            tr(
                f"NCCL {installed} is not older than torch {row['torch']} needs",
                f"NCCL {installed} 不比 torch {row['torch']} 所需的旧",
            ),
            asked(name, installed),
        )
    return limited(
        tr(
            f"NCCL {installed} is older than {row['nccl']}, which torch {row['torch']} brings",
            f"NCCL {installed} 比 {row['nccl']} 旧，后者是 torch {row['torch']} 自带的",
        ),
        asked(name, installed),
        seen(f"NCCL of torch {row['torch']}", row["nccl"], "torch_releases", row["source"]),
        why=tr(
            "Functions that torch calls may be missing: undefined symbol at import.",
            "可能缺少 torch 要调用的函数：导入时报 undefined symbol。",
        ),
        fix=tr(f"Keep NCCL {row['nccl']}.", f"保留 NCCL {row['nccl']}。"),
    )
