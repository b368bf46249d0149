"""Rules of cuDNN: the CUDA majors it is published for, the GPUs it serves, and the one that PyTorch was built with."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.compat import builds, packages
from dltool.compat.gpucode import is_known
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, limited, rule, seen, unknown
from dltool.compat.versions import known_version, major, minor, version
from dltool.lang import tr
from dltool.results import Evidence, Finding


@rule("cudnn")
def cudnn(question: Question) -> Iterator[Finding]:
    """cuDNN is published for some CUDA majors and serves some GPUs; its major must be the one that PyTorch was built with."""
    release = builds.torch_release(question.torch) if question.torch else None
    brought = builds.cudnn_of_build(release, question.build) if release and question.build else None
    cuda = question.cuda_of_torch or question.cuda
    if question.cudnn is not None:
        yield from _replaced(question.cudnn, brought, question)
        if cuda is not None:
            yield from _published(question.cudnn, brought, cuda, question)
    elif brought is not None and cuda is not None:
        for capability in filter(is_known, question.compute_capabilities):
            yield _serves(brought, cuda, capability, own=True)


def _replaced(cudnn: str, brought: str | None, question: Question) -> Iterator[Finding]:
    """Can it take the place of the one that PyTorch brings?"""
    if brought is None:
        if question.torch is not None and question.build not in (None, "cpu"):
            torch = f"torch {question.torch}+{question.build}"
            yield unknown(
                tr(f"which cuDNN {torch} was built with is not in the table", f"数据表中没有 {torch} 构建时所用的 cuDNN")
            )
    elif major(cudnn) != major(brought):
        yield broken(
            tr(
                f"cuDNN {cudnn} cannot stand in for {brought}, which torch was built with",
                f"cuDNN {cudnn} 不能代替构建 torch 时所用的 {brought}",
            ),
            asked("cuDNN", cudnn),
            why=tr(
                f"Programs load libcudnn.so.{major(brought)}; another major has other libraries and symbols.",
                f"程序加载的是 libcudnn.so.{major(brought)}；另一个主版本的库和符号都不同。",
            ),
            fix=tr(f"Keep cuDNN {brought}.", f"保留 cuDNN {brought}。"),
        )
    elif version(minor(cudnn)) < version(minor(brought)):
        yield limited(
            tr(
                f"cuDNN {cudnn} is older than {brought}, which torch was built with",
                f"cuDNN {cudnn} 比构建 torch 时所用的 {brought} 旧",
            ),
            asked("cuDNN", cudnn),
            why=tr(
                "Within a major only a later minor is promised to serve.", "在同一个主版本内，只保证更新的次版本可以代替旧的。"
            ),
            fix=tr(f"Keep cuDNN {brought}.", f"保留 cuDNN {brought}。"),
        )


def _published(cudnn: str, brought: str | None, cuda: str, question: Question) -> Iterator[Finding]:
    """Is it published for this CUDA major, and for the GPUs?"""
    if packages.cudnn_is_newer_than_data(cudnn):
        yield unknown(tr(f"cuDNN {cudnn} is newer than this data", f"cuDNN {cudnn} 比本数据新"), asked("cuDNN", cudnn))
        return
    if packages.cudnn_row(cudnn, major(cuda)) is None:
        last = packages.last_cudnn(major(cuda))
        yield broken(
            tr(f"there is no cuDNN {cudnn} for CUDA {major(cuda)}", f"没有用于 CUDA {major(cuda)} 的 cuDNN {cudnn}"),
            asked("cuDNN", cudnn),
            seen(f"last cuDNN for CUDA {major(cuda)}", last, "cudnn"),
            why=tr(
                "cuDNN is published per CUDA major, and old majors are left behind.",
                "cuDNN 按 CUDA 主版本发布，旧的主版本会停止提供。",
            ),
            fix=tr(f"Keep the cuDNN that torch brings ({brought}).", f"保留 torch 自带的 cuDNN（{brought}）。")
            if brought
            else tr(f"Take cuDNN {last} or earlier.", f"使用 cuDNN {last} 或更早的版本。"),
        )
        return
    for capability in filter(is_known, question.compute_capabilities):
        yield _serves(cudnn, cuda, capability, own=False)


def _serves(cudnn: str, cuda: str, capability: str, *, own: bool) -> Finding:
    """Has it kernels for this GPU? `own`: it is the one that PyTorch brings, and the rest of PyTorch works without."""
    row = packages.cudnn_row(cudnn, major(cuda))
    if row is None:
        return unknown(
            tr(
                f"which GPUs cuDNN {cudnn} serves with CUDA {major(cuda)} is not in the table",
                f"数据表中没有 cuDNN {cudnn} 搭配 CUDA {major(cuda)} 时支持哪些 GPU",
            )
        )
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
        return _perhaps_dropped(cudnn, capability, evidence)
    if least is not None and device < least:
        return _dropped(cudnn, capability, evidence, own=own)
    if most is not None and device.major > most.major:
        return _older_than_gpu(cudnn, capability, evidence)
    return good(
        tr(f"cuDNN {cudnn} serves compute capability {capability}", f"cuDNN {cudnn} 支持计算能力 {capability}"), *evidence
    )


def _perhaps_dropped(cudnn: str, capability: str, evidence: tuple[Evidence, ...]) -> Finding:
    return limited(
        tr(
            f"whether cuDNN {cudnn} still serves compute capability {capability} is not known",
            f"不知道 cuDNN {cudnn} 是否仍支持计算能力 {capability}",
        ),
        *evidence,
        why=tr(
            "Where it does not, convolutions fail; the rest of torch works.",
            "如果不支持，卷积会失败，torch 的其余部分可用。",
        ),
        fix=tr("Take a torch with cuDNN 8.5 or earlier to be sure.", "为稳妥起见，使用带 cuDNN 8.5 或更早版本的 torch。"),
    )


def _dropped(cudnn: str, capability: str, evidence: tuple[Evidence, ...], *, own: bool) -> Finding:
    summary = tr(f"cuDNN {cudnn} does not serve compute capability {capability}", f"cuDNN {cudnn} 不支持计算能力 {capability}")
    if not own:
        refused = tr("CUDNN_STATUS_ARCH_MISMATCH.", "报错 CUDNN_STATUS_ARCH_MISMATCH。")
        return broken(summary, *evidence, why=refused, fix=tr("Take an older cuDNN.", "换用更旧的 cuDNN。"))
    return limited(
        summary,
        *evidence,
        why=tr(
            "Convolutions and recurrent layers fail; the rest of torch works.",
            "卷积层和循环层会失败，torch 的其余部分可用。",
        ),
        fix=tr(
            "Take a torch with an older cuDNN, or switch it off: torch.backends.cudnn.enabled = False.",
            "换用带较旧 cuDNN 的 torch，或将其关闭：torch.backends.cudnn.enabled = False。",
        ),
    )


def _older_than_gpu(cudnn: str, capability: str, evidence: tuple[Evidence, ...]) -> Finding:
    return limited(
        tr(f"cuDNN {cudnn} is older than compute capability {capability}", f"cuDNN {cudnn} 早于计算能力 {capability} 的 GPU"),
        *evidence,
        why=tr("It has no kernels for this GPU.", "它没有用于该 GPU 的核函数。"),
        fix=tr("Take a torch with a newer cuDNN.", "换用带较新 cuDNN 的 torch。"),
    )
