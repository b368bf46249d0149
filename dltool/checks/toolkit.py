"""Which CUDA toolkit is meant: the one that CUDA_HOME names, and the nvcc on the PATH."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.lang import tr
from dltool.machine import Machine, Toolkit
from dltool.results import Evidence, Finding, Remedy, Status

_VARIABLES = ("CUDA_HOME", "CUDA_PATH")


def used(machine: Machine) -> Toolkit | None:
    """The toolkit that PyTorch's extension builder takes: CUDA_HOME, then the nvcc on the PATH, then /usr/local/cuda."""
    for way in (*_VARIABLES, "PATH", "/usr/local"):
        for found in machine.toolkits:
            if way in found.found_by and found.has_nvcc:
                return found
    return None


@check(
    "cuda-home-wrong",
    zh="""如果设置了 CUDA_HOME，它指向的是带编译器的工具包吗？

    PyTorch 的扩展构建器、CMake 和许多构建脚本直接从它取工具包，不再查看别处：即使有另一个工具包，也会以
    `nvcc: No such file or directory` 失败。

    解决：用 `ls /usr/local/cuda*/bin/nvcc` 查找带 nvcc 的工具包，把 CUDA_HOME 指向它的目录（不含 bin）；如果没有，就
    `unset CUDA_HOME CUDA_PATH`。运行 PyTorch 不需要工具包。

    预防：只在编译时设置 CUDA_HOME，而不要写在 ~/.bashrc 里；卸载或更换工具包时也一并修改。如果工具包来自 conda
    （cuda-nvcc），它是 `$CONDA_PREFIX`。
    """,
)
def cuda_home_wrong(machine: Machine) -> Iterator[Finding]:
    """Does CUDA_HOME, where it is set, name a toolkit with a compiler?

    PyTorch's extension builder, CMake and many build scripts take the toolkit from it without a look elsewhere: they fail with
    `nvcc: No such file or directory` although another toolkit may be there.

    Mend: find the toolkits with nvcc by `ls /usr/local/cuda*/bin/nvcc` and point CUDA_HOME at the directory of one (without
    bin); where there is none, `unset CUDA_HOME CUDA_PATH`. Running PyTorch needs no toolkit.

    Prevent: set CUDA_HOME for compiling only, not in ~/.bashrc, and change it when a toolkit is removed or replaced. With a
    toolkit from conda (cuda-nvcc) it is `$CONDA_PREFIX`.

    See: https://pytorch.org/docs/stable/cpp_extension.html https://docs.nvidia.com/cuda/cuda-installation-guide-linux/
    """
    if "toolkits" in machine.gaps:
        reason = machine.gaps["toolkits"]
        summary = tr(f"the toolkits could not be read: {reason}", f"无法读取工具包信息：{reason}")
        yield Finding(status=Status.UNKNOWN, summary=summary)
        return
    named = [(name, machine.environment[name]) for name in _VARIABLES if machine.environment.get(name)]
    wrong = [(name, value) for name, value in named if not _names_nvcc(name, machine)]
    if wrong:
        yield _no_nvcc(wrong, machine)
    elif named:
        name = named[0][0]
        summary = tr(f"{name} names a toolkit with nvcc", f"{name} 指向带 nvcc 的工具包")
        yield Finding(status=Status.PASS, summary=summary)
    else:
        yield Finding(status=Status.PASS, summary=tr("CUDA_HOME is not set", "没有设置 CUDA_HOME"))


def _names_nvcc(variable: str, machine: Machine) -> bool:
    return any(variable in found.found_by and found.has_nvcc for found in machine.toolkits)


def _no_nvcc(wrong: list[tuple[str, str]], machine: Machine) -> Finding:
    name, value = wrong[0]
    others = [found.path for found in machine.toolkits if found.has_nvcc]
    return Finding(
        status=Status.WARN,
        summary=tr(
            f"{name}={value} names no CUDA toolkit with nvcc: nothing can be compiled with it",
            f"{name}={value} 指向的不是带 nvcc 的 CUDA 工具包：无法用它编译任何东西",
        ),
        evidence=tuple(Evidence(fact=variable, value=path, read_from="environment") for variable, path in wrong),
        remedies=(
            Remedy(
                text=tr("Point it at the toolkit that is here, or unset it.", "把它指向本机的工具包，或取消该变量。"),
                commands=(f"export {name}={others[0]}",),
            )
            if others
            else Remedy(
                text=tr(
                    "Unset it, or install the toolkit. Running PyTorch needs none.",
                    "取消该变量，或安装工具包。运行 PyTorch 不需要工具包。",
                ),
                commands=(f"unset {name}",),
            ),
        ),
    )


@check(
    "toolkits-differ",
    zh="""CUDA_HOME 和 PATH 中的 nvcc 指的是同一个工具包吗？

    各个构建系统查看的地方不同：于是会用一个版本的编译器去编译另一个版本的头文件和库。并存多个工具包没有问题，只要所指的是同一个。

    解决：让两者都指向 PyTorch 构建时所用 CUDA 的工具包：`export CUDA_HOME=/usr/local/cuda-VERSION`，再
    `export PATH=$CUDA_HOME/bin:$PATH`。用 `which nvcc` 检查。

    预防：总是在同一处一起设置这两个变量（一个脚本或一个环境模块），并且不要同时安装发行版的 nvidia-cuda-toolkit 软件包：
    它会把 nvcc 放进 /usr/bin。
    """,
)
def toolkits_differ(machine: Machine) -> Iterator[Finding]:
    """Do CUDA_HOME and the nvcc on the PATH mean one toolkit?

    Build systems differ in which they ask: headers and libraries of one release are then compiled by the compiler of another.
    Several toolkits side by side are fine as long as one is meant.

    Mend: let both mean the toolkit of the CUDA that PyTorch was built with: `export CUDA_HOME=/usr/local/cuda-VERSION`, then
    `export PATH=$CUDA_HOME/bin:$PATH`. Look at it with `which nvcc`.

    Prevent: always set the two in one place (a script or an environment module), and do not install the distribution's
    nvidia-cuda-toolkit package beside NVIDIA's: it puts an nvcc into /usr/bin.

    See: https://docs.nvidia.com/cuda/cuda-installation-guide-linux/
    """
    evidence = tuple(
        Evidence(fact="toolkit", value=one.version, read_from=f"{one.path} ({', '.join(one.found_by)})")
        for one in machine.toolkits
    )
    named = _named(machine)
    versions = sorted({".".join(one.version.split(".")[:2]) for one in named if one.version})
    if not machine.toolkits:
        yield Finding(status=Status.SKIP, summary=tr("no CUDA toolkit", "没有 CUDA 工具包"))
    elif len(versions) < 2:
        count = len(machine.toolkits)
        summary = tr(f"{count} toolkit(s), one is meant", f"有 {count} 个工具包，所指的是同一个")
        yield Finding(status=Status.PASS, summary=summary, evidence=evidence)
    else:
        majors = {one.partition(".")[0] for one in versions}
        english, chinese = " and ".join(versions), " 和 ".join(versions)
        yield Finding(
            status=Status.WARN if len(majors) > 1 else Status.INFO,
            summary=tr(
                f"CUDA_HOME and the PATH mean different toolkits: {english}",
                f"CUDA_HOME 和 PATH 指的是不同的工具包：{chinese}",
            ),
            evidence=evidence,
            remedies=(
                Remedy(
                    text=tr(
                        "Let both mean the one that PyTorch was built with.", "让两者都指向 PyTorch 构建时所用的那个版本。"
                    ),
                    commands=(f"export CUDA_HOME={named[0].path}", "export PATH=$CUDA_HOME/bin:$PATH"),
                ),
            ),
        )


def _named(machine: Machine) -> list[Toolkit]:
    """The toolkits that the variables and the PATH name, the variables' first."""
    by_way: dict[str, Toolkit] = {}
    for found in machine.toolkits:
        for way in found.found_by:
            by_way.setdefault(way, found)
    return [by_way[way] for way in (*_VARIABLES, "PATH") if way in by_way]
