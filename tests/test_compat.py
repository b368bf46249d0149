"""The compatibility rules against what NVIDIA and PyTorch publish."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool import compat, tables


@pytest.mark.parametrize(
    ("compiled", "device", "runs"),
    [
        pytest.param("sm_80", "8.0", True, id="the same"),
        pytest.param("sm_86", "8.9", True, id="later minor"),
        pytest.param("sm_80", "8.6", True, id="later minor, Ampere"),
        pytest.param("sm_60", "6.1", True, id="later minor, Pascal"),
        pytest.param("sm_50", "5.2", True, id="later minor, Maxwell"),
        pytest.param("sm_120", "12.1", True, id="later minor, GB10"),
        pytest.param("sm_100", "10.3", True, id="later minor, B300"),
        pytest.param("sm_86", "8.0", False, id="earlier minor"),
        pytest.param("sm_89", "8.6", False, id="earlier minor, Ada on Ampere"),
        pytest.param("sm_80", "9.0", False, id="later major"),
        pytest.param("sm_90", "8.9", False, id="earlier major"),
        pytest.param("sm_90", "10.0", False, id="10 is later than 9"),
        pytest.param("sm_100", "12.0", False, id="data-centre Blackwell on RTX 50"),
        pytest.param("sm_70", "7.5", True, id="Volta on Turing"),
        pytest.param("sm_37", "3.5", False, id="K80 on K40"),
        pytest.param("sm_999", "9.0", None, id="not in the table"),
    ],
)
def test_machine_code_runs_on_the_same_major(compiled: str, device: str, runs: bool | None) -> None:
    assert compat.code_runs_on(compiled, device) is runs


@pytest.mark.parametrize(
    ("compiled", "device", "built_with", "runs"),
    [
        pytest.param("sm_80", "8.7", "12.6", False, id="desktop on Orin"),
        pytest.param("sm_86", "8.7", "13.0", False, id="desktop on Orin, CUDA 13.0"),
        pytest.param("sm_86", "8.7", None, False, id="desktop on Orin, CUDA not known"),
        pytest.param("sm_80", "8.7", "13.2", True, id="desktop on Orin, one ecosystem since 13.2"),
        pytest.param("sm_87", "8.7", "12.6", True, id="Orin"),
        pytest.param("sm_87", "8.9", "12.6", False, id="Orin on Ada"),
        pytest.param("sm_60", "6.2", "12.6", False, id="desktop on TX2"),
        pytest.param("sm_50", "5.3", "12.6", False, id="desktop on TX1"),
        pytest.param("sm_70", "7.2", "12.6", False, id="desktop on Xavier"),
    ],
)
def test_tegra_is_apart(compiled: str, device: str, built_with: str | None, runs: bool) -> None:
    assert compat.code_runs_on(compiled, device, built_with=built_with) is runs


@pytest.mark.parametrize(
    ("compiled", "device", "runs"),
    [
        ("sm_90a", "9.0", True),
        ("sm_100a", "10.0", True),
        ("sm_100a", "10.3", False),
        ("sm_120a", "12.1", False),
        ("sm_100f", "10.3", True),
        ("sm_103f", "10.0", False),
        ("sm_120f", "12.1", True),
        ("sm_100f", "12.0", False),
    ],
)
def test_a_suffix_binds_to_the_chip_or_the_family(compiled: str, device: str, runs: bool) -> None:
    assert compat.code_runs_on(compiled, device) is runs


@given(st.sampled_from(tables.rows("compat/code_runs_on")), st.integers(0, 9))
def test_machine_code_never_leaves_its_major(row: tables.Row, minor: int) -> None:
    major = compat.version(row["device_from"]).major
    for other in {3, 5, 6, 7, 8, 9, 10, 11, 12} - {major, 10, 11}:  # 10.1 and 11.0 are two names of one chip
        assert compat.code_runs_on(row["compiled"], f"{other}.{minor}", built_with="13.2") is False


@pytest.mark.parametrize(
    ("ptx", "device", "runs"),
    [
        ("compute_80", "8.0", True),
        ("compute_80", "12.0", True),
        ("compute_90", "10.0", True),
        ("compute_120", "12.1", True),
        ("compute_120", "9.0", False),
        ("compute_100", "9.0", False),
        ("compute_90a", "9.0", True),
        ("compute_90a", "10.0", False),
        ("sm_80", "8.0", False),
        ("", "8.0", False),
    ],
)
def test_ptx_runs_on_any_later_gpu(ptx: str, device: str, runs: bool) -> None:
    assert compat.ptx_runs_on(ptx, device) is runs


@pytest.mark.parametrize(
    ("cuda", "system", "floor"),
    [
        pytest.param("12.8", "linux", "525.60.13", id="12.x"),
        pytest.param("12.0", "linux", "525.60.13", id="12.0, its own"),
        pytest.param("12.8.1", "linux", "525.60.13", id="an update"),
        pytest.param("11.8", "linux", "450.80.02", id="11.x"),
        pytest.param("13.0", "linux", "580.65.06", id="13.0"),
        pytest.param("13.2", "linux", "580.65.06", id="13.2"),
        pytest.param("13.5", "linux", "580.65.06", id="13.5, which came without a driver"),
        pytest.param("10.2", "linux", "440.33", id="10.2, before minor-version compatibility"),
        pytest.param("12.1", "windows", "527.41", id="12.x of Windows"),
        pytest.param("11.8", "windows", "452.39", id="11.x of Windows"),
    ],
)
def test_driver_floor(cuda: str, system: str, floor: str) -> None:
    found = compat.driver_floor(cuda, windows=system == "windows")
    assert found is not None
    assert found.floor == floor
    assert found.source


@pytest.mark.parametrize("cuda", ["99.0", "12.80", "", "1"])
def test_no_floor_is_guessed(cuda: str) -> None:
    assert compat.driver_floor(cuda) is None


@pytest.mark.parametrize(
    ("capability", "cuda", "dropped"),
    [("6.1", "13.2", True), ("7.0", "13.0", True), ("7.5", "13.2", False), ("6.1", "12.8", False), ("3.7", "12.1", True),
     ("3.7", "11.8", False), ("6.1", "99.0", False)],
)  # fmt: skip
def test_what_a_cuda_release_can_no_longer_compile_for(capability: str, cuda: str, dropped: bool) -> None:
    assert compat.dropped_by_cuda(capability, cuda) is dropped


@pytest.mark.parametrize(
    ("torch", "cuda", "build"),
    [
        ("2.9.1+cu128", "12.8", "cu128"),
        ("2.9.1", "12.8", "cu128"),
        ("1.13.1", "11.7", "cu117"),
        ("2.9.1+cpu", None, "cpu"),
        ("2.9.1", None, "cpu"),
        ("2.5.0a0+872d972e41.nv24.8", "12.6", "cu126"),
    ],
)
def test_torch_build(torch: str, cuda: str | None, build: str) -> None:
    assert compat.torch_build(torch, cuda) == build


@pytest.mark.parametrize(
    ("build", "cuda"), [("cu128", "12.8"), ("cu92", "9.2"), ("cu130", "13.0"), ("cpu", None), ("cu1", None)]
)
def test_cuda_of_build(build: str, cuda: str | None) -> None:
    assert compat.cuda_of_build(build) == cuda


def test_torch_code() -> None:
    found = compat.torch_code("2.9.1+cu128", "cu128")
    assert found is not None
    assert "sm_90" in found.machine_code
    assert found.ptx == ()
    windows = compat.torch_code("2.9.1", "cu128", windows=True)
    assert windows is not None
    assert "sm_70" not in windows.machine_code
    assert compat.torch_code("2.10.0", "cu130", processor="arm64") == compat.torch_code("2.10.0", "cu130", processor="aarch64")
    unknown = compat.torch_code("2.15.0", "cu132")
    assert unknown is not None
    assert unknown.ptx is None
    assert compat.torch_code("2.9.0a0+git1234", "cu128") is None


@pytest.mark.parametrize(
    ("torch", "name", "installed", "suits"),
    [
        ("2.9.1+cu128", "torchvision", "0.24.1+cu128", (True, "0.24.1")),
        ("2.9.1", "torchvision", "0.24.0", (False, "0.24.1")),
        ("2.9.1", "torchvision", "0.23.0", (False, "0.24.1")),
        ("2.2.1", "torchvision", "0.17.1", (True, "0.17.1")),
        ("2.11.0", "torchaudio", "2.10.0", (False, "2.11.0")),
        ("2.14.1", "torchaudio", "2.11.0", (True, "2.11.0")),
        ("2.16.0.dev20261101", "torchvision", "0.30.0", None),
        ("2.9.1", "torchvision", "unknown", None),
    ],
)
def test_companions(torch: str, name: str, installed: str, suits: tuple[bool, str] | None) -> None:
    assert compat.companion_suits(torch, name, installed) == suits


def ask(driver: str | None, capability: str, python: str, **more: Any) -> str | None:
    choice = compat.newest_torch(driver=driver, compute_capabilities=[capability], python=python, **more)
    return f"{choice.torch} {choice.build}" if choice else None


@pytest.mark.parametrize(
    ("driver", "capability", "python", "more", "expected"),
    [
        pytest.param("525.60.13", "8.0", "3.12", {}, "2.14.1 cu126", id="exactly the floor of CUDA 12"),
        pytest.param("470.57.02", "8.0", "3.11", {}, "2.7.1 cu118", id="below it"),
        pytest.param("535.183.01", "8.9", "3.11", {}, "2.14.1 cu126", id="Ada on 535"),
        pytest.param("580.65.06", "9.0", "3.12", {}, "2.15.0 cu132", id="exactly the floor of CUDA 13"),
        pytest.param("610.43.02", "7.5", "3.12", {}, "2.15.0 cu132", id="Turing, the oldest of CUDA 13"),
        pytest.param("580.95.05", "7.0", "3.12", {}, "2.14.1 cu126", id="Volta"),
        pytest.param("570.124.06", "7.0", "3.12", {}, "2.14.1 cu126", id="Volta on 570"),
        pytest.param("580.95.05", "6.1", "3.12", {}, "2.14.1 cu126", id="Pascal"),
        pytest.param("570.124.06", "12.0", "3.11", {}, "2.13.0 cu129", id="Blackwell on 570"),
        pytest.param("575.57.08", "12.0", "3.12", {}, "2.13.0 cu129", id="Blackwell on 575"),
        pytest.param("580.95.05", "12.0", "3.12", {}, "2.15.0 cu132", id="Blackwell"),
        pytest.param("580.95.05", "12.1", "3.12", {"processor": "aarch64"}, "2.15.0 cu132", id="GB10"),
        pytest.param("595.58.03", "8.7", "3.12", {"processor": "aarch64"}, "2.15.0 cu132", id="Orin since CUDA 13.2"),
        pytest.param("540.4.0", "8.7", "3.10", {"processor": "aarch64"}, None, id="Orin before"),
        pytest.param("470.239.06", "3.5", "3.10", {}, None, id="K40"),
        pytest.param("580.95.05", "8.0", "3.13", {}, "2.15.0 cu132", id="Python 3.13"),
        pytest.param("580.95.05", "8.0", "3.10.12", {}, "2.14.1 cu130", id="Python 3.10"),
        pytest.param("580.95.05", "8.0", "3.9", {}, "2.8.0 cu128", id="Python 3.9"),
        pytest.param("535.104.05", "8.0", "3.8", {}, "2.4.1 cu121", id="Python 3.8"),
        pytest.param("580.95.05", "8.0", "3.99", {}, None, id="a Python to come"),
        pytest.param("572.61", "12.0", "3.12", {"windows": True}, "2.11.0 cu128", id="Blackwell on Windows"),
        pytest.param("581.29", "8.9", "3.12", {"windows": True}, "2.15.0 cu132", id="Windows"),
        pytest.param("526.50", "8.6", "3.11", {}, "2.14.1 cu126", id="526 of Linux"),
        pytest.param("526.50", "8.6", "3.11", {"wsl": True}, "2.7.1 cu118", id="526 of Windows under WSL"),
        pytest.param(None, "8.9", "3.12", {}, "2.15.0 cu132", id="driver still to be installed"),
    ],
)
def test_newest_torch(driver: str | None, capability: str, python: str, more: dict[str, Any], expected: str | None) -> None:
    assert ask(driver, capability, python, **more) == expected


def test_every_gpu_must_be_served() -> None:
    mixed = compat.newest_torch(python="3.12", driver="580.95.05", compute_capabilities=["6.1", "9.0"])
    assert mixed is not None
    assert mixed.build == "cu126"
    assert compat.newest_torch(python="3.12", driver="580.95.05", compute_capabilities=["3.5", "12.0"]) is None


def test_what_pip_is_told() -> None:
    choice = compat.newest_torch(
        python="3.12", driver="550.54.15", compute_capabilities=["9.0"], companions=["torchvision", "torchaudio"]
    )
    assert choice is not None
    pins = '"torch==2.14.1+cu126" "torchvision==0.29.2+cu126" "torchaudio==2.11.0+cu126"'
    assert choice.requirements() == f"{pins} --index-url {compat.wheel_index('cu126')}"
    assert compat.wheel_index("cu126").endswith("/cu126")


_DRIVERS = sorted({row["driver_linux"] for row in tables.rows("compat/cuda") if row["driver_linux"]}, key=compat.version)
_CAPABILITIES = ("5.2", "6.0", "6.1", "7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")


@given(
    st.sampled_from(_DRIVERS), st.sampled_from(_CAPABILITIES), st.sampled_from(["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
)
def test_the_choice_runs(driver: str, capability: str, python: str) -> None:
    choice = compat.newest_torch(python=python, driver=driver, compute_capabilities=[capability])
    if choice is None:
        return
    cuda = compat.cuda_of_build(choice.build)
    floor, code = compat.driver_floor(cuda or ""), compat.torch_code(choice.torch, choice.build)
    assert floor is not None
    assert code is not None
    assert compat.version(driver) >= compat.version(floor.floor)
    assert any(compat.code_runs_on(sm, capability, built_with=cuda) for sm in code.machine_code)


@given(st.sampled_from(_DRIVERS), st.sampled_from(_DRIVERS), st.sampled_from(_CAPABILITIES))
def test_a_newer_driver_never_means_an_older_torch(one: str, other: str, capability: str) -> None:
    older, newer = sorted((one, other), key=compat.version)
    before, after = (ask(driver, capability, "3.12") for driver in (older, newer))
    dropped = [row for row in tables.rows("compat/driver_branches") if row["branch"] == newer.partition(".")[0]]
    if dropped and compat.version(capability) < compat.version(dropped[0]["min_cc"]):
        assert after is None
    elif before is not None:
        assert after is not None
        assert compat.version(after.split()[0]) >= compat.version(before.split()[0])
