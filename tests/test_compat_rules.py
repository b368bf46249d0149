"""Each rule of compatibility alone: where it holds, where it breaks, where the tables end, and at the exact boundary."""

from __future__ import annotations

from typing import Any

import pytest

from dltool import compat
from dltool.compat.rules import RULES
from dltool.results import Finding, Status

PASS, INFO, WARN, FAIL, UNKNOWN = Status.PASS, Status.INFO, Status.WARN, Status.FAIL, Status.UNKNOWN
SILENT: tuple[Status, ...] = ()


def findings(rule: str, **given: Any) -> list[Finding]:
    if "cc" in given:
        given["compute_capabilities"] = tuple(given.pop("cc").split())
    if "torch" in given:
        given["torch"], _, build = given["torch"].partition("+")
        given["build"] = build or None
    return list(RULES[rule](compat.Question(**given)))


def statuses(rule: str, **given: Any) -> tuple[Status, ...]:
    return tuple(finding.status for finding in findings(rule, **given))


def case(name: str, expected: Status | tuple[Status, ...], **given: Any) -> Any:
    """One row of a table."""
    return pytest.param(given, (expected,) if isinstance(expected, Status) else expected, id=name)


def table(*cases: Any) -> Any:
    return pytest.mark.parametrize(("given", "expected"), cases)


# --- driver -----------------------------------------------------------------------------------------------------------


@table(
    case("no driver", SILENT, cc="8.0"),
    case("no GPU", SILENT, driver="580.95.05"),
    case("Fermi, its last branch", PASS, driver="390.157", cc="2.1"),
    case("Fermi, the branch after", FAIL, driver="396.26", cc="2.1"),
    case("Kepler, its last branch", PASS, driver="470.256.02", cc="3.7"),
    case("Kepler, the branch after", FAIL, driver="495.29.05", cc="3.7"),
    case("Volta, its last branch", PASS, driver="580.126.20", cc="7.0"),
    case("Volta, the branch after", FAIL, driver="590.44.01", cc="7.0"),
    case("Maxwell, the branch after", FAIL, driver="590.44.01", cc="5.0"),
    case("Turing on the newest", PASS, driver="615.71.09", cc="7.5"),
    case("Ampere, the branch before GA10x", FAIL, driver="450.80.02", cc="8.6"),
    case("Ampere, the first branch", PASS, driver="455.23", cc="8.6"),
    case("Ada, the branch before", FAIL, driver="515.65.01", cc="8.9"),
    case("Ada, the first branch", PASS, driver="520.61.05", cc="8.9"),
    case("Hopper, the first branch", PASS, driver="520.61.05", cc="9.0"),
    case("Blackwell, the branch before", FAIL, driver="565.57.01", cc="12.0"),
    case("Blackwell, the first branch", PASS, driver="570.26", cc="12.0"),
    case("GB10, the branch before", FAIL, driver="570.124.06", cc="12.1"),
    case("GB10, the first branch", PASS, driver="575.51.03", cc="12.1"),
    case("each GPU by itself", (FAIL, PASS), driver="590.48.01", cc="6.1 9.0"),
    case("newer than the data", UNKNOWN, driver="999.0", cc="9.0"),
    case("newer than the data, a GPU dropped before", FAIL, driver="999.0", cc="6.1"),
    case("older than the data", UNKNOWN, driver="340.108", cc="3.5"),
    case("Tegra by its compute capability", INFO, driver="540.4.0", cc="8.7"),
    case("Tegra", SILENT, driver="540.4.0", cc="11.0", tegra=True),
    case("Windows numbers between branches", PASS, driver="582.10", cc="7.0", os="windows"),
    case("Windows, the branch after", FAIL, driver="591.44", cc="6.1", os="windows"),
    case("a GPU that no table knows", SILENT, driver="615.71.09", cc="10.7"),
    case("a GPU newer than every branch", SILENT, driver="616.00", cc="13.0"),
)  # fmt: skip
def test_driver_drives_gpu(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("driver-drives-gpu", **given) == expected


def test_what_is_certain_beyond_the_data_is_said() -> None:
    (finding,) = findings("driver-drives-gpu", driver="999.0", cc="9.0")
    assert "616" in finding.summary
    assert "9.0" in finding.why


@table(
    case("no torch, no toolkit", SILENT, driver="580.95.05"),
    case("CPU build", SILENT, driver="470.57.02", torch="2.14.1+cpu"),
    case("CUDA 12, exactly the least", PASS, driver="525.60.13", torch="2.14.1+cu126"),
    case("CUDA 12, one below", FAIL, driver="525.60.12", torch="2.14.1+cu126"),
    case("CUDA 12, a lower branch", FAIL, driver="520.61.05", torch="2.5.1+cu121"),
    case("CUDA 11, exactly the least", PASS, driver="450.80.02", torch="2.6.0+cu118"),
    case("CUDA 11, one below", FAIL, driver="450.80.01", torch="2.6.0+cu118"),
    case("CUDA 11.0, its own is less", PASS, driver="450.51.06", torch="1.7.1+cu110"),
    case("CUDA 13, exactly the least", PASS, driver="580.65.06", torch="2.15.0+cu132"),
    case("CUDA 13, one below", FAIL, driver="580.65.05", torch="2.15.0+cu132"),
    case("CUDA 10.2, no minor-version compatibility", FAIL, driver="418.39", torch="1.12.1+cu102"),
    case("CUDA 10.2, its own", PASS, driver="440.33", torch="1.12.1+cu102"),
    case("a newer driver runs old CUDA", PASS, driver="615.71.09", torch="1.13.1+cu117"),
    case("a driver beyond the data runs what it ran", PASS, driver="999.0", torch="2.15.0+cu132"),
    case("Windows, exactly the least of CUDA 12", PASS, driver="527.41", torch="2.5.1+cu121", os="windows"),
    case("Windows, a driver of CUDA 11.8", FAIL, driver="522.25", torch="2.5.1+cu121", os="windows"),
    case("Windows, exactly the least of CUDA 11", PASS, driver="452.39", torch="2.6.0+cu118", os="windows"),
    case("Windows, one below", FAIL, driver="452.38", torch="2.6.0+cu118", os="windows"),
    case("Windows, exactly the least of CUDA 13", PASS, driver="580.88", torch="2.15.0+cu132", os="windows"),
    case("Windows, the Linux number is too low", FAIL, driver="580.65.06", torch="2.15.0+cu132", os="windows"),
    case("WSL counts as Windows", FAIL, driver="580.65.06", torch="2.15.0+cu132", os="wsl"),
    case("WSL, exactly the least", PASS, driver="527.41", torch="2.14.1+cu126", os="wsl"),
    case("the toolkit too", FAIL, driver="525.60.13", cuda="13.0"),
    case("both", (PASS, FAIL), driver="525.60.13", torch="2.14.1+cu126", cuda="13.0"),
    case("CUDA beyond the data", UNKNOWN, driver="580.95.05", cuda="15.0"),
    case("a build of CUDA beyond the data", UNKNOWN, driver="580.95.05", torch="3.0.0+cu150"),
    case("a Jetson's driver comes with its system", INFO, driver="580.00", torch="2.14.1+cu130", cc="11.0", tegra=True),
    case("a compat package that brings it", PASS, driver="535.247.01", torch="2.11.0+cu130", compat_package="cuda-compat-13-0"),
    case("a compat package of an earlier major", FAIL, driver="535.247.01", torch="2.11.0+cu130",
         compat_package="cuda-compat-12-8"),
    case("a compat package, a branch that it does not serve", FAIL, driver="525.147.05", torch="2.11.0+cu130",
         compat_package="cuda-compat-13-0"),
    case("a Jetson of CUDA 12 does not run CUDA 13", FAIL, driver="540.4.0", cc="8.7", tegra=True, torch="2.15.0+cu132"),
)  # fmt: skip
def test_driver_runs_cuda(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("driver-runs-cuda", **given) == expected


def test_the_numbers_that_were_compared_are_shown() -> None:
    (finding,) = findings("driver-runs-cuda", driver="520.61.05", torch="2.5.1+cu121")
    assert {evidence.value for evidence in finding.evidence} == {"520.61.05", "525.60.13"}
    assert any("cuda.csv" in evidence.read_from for evidence in finding.evidence)
    assert finding.remedies


A100, GEFORCE = ("datacenter",), ("geforce",)


@table(
    case("none asked", SILENT, driver="535.247.01"),
    case("listed", PASS, compat_package="cuda-compat-13-0", driver="535.247.01", gpu_segments=A100),
    case("of the driver's own CUDA", INFO, compat_package="cuda-compat-13-0", driver="580.95.05", gpu_segments=A100),
    case("older than the driver: 803", FAIL, compat_package="cuda-compat-12-8", driver="580.95.05", gpu_segments=A100),
    case("GeForce: 804", (FAIL, PASS), compat_package="cuda-compat-13-0", driver="535.247.01", gpu_segments=GEFORCE),
    case("laptop: 804", (FAIL, PASS), compat_package="cuda-compat-13-0", driver="535.247.01", gpu_segments=("laptop",)),
    case("superchip", PASS, compat_package="cuda-compat-13-2", driver="580.95.05", gpu_segments=("superchip",)),
    case("Windows", FAIL, compat_package="cuda-compat-13-2", os="windows", gpu_segments=A100),
    case("WSL", FAIL, compat_package="cuda-compat-13-2", os="wsl", gpu_segments=A100),
    case("a branch that was listed once", WARN, compat_package="cuda-compat-12-8", driver="550.54.15", gpu_segments=A100),
    case("a driver beyond the data", UNKNOWN, compat_package="cuda-compat-13-4", driver="999.0", gpu_segments=A100),
    case("a package beyond the data", UNKNOWN, compat_package="cuda-compat-15-0", driver="580.95.05", gpu_segments=A100),
    case("a branch in no column is not supported", WARN, compat_package="cuda-compat-12-8", driver="545.23.08",
         gpu_segments=A100),
    case("a GPU of no known kind", (WARN, PASS), compat_package="cuda-compat-13-0", driver="535.247.01", cc="8.6"),
)  # fmt: skip
def test_forward_compatibility(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("forward-compatibility", **given) == expected


@pytest.mark.parametrize(("package", "driver", "number"), [("13-0", "535.247.01", "804"), ("12-8", "590.48.01", "803")])
def test_the_errors_of_compat_packages_are_named(package: str, driver: str, number: str) -> None:
    found = findings("forward-compatibility", compat_package=f"cuda-compat-{package}", driver=driver, gpu_segments=GEFORCE)
    assert any(number in finding.summary for finding in found)


@table(
    case("not asked", SILENT, cc="12.0"),
    case("Volta, open", FAIL, kernel_module="open", cc="7.0"),
    case("Volta, proprietary", PASS, kernel_module="proprietary", cc="7.0"),
    case("Turing, open", PASS, kernel_module="open", cc="7.5"),
    case("Turing, proprietary", PASS, kernel_module="proprietary", cc="7.5"),
    case("Hopper, proprietary", PASS, kernel_module="proprietary", cc="9.0"),
    case("Blackwell, proprietary", FAIL, kernel_module="proprietary", cc="10.0"),
    case("Blackwell, open", PASS, kernel_module="open", cc="12.1"),
    case("mixed", (FAIL, PASS), kernel_module="open", cc="6.1 9.0"),
    case("Kepler is not in the table", UNKNOWN, kernel_module="proprietary", cc="3.7"),
    case("beyond the data", UNKNOWN, kernel_module="open", cc="13.0"),
    case("WSL has none", SILENT, kernel_module="proprietary", cc="12.0", os="wsl"),
    case("Tegra has its own", SILENT, kernel_module="open", cc="7.2", tegra=True),
    case("Grace Hopper, proprietary", FAIL, kernel_module="proprietary", cc="9.0", arch="aarch64", gpu_segments=("superchip",)),
    case("open, before there was one", FAIL, kernel_module="open", cc="8.0", driver="510.39.01"),
)  # fmt: skip
def test_kernel_module(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("kernel-module", **given) == expected


@table(
    case("none", SILENT, driver="580.95.05"),
    case("exactly its own driver", PASS, extension_ptx="12.8", driver="570.26"),
    case("one below", WARN, extension_ptx="12.8", driver="570.25"),
    case("minor-version compatibility does not help", WARN, extension_ptx="12.8", driver="550.54.15"),
    case("an update has its own driver", WARN, extension_ptx="12.8.1", driver="570.26"),
    case("a newer driver", PASS, extension_ptx="11.8", driver="580.95.05"),
    case("Windows", WARN, extension_ptx="12.8", driver="570.26", os="windows"),
    case("Windows, its own", PASS, extension_ptx="12.8", driver="570.65", os="windows"),
    case("lifted by a compat package", PASS, extension_ptx="12.8", driver="535.247.01", compat_package="cuda-compat-12-8"),
    case("CUDA without a driver of its own", UNKNOWN, extension_ptx="13.4", driver="615.71.09"),
    case("beyond the data", UNKNOWN, extension_ptx="15.0", driver="615.71.09"),
    case("a compat package of an earlier minor does not lift it", WARN, extension_ptx="12.9", driver="535.247.01",
         compat_package="cuda-compat-12-8"),
)  # fmt: skip
def test_extension_ptx(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("extension-ptx", **given) == expected


# --- torch ------------------------------------------------------------------------------------------------------------


@table(
    case("no torch", SILENT, driver="580.95.05"),
    case("no build", SILENT, torch="2.14.1"),
    case("published", PASS, torch="2.14.1+cu126"),
    case("CPU", PASS, torch="2.14.1+cpu"),
    case("not that build", FAIL, torch="2.15.0+cu126"),
    case("a build that never was", FAIL, torch="2.14.1+cu999"),
    case("newer than the data", UNKNOWN, torch="3.0.0+cu140"),
    case("no such release", UNKNOWN, torch="2.1.9+cu121"),
    case("no such release, no build", UNKNOWN, torch="2.1.9"),
    case("another system whose builds are known", PASS, torch="2.14.1+cu126", os="windows"),
    case("another system whose builds are not known", INFO, torch="2.9.1+cu129", os="windows"),
    case("another processor whose builds are not known", INFO, torch="2.5.1+cu121", arch="aarch64"),
)  # fmt: skip
def test_torch_published(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("torch-published", **given) == expected


@table(
    case("no GPU", SILENT, torch="2.14.1+cpu"),
    case("a GPU", WARN, torch="2.14.1+cpu", cc="8.0"),
    case("a driver", WARN, torch="2.14.1+cpu", driver="580.95.05"),
    case("a CUDA build", SILENT, torch="2.14.1+cu126", cc="8.0"),
)
def test_torch_has_cuda(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("torch-has-cuda", **given) == expected


@table(
    case("none asked", SILENT, torch="2.14.1"),
    case("the oldest", PASS, torch="2.15.0", python="3.11"),
    case("one before", FAIL, torch="2.15.0", python="3.10.19"),
    case("the newest, any patch", PASS, torch="2.15.0", python="3.15.7"),
    case("one after", FAIL, torch="2.15.0", python="3.16"),
    case("versions are no numbers", PASS, torch="2.5.1", python="3.10"),
    case("2.4 and 3.13", FAIL, torch="2.4.1", python="3.13"),
    case("2.5 and 3.13", PASS, torch="2.5.0", python="3.13"),
    case("2.8 and 3.14", FAIL, torch="2.8.0", python="3.14"),
    case("2.9 and 3.14", PASS, torch="2.9.0", python="3.14"),
    case("2.5 and 3.8, which its metadata allows", FAIL, torch="2.5.1", python="3.8"),
    case("Python 2", FAIL, torch="1.7.0", python="2.7"),
    case("never on PyPI", UNKNOWN, torch="1.8.2", python="3.8"),
    case("a release beyond the data", SILENT, torch="3.0.0", python="3.12"),
)
def test_python_wheel(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("python-wheel", **given) == expected


@table(
    case("none asked", SILENT, torch="2.14.1"),
    case("exactly", PASS, torch="2.7.0", glibc="2.28"),
    case("below", FAIL, torch="2.7.0", glibc="2.27"),
    case("2.9 is below 2.28", FAIL, torch="2.7.0", glibc="2.9"),
    case("manylinux2014", PASS, torch="2.6.0", glibc="2.17"),
    case("below manylinux2014", FAIL, torch="2.6.0", glibc="2.12"),
    case("musl", FAIL, torch="2.14.1", musl=True),
    case("musl without torch", SILENT, musl=True),
    case("Windows", SILENT, torch="2.14.1", glibc="2.17", os="windows"),
    case("not in the table", UNKNOWN, torch="1.8.2", glibc="2.31"),
    case("beyond the data", SILENT, torch="3.0.0", glibc="2.31"),
)
def test_glibc(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("glibc", **given) == expected


@table(
    case("no GPU", SILENT, torch="2.14.1+cu126"),
    case("CPU build", SILENT, torch="2.14.1+cpu", cc="8.0"),
    case("release beyond the data", SILENT, torch="3.0.0+cu140", cc="8.0"),
    case("the same", PASS, torch="2.14.1+cu126", cc="8.0"),
    case("a later minor", PASS, torch="2.5.1+cu121", cc="8.9"),
    case("Volta in 2.8 cu128", PASS, torch="2.8.0+cu128", cc="7.0"),
    case("Volta in 2.11 cu128", FAIL, torch="2.11.0+cu128", cc="7.0"),
    case("Pascal in 2.8 cu128", FAIL, torch="2.8.0+cu128", cc="6.1"),
    case("Pascal in cu126", PASS, torch="2.14.1+cu126", cc="6.1"),
    case("Maxwell in CUDA 13", FAIL, torch="2.14.1+cu130", cc="5.2"),
    case("Blackwell in cu126", FAIL, torch="2.14.1+cu126", cc="12.0"),
    case("Blackwell in a build whose PTX is not known", FAIL, torch="2.6.0+cu124", cc="12.0"),
    case("B300 by sm_100", PASS, torch="2.8.0+cu128", cc="10.3"),
    case("GB10 by sm_120", PASS, torch="2.14.1+cu130", cc="12.1", arch="aarch64"),
    case("Thor by sm_110", PASS, torch="2.14.1+cu130", cc="11.0", arch="aarch64"),
    case("Thor, the x86-64 build", FAIL, torch="2.14.1+cu130", cc="11.0"),
    case("A100 beside Arm, a build for GH200 alone", FAIL, torch="2.6.0+cu126", cc="8.0", arch="aarch64"),
    case("T4G beside Arm", FAIL, torch="2.14.1+cu130", cc="7.5", arch="aarch64"),
    case("Orin before 13.2", FAIL, torch="2.14.1+cu130", cc="8.7", arch="aarch64"),
    case("Orin from 13.2 on", WARN, torch="2.15.0+cu132", cc="8.7", arch="aarch64"),
    case("Xavier", FAIL, torch="2.15.0+cu132", cc="7.2", arch="aarch64"),
    case("K80 in 2.0 cu117", PASS, torch="2.0.1+cu117", cc="3.7"),
    case("K40 in 2.0 cu117", FAIL, torch="2.0.1+cu117", cc="3.5"),
    case("K40 by PTX of Windows builds", FAIL, torch="2.0.1+cu117", cc="3.5", os="windows"),
    case("PTX alone", WARN, torch="2.0.1+cu117", cc="9.0", os="windows"),
    case("a K80, which 2.7 refuses", FAIL, torch="2.7.1+cu118", cc="3.7"),
    case("a platform that was not found", UNKNOWN, torch="2.9.1+cu130", cc="12.1", arch="aarch64"),
    case("each GPU by itself", (PASS, FAIL), torch="2.14.1+cu126", cc="6.1 12.0"),
    case("Blackwell in CUDA 12.6, platform not found", FAIL, torch="2.8.0+cu126", cc="10.0", arch="aarch64"),
    case("a GPU that no table knows", SILENT, torch="2.15.0+cu132", cc="10.7"),
)  # fmt: skip
def test_gpu_code(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("gpu-code", **given) == expected


@table(
    case("Linux", SILENT, torch="2.14.1+cu126"),
    case("Windows", INFO, torch="2.14.1+cu126", os="windows"),
    case("Windows, CPU asked", SILENT, torch="2.14.1+cpu", os="windows"),
    case("aarch64, before 2.11", INFO, torch="2.10.0+cu130", arch="aarch64"),
    case("aarch64, from 2.11 on", SILENT, torch="2.11.0+cu130", arch="aarch64"),
    case("WSL takes Linux wheels", SILENT, torch="2.14.1+cu126", os="wsl"),
)
def test_platform(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("platform", **given) == expected


def test_mig_is_no_matter_of_versions() -> None:
    from dltool.compat.ask import ask

    whole, slice_ = (ask(gpu=name, torch="2.14.1+cu130").question for name in ("A100", "A100 MIG 1g.5gb"))
    assert whole.compute_capabilities == slice_.compute_capabilities
    assert compat.judge(whole) == compat.judge(slice_)


# --- beside torch -----------------------------------------------------------------------------------------------------


def packages(text: str) -> dict[str, str]:
    return dict(part.split("==") if "==" in part else (part, "") for part in text.split())


def with_packages(rule: str, given: dict[str, Any]) -> tuple[Status, ...]:
    return statuses(rule, **{**given, "packages": packages(given["packages"])})


@table(
    case("the pair", PASS, torch="2.9.1+cu128", packages="torchvision==0.24.1"),
    case("another patch", FAIL, torch="2.9.1+cu128", packages="torchvision==0.24.0"),
    case("0.29.0 and 2.14.1", FAIL, torch="2.14.1+cu130", packages="torchvision==0.29.0"),
    case("0.29.1 and 2.14.1", PASS, torch="2.14.1+cu130", packages="torchvision==0.29.1"),
    case("0.29.0 and 2.14.0", PASS, torch="2.14.0+cu130", packages="torchvision==0.29.0"),
    case("wanted, no version", PASS, torch="2.15.0+cu132", packages="torchvision"),
    case("torchaudio for a later torch", PASS, torch="2.12.0+cu130", packages="torchaudio==2.11.0"),
    case("torchaudio 2.10", FAIL, torch="2.11.0+cu130", packages="torchaudio==2.10.0"),
    case("torchaudio has no cu132", FAIL, torch="2.11.0+cu132", packages="torchaudio==2.11.0"),
    case("nor with a later torch", FAIL, torch="2.15.0+cu132", packages="torchaudio"),
    case("torchtext, the last torch", PASS, torch="2.3.1+cu121", packages="torchtext==0.18.0"),
    case("torchtext after that", FAIL, torch="2.4.0+cu121", packages="torchtext==0.18.0"),
    case("triton, any patch of ~=", PASS, torch="2.14.1+cu130", packages="triton==3.8.9"),
    case("triton, another minor", FAIL, torch="2.14.1+cu130", packages="triton==3.9.0"),
    case("NumPy 2, Linux, the last that is too old", WARN, torch="2.2.2+cu121", packages="numpy==2.0.0"),
    case("NumPy 2, Linux, the first that knows it", PASS, torch="2.3.0+cu121", packages="numpy==2.0.0"),
    case("NumPy 2, Windows, the last that is too old", WARN, torch="2.4.0+cu124", packages="numpy==2.0.0", os="windows"),
    case("NumPy 2, Windows, the first that knows it", PASS, torch="2.4.1+cu124", packages="numpy==2.0.0", os="windows"),
    case("NumPy 1.26 is no NumPy 2", PASS, torch="2.2.2+cu121", packages="numpy==1.26.4"),
    case("two of them", (PASS, FAIL), torch="2.9.1+cu128", packages="torchvision==0.24.1 torchaudio==2.10.0"),
    case("beyond the data", SILENT, torch="3.0.0+cu140", packages="torchvision==0.40.0"),
    case("no version", UNKNOWN, torch="2.9.1+cu128", packages="torchvision==unknown"),
    case("no companion of the table", SILENT, torch="2.9.1+cu128", packages="flash-attn==2.8.3"),
    case("the build of another CUDA", FAIL, torch="2.9.1+cu128", packages="torchvision==0.24.1+cpu"),
    case("torchvision excludes Python 3.14.1", FAIL, torch="2.15.0+cu132", python="3.14.1", packages="torchvision==0.29.2"),
    case("triton below compute capability 8.0", WARN, torch="2.14.1+cu126", cc="6.1", packages="triton==3.8.0"),
)  # fmt: skip
def test_companions(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert with_packages("companions", given) == expected


@table(
    case("none asked, torch brings one that serves", PASS, torch="2.14.1+cu130", cc="7.5"),
    case("torch brings one that does not", WARN, torch="2.6.0+cu118", cc="3.7"),
    case("torch brings one that was not read for Kepler", WARN, torch="2.0.1+cu118", cc="3.7"),
    case("torch brings one that serves Kepler", PASS, torch="2.0.1+cu117", cc="3.7"),
    case("what torch brings is not known", SILENT, torch="2.9.1+cu129", cc="8.0"),
    case("the last for Volta", PASS, torch="2.9.1+cu128", cudnn="9.10.2", cc="7.0"),
    case("the first without Volta", FAIL, torch="2.9.1+cu128", cudnn="9.11.0", cc="7.0"),
    case("Turing in it", PASS, torch="2.9.1+cu128", cudnn="9.11.0", cc="7.5"),
    case("the last for CUDA 11", PASS, torch="2.6.0+cu118", cudnn="9.10.2.21", cc="8.0"),
    case("after the last for CUDA 11", FAIL, torch="2.6.0+cu118", cudnn="9.11.0", cc="8.0"),
    case("before the first for CUDA 13", (WARN, FAIL), torch="2.14.1+cu130", cudnn="9.10.2", cc="8.0"),
    case("8 in the place of 9", (FAIL, PASS), torch="2.4.1+cu124", cudnn="8.9.7", cc="8.0"),
    case("9 in the place of 8", (FAIL, PASS), torch="2.3.1+cu121", cudnn="9.1.0", cc="8.0"),
    case("an earlier minor", (WARN, PASS), torch="2.9.1+cu128", cudnn="9.1.0", cc="8.0"),
    case("a later minor", PASS, torch="2.9.1+cu128", cudnn="9.17.0", cc="8.0"),
    case("Blackwell before 9.7", (WARN, WARN), torch="2.7.1+cu128", cudnn="9.6.0", cc="12.0"),
    case("GB10 on 12.0", PASS, torch="2.14.1+cu130", cudnn="9.24.0", cc="12.1"),
    case("beyond the data", UNKNOWN, torch="2.14.1+cu130", cudnn="9.99.0", cc="8.0"),
    case("another major beyond the data", (FAIL, UNKNOWN), torch="2.14.1+cu130", cudnn="99.0", cc="8.0"),
    case("a toolkit without torch", PASS, cuda="12.8", cudnn="9.10.2", cc="8.0"),
    case("no CUDA at all", SILENT, cudnn="9.10.2", cc="8.0"),
)
def test_cudnn(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("cudnn", **given) == expected


@table(
    case("none", SILENT, torch="2.9.1+cu128", cc="8.0"),
    case("the same", PASS, torch="2.9.1+cu128", cuda="12.8"),
    case("an update of it", PASS, torch="2.9.1+cu128", cuda="12.8.1"),
    case("another minor", INFO, torch="2.9.1+cu128", cuda="12.4"),
    case("another major", FAIL, torch="2.9.1+cu128", cuda="13.0"),
    case("the oldest GPU it compiles for", PASS, cuda="13.0", cc="7.5"),
    case("a GPU it has dropped", FAIL, cuda="13.0", cc="7.0"),
    case("a GPU it does not know yet", FAIL, cuda="12.6", cc="12.0"),
    case("the first that knows Ada", PASS, cuda="11.8", cc="8.9"),
    case("the one before", FAIL, cuda="11.7", cc="8.9"),
    case("GPU and torch", (PASS, PASS), torch="2.9.1+cu128", cuda="12.8", cc="12.0"),
    case("beyond the data", UNKNOWN, cuda="15.0", cc="8.0"),
    case("a toolkit that never was", UNKNOWN, cuda="12.7", cc="8.0"),
)
def test_toolkit(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("toolkit", **given) == expected


@table(
    case("no toolkit", SILENT, gcc="13"),
    case("the newest it takes", PASS, gcc="12.9", cuda="12.1"),
    case("one more", FAIL, gcc="13.1", cuda="12.1"),
    case("majors alone are compared", PASS, gcc="11.99", cuda="11.8"),
    case("gcc 15 and CUDA 13", PASS, gcc="15", cuda="13.0"),
    case("gcc 16 and CUDA 13.3", FAIL, gcc="16", cuda="13.3"),
    case("gcc 16 and CUDA 13.4", PASS, gcc="16", cuda="13.4"),
    case("an update", PASS, gcc="14", cuda="12.8.1"),
    case("beyond the data", UNKNOWN, gcc="13", cuda="15.0"),
    case("before the data", UNKNOWN, gcc="5", cuda="8.0"),
    case("below what NVIDIA supports", WARN, gcc="5.4", cuda="12.8"),
)
def test_host_compiler(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("host-compiler", **given) == expected


@table(
    case("no version", SILENT, packages="flash-attn"),
    case("flash-attn 2 on Ampere", PASS, torch="2.8.0+cu128", cc="8.0", packages="flash-attn==2.8.3"),
    case("flash-attn 2 on Turing", FAIL, torch="2.8.0+cu128", cc="7.5", packages="flash-attn==2.8.3"),
    case("flash-attn 1 on Turing", PASS, torch="1.13.1+cu117", cc="7.5", packages="flash-attn==1.0.9"),
    case("flash-attn 2.8.3 and CUDA 13", FAIL, torch="2.14.1+cu130", cc="8.0", packages="flash-attn==2.8.3"),
    case("flash-attn on Windows", FAIL, torch="2.8.0+cu128", cc="8.0", os="windows", packages="flash-attn==2.8.3"),
    case("flash-attn on WSL", PASS, torch="2.8.0+cu128", cc="8.0", os="wsl", packages="flash-attn==2.8.3"),
    case("a flash-attn that is not in the table", UNKNOWN, packages="flash-attn==2.1.0"),
    case("flash-attn 3 on Ada", FAIL, torch="2.14.1+cu130", cc="8.9", packages="flash-attn-3==3.0.0"),
    case("onnxruntime-gpu, the last for CUDA 12", PASS, torch="2.14.1+cu126", packages="onnxruntime-gpu==1.26.0"),
    case("onnxruntime-gpu, the first for CUDA 13", FAIL, torch="2.14.1+cu126", packages="onnxruntime-gpu==1.27.0"),
    case("onnxruntime-gpu and CUDA 13", PASS, torch="2.14.1+cu130", cc="8.0", packages="onnxruntime-gpu==1.30.0"),
    case("onnxruntime-gpu and Python 3.10", FAIL, torch="2.14.1+cu130", python="3.10", packages="onnxruntime-gpu==1.30.0"),
    case("xformers, the pair", PASS, torch="2.6.0+cu124", packages="xformers==0.0.29.post2"),
    case("xformers, another torch", FAIL, torch="2.5.1+cu124", packages="xformers==0.0.29.post2"),
    case("xformers, stable ABI", PASS, torch="2.15.0+cu132", packages="xformers==0.0.34"),
    case("xformers, stable ABI, too old a torch", FAIL, torch="2.9.1+cu128", packages="xformers==0.0.34"),
    case("xformers on Volta", FAIL, torch="2.8.0+cu128", cc="7.0", packages="xformers==0.0.32"),
    case("bitsandbytes on Maxwell, the last", PASS, torch="2.6.0+cu126", cc="5.2", packages="bitsandbytes==0.47.0"),
    case("bitsandbytes on Maxwell after that", FAIL, torch="2.6.0+cu126", cc="5.2", packages="bitsandbytes==0.48.0"),
    case("bitsandbytes on Pascal, one row of several", PASS, torch="2.14.1+cu126", cc="6.1", packages="bitsandbytes==0.50.0"),
    case("bitsandbytes on Pascal and CUDA 13", FAIL, torch="2.14.1+cu130", cc="6.1", packages="bitsandbytes==0.50.0"),
    case("tensorrt 11 on Volta", FAIL, cc="7.0", packages="tensorrt==11.3.0"),
    case("tensorrt 11 on Turing", PASS, cc="7.5", packages="tensorrt==11.3.0"),
    case("tensorrt 10.6 and CUDA 13", FAIL, torch="2.14.1+cu130", cc="8.0", packages="tensorrt==10.6.0"),
    case("tensorflow, Python too new", FAIL, python="3.13", packages="tensorflow==2.19.0"),
    case("tensorflow, its newest Python", PASS, python="3.13", packages="tensorflow==2.20.0"),
    case("tensorflow on Windows, the last with GPU", PASS, os="windows", packages="tensorflow==2.10.0"),
    case("tensorflow on Windows after that", FAIL, os="windows", packages="tensorflow==2.11.0"),
    case("vllm, the torch it pins", PASS, torch="2.14.0+cu130", python="3.12", packages="vllm==0.33.0"),
    case("vllm, a later patch", FAIL, torch="2.14.1+cu130", python="3.12", packages="vllm==0.33.0"),
    case("cupy of another CUDA", FAIL, torch="2.14.1+cu130", packages="cupy-cuda12x==14.0.0"),
    case("a package of no table", UNKNOWN, packages="nosuch==1.0"),
    case("beyond the data", UNKNOWN, packages="xformers==9.9"),
    case("no version", UNKNOWN, packages="xformers==unknown"),
    case("onnxruntime-gpu for cuDNN 9 beside cuDNN 8", FAIL, torch="2.3.1+cu121", cc="8.0", packages="onnxruntime-gpu==1.19.0"),
    case("ctranslate2 for cuDNN 8 beside cuDNN 9", FAIL, torch="2.5.1+cu124", cc="8.0", packages="ctranslate2==4.4.0"),
    case("bitsandbytes beside a CUDA minor that it lacks", FAIL, torch="2.9.1+cu129", packages="bitsandbytes==0.50.0"),
    case("bitsandbytes on another processor", FAIL, cc="6.1", arch="aarch64", cuda="12.6", packages="bitsandbytes==0.50.0"),
    case("flash-attn without a wheel for this torch", WARN, torch="2.11.0+cu128", cc="8.0", packages="flash-attn==2.8.3"),
)  # fmt: skip
def test_stack(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert with_packages("stack", given) == expected


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_a_rule_of_which_nothing_was_asked_is_silent(name: str) -> None:
    assert statuses(name) == SILENT


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_what_it_is_about(name: str) -> None:
    assert RULES[name].__doc__


def test_a_rule_has_one_name() -> None:
    from dltool.compat.rules import rule

    with pytest.raises(ValueError, match="two rules"):
        rule("gpu-code")(RULES["gpu-code"])


# --- NCCL -------------------------------------------------------------------------------------------------------------


@table(
    case("the one that torch brings", PASS, torch="2.15.0+cu132", packages={"nvidia-nccl-cu13": "2.30.7"}),
    case("a later one", PASS, torch="2.15.0+cu132", packages={"nccl": "2.31.0"}),
    case("an earlier one", WARN, torch="2.15.0+cu132", packages={"nccl": "2.27.3"}),
    case("of another CUDA major", FAIL, torch="2.15.0+cu132", packages={"nvidia-nccl-cu12": "2.30.7"}),
    case("beside a torch that brings none that is known", UNKNOWN, torch="1.7.0+cu102", packages={"nccl": "2.7.8"}),
    case("nothing asked", SILENT, torch="2.15.0+cu132"),
)
def test_nccl(given: dict[str, Any], expected: tuple[Status, ...]) -> None:
    assert statuses("nccl", **given) == expected
