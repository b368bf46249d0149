"""Environments described for other machines, and machines judged against a description."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from setup_fakes import PYTHON, wheelhouse

from dltool.errors import CannotRun, UsageError
from dltool.machine import Cpu, Driver, Gpu, Machine, Os, PythonEnv, TorchBuild
from dltool.probe import installed
from dltool.results import FrozenEnvironment, FrozenPackage
from dltool.setup import freeze as freezing

MACHINE = Machine(
    os=Os(system="Linux", glibc="2.36"),
    cpu=Cpu(architecture="x86_64"),
    driver=Driver(version="580.65.06"),
    gpus=(Gpu(index=0, compute_capability="9.0"),),
    python=PythonEnv(
        executable="/env/bin/python",
        version="3.12.7",
        implementation="CPython",
        torch=TorchBuild(version="2.9.1+cu126", location="/env/torch", cuda="12.6", cudnn="9.10.2.21"),
    ),
)
PACKAGES = (
    FrozenPackage(name="numpy", version="2.1.0", glibc="2.17"),
    FrozenPackage(name="nvidia-cudnn-cu12", version="9.10.2.21", glibc="2.27"),
    FrozenPackage(name="pip", version="25.0"),
    FrozenPackage(name="mine", version="0.1", source="local", url="file:///home/somebody/mine"),
    FrozenPackage(name="theirs", version="1.0", source="vcs", url="git+https://example.org/theirs", revision="abc123"),
    FrozenPackage(name="torch", version="2.9.1"),
    FrozenPackage(name="torchvision", version="0.24.1"),
)
FROZEN = freezing.freeze(MACHINE, PACKAGES)


def info(directory: Path, name: str, version: str, **files: str) -> None:
    path = directory / f"{name}-{version}.dist-info"
    path.mkdir(parents=True)
    for file, text in ({"METADATA": f"Name: {name}\nVersion: {version}\n\nName: no\n"} | files).items():
        (path / file.replace("direct_url", "direct_url.json")).write_text(text)


def test_what_is_installed(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    tags = "Tag: cp311-cp311-manylinux2014_x86_64\nTag: cp311-cp311-manylinux_2_28_x86_64\n"
    info(first, "NumPy", "2.1.0", WHEEL=tags)
    info(first, "mkl", "1", INSTALLER="conda\n")
    info(first, "mine", "0.1", direct_url='{"url": "file:///x", "dir_info": {"editable": true}}')
    git = {"url": "https://me:secret@example.org/a", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    info(first, "theirs", "1.0", direct_url=json.dumps(git))
    info(first, "zipped", "1.0", direct_url='{"url": "https://example.org/z.whl", "archive_info": {}}')
    (first / "half-1.dist-info").mkdir()
    info(second, "numpy", "1.0")
    found = {package.name: package for package in installed.packages(["", str(first), str(second), str(tmp_path / "none")])}
    assert set(found) == {"numpy", "mkl", "mine", "theirs", "zipped"}
    assert (found["numpy"].version, found["numpy"].glibc) == ("2.1.0", "2.17")
    assert [found[name].source for name in ("mkl", "mine", "theirs", "zipped")] == ["conda", "local", "vcs", "url"]
    assert (found["theirs"].url, found["theirs"].revision) == ("git+https://example.org/a", "abc")


def test_frozen():
    assert (FROZEN.torch.version, FROZEN.torch.build, FROZEN.torch.cuda) == ("2.9.1", "cu126", "12.6")
    assert FROZEN.torch.index.endswith("/cu126")
    assert "sm_90" in FROZEN.torch.machine_code
    assert FROZEN.driver_floor
    assert FROZEN.glibc_floor == "2.28"  # torch's own, by the table
    assert FROZEN.left_out == {"mine": "0.1 is installed from files of that machine"}


def test_the_pins_carry_the_build_that_pypi_does_not_tell():
    assert freezing.requirements(FROZEN) == (
        "numpy==2.1.0",
        "nvidia-cudnn-cu12==9.10.2.21",
        "theirs @ git+https://example.org/theirs@abc123",
        "torch==2.9.1+cu126",
        "torchvision==0.24.1+cu126",
    )


def test_a_nightly_is_frozen_as_it_is():
    torch = TorchBuild(version="2.99.0.dev1+cu126", location="/t", cuda="12.6")
    frozen = freezing.freeze(
        replace(MACHINE, python=replace(MACHINE.python, torch=torch)),
        (FrozenPackage(name="torch", version="2.99.0.dev1+cu126"),),
    )
    assert freezing.requirements(frozen) == ("torch==2.99.0.dev1+cu126",)
    assert frozen.torch.machine_code is None


def test_without_python_or_torch():
    with pytest.raises(CannotRun, match="cannot be read"):
        freezing.freeze(replace(MACHINE, python=None), ())
    frozen = freezing.freeze(replace(MACHINE, python=replace(MACHINE.python, torch=None)), PACKAGES[:1])
    assert frozen.torch is None
    assert frozen.glibc_floor == "2.17"
    with pytest.raises(UsageError, match="no PyTorch"):
        freezing.environment(frozen, manager="venv", directory="x")


def judge(machine: Machine, *, frozen: FrozenEnvironment = FROZEN, interpreter: str | None = "/usr/bin/python3.12"):
    return freezing.judge(frozen, machine, interpreter=interpreter)


def test_the_same_machine_suits():
    answer = judge(MACHINE)
    assert answer.verdict == "warning"  # `mine` is not in the file
    clean = judge(MACHINE, frozen=replace(FROZEN, left_out={}))
    assert clean.verdict == "ok"
    assert clean.recommend.torch == "2.9.1"


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        pytest.param({"driver": Driver(version="450.51.06")}, "driver", id="old driver"),
        pytest.param({"gpus": (Gpu(index=0, compute_capability="12.0"),)}, "12.0", id="newer GPU"),
        pytest.param({"os": Os(system="Linux", glibc="2.17")}, "glibc", id="old glibc"),
        pytest.param({"cpu": Cpu(architecture="aarch64")}, "linux aarch64", id="another processor"),
        pytest.param({"os": Os(system="Windows")}, "windows x86_64", id="another system"),
    ],
)
def test_other_machines_do_not(changed, text):
    answer = judge(replace(MACHINE, **changed))
    assert answer.verdict == "error"
    assert any(text in finding.summary for finding in answer.findings if finding.status.value == "fail")


def test_what_only_warns():
    conda = replace(FROZEN, left_out={}, packages=(FrozenPackage(name="numpy", version="2.1.0", source="conda"),))
    answer = judge(MACHINE, frozen=conda, interpreter=None)
    assert answer.verdict == "warning"
    assert sum(finding.status.value == "warn" for finding in answer.findings) == 2


def test_there_and_back(tmp_path):
    (tmp_path / "e.json").write_bytes(msgspec.json.encode(FROZEN))
    assert freezing.load(tmp_path / "e.json") == FROZEN


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"schema": "dltool/env/9"}, id="schema"),
        pytest.param({"packages": (FrozenPackage(name="--index-url=https://x", version="1"),)}, id="an option"),
        pytest.param({"packages": (FrozenPackage(name="a", version="1 --pre"),)}, id="an option behind"),
        pytest.param({"packages": (FrozenPackage(name="a", version="1", source="url", url="x y"),)}, id="no address"),
        pytest.param({"python": "3.12; rm"}, id="no version"),
        pytest.param({"torch": replace(FROZEN.torch, index="--pre")}, id="no index"),
    ],
)
def test_what_a_stranger_may_have_written_is_refused(tmp_path, changed):
    (tmp_path / "e.json").write_bytes(msgspec.json.encode(replace(FROZEN, **changed)))
    with pytest.raises(UsageError, match=r"cannot be installed|another schema"):
        freezing.load(tmp_path / "e.json")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"schema": "dltool/env/1", "python": 3}'])
def test_what_is_no_description(tmp_path, content):
    (tmp_path / "e.json").write_bytes(content)
    with pytest.raises(UsageError, match="describes no environment"):
        freezing.load(tmp_path / "e.json")


@pytest.mark.skipif(os.name != "posix", reason="environments are made on POSIX only")
def test_frozen_and_cloned_by_the_command(tmp_path):
    """A real environment is frozen, judged and rebuilt from a folder of wheels; both hold the same."""
    wheels = wheelhouse(tmp_path / "wheels")
    foreign = ("PIP_", "VIRTUAL_", "CONDA_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    kept |= {"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null", "XDG_DATA_HOME": str(tmp_path / "data")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, env=kept, check=False, timeout=120)

    def setup(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, "-m", "dltool", "setup", *arguments)

    assert run(sys.executable, "-m", "venv", "--without-pip", "one").returncode == 0
    packages = tmp_path / f"one/lib/python{PYTHON}/site-packages"
    for wheel in wheels.iterdir():
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(packages)], check=True)
    frozen = setup("freeze", "--python", "one/bin/python", "-o", "e.json")
    assert frozen.returncode == 0, frozen.stderr
    names = [package["name"] for package in json.loads((tmp_path / "e.json").read_text())["packages"]]
    assert names == ["needed", "torch", "torchvision"]
    assert setup("clone", "e.json", "--check").returncode == 0
    cloned = setup("clone", "e.json", "two", "--index", "wheels", "--json")
    assert cloned.returncode == 0, cloned.stderr
    assert json.loads(cloned.stdout)["creation"]["environment"]["requirements"] == [
        "needed==1.2",
        "torch==2.13.0+cpu",
        "torchvision==0.28.0+cpu",
    ]
    again = setup("freeze", "--python", "two/bin/python")
    ours = [package for package in json.loads(again.stdout)["packages"] if package["name"] in names]
    assert [(package["name"], package["version"]) for package in ours] == [
        (package["name"], package["version"]) for package in json.loads((tmp_path / "e.json").read_text())["packages"]
    ]
    assert setup("freeze", "--format", "text").returncode == 2
