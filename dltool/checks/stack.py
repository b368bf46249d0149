"""Packages on top of PyTorch and CUDA, with compiled code of their own: flash-attn, xformers, TensorFlow, ONNX Runtime ..."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec.structs import replace

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.packages import (
    bare,
    installed_torch,
    listed,
    no_python,
    pip,
    pip_uninstall,
    question,
    unread,
    unread_wheels,
)  # fmt: skip
from dltool.compat import rules_stack
from dltool.compat.packages import stack_components
from dltool.lang import tr
from dltool.machine import Distribution, Extension, Machine, PythonEnv, TorchBuild
from dltool.results import Evidence, Finding, Remedy, Status

_HAVE_OWN_CHECK = re.compile(r"(torch|torchvision|torchaudio|torchtext|torchdata|triton.*|pytorch.*|numpy|nvidia-.*|cuda-.*)")
_HARMLESS = frozenset({"python", "cuda minor", "cudnn", "platform"})
"""What is installed was accepted by pip, and may have been compiled here."""
_ONE_FILE_PER_CUDA = frozenset({"bitsandbytes"})
"""They load a file that has the CUDA of PyTorch in its name: for these a minor without a file is a fault."""
_NVIDIAS_OWN = re.compile(r"\+nv")
"""A framework that NVIDIA built for its containers: it has code for other GPUs than the published one."""


@check(
    "packages-mismatched",
    caused_by=("environment-broken", "torch-cpu-only", "torch-lacks-gpu-code", "driver-too-old", "torch-incomplete"),
    zh="""flash-attn、xformers、bitsandbytes、TensorFlow、ONNX Runtime 等是否与 PyTorch、CUDA 和 GPU 相配？

    含编译代码的包只针对 PyTorch 的某个次版本和 CUDA 的某个主版本；不相配时，导入会报 "undefined symbol"，
    或者悄悄地不使用 GPU。wheel 针对什么环境构建，也写在它的版本号里，例如 "+cu12torch2.6cxx11abiFALSE"。

    解决：安装与现有 PyTorch、CUDA 和 ABI 对应的 wheel；没有时在本机编译：
    `pip install --no-build-isolation --no-binary flash-attn --no-deps flash-attn`。`dltool compat --with flash-attn==2.8.3`
    会说明哪些版本能搭配。

    预防：PyTorch 与这些包一起升级，并把确切版本写进锁文件。
    """,
)
def packages_mismatched(machine: Machine) -> Iterator[Finding]:
    """Do flash-attn, xformers, bitsandbytes, TensorFlow, ONNX Runtime and the like suit PyTorch, CUDA and the GPU?

    Compiled packages are made for one minor version of PyTorch and one CUDA major; others fail at import with "undefined
    symbol", or silently leave the GPU unused. What a wheel was made for also stands in its version, as in
    "+cu12torch2.6cxx11abiFALSE".

    Mend: install the wheel for this PyTorch, CUDA and ABI; where there is none, compile it here:
    `pip install --no-build-isolation --no-binary flash-attn --no-deps flash-attn`. `dltool compat --with flash-attn==2.8.3`
    says which versions go together.

    Prevent: upgrade PyTorch and these packages together, and keep their exact versions in a lock file.

    See: https://github.com/Dao-AILab/flash-attention https://github.com/facebookresearch/xformers
    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
    """
    python = machine.python
    if python is None:
        yield unread(machine) or no_python()
        return
    if not has_gpu(machine):
        told = tr("no GPU for which a package would have to be made", "没有 GPU，无需与之匹配")
        yield Finding(status=Status.SKIP, summary=told)
        return
    good, problems = list[str](), list[Finding]()
    for found in {one.name: one for one in reversed(python.distributions)}.values():
        if _HAVE_OWN_CHECK.fullmatch(found.name):
            continue
        said = list(_labels(machine, found)) or list(_by_table(machine, found))
        problems += [finding for finding in said if finding.status.is_problem]
        good += [found.name for finding in said if not finding.status.is_problem]
    yield from problems
    if not problems:
        names = ", ".join(sorted(good))
        yield Finding(
            status=Status.PASS,
            summary=tr(
                f"nothing speaks against {names or 'what is installed'}", f"{names or '已安装的软件包'}：没有发现不相配之处"
            ),
        )


def _labels(machine: Machine, found: Distribution) -> Iterator[Finding]:
    """What a wheel's own version says that it was made for, where that is not what is here."""
    torch, label = installed_torch(machine), found.version.partition("+")[2]
    if torch is None or not label or machine.python is None or compat.known_version(torch.version) is None:
        return
    wrong = list(_made_for_another(label, torch))
    if not wrong:
        return
    own = f"--no-binary {found.name} --force-reinstall --no-deps {found.name}"
    yield Finding(
        status=Status.FAIL,
        summary=tr(
            f"{found.name} {found.version} is made for {' and '.join(wrong)}; here is torch {torch.version}",
            f"{found.name} {found.version} 是为 {' 和 '.join(wrong)} 构建的；这里是 torch {torch.version}",
        ),
        why=tr(
            'Its compiled files call functions of another PyTorch: "undefined symbol" at import.',
            '它的编译文件调用的是另一个 PyTorch 的函数：导入时报 "undefined symbol"。',
        ),
        evidence=(listed(found), Evidence(fact="torch", value=torch.version, read_from=torch.location)),
        remedies=(
            Remedy(
                text=tr(
                    "Take its wheel for this PyTorch, CUDA and ABI, or compile it here.",
                    "安装与现有 PyTorch、CUDA 和 ABI 对应的 wheel，或在本机编译。",
                ),
                commands=(f"{pip(machine.python)} --no-build-isolation {own}",),
            ),
        ),
    )


def _made_for_another(label: str, torch: TorchBuild) -> Iterator[str]:
    """What a label names that is not what is here: a PyTorch, a CUDA major, an ABI."""
    have = compat.version(torch.version)
    if (made := re.search(r"(?:torch|pt)(\d)\.?(\d{1,2})", label)) and have.release[:2] != (int(made[1]), int(made[2])):
        yield f"torch {made[1]}.{made[2]}"
    if (made := re.search(r"cu(\d{2})\d?", label)) and torch.cuda is not None and made[1] != torch.cuda.partition(".")[0]:
        yield f"CUDA {made[1]}"
    strings = torch.cxx11_abi if torch.cxx11_abi is not None else compat.wheel_facts("torch", torch.version).cxx11_abi
    if (made := re.search(r"abi(TRUE|FALSE)", label)) and strings not in (None, made[1] == "TRUE"):
        new = made[1] == "TRUE"
        yield tr(f"the {'new' if new else 'old'} C++ ABI", f"{'新' if new else '旧'}的 C++ ABI")


def _by_table(machine: Machine, found: Distribution) -> Iterator[Finding]:
    if found.name not in stack_components() or _NVIDIAS_OWN.search(found.version):
        return
    asked = _with_cuda_of_the_system(machine, question(machine, {found.name: found.version}))
    for finding in rules_stack.stack(asked):
        if finding.status is Status.FAIL:
            objection = rules_stack.objection(asked, found.name, found.version)
            harmless = objection is not None and objection.about in _HARMLESS
            harmless = harmless and not (found.name in _ONE_FILE_PER_CUDA and objection and objection.about == "cuda minor")
            status = Status.INFO if harmless else Status.WARN
            mends = _mends(machine, found, objection) or finding.remedies
            yield replace(finding, status=status, evidence=(listed(found), *finding.evidence), remedies=mends)
        elif finding.status is Status.WARN:
            yield replace(finding, status=Status.INFO)
        else:
            yield finding


def _with_cuda_of_the_system(machine: Machine, asked: compat.Question) -> compat.Question:
    """Without PyTorch and NVIDIA's wheels a package finds no CUDA libraries but those of the toolkit, where there is one."""
    names = [found.name for found in machine.python.distributions] if machine.python else []
    versions = {toolkit.version for toolkit in machine.toolkits}
    version = versions.pop() if len(versions) == 1 else None
    if installed_torch(machine) or version is None or any(name.startswith("nvidia-") for name in names):
        return asked
    return replace(asked, cuda=version) if compat.known_version(version) else asked


def _mends(machine: Machine, found: Distribution, objection: rules_stack.Objection | None) -> tuple[Remedy, ...]:
    """What to run against an objection; empty where it depends on what the user wants."""
    if machine.python is None or objection is None:
        return ()
    install = pip(machine.python)
    if objection.about == "torch" and rules_stack.pins_torch(found.name, found.version):
        return (
            Remedy(
                text=tr(
                    "Install it again, best in an environment of its own: pip then brings the PyTorch that it pins.",
                    "重新安装它，最好在单独的环境中：pip 会带来它所固定的 PyTorch。",
                ),
                commands=(f'{install} "{found.name}=={found.version.partition("+")[0]}"',),
            ),
        )
    if objection.about in ("cuda", "cuda minor"):
        newer = tr("Take its newest release, or a PyTorch of that CUDA.", "换用它的最新版本，或换用该 CUDA 的 PyTorch。")
        return (Remedy(text=newer, commands=(f"{install} -U {found.name}",)),)
    return (_other_gpu(machine.python, found),) if objection.about == "gpu" else ()


def _other_gpu(python: PythonEnv, found: Distribution) -> Remedy:
    if found.name == "tensorflow":
        return Remedy(
            text=tr(
                "Take TensorFlow from NVIDIA's container, which has code for this GPU.",
                "使用 NVIDIA 容器中的 TensorFlow，它含有这块 GPU 的代码。",
            ),
            commands=("docker run --rm -it --gpus all nvcr.io/nvidia/tensorflow:25.02-tf2-py3",),
        )
    return Remedy(
        text=tr(
            'Remove it and let programs use what PyTorch brings (for attention: attn_implementation="sdpa"), or use a GPU that '
            "it serves.",
            '卸载它，让程序使用 PyTorch 自带的实现（注意力：attn_implementation="sdpa"），或换用它支持的 GPU。',
        ),
        commands=(f"{pip_uninstall(python)} {found.name}",),
    )


@check(
    "extension-abi-mismatched",
    caused_by=("environment-broken", "torch-incomplete", "packages-mismatched"),
    zh="""编译的扩展与 PyTorch 使用的是同一种 C++ 字符串吗？

    GCC 5 改变了 C++ 字符串的实现，而 PyTorch 的 wheel 直到 2.5 仍沿用旧的。用另一种编译的扩展在导入时失败：
    "undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocationENSt7__cxx11..."。wheel 的文件名不一定可靠；
    这里的结论是从文件的符号里读出来的。

    解决：换用该扩展的另一个版本，或针对现有 PyTorch 重新编译：
    `pip install --no-build-isolation --no-binary flash-attn --force-reinstall --no-deps flash-attn`。

    预防：下载 wheel 时核对文件名中的 cxx11abiTRUE 或 cxx11abiFALSE 与
    `python -c "import torch; print(torch.compiled_with_cxx11_abi())"` 是否一致；升级 PyTorch 后重新编译扩展。
    """,
)
def extension_abi_mismatched(machine: Machine) -> Iterator[Finding]:
    """Are compiled extensions made with the same C++ strings as PyTorch?

    GCC 5 changed them, and PyTorch's wheels kept the old ones up to 2.5. An extension made with the others fails at import:
    "undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocationENSt7__cxx11...". The names of wheels can be wrong about it; this is
    read from the symbols in the files.

    Mend: take another release of the extension, or compile it against this PyTorch:
    `pip install --no-build-isolation --no-binary flash-attn --force-reinstall --no-deps flash-attn`.

    Prevent: compare cxx11abiTRUE or cxx11abiFALSE in a wheel's name with
    `python -c "import torch; print(torch.compiled_with_cxx11_abi())"`; compile extensions anew after an upgrade of PyTorch.

    See: https://gcc.gnu.org/onlinedocs/libstdc++/manual/using_dual_abi.html
    https://github.com/Dao-AILab/flash-attention/issues/1783
    """
    torch, python = installed_torch(machine), machine.python
    if torch is None or python is None or torch.cxx11_abi is None:
        told = tr("which C++ strings PyTorch passes is not known", "不知道 PyTorch 使用哪种 C++ 字符串")
        yield unread(machine) or Finding(status=Status.SKIP, summary=told)
        return
    extensions = (*python.extensions, *_by_reports(machine))
    others = {one.package: one for one in extensions if one.cxx11_abi not in (None, torch.cxx11_abi)}
    yield from (_other_strings(python, torch, package, one) for package, one in others.items())
    if not others:
        told = tr("extensions and PyTorch pass the same C++ strings", "扩展与 PyTorch 使用同一种 C++ 字符串")
        yield Finding(status=Status.PASS, summary=told)


def _by_reports(machine: Machine) -> Iterator[Extension]:
    for found, facts in unread_wheels(machine):
        if facts.cxx11_abi is not None and found.name != "torch":
            package = f"{found.name} {found.version}"
            yield Extension(package=package, path=f"catalog: {facts.source}", cxx11_abi=facts.cxx11_abi)


def _other_strings(python: PythonEnv, torch: TorchBuild, package: str, extension: Extension) -> Finding:
    new = extension.cxx11_abi
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"{package} is compiled with the {'new' if new else 'old'} C++ strings, PyTorch with the others: "
            "undefined symbol at import",
            f"{package} 用{'新' if new else '旧'}的 C++ 字符串编译，PyTorch 则相反：导入时会报 undefined symbol",
        ),
        evidence=(
            Evidence(fact="new strings", value=new, read_from=extension.path),
            Evidence(fact="new strings", value=torch.cxx11_abi, read_from=f"{torch.location}/lib/libc10.so"),
        ),
        remedies=(
            Remedy(
                text=tr(
                    "Take another release of it, or compile it here against this PyTorch.",
                    "换用它的另一个版本，或在本机针对现有 PyTorch 编译。",
                ),
                commands=(f"{pip(python)} --no-build-isolation --force-reinstall --no-deps {bare(package)}",),
            ),
        ),
    )
