"""An environment described for another machine, and another machine judged against the description: pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from dltool import compat, tables
from dltool.compat.answer import verdict
from dltool.compat.builds import processor_name
from dltool.compat.question import Question, of_machine
from dltool.errors import CannotRun, UsageError
from dltool.machine import Machine, TorchBuild, read_bounded
from dltool.results import (
    ENVIRONMENT_SCHEMA,
    Compatibility,
    Environment,
    Evidence,
    Finding,
    FrozenEnvironment,
    FrozenPackage,
    FrozenTorch,
    Recommendation,
    Remedy,
    Status,
)

_LABELLED = ("torch", "torchvision", "torchaudio")
"""Their wheels carry the build in their version on PyTorch's index; the same build from PyPI does not say."""
_JUDGED = ("torchvision", "torchaudio", "torchtext", "numpy", "triton", "flash-attn", "xformers", "bitsandbytes")
_NOT_FROZEN = ("pip",)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*", re.IGNORECASE)
_VERSION = re.compile(r"[a-z0-9][a-z0-9._+!-]*", re.IGNORECASE)
_URL = re.compile(r"(git|hg|svn|bzr)?\+?(https?|ssh|file)://[^\s'\"]+")
_WRITE_ONE = "Write one with: dltool setup freeze -o dltool-env.json"


def freeze(machine: Machine, packages: Iterable[FrozenPackage]) -> FrozenEnvironment:
    """The environment that `machine.python` is.

    Args:
        packages: everything that is installed in it.

    Raises:
        CannotRun: the environment could not be read.
    """
    python = machine.python
    if python is None:
        raise CannotRun(
            f"the Python environment cannot be read: {machine.why_missing('python')}", remedy="Name its Python with --python."
        )
    torch = _torch(python.torch, machine) if python.torch else None
    pinned = [_pinned(package, torch) for package in packages if package.name not in _NOT_FROZEN]
    kept = tuple(package for package in pinned if package.source != "local")
    build = torch.build if torch else ""
    cuda = compat.cuda_of_build(build)
    floors = [compat.driver_floor(cuda, windows=windows) if cuda else None for windows in (False, True)]
    return FrozenEnvironment(
        python=python.version,
        implementation=python.implementation or "CPython",
        system=_system(machine),
        arch=processor_name(machine.cpu.architecture or "x86_64"),
        torch=torch,
        driver_floor=floors[0].floor if floors[0] else None,
        driver_floor_windows=floors[1].floor if floors[1] else None,
        glibc_floor=_glibc_floor(kept, torch),
        packages=kept,
        left_out={
            package.name: f"{package.version} is installed from files of that machine"
            for package in pinned
            if package.source == "local"
        },
    )


def _system(machine: Machine) -> str:
    return "windows" if machine.os.system == "Windows" else "linux"


def _torch(torch: TorchBuild, machine: Machine) -> FrozenTorch:
    build = compat.torch_build(torch.version, torch.cuda)
    processor = machine.cpu.architecture or "x86_64"
    code = compat.torch_code(torch.version, build, windows=_system(machine) == "windows", processor=processor)
    return FrozenTorch(
        version=torch.version.partition("+")[0],
        build=build,
        index=compat.wheel_index(build),
        cuda=torch.cuda,
        cudnn=torch.cudnn,
        machine_code=code.machine_code if code else None,
        ptx=code.ptx if code else None,
    )


def _pinned(package: FrozenPackage, torch: FrozenTorch | None) -> FrozenPackage:
    """With the label of torch's build where the file that is installed does not tell it."""
    if torch is None or package.name not in _LABELLED or package.source not in ("index", "conda"):
        return package
    if compat.torch_release(torch.version) is None:
        return package  # a nightly, or a vendor's own
    version = package.version if "+" in package.version else f"{package.version}+{torch.build}"
    return replace(package, version=version, source="pytorch")


def _glibc_floor(packages: Iterable[FrozenPackage], torch: FrozenTorch | None) -> str | None:
    """The most demanding of all packages; torch's own wheels do not always tell, the table does."""
    row = compat.torch_release(torch.version) if torch else None
    floors = [package.glibc for package in packages if package.glibc]
    floors += [row["glibc_min"]] if row and row["glibc_min"] else []
    return max(floors, key=compat.version, default=None)


def requirements(frozen: FrozenEnvironment) -> tuple[str, ...]:
    """What pip is to install: every package, exactly."""
    return tuple(map(_requirement, frozen.packages))


def _requirement(package: FrozenPackage) -> str:
    if package.source == "vcs" and package.url:
        return f"{package.name} @ {package.url}" + (f"@{package.revision}" if package.revision else "")
    if package.source == "url" and package.url:
        return f"{package.name} @ {package.url}"
    return f"{package.name}=={package.version}"


def environment(frozen: FrozenEnvironment, *, manager: str, directory: str) -> Environment:
    """The environment that a clone makes.

    Raises:
        UsageError: there is no PyTorch in the description.
    """
    torch = frozen.torch
    if torch is None:
        raise UsageError("there is no PyTorch in this environment", remedy="Rebuild it with pip alone: its list suffices.")
    return Environment(
        manager=manager,
        python=frozen.python,
        torch=torch.version,
        build=torch.build,
        index=torch.index,
        requirements=requirements(frozen),
        directory=directory,
    )


def load(path: Path) -> FrozenEnvironment:
    """Read a description back.

    Raises:
        UsageError: unreadable, not JSON, another schema, or damaged; says where.
    """
    data = read_bounded(path)
    try:
        frozen = msgspec.json.decode(data, type=FrozenEnvironment)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} describes no environment: {error}", remedy=_WRITE_ONE) from None
    if frozen.schema != ENVIRONMENT_SCHEMA:
        raise UsageError(f"{path} is of another schema: {frozen.schema!r}", remedy=_WRITE_ONE)
    strange = next(_strange(frozen), None)
    if strange is not None:
        raise UsageError(f"{path} holds what cannot be installed: {strange!r}", remedy=_WRITE_ONE)
    return frozen


def _strange(frozen: FrozenEnvironment) -> Iterator[str]:
    """What would be more than a name, a version or an address where a command takes it: the file may be a stranger's."""
    for package in frozen.packages:
        parts = (package.name, package.version, package.revision or "0", package.url or "https://x")
        yield from (
            part for part, shape in zip(parts, (_NAME, _VERSION, _VERSION, _URL), strict=True) if not shape.fullmatch(part)
        )
    versions = [frozen.python, *([frozen.torch.version, frozen.torch.build] if frozen.torch else [])]
    yield from (text for text in versions if not _VERSION.fullmatch(text))
    if frozen.torch and not _URL.fullmatch(frozen.torch.index):
        yield frozen.torch.index


def judge(frozen: FrozenEnvironment, machine: Machine, *, interpreter: str | None) -> Compatibility:
    """Would this environment work on that machine?

    Args:
        interpreter: a Python of its version on the machine; None where there is none.
    """
    torch = frozen.torch
    here = of_machine(machine)
    question = Question(
        driver=here.driver,
        compute_capabilities=here.compute_capabilities,
        tegra=here.tegra,
        cpu_only=here.cpu_only,
        glibc=here.glibc,
        os=here.os,
        arch=here.arch,
        torch=torch.version if torch else None,
        build=torch.build if torch else None,
        python=frozen.python,
        packages={package.name: package.version.partition("+")[0] for package in frozen.packages if package.name in _JUDGED},
    )
    own = tuple(_of_the_machine(frozen, here, interpreter))
    answer = compat.answer(question)
    findings = (*answer.findings, *own)
    word = verdict(findings)
    checked = max(row["checked"] for row in tables.rows("compat/torch_releases"))
    recommend = answer.recommend if word == "error" or torch is None else _as_frozen(torch)
    return replace(answer, findings=findings, verdict=word, recommend=recommend, data_until=checked)


def _as_frozen(torch: FrozenTorch) -> Recommendation:
    """What works is rebuilt as it is, not renewed."""
    return Recommendation(
        torch=torch.version, build=torch.build, install=("dltool setup clone FILE DIR",), why="as frozen, it suits this machine"
    )


def _of_the_machine(frozen: FrozenEnvironment, here: Question, interpreter: str | None) -> Iterator[Finding]:
    """What the rules of versions do not look at."""
    system = "windows" if here.os == "windows" else "linux"
    have, wanted = f"{system} {here.arch}", f"{frozen.system} {frozen.arch}"
    if have != wanted:
        yield _finding(Status.FAIL, f"it was frozen on {wanted}, this is {have}: the files are others", "Plan one for here.")
    if frozen.glibc_floor and here.glibc:
        fits = compat.version(here.glibc) >= compat.version(frozen.glibc_floor)
        text = f"the glibc of all its packages is {frozen.glibc_floor}, here is {here.glibc}"
        yield _finding(Status.PASS if fits else Status.FAIL, text, "Take a newer distribution, or a container of one.")
    python = ".".join(frozen.python.split(".")[:2])
    if interpreter is None:
        yield _finding(Status.WARN, f"there is no Python {python} here", "Let uv bring it: --manager uv.")
    else:
        yield _finding(Status.PASS, f"Python {python} is here: {interpreter}")
    conda = sum(package.source == "conda" for package in frozen.packages)
    if conda:
        yield _finding(Status.WARN, f"{conda} packages came from conda", "The same versions are taken from the index.")
    if frozen.left_out:
        names = ", ".join(frozen.left_out)
        evidence = tuple(Evidence(fact=name, value=why, read_from="the file") for name, why in frozen.left_out.items())
        finding = _finding(Status.WARN, f"not in the file: {names}", "Install these by hand.")
        yield replace(finding, evidence=evidence)


def _finding(status: Status, summary: str, remedy: str = "") -> Finding:
    remedies = (Remedy(text=remedy),) if remedy and status.is_problem else ()
    return Finding(id="frozen-environment", status=status, summary=summary, remedies=remedies)
