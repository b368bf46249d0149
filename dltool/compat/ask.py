"""From what a user types to a question: every value is checked, and what was completed is said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from dltool import names, tables
from dltool.catalog import board
from dltool.compat import builds, packages
from dltool.compat.drivers import driver_branch, forward_package
from dltool.compat.gpucode import TEGRA
from dltool.compat.question import Question
from dltool.compat.rules_nccl import NCCL
from dltool.compat.rules_packages import COMPANIONS
from dltool.compat.versions import compute_capability, parse, version
from dltool.errors import UsageError, unknown_name
from dltool.lang import tr
from dltool.systems import is_system, members

_PACKAGE = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:==?\s*([^\s=].*?))?\s*")
_FIRST_BRANCH = 300
_ONLY_TEGRA = TEGRA | {"11.0"}
_ALIASES = {"flash_attn": "flash-attn", "flashattention": "flash-attn", "onnxruntime_gpu": "onnxruntime-gpu"}


class Asked(Struct, frozen=True, kw_only=True):
    """A question, and what had to be assumed to make it one."""

    question: Question
    assumed: tuple[str, ...] = ()


def ask(
    *,
    driver: str | None = None,
    gpu: str | None = None,
    cc: str | None = None,
    cuda: str | None = None,
    cudnn: str | None = None,
    torch: str | None = None,
    python: str | None = None,
    os: str | None = None,
    arch: str | None = None,
    glibc: str | None = None,
    kernel_module: str | None = None,
    compat_package: str | None = None,
    gcc: str | None = None,
    extension_ptx: str | None = None,
    with_: Iterable[str] = (),
    base: Question | None = None,
) -> Asked:
    """The question behind the options of the command line.

    Args:
        torch: "2.14.1", "2.14.1+cu126", "2.14".
        gpu: any name of a board; `cc` stands in its place.
        with_: further packages, "torchvision==0.29.2" or "torchvision".
        base: what is asked besides, as of this machine; given values win.

    Raises:
        UsageError: a value is none, says too little, or contradicts another.
    """
    assumed: list[str] = []
    _refuse_empty(
        driver, gpu, cc, cuda, cudnn, torch, python, os, arch, glibc, kernel_module, compat_package, gcc, extension_ptx
    )
    capabilities, segments = _gpus(gpu, cc, assumed)
    system, processor = _platform(os, arch, segments, base, assumed)
    release, build = _torch(torch, system, processor, assumed)
    given = {
        "driver": _driver(driver, assumed),
        "compute_capabilities": capabilities,
        "gpu_segments": segments,
        "tegra": "jetson" in segments or None,
        "cuda": _cuda(cuda),
        "cudnn": parse("cuDNN", cudnn, parts=2, example="9.10.2") if cudnn else None,
        "torch": release,
        "build": build,
        "python": parse("Python", python, parts=2, example="3.12") if python else None,
        "os": system,
        "arch": processor,
        **_c_library(glibc),
        "kernel_module": _one_of("kernel module", kernel_module, ("open", "proprietary")),
        "compat_package": _compat_package(compat_package),
        "gcc": parse("gcc", gcc, parts=1, example="13.2") if gcc else None,
        "extension_ptx": _cuda(extension_ptx),
        "packages": {**(base.packages if base else {}), **_packages(with_)} or None,
    }
    _contradictions(given)
    return Asked(question=_over(base, given), assumed=tuple(assumed))


def _refuse_empty(*options: str | None) -> None:
    if any(text is not None and not text.strip() for text in options):
        raise UsageError("an option has no value", remedy="Leave it out, or give it one: --driver 535.183.01")


def _platform(
    os: str | None, arch: str | None, segments: tuple[str, ...], base: Question | None, assumed: list[str]
) -> tuple[str, str | None]:
    """System and processor; what the GPU says of the processor counts where nobody names one."""
    system = _one_of("system", os, ("linux", "windows", "wsl")) or (base.os if base else "linux")
    processor = _one_of("processor", builds.processor_name(arch) if arch else None, ("x86_64", "aarch64"))
    if processor is None and set(segments) & {"jetson", "superchip"}:
        processor = "aarch64"
        assumed.append(tr("this GPU sits beside an Arm processor: aarch64", "这种 GPU 搭配 Arm 处理器：aarch64"))
    elif processor is None and os is None and base is None:
        assumed.append(tr("no system was named: Linux on x86_64", "没有指明系统：按 x86_64 上的 Linux 处理"))
    return system, processor


def _c_library(text: str | None) -> dict[str, object]:
    """glibc and its version, or musl."""
    if text is not None and text.strip().casefold() == "musl":
        return {"musl": True, "glibc": None}
    return {"musl": None, "glibc": parse("glibc", text, parts=2, example="2.31") if text else None}


def _over(base: Question | None, given: Mapping[str, object]) -> Question:
    """The question with what was given in the place of what is in `base`."""
    known = {name: value for name, value in given.items() if value not in (None, ())}
    return replace(base or Question(), **known)


def _contradictions(given: Mapping[str, object]) -> None:
    system = given["os"]
    if system == "windows" and given["glibc"]:
        raise UsageError("--glibc is of Linux, --os is windows", remedy="Leave one of them out.")
    if system == "windows" and given["kernel_module"]:
        raise UsageError("--kernel-module is of Linux, --os is windows", remedy="Leave one of them out.")


def _one_of(kind: str, value: str | None, known: tuple[str, ...]) -> str | None:
    if value is None or value.casefold() in known:
        return value.casefold() if value else None
    raise unknown_name(kind, value, known)


def _driver(text: str | None, assumed: list[str]) -> str | None:
    """A branch alone ("535") is taken for its first version, the least that it can be."""
    if text is None:
        return None
    driver = parse("the driver", text.strip().upper().removeprefix("R"), parts=1, example="535.183.01")
    if not re.fullmatch(r"[\d.]+", driver) or version(driver).major < _FIRST_BRANCH:
        raise UsageError(f"`{text}` is no version of NVIDIA's driver", remedy="Write it like 535.183.01; CUDA goes to --cuda.")
    if len(version(driver).release) > 1:
        return driver
    row = driver_branch(driver)
    if row is None or row["branch"] != driver:
        told = tr(
            f"driver {driver} is a branch that is not in the tables: taken for {driver}.0",
            f"驱动 {driver} 是数据表中没有的分支：按 {driver}.0 处理",
        )
        assumed.append(told)
        return f"{driver}.0"
    first = row["first_version"]
    told = tr(
        f"driver {driver} is a branch: taken for its first version, {first}",
        f"驱动 {driver} 是一个分支：按其首个版本 {first} 处理",
    )
    assumed.append(told)
    return first


def _cuda(text: str | None) -> str | None:
    if text is None:
        return None
    match = re.fullmatch(r"\s*(?:cuda[- ]?)?(\d{1,3})(?:\.(\d{1,3}|x))?(\.\d[\d.]{0,20})?\s*", text.casefold(), re.ASCII)
    if match is None:
        raise UsageError(f"`{text}` is no version of CUDA", remedy="Write it like 12.8.")
    if match[2] in (None, "x"):
        minors = sorted(
            {row["cuda"].split(".")[1] for row in tables.rows("compat/cuda") if row["cuda"].startswith(f"{match[1]}.")}, key=int
        )
        known = f"Name a minor: {', '.join(f'{match[1]}.{minor}' for minor in minors)}." if minors else "Write it like 12.8."
        raise UsageError(f"`{text}` is a whole major of CUDA", remedy=known)
    return f"{match[1]}.{match[2]}{match[3] or ''}"


def _torch(text: str | None, system: str, arch: str | None, assumed: list[str]) -> tuple[str | None, str | None]:
    if text is None:
        return None, None
    number, plus, build = text.strip().partition("+")
    if plus and not build:
        raise UsageError(f"`{text}` names no build", remedy="Write it like 2.14.1+cu126.")
    release = _release(number, assumed)
    if build:
        if not re.fullmatch(r"cpu|cu\d{2,3}", build, re.ASCII):
            raise UsageError(f"`{build}` is no build of PyTorch", remedy="Write it like cu126, cu130 or cpu.")
        known = dict.fromkeys(name for row in tables.rows("compat/torch_releases") for name in row["builds"].split())
        if build not in known and builds.torch_release(release) is not None:
            raise unknown_name("build of PyTorch", build, known)
        return release, build
    row = builds.torch_release(release)
    if row is None:
        return release, None
    aarch64 = builds.processor_name(arch or "") == "aarch64"
    served = row["windows"] if system == "windows" else row["linux_aarch64"] if aarch64 else row["default_build"]
    build = row["default_build"] if served == "cuda" else served or row["default_build"]
    told = tr(
        f"torch {release} without a build: taken for what PyPI serves there, {build}",
        f"torch {release} 没有指明构建：按 PyPI 在该平台提供的 {build} 处理",
    )
    assumed.append(told)
    return release, build


def _release(text: str, assumed: list[str]) -> str:
    release = parse("PyTorch", text, parts=2, example="2.14.1+cu126")
    if len(version(release).release) > 2:
        return release
    patches = [row["torch"] for row in builds.releases() if row["torch"].startswith(f"{release}.")]
    if not patches:
        return f"{release}.0"
    told = tr(
        f"torch {release} is a series: taken for its newest release, {patches[0]}",
        f"torch {release} 是一个系列：按其最新版本 {patches[0]} 处理",
    )
    assumed.append(told)
    return patches[0]


def _gpus(gpu: str | None, cc: str | None, assumed: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    said = tuple(dict.fromkeys(compute_capability(part) for part in cc.split(","))) if cc is not None else ()
    if gpu is None:
        return said, ("jetson",) if set(said) & _ONLY_TEGRA else ()
    capabilities, segments = _boards(gpu, assumed)
    if said and said != capabilities:
        raise UsageError(
            f"--gpu {gpu} is compute capability {capabilities[0]}, --cc says {', '.join(said)}", remedy="Leave one of them out."
        )
    return capabilities, segments


def _boards(gpu: str, assumed: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compute capability and segments of what a name means; all its boards must be of one."""
    found = names.resolve(gpu)
    if not found.shipped and not found.boards:
        raise UsageError(f"no GPU called `{gpu}` ever shipped: {found.note}", remedy="See: dltool gpu-info --list")
    if not found.shipped:
        told = tr(
            f"nothing called {gpu} ever shipped ({found.note}): taken for {found.boards[0]}",
            f"从未有过名为 {gpu} 的产品：按 {found.boards[0]} 处理",
        )
        assumed.append(told)
    boards = [board(name) for member in found.boards for name in (members(member) if is_system(member) else (member,))]
    capabilities = tuple(dict.fromkeys(own.compute_capability for own in boards if own.compute_capability))
    if len(capabilities) != 1:
        raise UsageError(
            f"`{gpu}` is GPUs of compute capability {', '.join(capabilities) or 'unknown'}",
            remedy="Name one board, or give --cc.",
        )
    return capabilities, tuple(dict.fromkeys(own.segment for own in boards if own.segment))


def _compat_package(text: str | None) -> str | None:
    if text is None:
        return None
    row = forward_package(text)
    if row is not None:
        return row["package"]
    if re.fullmatch(r"cuda-compat-\d{1,2}-\d{1,2}", text.strip().casefold(), re.ASCII):
        return text.strip().casefold()  # one that the tables do not know
    raise unknown_name("compat package", text, [row["package"] for row in tables.rows("compat/forward_compat")])


def _packages(texts: Iterable[str]) -> dict[str, str]:
    known = tuple(dict.fromkeys((*COMPANIONS, *NCCL, *packages.stack_components())))
    found: dict[str, str] = {}
    for text in texts:
        match = _PACKAGE.fullmatch(text)
        if match is None:
            raise UsageError(f"`{text}` is no package", remedy="Write it like torchvision==0.29.2.")
        name = match[1].casefold()
        name = _ALIASES.get(name, name.replace("_", "-"))
        if name not in known:
            raise unknown_name("package", match[1], known)
        if found.get(name) and match[2] and found[name] != match[2]:
            raise UsageError(f"{name} is given twice: {found[name]} and {match[2]}", remedy="Leave one of them out.")
        found[name] = parse(name, match[2], parts=1, example=f"{name}==1.2.3") if match[2] else ""
    return found
