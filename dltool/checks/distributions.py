"""Distributions that overwrite the files of one another."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.packages import listed, no_python, pip, pip_uninstall, unread
from dltool.lang import tr
from dltool.machine import Distribution, Machine, PythonEnv
from dltool.results import Finding, Remedy, Status

_OWNERS_OF_ONE_PACKAGE = {
    "onnxruntime": re.compile(r"onnxruntime(-(gpu|directml|openvino|rocm|training))?"),
    "tensorflow": re.compile(r"tensorflow(-(cpu|gpu|rocm))?|tf-nightly(-cpu)?"),
    "faiss": re.compile(r"faiss-(cpu|gpu(-cu\d+)?)"),
    "cupy": re.compile(r"cupy(-(cuda\d+x?|rocm-[\d-]+))?"),
    "triton": re.compile(r"triton(-windows|-nightly)?|pytorch-triton(-\w+)?"),
    "jax-cuda-plugin": re.compile(r"jax-cuda\d+-plugin"),
}
"""Distributions that put their files into one package, by what is imported."""


@check(
    "packages-clash",
    caused_by=("environment-broken",),
    zh="""每个可导入的包是否只来自一个软件包？

    onnxruntime 与 onnxruntime-gpu、faiss-cpu 与 faiss-gpu、cupy-cuda11x 与 cupy-cuda12x 会把同名文件装进同一个目录。
    后装的只覆盖了其中一部分：要么缺少 CUDAExecutionProvider，要么无法导入；卸载其中一个时，还会删掉另一个的文件。
    同一目录中有同一软件包的两份记录，则是更新中断留下的。

    解决：先把它们全部卸载，再只安装需要的那一个；只卸载一个是不够的，剩下的那个已经缺了文件。

    预防：把需要的版本（如 onnxruntime-gpu）写进依赖文件，并留意哪些依赖会带入 CPU 版；
    在 uv 中可用 override-dependencies 排除它。
    """,
)
def packages_clash(machine: Machine) -> Iterator[Finding]:
    """Does each package that is imported come from one distribution only?

    onnxruntime and onnxruntime-gpu, faiss-cpu and faiss-gpu, cupy-cuda11x and cupy-cuda12x put files of the same names into the
    same directory. The one installed last wins in part: CUDAExecutionProvider is missing, or the import fails. Uninstalling one
    removes files of the other. Two records of one distribution in one directory are the rest of an interrupted update.

    Mend: uninstall all of them, then install the one that is wanted; to uninstall only one is not enough, the other has lost
    files by then.

    Prevent: name the wanted one (onnxruntime-gpu) in the requirements and look which dependency pulls in the CPU one; in uv
    override-dependencies keeps it out.

    See: https://onnxruntime.ai/docs/install/ https://github.com/microsoft/onnxruntime/issues/26996
    """
    python = machine.python
    if python is None:
        yield unread(machine) or no_python()
        return
    clashes = [
        *_recorded_twice(python),
        *(
            _clash(python, package, owners)
            for package, names in _OWNERS_OF_ONE_PACKAGE.items()
            if _share_a_directory(owners := _owners(python, names))
        ),
    ]
    yield from clashes
    if not clashes:
        yield Finding(status=Status.PASS, summary=tr("no two distributions own one package", "没有两个软件包占用同一个包"))


def _recorded_twice(python: PythonEnv) -> Iterator[Finding]:
    """One distribution in several versions in one directory; NVIDIA's library wheels have a check of their own."""
    recorded: dict[tuple[str, str], dict[str, Distribution]] = defaultdict(dict)
    for found in python.distributions:
        if found.installer != "conda" and not found.name.startswith("nvidia-"):
            recorded[found.location, found.name][found.version] = found
    for (location, name), versions in recorded.items():
        if len(versions) > 1:
            yield _twice(python, name, location, versions)


def _twice(python: PythonEnv, name: str, location: str, versions: dict[str, Distribution]) -> Finding:
    several = sorted(versions)
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"{name} is recorded in two versions in one directory: {' and '.join(several)}",
            f"同一目录中记录了 {name} 的两个版本：{' 和 '.join(several)}",
        ),
        why=tr(
            "An update was interrupted: files of both may lie there, and pip takes one of them for what is installed.",
            "某次更新被中断：目录中可能有两者的文件，而 pip 把其中一个当作已安装的版本。",
        ),
        evidence=tuple(map(listed, versions.values())),
        remedies=(
            Remedy(
                text=tr(
                    f"Remove {name} until pip finds none, delete what is left of it in {location}, install it anew.",
                    f"反复卸载 {name} 直到 pip 找不到它，删除 {location} 中残留的文件，然后重新安装。",
                ),
                commands=(f"{pip_uninstall(python)} {name}",) * 2 + (f"{pip(python)} {name}",),
            ),
        ),
    )


def _owners(python: PythonEnv, names: re.Pattern[str]) -> dict[str, Distribution]:
    return {found.name: found for found in reversed(python.distributions) if names.fullmatch(found.name)}


def _share_a_directory(owners: dict[str, Distribution]) -> bool:
    """In an environment of conda they do, whatever the place that is told."""
    conda = any(found.installer == "conda" for found in owners.values())
    places = {found.location for found in owners.values()}
    return len(owners) > 1 and (conda or len(places) < len(owners))


def _clash(python: PythonEnv, package: str, owners: dict[str, Distribution]) -> Finding:
    names = sorted(owners)
    wanted = next((name for name in names if re.search(r"gpu|cuda|windows", name)), names[0])
    remove = f"{pip(python).replace(' install', ' uninstall')} {' '.join(names)}"
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"{' and '.join(names)} are both installed: they overwrite each other's files of {package}",
            f"同时安装了 {' 和 '.join(names)}：它们会互相覆盖 {package} 的文件",
        ),
        evidence=tuple(listed(owners[name]) for name in names),
        remedies=(
            Remedy(
                text=tr("Remove all of them, then install one.", "全部卸载，然后只安装其中一个。"),
                commands=(remove, f"{pip(python)} {wanted}"),
            ),
        ),
    )
