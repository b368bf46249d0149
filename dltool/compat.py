"""Will these versions work together? Pure rules over the rows of `catalog/compat/`; every answer names its source.

The tables end somewhere. What lies beyond is `None`, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from packaging.version import InvalidVersion, Version

from dltool import tables
from dltool.catalog import Architecture, Support


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFloor:
    """The oldest driver under which a CUDA release's programs run, and the driver that the release came with."""

    floor: str
    own: str | None
    source: str

    @property
    def by_minor_version(self) -> bool:
        """Whether the floor is that of the whole CUDA major (minor-version compatibility), not the release's own driver."""
        return self.own is not None and version(self.floor) < version(self.own)


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchCode:
    """The GPU code inside one published torch build."""

    machine_code: tuple[str, ...]
    """"sm_80", "sm_90a" ..."""
    ptx: tuple[str, ...] | None
    """"compute_90" ...; None is not known."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchChoice:
    """The newest published torch that suits a machine."""

    torch: str
    build: str
    companions: tuple[str, ...]
    index: str

    def requirements(self) -> str:
        """What to give to pip: exact versions with the build's local label, and the index that serves them."""
        pins = [f'"{name}+{self.build}"' for name in (f"torch=={self.torch}", *self.companions)]
        return f"{' '.join(pins)} --index-url {self.index}"


@cache
def version(text: str) -> Version:
    """A version to compare: driver, CUDA, Python or package.

    Raises:
        InvalidVersion: the text is none.
    """
    return Version(text)


def known_version(text: str | None) -> Version | None:
    """`version`, or None where there is no text or no sense in it."""
    try:
        return Version(text) if text else None
    except InvalidVersion:
        return None


def code_runs_on(compiled: str, compute_capability: str, *, built_with: str | None = None) -> bool | None:
    """Can machine code compiled for `compiled` ("sm_86") run on a GPU of this compute capability?

    Same major, same or later minor; Tegra chips apart; a suffix ties code to its chip (a) or family (f).

    Args:
        compiled: the architecture in the binary.
        compute_capability: of the GPU, "8.9".
        built_with: the CUDA version of the build, which from 13.2 on lifts the Tegra exceptions.

    Returns:
        None for an architecture that is not in the table.
    """
    found = [row for row in tables.rows("compat/code_runs_on") if row["compiled"] == compiled]
    if not found:
        return None
    return any(_row_allows(row, compute_capability, built_with) for row in found)


def _row_allows(row: tables.Row, compute_capability: str, built_with: str | None) -> bool:
    device = version(compute_capability)
    if not version(row["device_from"]) <= device <= version(row["device_to"]):
        return False
    if compute_capability not in row["except"].split():
        return True
    lifted, built = known_version(row["lifted_from_cuda"]), known_version(built_with)
    return lifted is not None and built is not None and built >= lifted


def ptx_runs_on(ptx: str, compute_capability: str) -> bool:
    """Can the driver compile this PTX ("compute_80") for the GPU? Any later capability; with a suffix only the same.

    Source: CUDA C++ Programming Guide, "PTX Compatibility".
    """
    match = re.fullmatch(r"compute_(\d+)(\d)([af]?)", ptx)
    if match is None:
        return False
    target = version(f"{match[1]}.{match[2]}")
    device = version(compute_capability)
    return device == target if match[3] else device >= target


def driver_floor(cuda: str, *, windows: bool = False) -> DriverFloor | None:
    """The oldest driver for programs built with `cuda` ("12.8" or "12.8.1"); None when the table does not know the release."""
    system = "windows" if windows else "linux"
    wanted = re.compile(rf"{re.escape(cuda)}(\.\d+)*$")
    for row in tables.rows("compat/cuda"):  # oldest update first: its driver is the least of its minor version
        own, shared = row[f"driver_{system}"], row[f"minor_compat_{system}"]
        if wanted.match(row["cuda"]) and (own or shared):
            floor = min(filter(None, (own, shared)), key=version)
            return DriverFloor(floor=floor, own=own or None, source=row["source"])
    return None


def dropped_by_cuda(compute_capability: str, cuda: str) -> bool:
    """Is the GPU too old for this CUDA ("13.2") to compile for, so that neither machine code nor PTX of it can be there?"""
    wanted = re.compile(rf"{re.escape(cuda)}(\.\d+)*$")
    least = next((row["min_cc"] for row in tables.rows("compat/cuda") if wanted.match(row["cuda"])), "")
    return bool(least) and version(compute_capability) < version(least)


def torch_release(torch: str) -> tables.Row | None:
    """The row of a published torch release; None for a nightly, a vendor's build, or one newer than the table."""
    base = torch.partition("+")[0]
    return next((row for row in tables.rows("compat/torch_releases") if row["torch"] == base), None)


def torch_build(torch: str, cuda: str | None) -> str:
    """The name of a build, "cu128" or "cpu": its local label, else what its CUDA version says."""
    label = torch.partition("+")[2]
    if re.fullmatch(r"cu\d+|cpu", label):
        return label
    return "cu" + "".join(cuda.split(".")[:2]) if cuda else "cpu"


def torch_code(torch: str, build: str, *, windows: bool = False, processor: str = "x86_64") -> TorchCode | None:
    """The architectures compiled into a published build; None where the table does not know it."""
    key = (torch.partition("+")[0], build, "windows" if windows else "linux", _processor(processor))
    row = _torch_archs().get(key)
    if row is None:
        return None
    ptx = {"": None, "none": ()}.get(row["ptx"], tuple(row["ptx"].split()))
    return TorchCode(machine_code=tuple(row["sm"].split()), ptx=ptx, source=row["source"])


@cache
def _torch_archs() -> dict[tuple[str, str, str, str], tables.Row]:
    return {(row["torch"], row["build"], row["os"], row["cpu"]): row for row in tables.rows("compat/torch_archs")}


def newest_torch(
    *,
    python: str | None,
    driver: str | None,
    compute_capabilities: Sequence[str],
    windows: bool = False,
    wsl: bool = False,
    processor: str = "x86_64",
    companions: Iterable[str] = (),
) -> TorchChoice | None:
    """The newest published CUDA build that suits everything named at once; None where no build is known to.

    Args:
        python: version of the interpreter.
        driver: version of the driver; None when a driver is still to be installed.
        compute_capabilities: of every GPU that must run it.
        wsl: Linux wheels on the driver of Windows, whose versions are counted otherwise.
        companions: which of torchvision and torchaudio to choose along with it.
    """
    for row in reversed(tables.rows("compat/torch_releases")):
        if row["status"] != "released" or not _python_suits(row, python):
            continue
        for build in _cuda_builds(row):
            code = torch_code(row["torch"], build, windows=windows, processor=processor)
            if code and _driver_suits(build, driver, windows or wsl) and _covers(code, build, compute_capabilities):
                pins = tuple(f"{name}=={row[name]}" for name in companions if row.get(name))
                return TorchChoice(torch=row["torch"], build=build, companions=pins, index=wheel_index(build))
    return None


def support(architecture: Architecture, *, aarch64: bool = False) -> Support:
    """Which CUDA toolkits, driver branches and PyTorch releases support a GPU of this architecture, and the last that did.

    Args:
        aarch64: the GPU sits beside an Arm processor (Jetson, Grace).
    """
    capability = architecture.compute_capability
    choice = newest_torch(
        python=None, driver=None, compute_capabilities=(capability,), processor="aarch64" if aarch64 else "x86_64"
    )
    released = [row["torch"] for row in tables.rows("compat/torch_releases") if row["status"] == "released"]
    return Support(
        cuda_first=architecture.cuda_first or None,
        cuda_last=architecture.cuda_last or None,
        driver_last=architecture.driver_last or None,
        torch_last=choice.torch if choice else None,
        torch_build=choice.build if choice else None,
        torch_newest=choice is not None and choice.torch == released[-1],
    )


def wheel_index(build: str) -> str:
    """Where PyTorch publishes the wheels of a build."""
    (row,) = (row for row in tables.rows("indexes") if row["name"] == "pytorch")
    return row["url"].format(build=build)


def cuda_of_build(build: str) -> str | None:
    """The CUDA version that a build's name means: "cu128" -> "12.8"; one digit is the minor version since CUDA 10."""
    match = re.fullmatch(r"cu(\d+)(\d)", build)
    return f"{match[1]}.{match[2]}" if match else None


def companion_suits(torch: str, name: str, installed: str) -> tuple[bool, str] | None:
    """Does this torchvision or torchaudio belong to this torch?

    Returns:
        Whether it does (releases of one minor version go together), and the version that belongs; None if not known.
    """
    row = torch_release(torch)
    have = known_version(installed)
    if row is None or not row.get(name) or have is None:
        return None
    wanted = version(row[name])
    return have.release[:2] == wanted.release[:2], row[name]


def _cuda_builds(row: tables.Row) -> Iterator[str]:
    """The CUDA builds of a release: the default one, which is tested and used most, then the others, newest CUDA first."""
    builds = [build for build in row["builds"].split() if re.fullmatch(r"cu\d+", build)]
    newest_first = sorted(builds, key=lambda build: version(cuda_of_build(build) or "0"), reverse=True)
    yield from sorted(newest_first, key=lambda build: build != row["default_build"])


def _python_suits(row: tables.Row, python: str | None) -> bool:
    have = known_version(python)
    if have is None:
        return True
    least, most = known_version(row["python_min"]), known_version(row["python_max"])
    return least is not None and most is not None and least.release[:2] <= have.release[:2] <= most.release[:2]


def _driver_suits(build: str, driver: str | None, windows: bool) -> bool:
    have = known_version(driver)
    if have is None:
        return True
    floor = driver_floor(cuda_of_build(build) or "", windows=windows)
    return floor is not None and have >= version(floor.floor)


def _covers(code: TorchCode, build: str, compute_capabilities: Sequence[str]) -> bool:
    cuda = cuda_of_build(build)
    return all(any(code_runs_on(sm, cc, built_with=cuda) for sm in code.machine_code) for cc in compute_capabilities)


def _processor(name: str) -> str:
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(name, name)
