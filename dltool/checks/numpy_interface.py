"""NumPy beside PyTorch: which C interface of it the wheels were compiled for."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from dltool import compat, tables
from dltool.checks import check
from dltool.checks.packages import install_torch, installed_torch, listed, pip, question, unread
from dltool.compat import rules_packages
from dltool.lang import tr
from dltool.machine import Distribution, Machine, PythonEnv
from dltool.results import Finding, Remedy, Status


@check(
    "numpy-mismatched",
    caused_by=("environment-broken", "torch-incomplete"),
    zh="""PyTorch 和其他含编译代码的包是否针对已安装的 NumPy 编译？

    NumPy 2 的 C 接口与 NumPy 1 不同。在它之前发布的 PyTorch（到 2.2 为止，Windows 上更久）能导入，但会给出警告；
    一旦张量和数组相遇（每个 DataLoader 都会如此），就以 "Numpy is not available" 失败。其他包（TensorFlow、ONNX Runtime、
    pandas、OpenCV 等）的旧版本在导入时以 "_ARRAY_API not found" 失败。

    解决：`pip install "numpy<2"`，或换用 2.3 及更新的 PyTorch（Windows 上 2.4.1 及更新）。

    预防：在依赖文件中固定 NumPy 的主版本（`numpy<2`），并把 PyTorch 与 NumPy 放在同一条安装命令里。
    """,
)
def numpy_mismatched(machine: Machine) -> Iterator[Finding]:
    """Were PyTorch and other compiled packages made for the NumPy that is installed?

    NumPy 2 has another C interface than NumPy 1. A PyTorch from before it (up to 2.2, on Windows longer) imports with a warning
    and then fails with "Numpy is not available" as soon as a tensor and an array meet, as in every DataLoader. Old releases of
    other packages (TensorFlow, ONNX Runtime, pandas, OpenCV ...) fail at import with "_ARRAY_API not found".

    Mend: `pip install "numpy<2"`, or take PyTorch 2.3 or later (on Windows 2.4.1 or later).

    Prevent: pin the major of NumPy in the requirements (`numpy<2`), and name PyTorch and NumPy in one install command.

    See: https://numpy.org/doc/stable/numpy_2_0_migration_guide.html
    """
    python, torch = machine.python, installed_torch(machine)
    numpy = python.distribution("numpy") if python else None
    others = list(_others(python, numpy)) if python and numpy else []
    yield from others
    if others and torch is None:
        return
    if torch is None or numpy is None or python is None:
        yield unread(machine) or Finding(status=Status.SKIP, summary=tr("no NumPy beside PyTorch", "PyTorch 旁没有安装 NumPy"))
        return
    judged = tuple(rules_packages.companions(question(machine, {"numpy": numpy.version})))
    if not judged:
        says = tr("is not in the tables of what goes with NumPy", "不在与 NumPy 搭配的表中")
        yield Finding(status=Status.SKIP, summary=f"torch {torch.version} {says}")
    for finding in judged:
        if not finding.status.is_problem:
            yield finding
            continue
        older = Remedy(text=tr("Take NumPy 1.", "改用 NumPy 1。"), commands=(f'{pip(python)} "numpy<2"',))
        newer = install_torch(machine, why=tr("Or take a PyTorch that knows NumPy 2.", "或换用支持 NumPy 2 的 PyTorch。"))
        yield replace(finding, evidence=(listed(numpy), *finding.evidence), remedies=(older, *newer))


def _others(python: PythonEnv, numpy: Distribution) -> Iterator[Finding]:
    """Packages that were compiled before NumPy 2, beside it."""
    have = compat.known_version(numpy.version)
    if have is None or have.major < 2:
        return
    for row in tables.rows("compat/numpy2"):
        found = python.distribution(row["package"])
        version = compat.known_version(found.version) if found else None
        if found is not None and version is not None and version < compat.version(row["first"]):
            yield _compiled_before(python, numpy, found, row["first"])


def _compiled_before(python: PythonEnv, numpy: Distribution, found: Distribution, first: str) -> Finding:
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"{found.name} {found.version} is compiled for NumPy 1, and NumPy {numpy.version} is installed",
            f"{found.name} {found.version} 针对 NumPy 1 编译，而这里安装的是 NumPy {numpy.version}",
        ),
        why=tr(
            "`A module that was compiled using NumPy 1.x cannot be run in NumPy 2`: its import fails (_ARRAY_API not found).",
            "`A module that was compiled using NumPy 1.x cannot be run in NumPy 2`：导入会失败（_ARRAY_API not found）。",
        ),
        evidence=(listed(found), listed(numpy)),
        remedies=(
            Remedy(text=tr("Take NumPy 1.", "改用 NumPy 1。"), commands=(f'{pip(python)} "numpy<2"',)),
            Remedy(
                text=tr(f"Or take {found.name} {first} or later.", f"或换用 {found.name} {first} 或更新的版本。"),
                commands=(f'{pip(python)} "{found.name}>={first}"',),
            ),
        ),
    )
