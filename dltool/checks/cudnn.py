"""cuDNN for what is not PyTorch: TensorFlow, CTranslate2 and ONNX Runtime ask for one by its major version."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import compat, tables
from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.packages import listed, no_python, pip, unread
from dltool.compat.packages import stack_rows
from dltool.lang import tr
from dltool.machine import Distribution, Machine, PythonEnv
from dltool.results import Evidence, Finding, Remedy, Status

_USERS = ("ctranslate2", "onnxruntime-gpu", "tensorflow")
_WHEEL = re.compile(r"nvidia-cudnn(-cu\d+)?")


@check(
    "cudnn-of-other-major",
    caused_by=("environment-broken",),
    zh="""TensorFlow、CTranslate2（faster-whisper）和 ONNX Runtime 需要的 cuDNN 是否存在，并且在它们会查找的位置？

    它们按主版本加载 cuDNN：如果只有 cuDNN 9，就会报 "Could not load library libcudnn_ops_infer.so.8"；9 里没有这个文件，
    建符号链接也没用。没有先导入 PyTorch 的程序，也找不到 PyTorch 的 wheel 里的那一份。

    解决：换用针对现有 cuDNN 的新版本，例如 `pip install -U ctranslate2`；或给它一个单独的环境，
    并在其中安装 `pip install "nvidia-cudnn-cu12==8.*"`。

    预防：PyTorch 和 TensorFlow 分别放在各自的环境里；升级 PyTorch 之前先看它带的是哪个 cuDNN。
    """,
)
def cudnn_of_other_major(machine: Machine) -> Iterator[Finding]:
    """Is there the cuDNN that TensorFlow, CTranslate2 (faster-whisper) and ONNX Runtime ask for, where they look for it?

    They load cuDNN by its major version: "Could not load library libcudnn_ops_infer.so.8" when only cuDNN 9 is there, which has
    no such file, and no link mends that. What does not import PyTorch first also does not find the copy in its wheels.

    Mend: take a newer release that is made for the cuDNN at hand, as by `pip install -U ctranslate2`; or give it an environment
    of its own, and in it `pip install "nvidia-cudnn-cu12==8.*"`.

    Prevent: keep PyTorch and TensorFlow in environments of their own, and look which cuDNN a PyTorch brings before an upgrade.

    See: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html https://www.tensorflow.org/install/source
    """
    python = machine.python
    if python is None:
        yield unread(machine) or no_python()
        return
    present = _cudnns(machine, python)
    users = (
        found
        for name in _USERS
        if (found := python.distribution(name)) and compat.known_version(found.version) and "+nv" not in found.version
    )  # what NVIDIA builds for its containers goes with the cuDNN there
    problems = [problem for found in users if (problem := _judge(python, found, present))]
    problems = problems or _not_on_path(machine, python)
    yield from problems
    if not problems:
        told = tr("nothing asks for another cuDNN than there is", "没有软件包需要现有 cuDNN 以外的版本")
        yield Finding(status=Status.PASS, summary=told)


def _cudnns(machine: Machine, python: PythonEnv) -> dict[str, str]:
    """The versions of cuDNN that are here, at least their majors, and where each is."""
    present: dict[str, str] = {}
    for library in machine.libraries:
        if match := re.match(r"libcudnn(?:_\w+)?\.so\.(\d+)$", library.soname):
            present.setdefault(library.version or match[1], library.path)
    for found in python.distributions:
        if _WHEEL.fullmatch(found.name) or found.name == "cudnn":
            present.setdefault(found.version, f"{found.name} in {found.location}")
    if python.torch is not None and python.torch.cudnn:
        present.setdefault(python.torch.cudnn, python.torch.location)
    return {version: place for version, place in present.items() if compat.known_version(version)}


def _judge(python: PythonEnv, found: Distribution, present: dict[str, str]) -> Finding | None:
    """What is wrong with the cuDNN for one package."""
    rows, _ = stack_rows(found.name, found.version)
    wanted = {one for row in rows for one in row["cudnn_major"].split()}
    have = {version.partition(".")[0] for version in present}
    if wanted and have and not wanted & have:
        return _other_major(python, found, min(wanted), present)
    least = _least(rows)
    newest = max((version for version in present if version.partition(".")[0] in wanted), default=None, key=compat.version)
    if least and newest and "." in newest and compat.version(newest) < compat.version(least):
        return _too_old(found, least, newest, present[newest])
    return None


def _least(rows: list[tables.Row]) -> str | None:
    return max((row["cudnn_min"] for row in rows if row["cudnn_min"]), default=None, key=compat.version)


def _other_major(python: PythonEnv, found: Distribution, wanted: str, present: dict[str, str]) -> Finding:
    name = f"{found.name} {found.version}"
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"{name} asks for cuDNN {wanted}, and there is only {', '.join(sorted(present))}",
            f"{name} 需要 cuDNN {wanted}，而这里只有 {'、'.join(sorted(present))}",
        ),
        evidence=(listed(found), *(Evidence(fact="cuDNN", value=one, read_from=place) for one, place in present.items())),
        remedies=(
            Remedy(
                text=tr(f"Take a newer {found.name}, made for this cuDNN.", f"换用针对现有 cuDNN 的新版 {found.name}。"),
                commands=(f"{pip(python)} -U {found.name}",),
            ),
            Remedy(
                text=tr(
                    f"Or give it an environment of its own with cuDNN {wanted}.", f"或为它单独建一个带 cuDNN {wanted} 的环境。"
                ),
                commands=(f'{pip(python)} "nvidia-cudnn-cu12=={wanted}.*"',),
            ),
        ),
    )


def _too_old(found: Distribution, least: str, newest: str, place: str) -> Finding:
    name = f"{found.name} {found.version}"
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"{name} needs cuDNN {least} or later, and the environment has {newest}",
            f"{name} 需要 cuDNN {least} 或更新，而环境中是 {newest}",
        ),
        why=tr(
            "PyTorch pins the cuDNN that it was built with; both share one directory, so one of them gets the wrong one.",
            "PyTorch 固定了构建时所用的 cuDNN；两者共用一个目录，总有一方得到不合适的版本。",
        ),
        evidence=(listed(found), Evidence(fact="cuDNN", value=newest, read_from=place)),
        remedies=(
            Remedy(
                text=tr("Give each an environment of its own.", "让它们各用一个独立的环境。"),
                commands=("python -m venv ENVIRONMENT",),
            ),
            Remedy(
                text=tr(
                    "Or take a PyTorch that brings this cuDNN or a later one.", "或换用自带这一版或更新 cuDNN 的 PyTorch。"
                ),
                commands=("dltool compat",),
            ),
        ),
    )


def _not_on_path(machine: Machine, python: PythonEnv) -> list[Finding]:
    """CTranslate2 finds no cuDNN in wheels unless PyTorch was imported before."""
    user = python.distribution("ctranslate2") or python.distribution("faster-whisper")
    wheel = next((found for found in python.distributions if _WHEEL.fullmatch(found.name)), None)
    reached = any(found.source != "wheel" and found.soname.startswith("libcudnn") for found in machine.libraries)
    if user is None or wheel is None or reached or python.torch is not None or not has_gpu(machine):
        return []
    bounds = stack_rows("ctranslate2", user.version)[0] if user.name == "ctranslate2" else []
    if bounds and not any(row["cudnn_major"] for row in bounds):
        return []  # made without cuDNN
    directory = f"{wheel.location}/nvidia/cudnn/lib"
    return [
        Finding(
            status=Status.WARN,
            summary=tr(
                f"{user.name} needs cuDNN, which is only in a wheel, where the loader does not look",
                f"{user.name} 需要 cuDNN，而它只存在于 wheel 中，加载器不会到那里查找",
            ),
            why=tr(
                'Only PyTorch looks into its wheels. "Could not load library libcudnn_ops" ends the process with no traceback.',
                '只有 PyTorch 会到自己的 wheel 里查找。进程会以 "Could not load library libcudnn_ops" 直接退出，'
                "没有 traceback。",
            ),
            evidence=(listed(user), listed(wheel)),
            remedies=(
                Remedy(
                    text=tr("Name the directory for this program only.", "只为这个程序指定该目录。"),
                    commands=(f"LD_LIBRARY_PATH={directory} {python.executable} PROGRAM",),
                ),
            ),
        )
    ]
