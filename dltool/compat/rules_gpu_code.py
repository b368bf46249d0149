"""Rules of the GPU code inside a PyTorch build: machine code that the GPU runs, or PTX that the driver compiles for it."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.compat import builds
from dltool.compat.drivers import cuda_release
from dltool.compat.gpucode import TEGRA, code_runs_on, is_known, ptx_runs_on
from dltool.compat.question import Question
from dltool.compat.rules import asked, broken, good, limited, rule, seen, unknown
from dltool.compat.rules_torch import code_of
from dltool.compat.versions import major, version
from dltool.lang import tr
from dltool.results import Evidence, Finding


@rule("gpu-code")
def gpu_code(question: Question) -> Iterator[Finding]:
    """A build holds machine code for some architectures, and PTX for later ones or not."""
    if question.torch is None or question.build in (None, "cpu") or builds.torch_release(question.torch) is None:
        return
    code = code_of(question)
    for capability in filter(is_known, question.compute_capabilities):
        yield _covers(question, code, capability)


def _covers(question: Question, code: builds.TorchCode | None, capability: str) -> Finding:
    what = f"torch {question.torch}+{question.build}"
    cuda = question.cuda_of_torch
    if never := _never_compiled(what, code, capability, cuda):
        return never
    if code is None:
        where = f"{question.os} {question.arch}"
        return unknown(
            tr(
                f"which GPU code {what} holds on {where} is not in the table",
                f"数据表中没有 {what} 在 {where} 上含有哪些 GPU 代码",
            )
        )
    evidence = (
        asked("compute capability", capability),
        seen(f"code in {what}", " ".join(code.machine_code), "torch_archs", code.source),
    )
    fits = [sm for sm in code.machine_code if code_runs_on(sm, capability, built_with=cuda)]
    if fits:
        return _lifted(capability, fits, what, evidence) or good(
            tr(
                f"{fits[-1]} code of {what} runs on compute capability {capability}",
                f"{what} 的 {fits[-1]} 代码可以在计算能力 {capability} 上运行",
            ),
            *evidence,
        )
    return _without_machine_code(what, code, capability, cuda, evidence)


def _never_compiled(what: str, code: builds.TorchCode | None, capability: str, cuda: str | None) -> Finding | None:
    """The CUDA of the build no longer compiled for this GPU, or did not yet."""
    lowest = cuda_release(cuda or "")
    if lowest is not None and lowest["min_cc"] and version(capability) < version(lowest["min_cc"]):
        return broken(
            tr(
                f"CUDA {cuda} of {what} no longer compiles for compute capability {capability}",
                f"{what} 的 CUDA {cuda} 已不再为计算能力 {capability} 编译",
            ),
            seen(f"lowest compute capability of CUDA {cuda}", lowest["min_cc"], "cuda", lowest["source"]),
            why=tr(
                "Neither machine code nor PTX for this GPU can be inside: `no kernel image is available`.",
                "其中不可能有用于该 GPU 的机器码或 PTX，会报 `no kernel image is available`。",
            ),
            fix=tr("Take a build for an older CUDA.", "换用针对较旧 CUDA 的构建。"),
        )
    if code is None and _newer_than_cuda(capability, cuda):
        return broken(
            tr(
                f"CUDA {cuda} of {what} is older than compute capability {capability}",
                f"{what} 的 CUDA {cuda} 早于计算能力 {capability} 的 GPU",
            ),
            asked("compute capability", capability),
            why=tr(
                "The compiler did not know this GPU yet, and no build of that time carries PTX for it.",
                "当时的编译器还不认识该 GPU，那时的构建也都不带可用于它的 PTX。",
            ),
            fix=tr("Take a build for a newer CUDA.", "换用针对较新 CUDA 的构建。"),
        )
    return None


def _without_machine_code(
    what: str, code: builds.TorchCode, capability: str, cuda: str | None, evidence: tuple[Evidence, ...]
) -> Finding:
    """PTX may stand in for machine code."""
    if any(ptx_runs_on(ptx, capability) for ptx in code.ptx or ()):
        return limited(
            tr(
                f"{what} has no machine code for compute capability {capability}, only PTX",
                f"{what} 没有用于计算能力 {capability} 的机器码，只有 PTX",
            ),
            *evidence,
            why=tr(
                "The driver compiles the PTX at the first run, which takes minutes, and libraries like cuDNN have none.",
                "驱动会在首次运行时编译 PTX，需要数分钟；而 cuDNN 等库没有 PTX。",
            ),
            fix=tr("Take a newer build that names the GPU.", "换用明确支持该 GPU 的较新构建。"),
        )
    if code.ptx is None and not _newer_than_cuda(capability, cuda):
        return unknown(
            tr(
                f"{what} has no machine code for compute capability {capability}; whether PTX is inside is not known",
                f"{what} 没有用于计算能力 {capability} 的机器码；不知道其中是否有 PTX",
            ),
            *evidence,
        )
    return broken(
        tr(f"{what} has no code for compute capability {capability}", f"{what} 没有用于计算能力 {capability} 的代码"),
        *evidence,
        why=tr(
            "It ends with `CUDA error: no kernel image is available for execution on the device`.",
            "会报 `CUDA error: no kernel image is available for execution on the device`。",
        ),
        fix=tr("Take a build that holds code for this GPU.", "换用含有该 GPU 代码的构建。"),
    )


def _lifted(capability: str, fits: list[str], what: str, evidence: tuple[Evidence, ...]) -> Finding | None:
    """Desktop code on a Tegra chip: allowed from CUDA 13.2 on, and bound to the JetPack."""
    own = f"sm_{capability.replace('.', '')}"
    if capability not in TEGRA or own in fits:
        return None
    return limited(
        tr(
            f"{fits[-1]} code of {what} runs on this Tegra (compute capability {capability}) from CUDA 13.2 on",
            f"从 CUDA 13.2 起，{what} 的 {fits[-1]} 代码可以在这种 Tegra（计算能力 {capability}）上运行",
        ),
        *evidence,
        why=tr(
            "CUDA 13.2 made Jetson and server GPUs one platform; the JetPack must go with it, and no device was tried.",
            "CUDA 13.2 把 Jetson 与服务器 GPU 统一为一个平台；JetPack 必须与之配套，而且没有在实际设备上试过。",
        ),
        fix=tr(
            "Check it there with a matrix product; else take NVIDIA's own wheel for this JetPack.",
            "请在设备上用一次矩阵乘法验证；不行则使用 NVIDIA 为该 JetPack 提供的 wheel。",
        ),
    )


def _newer_than_cuda(capability: str, cuda: str | None) -> bool:
    """A GPU that the toolkit did not know yet: frameworks of that time carried no PTX for it, as far as is known."""
    row = cuda_release(cuda or "")
    return row is not None and bool(row["max_cc"]) and major(capability) > major(row["max_cc"])
