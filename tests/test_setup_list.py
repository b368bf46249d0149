"""The environments on a machine, found and read without starting any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dltool.errors import UsageError
from dltool.probe import environments
from dltool.probe.environments import Found

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the made-up environments are those of POSIX")
STOLEN = "#!/bin/sh\ntouch $(dirname $0)/../started\n"


def prefix(root: Path, python: str = "3.11", *, torch: str | None = None, cuda: str = "None", started: bool = True) -> Path:
    """A Python whose interpreter would tell that it was started."""
    packages = root / f"lib/python{python}/site-packages"
    packages.mkdir(parents=True)
    (root / "bin").mkdir()
    if started:
        (root / "bin/python").write_text(STOLEN)
        (root / "bin/python").chmod(0o755)
    if torch:
        (packages / "torch").mkdir()
        (packages / "torch/__init__.py").touch()
        (packages / "torch/_C.so").touch()
        (packages / "torch/version.py").write_text(f"__version__ = '{torch}'\ncuda = {cuda}\n")
        (packages / f"torch-{torch}.dist-info").mkdir()
    return root


def venv(root: Path, *, config: str = "home = /usr/bin\nversion = 3.11.4\n", **more) -> Path:
    prefix(root, **more)
    (root / "pyvenv.cfg").write_text(config)
    return root


def conda(root: Path) -> Path:
    prefix(root)
    (root / "conda-meta").mkdir()
    (root / "conda-meta/python-3.11.9-h955ad1f_0.json").write_text("{}")
    return root


def find(home: Path, cwd: Path, *given: Path, **variables: str) -> dict[str, str]:
    found = environments.find(given, environment=variables, home=home, cwd=cwd, system=False)
    return {str(one.prefix): one.kind for one in found if one.prefix != Path(sys.prefix)}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def cwd(tmp_path):
    (tmp_path / "cwd").mkdir()
    return tmp_path / "cwd"


def test_nothing_is_found_where_nothing_is(home, cwd):
    assert find(home, cwd) == {}


def test_the_usual_places(home, cwd, tmp_path):
    expected = {
        venv(tmp_path / "active"): "venv",
        venv(cwd / ".venv"): "venv",
        venv(cwd / "other", config="home = /usr/bin\nuv = 0.5.4\nversion_info = 3.12.1\n"): "uv",
        conda(cwd / ".pixi/envs/default"): "conda",
        venv(home / ".virtualenvs/work"): "venv",
        prefix(home / ".pyenv/versions/3.11.4"): "pyenv",
        prefix(home / ".local/share/uv/python/cpython-3.12.1-linux"): "uv",
        conda(home / "miniforge3"): "conda",
        conda(home / "miniforge3/envs/dl"): "conda",
        conda(tmp_path / "far"): "conda",
    }
    (home / ".pyenv/versions/3.11").symlink_to("3.11.4")
    (home / ".conda").mkdir()
    (home / ".conda/environments.txt").write_text(f"{tmp_path}/far\n{tmp_path}/gone\n\n")
    found = find(home, cwd, VIRTUAL_ENV=str(tmp_path / "active"))
    assert found == {str(path): kind for path, kind in expected.items()}
    assert next(iter(found)) == str(tmp_path / "active")
    assert not list(tmp_path.rglob("started"))


def test_variables_of_the_tools(home, cwd, tmp_path):
    prefix(tmp_path / "pyenv/versions/3.11.4")
    conda(tmp_path / "envs/dl")
    found = find(home, cwd, PYENV_ROOT=str(tmp_path / "pyenv"), CONDA_ENVS_PATH=str(tmp_path / "envs"))
    assert list(found.values()) == ["pyenv", "conda"]


def test_given_directories(home, cwd, tmp_path):
    venv(tmp_path / "projects/one")
    assert list(find(home, cwd, tmp_path / "projects")) == [str(tmp_path / "projects/one")]
    assert list(find(home, cwd, tmp_path / "projects/one")) == [str(tmp_path / "projects/one")]
    with pytest.raises(UsageError, match="no Python environment"):
        find(home, cwd, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("config", "version"),
    [
        ("home = /x\nversion = 3.11.4\n", "3.11.4"),
        ("home = /x\nversion_info = 3.11.4.final.0\n", "3.11.4"),
        ("home = /x\n", "3.11"),
    ],
)
def test_the_version_of_a_venv(tmp_path, config, version):
    reading = environments.read(Found(venv(tmp_path / "v", config=config), "venv", "given"))
    assert reading.python.version == version
    assert reading.broken is None


def test_the_version_of_others(tmp_path):
    assert environments.read(Found(conda(tmp_path / "c"), "conda", "")).python.version == "3.11.9"
    header = prefix(tmp_path / "p") / "include/python3.11/patchlevel.h"
    header.parent.mkdir(parents=True)
    header.write_text('#define PY_VERSION              "3.11.7"\n')
    assert environments.read(Found(tmp_path / "p", "pyenv", "")).python.version == "3.11.7"


def test_the_base_counts_where_the_venv_says_so(tmp_path):
    base = prefix(tmp_path / "base", torch="2.9.1+cu126", cuda="'12.6'")
    config = f"home = {base}/bin\nversion = 3.11.4\ninclude-system-site-packages = "
    alone = environments.read(Found(venv(tmp_path / "a", config=config + "false\n"), "venv", ""))
    with_base = environments.read(Found(venv(tmp_path / "b", config=config + "true\n"), "venv", ""))
    assert alone.python.torch is None
    assert with_base.python.torch.version == "2.9.1+cu126"


def test_broken_ones(tmp_path):
    gone = venv(tmp_path / "gone", started=False)
    (gone / "bin/python").symlink_to("/nowhere/python3")
    assert environments.read(Found(gone, "venv", "")).broken == "its interpreter /nowhere/python3 is gone"
    assert environments.read(Found(venv(tmp_path / "none", started=False), "venv", "")).broken == "it has no Python"
    empty = tmp_path / "empty"
    (empty / "bin").mkdir(parents=True)
    (empty / "bin/python").touch()
    assert "version" in environments.read(Found(empty, "pyenv", "")).broken


def test_an_interpreter_by_version():
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert environments.python_for(minor) == sys.executable
    assert environments.python_for(f"{minor}.99") is not None  # the same but for fixes
    assert environments.python_for("3.99") is None


def test_the_list(tmp_path):
    """Verdicts against the driver and GPU here, as a table and as JSON."""
    venv(tmp_path / "good", torch="2.13.0+cpu")
    venv(tmp_path / "old", torch="1.7.1+cpu")
    venv(tmp_path / "night", torch="2.99.0.dev20261101+cpu")
    venv(tmp_path / "bare")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_", "CONDA_"))}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "dltool", "setup", "list", *arguments]
        ended = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=kept | {"HOME": str(tmp_path)}, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    found = {Path(one["path"]).name: one for one in json.loads(run("--json"))["environments"]}
    assert [found[name]["verdict"] for name in ("good", "old", "night", "bare")] == ["ok", "error", "unknown", None]
    assert "Python" in found["old"]["why"]
    table = run()
    assert "2.13.0+cpu" in table
    assert "none of the published builds" in " ".join(table.split())
    assert not list(tmp_path.glob("*/started"))
