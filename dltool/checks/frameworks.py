"""TensorFlow and JAX beside a GPU: what lets them run on the CPU without an error."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.packages import listed, no_python, pip, pip_uninstall, unread
from dltool.compat.packages import stack_rows
from dltool.lang import tr
from dltool.machine import Distribution, Machine, PythonEnv
from dltool.results import Evidence, Finding, Remedy, Status

_PLUGIN = re.compile(r"jax-cuda(\d+)-(?:plugin|pjrt)")


@check(
    "framework-without-cuda",
    caused_by=("environment-broken", "driver-too-old", "cudnn-of-other-major", "packages-clash", "packages-mismatched"),
    zh="""TensorFlow 和 JAX 是否找得到使用 GPU 所需的部分？

    它们缺少 CUDA 部分时只给出一行警告，然后在 CPU 上运行：TensorFlow 报 "Cannot dlopen some GPU libraries"，
    因为单独的 `pip install tensorflow` 不带 CUDA 库；JAX 的 CUDA 部分是单独的插件，其版本必须与 jaxlib 相同。

    解决：`pip install "tensorflow[and-cuda]"`；对 JAX 用 `pip install -U "jax[cuda12]"`，它会让 jax、jaxlib 和插件版本一致。

    预防：在依赖文件里写上 [and-cuda] 或 [cuda12]，把 jax、jaxlib 和插件固定在同一个版本；启动后先运行
    `python -c "import jax; print(jax.devices())"`。
    """,
)
def framework_without_cuda(machine: Machine) -> Iterator[Finding]:
    """Do TensorFlow and JAX find what they need to use the GPU?

    Without their CUDA part they print one warning and run on the CPU: TensorFlow says "Cannot dlopen some GPU libraries",
    because a plain `pip install tensorflow` brings no CUDA libraries; JAX has its CUDA part in a plugin, which must be of the
    same version as jaxlib.

    Mend: `pip install "tensorflow[and-cuda]"`; for JAX `pip install -U "jax[cuda12]"`, which brings jax, jaxlib and the plugin
    to one version.

    Prevent: write [and-cuda] or [cuda12] into the requirements, and pin jax, jaxlib and the plugin to one version; begin with
    `python -c "import jax; print(jax.devices())"`.

    See: https://www.tensorflow.org/install/pip https://docs.jax.dev/en/latest/installation.html
    https://github.com/jax-ml/jax/issues/22416
    """
    python = machine.python
    if python is None:
        yield unread(machine) or no_python()
        return
    found = [*_tensorflow(machine, python), *_jax(python)] if has_gpu(machine) and not machine.os.tegra else []
    yield from found
    if not found:
        told = tr("no TensorFlow or JAX without its CUDA part", "没有缺少 CUDA 部分的 TensorFlow 或 JAX")
        yield Finding(status=Status.PASS, summary=told)


def _tensorflow(machine: Machine, python: PythonEnv) -> Iterator[Finding]:
    """TensorFlow where no cuDNN is in reach: neither in wheels nor in the system."""
    cpu = python.distribution("tensorflow-cpu")
    if cpu is not None:
        yield _for_the_cpu(python, cpu, "tensorflow[and-cuda]", remove=True)
    found = python.distribution("tensorflow")
    if found is not None and machine.os.system == "Windows":
        yield from _windows(found)
    if found is None or found.installer == "conda" or machine.os.system != "Linux":
        return
    asks = any(row["cudnn_major"] for row in stack_rows(found.name, found.version)[0])
    names = {one.name for one in python.distributions}
    brought = any(re.match(r"(nvidia-)?cudnn", name) for name in names) or any(
        library.soname.startswith("libcudnn") for library in machine.libraries
    )
    bundled = python.torch is not None and python.torch.cuda is not None
    if not asks or brought or bundled:
        return
    yield Finding(
        status=Status.WARN,
        summary=tr(
            f"tensorflow {found.version} has no CUDA libraries here (no cuDNN): it runs on the CPU",
            f"tensorflow {found.version} 在这里没有 CUDA 库（没有 cuDNN）：它在 CPU 上运行",
        ),
        why=tr(
            "The package brings them only as an extra; without them `Cannot dlopen some GPU libraries`.",
            "该包只在附加选项里带这些库；没有时会报 `Cannot dlopen some GPU libraries`。",
        ),
        evidence=(listed(found), Evidence(fact="libcudnn", value="missing", read_from="wheels, ld.so.cache, LD_LIBRARY_PATH")),
        remedies=(
            Remedy(
                text=tr("Install it with its CUDA libraries.", "连同其 CUDA 库一起安装。"),
                commands=(f'{pip(python)} "tensorflow[and-cuda]=={found.version}"',),
            ),
        ),
    )


def _windows(found: Distribution) -> Iterator[Finding]:
    """TensorFlow has no CUDA for Windows itself since 2.11."""
    rows = stack_rows(found.name, found.version)[0]
    if not rows or any("windows" in row["os"] for row in rows):
        return
    yield Finding(
        status=Status.WARN,
        summary=tr(
            f"tensorflow {found.version} does not use the GPU on Windows itself",
            f"tensorflow {found.version} 在原生 Windows 上不使用 GPU",
        ),
        why=tr(
            "The last release that did is 2.10; in WSL 2 the others do.",
            "最后一个支持的版本是 2.10；其他版本可在 WSL 2 中使用。",
        ),
        evidence=(listed(found),),
        remedies=(
            Remedy(
                text=tr("Install it in WSL 2, with its CUDA libraries.", "在 WSL 2 中安装，并带上其 CUDA 库。"),
                commands=("wsl --install", 'wsl python3 -m pip install "tensorflow[and-cuda]"'),
            ),
        ),
    )


def _for_the_cpu(python: PythonEnv, found: Distribution, whole: str, *, remove: bool = False) -> Finding:
    """A package that has no CUDA part, which may be meant so."""
    first = (f"{pip_uninstall(python)} {found.name}",) if remove else ()
    return Finding(
        status=Status.INFO,
        summary=tr(
            f"{found.name} {found.version} is the build for the CPU: it leaves the GPU unused",
            f"{found.name} {found.version} 是 CPU 版：不会使用 GPU",
        ),
        evidence=(listed(found),),
        remedies=(
            Remedy(
                text=tr("Install the one with CUDA, where the GPU is wanted.", "需要使用 GPU 时安装带 CUDA 的版本。"),
                commands=(*first, f'{pip(python)} "{whole}"'),
            ),
        ),
    )


def _jax(python: PythonEnv) -> Iterator[Finding]:
    jaxlib = python.distribution("jaxlib")
    have = compat.known_version(jaxlib.version) if jaxlib else None
    if jaxlib is None or have is None:
        return
    plugins = [one for one in python.distributions if _PLUGIN.fullmatch(one.name)]
    for plugin in plugins:
        version = compat.known_version(plugin.version)
        if version is not None and version.release[:3] != have.release[:3]:
            yield _other_plugin(python, jaxlib, plugin)
            return
    if not plugins and "cuda" not in jaxlib.version and jaxlib.installer != "conda":
        yield _for_the_cpu(python, jaxlib, "jax[cuda12]")
    yield from _old_cudnn(python, jaxlib)


def _other_plugin(python: PythonEnv, jaxlib: Distribution, plugin: Distribution) -> Finding:
    match = _PLUGIN.fullmatch(plugin.name)
    extra = f"cuda{match[1]}" if match else "cuda12"
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"{plugin.name} {plugin.version} does not go with jaxlib {jaxlib.version}: JAX leaves the GPU unused",
            f"{plugin.name} {plugin.version} 与 jaxlib {jaxlib.version} 不配套：JAX 不会使用 GPU",
        ),
        why=tr(
            "The plugin must be of the same version as jaxlib; pip does not see to that.",
            "插件必须与 jaxlib 版本相同；pip 不会保证这一点。",
        ),
        evidence=(listed(plugin), listed(jaxlib)),
        remedies=(
            Remedy(
                text=tr("Bring them to one version.", "让它们版本一致。"),
                commands=(f'{pip(python)} "jax[{extra}]=={jaxlib.version.partition("+")[0]}"',),
            ),
        ),
    )


def _old_cudnn(python: PythonEnv, jaxlib: Distribution) -> Iterator[Finding]:
    """A jaxlib of the time before the plugins names the cuDNN in its version: 0.4.7+cuda11.cudnn86."""
    label = re.search(r"\+cuda(\d{2})\.?\d?\.cudnn(\d)(\d{1,2})", jaxlib.version)
    wheel = python.distribution(f"nvidia-cudnn-cu{label[1]}") if label else None
    have = compat.known_version(wheel.version if wheel else None)
    if label is None or wheel is None or have is None or have.release[:2] >= (int(label[2]), int(label[3])):
        return
    wanted = f"{label[2]}.{label[3]}"
    yield Finding(
        status=Status.FAIL,
        summary=tr(
            f"jaxlib {jaxlib.version} needs cuDNN {wanted} or later, and the environment has {wheel.version}",
            f"jaxlib {jaxlib.version} 需要 cuDNN {wanted} 或更新，而环境中是 {wheel.version}",
        ),
        why=tr(
            "`Loaded runtime CuDNN library ... but source was compiled with ...`: the first operation fails.",
            "`Loaded runtime CuDNN library ... but source was compiled with ...`：第一个运算就会失败。",
        ),
        evidence=(listed(jaxlib), listed(wheel)),
        remedies=(
            Remedy(
                text=tr(
                    "Install a later cuDNN of that major, and give PyTorch an environment of its own if it pinned the old one.",
                    "安装同一大版本中更新的 cuDNN；如果旧版本是 PyTorch 固定的，请给 PyTorch 单独的环境。",
                ),
                commands=(f'{pip(python)} "{wheel.name}>={wanted},<{int(label[2]) + 1}"',),
            ),
        ),
    )
