"""One environment, two package managers: what conda and pip both bring to it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.libraries import displaced, split_families
from dltool.lang import tr
from dltool.machine import Distribution, LoadedLibrary, Machine, PythonEnv
from dltool.results import Evidence, Finding, Remedy, Risk, Status

_PIP_NAME = {"pytorch": "torch", "pytorch-gpu": "torch", "pytorch-cpu": "torch"}
_CONDA_CUDA = re.compile(r"cudatoolkit|cudnn|nccl|cuda-cudart|libcu[a-z]+|libnvjitlink")
_PIP_CUDA = re.compile(r"nvidia-.+-cu\d+")
_Provided = list[tuple[str, LoadedLibrary]]
"""Who brought a library, and the library."""


@check(
    "conda-pip-mixed",
    zh="""在 conda 环境中：conda 和 pip 是否各自带来了同一个软件包或相同的 CUDA 库？

    两者会互相覆盖或遮住对方管理的文件。于是 PyTorch 从一方得到 libcublas，从另一方得到 libcublasLt
    （`undefined symbol: cublasLt_for_cublas_HSS`），而且任何一方下次更新都可能弄坏原本正常的东西。

    解决：新建一个只有一个来源的环境，再把需要的软件包装进去：先 `conda create -n fresh python`，再
    `conda run -n fresh python -m pip install torch`。用 `conda list` 查看：由 pip 安装的软件包，其来源一栏是 pypi。

    预防：PyTorch 和所有 CUDA 库都从同一来源安装：要么全部用 pip，要么全部用 conda-forge。conda 只用来提供 Python 和非 Python 的
    工具；其他软件包先用 conda 安装，最后才用 pip，之后不要再运行 `conda update`，而是重建环境。
    """,
)
def conda_pip_mixed(machine: Machine) -> Iterator[Finding]:
    """In a conda environment: do conda and pip each bring the same package or the same CUDA libraries?

    Each overwrites or shadows what the other manages. PyTorch then gets libcublas from one and libcublasLt from the other
    (`undefined symbol: cublasLt_for_cublas_HSS`), and the next update of either breaks what worked.

    Mend: make a fresh environment with one source and install what you need into it: `conda create -n fresh python`, then
    `conda run -n fresh python -m pip install torch`. `conda list` shows pypi as the source of what pip installed.

    Prevent: take PyTorch and all CUDA libraries from one source, all from pip or all from conda-forge. With pip let conda bring
    Python and tools that are not Python's alone. Install with conda first and with pip last; after that make the environment
    anew in place of `conda update`.

    See: https://docs.conda.io/projects/conda/en/latest/user-guide/tasks/manage-environments.html
    """
    python = machine.python
    if python is None or python.kind != "conda":
        yield Finding(status=Status.SKIP, summary=tr("not a conda environment", "不是 conda 环境"))
        return
    of_conda = {_PIP_NAME.get(found.name, found.name): found.version for found in python.distributions if _is_condas(found)}
    twice = _installed_twice(python, of_conda)
    providers = _providers(machine, python.prefix or "")
    evidence = (
        *(
            Evidence(fact=found.name, value=f"conda {version}, pip {found.version}", read_from=found.location)
            for found, version in twice
        ),
        *(Evidence(fact=one.soname, value=f"from {who}", read_from=one.path) for who, one in providers),
    )
    if _do_not_fit(providers):
        yield Finding(
            status=Status.FAIL,
            summary=tr(
                "PyTorch gets CUDA libraries from conda and from pip at once, of versions that do not fit",
                "PyTorch 同时得到来自 conda 和来自 pip 的 CUDA 库，而且版本不匹配",
            ),
            evidence=evidence,
            remedies=_one_provider(python.prefix),
        )
    elif twice:
        yield _overwritten(python, twice, evidence)
    else:
        yield _both_bring_cuda(python, of_conda, providers, evidence)


def _installed_twice(python: PythonEnv, of_conda: dict[str, str]) -> list[tuple[Distribution, str]]:
    """What pip installed in another release than conda, with conda's version."""
    of_pip = {found.name: found for found in python.distributions if not _is_condas(found)}
    return [
        (found, of_conda[name])
        for name, found in of_pip.items()
        if name in of_conda and not _one_release(found.version, of_conda[name])
    ]


def _do_not_fit(providers: _Provided) -> bool:
    """Whether the CUDA libraries that load come from both, in releases that refuse one another."""
    own = [one for _, one in providers]
    from_both = len({who for who, _ in providers}) > 1
    return from_both and (any(displaced(one)[0] is Status.FAIL for one in own) or any(split_families(own)))


def _overwritten(python: PythonEnv, twice: list[tuple[Distribution, str]], evidence: tuple[Evidence, ...]) -> Finding:
    found, version = twice[0]
    others = len(twice) - 1
    more = tr(f" (and {others} more)", f"（另有 {others} 个）") if others else ""
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"conda installed {found.name} {version} and pip {found.version} over it{more}",
            f"conda 安装了 {found.name} {version}，pip 又用 {found.version} 覆盖了它{more}",
        ),
        why=tr(
            "Both believe that the files are theirs: the next conda update replaces or removes some of them.",
            "双方都认为这些文件归自己所有：下一次 conda 更新会替换或删除其中一部分。",
        ),
        evidence=evidence,
        remedies=_one_provider(python.prefix),
    )


def _both_bring_cuda(
    python: PythonEnv, of_conda: dict[str, str], providers: _Provided, evidence: tuple[Evidence, ...]
) -> Finding:
    condas = sorted(name for name in of_conda if _CONDA_CUDA.fullmatch(name))
    pips = sorted(found.name for found in python.distributions if not _is_condas(found) and _PIP_CUDA.fullmatch(found.name))
    if not (condas and pips):
        summary = tr("conda and pip do not bring the same packages", "conda 和 pip 没有带来相同的软件包")
        return Finding(status=Status.PASS, summary=summary)
    return Finding(
        status=Status.INFO,
        summary=tr(
            f"CUDA libraries are here from conda ({condas[0]} ...) and from pip ({pips[0]} ...); PyTorch gets one set",
            f"这里有来自 conda（{condas[0]} 等）和来自 pip（{pips[0]} 等）的 CUDA 库；PyTorch 得到的是同一套",
        )
        if providers
        else tr("CUDA libraries are here both from conda and from pip", "这里同时有来自 conda 和来自 pip 的 CUDA 库"),
        evidence=evidence,
    )


def _is_condas(found: Distribution) -> bool:
    return found.location.endswith("conda-meta")


def _one_release(one: str, other: str) -> bool:
    have, wanted = compat.known_version(one), compat.known_version(other)
    return have is None or wanted is None or have.release == wanted.release


def _providers(machine: Machine, prefix: str) -> _Provided:
    """CUDA libraries that load from this environment, and who brought each."""
    found = []
    for one in machine.loads or ():
        real = one.real_path or one.path
        if one.soname.startswith(("libcuda.", "libstdc++")) or not (prefix and real.startswith(f"{prefix}/")):
            continue
        found.append(("pip" if "/site-packages/" in real else "conda", one))
    return found


def _one_provider(prefix: str | None) -> tuple[Remedy, ...]:
    return (
        Remedy(
            text=tr(
                "Make a fresh environment with one provider: pip for PyTorch and what belongs to it, or conda for all.",
                "新建一个只有单一来源的环境：PyTorch 及其相关软件包全用 pip，或者全部用 conda。",
            ),
            commands=("conda create -n fresh python", "conda run -n fresh python -m pip install torch"),
        ),
        Remedy(
            text=tr("To see what is from where.", "查看各个软件包来自哪里。"),
            commands=(f"conda list{f' -p {prefix}' if prefix else ''} | grep -iE 'pypi|cud|torch'",),
            risk=Risk.READ_ONLY,
        ),
    )
