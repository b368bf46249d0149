"""The CUDA toolkit, for compiling alone, and cuDNN, which comes with torch."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import tables
from dltool.compat import builds, packages
from dltool.compat.versions import major, minor
from dltool.results import Risk, Step
from dltool.setup.situation import Situation, commands, fill, is_newer, newest_update, task
from dltool.setup.steps_packages import pip


def toolkit(situation: Situation) -> Iterator[Step]:
    """nvcc of torch's CUDA, beside any other; nothing where nothing is compiled."""
    cuda = situation.toolkit
    if cuda is None:
        return
    there = next(
        (t for t in (situation.machine.toolkits if situation.machine else ()) if _is(t.version, cuda) and t.has_nvcc), None
    )
    row, ways = _ways(situation, cuda)
    home = there.path if there else _home(situation, cuda)
    yield Step(
        id="toolkit",
        title=f"CUDA toolkit {cuda}{f' is in {home}' if there else ''}",
        why=_why(situation, cuda),
        state="done" if there else "needed",
        commands=(*(() if there else ways), *_variables(situation, home)),
        verify=(fill(row["check"], cuda_minor=cuda) if not there else f"{home}/bin/nvcc --version",),
        undo=() if there else _filled(situation, row["undo"], cuda),
        risk=Risk.ROOT,
        notes=tuple(_notes(situation, cuda)),
        source=row["source"],
    )


def _is(version: str | None, cuda: str) -> bool:
    return version is not None and minor(version) == cuda


def _why(situation: Situation, cuda: str) -> str:
    built = situation.question.cuda_of_torch
    what = ", ".join(situation.compiled) or "extensions"
    if built == cuda:
        return f"To compile {what}: nvcc of the CUDA that torch was built with. Running torch needs no toolkit."
    return f"To compile {what}. Running torch needs no toolkit."


def _ways(situation: Situation, cuda: str) -> tuple[tables.Row, tuple[str, ...]]:
    """Packages where NVIDIA has some for this release, else the installer that needs none."""
    row = _package_row(situation)
    row = row or task("toolkit-runfile", "any Linux") or {"commands": "", "check": "", "undo": "", "source": "", "note": ""}
    return row, _filled(situation, row["commands"], cuda)


def _package_row(situation: Situation) -> tables.Row | None:
    if situation.windows:
        return task("toolkit", "Windows")
    if situation.question.os == "wsl":
        return task("toolkit", "WSL")
    distro = situation.distro
    if distro is None:
        return None
    return distro.row("toolkit") if distro.repository or distro.family == "Arch" else None


def _filled(situation: Situation, template: str, cuda: str) -> tuple[str, ...]:
    update = newest_update(cuda) or {"cuda": cuda, "driver_linux": ""}
    if not update["driver_linux"]:
        template = template.replace("_{driver}", "")
    if situation.question.arch == "aarch64":
        template = template.replace("_linux.run", "_linux_sbsa.run")
    distro = situation.distro
    return commands(
        template,
        cuda=update["cuda"],
        cuda_minor=cuda,
        cuda_dash=cuda.replace(".", "-"),
        cuda_major=str(major(cuda)),
        driver=update["driver_linux"],
        distro=(distro.repository if distro else None) or "",
        release=distro.release if distro else "",
        arch="sbsa" if situation.question.arch == "aarch64" else "x86_64",
    )


def _home(situation: Situation, cuda: str) -> str:
    if situation.windows:
        return rf"C:\Program Files\NVIDIA GPU Computing Toolkit\CUDA\v{cuda}"
    arch_linux = situation.distro is not None and situation.distro.family == "Arch" and situation.question.os == "linux"
    return "/opt/cuda" if arch_linux else f"/usr/local/cuda-{cuda}"


def _variables(situation: Situation, home: str) -> Iterator[str]:
    """What the shell that compiles must be told; compilers of other toolkits stay where they are."""
    targets = ";".join(situation.question.compute_capabilities)
    if situation.windows:
        yield f'$env:CUDA_HOME = "{home}"'
        if targets:
            yield f'$env:TORCH_CUDA_ARCH_LIST = "{targets}"'
        return
    yield f"export CUDA_HOME={home}"
    yield 'export PATH="$CUDA_HOME/bin:$PATH"'
    if targets:
        yield f'export TORCH_CUDA_ARCH_LIST="{targets}"'
    older = _older_gcc(situation)
    if older is not None:
        yield f"export CC=gcc-{older} CXX=g++-{older} NVCC_CCBIN=g++-{older}"


def _older_gcc(situation: Situation) -> str | None:
    """The newest gcc that nvcc takes, where that of the distribution is newer."""
    row = packages.host_compiler(situation.toolkit or "")
    have = situation.question.gcc or (situation.distro.gcc if situation.distro else None)
    return row["gcc_max"] if row is not None and is_newer(have, row["gcc_max"]) else None


def _notes(situation: Situation, cuda: str) -> Iterator[str]:
    row = packages.host_compiler(cuda)
    if row is not None and situation.windows:
        years = row["visual_studio"].replace(" ", ", ")
        yield f"First Visual Studio ({years}) with the C++ workload: nvcc compiles with its cl.exe."
        return
    if row is not None and row["gcc_max"]:
        span = f"{row['gcc_min']} to {row['gcc_max']}" if row["gcc_min"] else f"up to {row['gcc_max']}"
        older = _older_gcc(situation)
        install = f": install gcc {older} beside the newer one" if older else ""
        yield f"nvcc {cuda} takes gcc {span}{install}."
    yield "Several toolkits live side by side; CUDA_HOME says which one compiles, the link /usr/local/cuda may stay as it is."
    package = _package_row(situation)
    if package is not None and package["note"]:
        values = {"cuda_dash": cuda.replace(".", "-"), "arch": "the architecture in the address"}
        yield _sentence(fill(package["note"], gcc=row["gcc_max"] if row else "", **values))
    if situation.question.os == "linux":
        without_root = task("toolkit-runfile", "any Linux, no root")
        if without_root is not None:
            way = _filled(situation, without_root["commands"].replace("{prefix}", f"$HOME/cuda-{cuda}"), cuda)
            yield f"Without root: {' && '.join(way)}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def cudnn(situation: Situation) -> Iterator[Step]:
    """It lies in the wheels; a copy of one's own only for other programs, or where one was asked for."""
    question = situation.question
    row = builds.torch_release(question.torch or "")
    cuda = question.cuda_of_torch
    if row is None or cuda is None:
        return
    brought = builds.cudnn_of_build(row, question.build or "")
    if question.cudnn is not None:
        yield _replaced(situation, question.cudnn, brought)
        return
    yield Step(
        id="cudnn",
        title=f"cuDNN{f' {brought}' if brought else ''} comes with torch",
        why="The wheels bring cuDNN, cuBLAS and NCCL and load their own copies: nothing is to be installed.",
        state="done",
        verify=(_version_of_cudnn(situation),),
        risk=Risk.READ_ONLY,
        notes=tuple(_system_copy(cuda)),
    )


def _version_of_cudnn(situation: Situation) -> str:
    return f'{situation.interpreter} -c "import torch; print(torch.backends.cudnn.version())"'


def _system_copy(cuda: str) -> Iterator[str]:
    last = packages.last_cudnn(major(cuda))
    row = packages.cudnn_row(last, major(cuda)) if last else None
    if row is not None and row["package"]:
        yield (
            "Other programs that load libcudnn themselves (onnxruntime-gpu, TensorRT, C++) find a copy of their own with "
            f"pip: {row['package']}; keep it out of LD_LIBRARY_PATH, where it would take the place of torch's."
        )


def _replaced(situation: Situation, cudnn: str, brought: str | None) -> Step:
    cuda_major = major(situation.question.cuda_of_torch or "0")
    row = packages.cudnn_row(cudnn, cuda_major)
    package = (row["package"] if row else "") or f"nvidia-cudnn-cu{cuda_major}"
    wanted = f"{cudnn}.*" if cudnn.count(".") < 3 else cudnn
    return Step(
        id="cudnn",
        title=f"cuDNN {cudnn} in the place of {brought or 'the one that torch brings'}",
        why="It was asked for. Do this after torch is installed.",
        commands=(f'{pip(situation, "install")} --no-deps "{package}=={wanted}"',),
        verify=(_version_of_cudnn(situation),),
        undo=(f'{pip(situation, "install")} --no-deps "{package}=={brought}"',) if brought else (),
        notes=("pip will say that torch wants another one: that is so, and on purpose.",),
        source=row["source"] if row else "",
    )
