"""Compiling extensions: a CUDA toolkit that suits PyTorch and the GPU, and a C++ compiler that suits the toolkit."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.packages import installed_torch, listed
from dltool.checks.toolkit import used
from dltool.compat import rules_packages
from dltool.lang import tr
from dltool.machine import Distribution, HostCompiler, Machine, Toolkit
from dltool.results import Evidence, Finding, Remedy, Risk, Status

_COMPILE_WHEN_USED = ("deepspeed", "flashinfer-python")
"""Packages whose kernels are compiled by nvcc on the user's machine."""


@check(
    "toolkit-mismatched",
    caused_by=("cuda-home-wrong", "torch-cpu-only"),
    zh="""这里的 CUDA 工具包能为这个 PyTorch 和这块 GPU 编译扩展吗？

    torch.utils.cpp_extension 拒绝与 PyTorch 的 CUDA 主版本不同的 nvcc，报错说版本
    `mismatches the version that was used to compile PyTorch`；次版本不同没有问题。
    运行 PyTorch 不需要工具包，所以这只与需要编译的人有关：flash-attn、DeepSpeed、Apex、自己的内核。

    解决：在现有工具包旁边安装与 `python -c 'import torch; print(torch.version.cuda)'` 同一主版本的工具包，例如
    `sudo apt-get install cuda-toolkit-12-8`，再 `export CUDA_HOME=/usr/local/cuda-12.8`。或者寻找该扩展已编译好的 wheel。

    预防：先选定 PyTorch 的构建，再安装同一版本的工具包，并在构建脚本中写明 CUDA_HOME，而不要依赖 /usr/local/cuda。
    """,
)
def toolkit_mismatched(machine: Machine) -> Iterator[Finding]:
    """Can the CUDA toolkit here compile extensions for this PyTorch and this GPU?

    torch.utils.cpp_extension refuses an nvcc of another CUDA major than PyTorch's: its version
    `mismatches the version that was used to compile PyTorch`; another minor is fine. Running PyTorch needs no toolkit, so this
    matters only to those who compile: flash-attn, DeepSpeed, Apex, own kernels.

    Mend: install, beside the toolkit that is here, one of the major that
    `python -c 'import torch; print(torch.version.cuda)'` prints, as `sudo apt-get install cuda-toolkit-12-8`, then
    `export CUDA_HOME=/usr/local/cuda-12.8`. Or look for a wheel of the extension that is compiled already.

    Prevent: choose PyTorch's build first and then the toolkit of that version, and name CUDA_HOME in the build script rather
    than rely on /usr/local/cuda.

    See: https://pytorch.org/docs/stable/cpp_extension.html https://docs.nvidia.com/cuda/cuda-installation-guide-linux/
    """
    toolkit = used(machine)
    if toolkit is None and (waiting := _compiles_when_used(machine)):
        yield _no_toolkit(machine, waiting)
        return
    if toolkit is None or toolkit.version is None:
        summary = tr(
            "no CUDA toolkit with nvcc, and running PyTorch needs none", "没有带 nvcc 的 CUDA 工具包，运行 PyTorch 也不需要"
        )
        yield Finding(status=Status.SKIP, summary=summary)
        return
    evidence = (Evidence(fact="nvcc", value=toolkit.version, read_from=f"{toolkit.path} ({', '.join(toolkit.found_by)})"),)
    judged = list(rules_packages.toolkit(_question(machine, toolkit.version)))
    broken = next((finding for finding in judged if finding.status is Status.FAIL), None)
    if broken is not None:
        yield _does_not_build(broken, toolkit, machine, evidence)
    elif judged:
        worst = max(judged, key=lambda finding: finding.status.severity)
        yield Finding(status=worst.status, summary=worst.summary, evidence=evidence)
    else:
        summary = tr(f"CUDA toolkit {toolkit.version}", f"CUDA 工具包 {toolkit.version}")
        yield Finding(status=Status.PASS, summary=summary, evidence=evidence)


def _compiles_when_used(machine: Machine) -> Distribution | None:
    """A package here that calls nvcc when it is used."""
    python, torch = machine.python, installed_torch(machine)
    if python is None or torch is None or torch.cuda is None or not has_gpu(machine):
        return None
    return next((found for name in _COMPILE_WHEN_USED if (found := python.distribution(name))), None)


def _no_toolkit(machine: Machine, waiting: Distribution) -> Finding:
    torch = installed_torch(machine)
    cuda = _minor(torch.cuda) if torch and torch.cuda else "12.8"
    return Finding(
        status=Status.INFO,
        summary=tr(
            f"{waiting.name} compiles kernels when it is used, and there is no CUDA toolkit with nvcc",
            f"{waiting.name} 在使用时要编译内核，而这里没有带 nvcc 的 CUDA 工具包",
        ),
        why=tr(
            "`CUDA_HOME does not exist, unable to compile CUDA op(s)`. The wheels of PyTorch bring no compiler.",
            "`CUDA_HOME does not exist, unable to compile CUDA op(s)`。PyTorch 的 wheel 不带编译器。",
        ),
        evidence=(listed(waiting), Evidence(fact="nvcc", value="missing", read_from="CUDA_HOME, PATH, /usr/local/cuda")),
        remedies=(
            Remedy(
                text=tr("Install the toolkit of PyTorch's CUDA and name it.", "安装与 PyTorch 的 CUDA 相同的工具包并指明它。"),
                commands=(
                    f"sudo apt-get install cuda-toolkit-{cuda.replace('.', '-')}",
                    f"export CUDA_HOME=/usr/local/cuda-{cuda}",
                ),
                risk=Risk.ROOT,
            ),
        ),
    )


def _question(machine: Machine, version: str) -> compat.Question:
    """This machine with the toolkit's CUDA, as the rules ask it."""
    torch = installed_torch(machine)
    question = replace(compat.of_machine(machine), cuda=_minor(version))
    if torch is not None and question.build is None and torch.cuda is not None:  # not a release of the tables
        question = replace(question, build="cu" + _minor(torch.cuda).replace(".", ""))
    return question


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _does_not_build(broken: Finding, toolkit: Toolkit, machine: Machine, evidence: tuple[Evidence, ...]) -> Finding:
    torch = installed_torch(machine)
    wanted = f"cuda-toolkit-{(torch.cuda if torch and torch.cuda else '12.8').replace('.', '-')}"
    beside = Remedy(
        text=tr("With NVIDIA's packages, beside the other:", "用 NVIDIA 的软件包，安装在现有工具包旁边："),
        commands=(f"sudo apt-get install {wanted}",),
    )
    return replace(
        broken,
        status=Status.INFO if toolkit.found_by == ("/usr/local",) else Status.WARN,  # nobody chose it
        evidence=(*evidence, *broken.evidence),
        why=_only_compiling(broken.why),
        remedies=(*broken.remedies, beside),
    )


def _only_compiling(why: str) -> str:
    return tr(f"{why} Only compiling is concerned: PyTorch itself runs.", f"{why}这只影响编译：PyTorch 本身可以运行。")


@check(
    "host-compiler-unsuited",
    caused_by=("cuda-home-wrong",),
    zh="""CUDA 工具包接受这里的 C++ 编译器吗？

    nvcc 把一半的工作交给 gcc，并拒绝比它所知更新的 gcc：`#error -- unsupported GNU version`。发行版升级会带来这样的 gcc，
    于是所有扩展都无法再编译。

    解决：在现有 gcc 旁边安装工具包接受的版本，并用它编译，例如 `sudo apt-get install gcc-13 g++-13`，再在构建命令之前加上
    `CC=gcc-13 CXX=g++-13`；或者安装更新的 CUDA 工具包。选项 `-allow-unsupported-compiler` 只是跳过检查，风险自负。

    预防：升级发行版之前，先在安装指南的表格中查看工具包接受的 gcc；在构建脚本或镜像中写明 CC 和 CXX，
    或使用 conda-forge 的编译器。
    """,
)
def host_compiler_unsuited(machine: Machine) -> Iterator[Finding]:
    """Does the CUDA toolkit accept the C++ compiler that is here?

    nvcc hands half of the work to gcc and refuses one that is newer than it knows: `#error -- unsupported GNU version`. A
    distribution's upgrade brings such a gcc, and every extension stops compiling.

    Mend: install a gcc that the toolkit accepts beside the other and compile with it, as `sudo apt-get install gcc-13 g++-13`
    and then `CC=gcc-13 CXX=g++-13` before the build command; or install a newer CUDA toolkit. The option
    `-allow-unsupported-compiler` only skips the test, at your own risk.

    Prevent: before upgrading the distribution look up in the installation guide's table which gcc the toolkit accepts; name CC
    and CXX in the build script or image, or use conda-forge's compilers.

    See: https://docs.nvidia.com/cuda/cuda-installation-guide-linux/ https://github.com/pytorch/pytorch/issues/136556
    """
    toolkit, compiler = used(machine), machine.host_compiler
    if toolkit is None or toolkit.version is None or compiler is None or compat.known_version(compiler.version) is None:
        summary = tr("no CUDA toolkit with nvcc beside a gcc", "没有同时找到带 nvcc 的 CUDA 工具包和 gcc")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    question = compat.Question(cuda=_minor(toolkit.version), gcc=compiler.version)
    for finding in rules_packages.host_compiler(question):
        yield _refused(finding, compiler, machine) if finding.status.is_problem else finding


def _refused(finding: Finding, compiler: HostCompiler, machine: Machine) -> Finding:
    allowed = any("allow-unsupported-compiler" in value for value in machine.environment.values())
    return replace(
        finding,
        status=Status.INFO if allowed or finding.status is Status.WARN else Status.WARN,
        why=_only_compiling(finding.why),
        evidence=(
            Evidence(fact="compiler", value=compiler.version, read_from=f"{compiler.path} ({compiler.found_by})"),
            *finding.evidence,
        ),
    )
