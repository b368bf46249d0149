"""Python environments, read from made-up site-packages: nothing of theirs is imported."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from dltool.errors import UsageError
from dltool.machine import PythonEnv, TorchBuild
from dltool.probe import python_env

EXTENSION = f"_C.cpython-{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}-x86_64-linux-gnu.so"
VERSION_PY = """\
from typing import Optional

__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip']
__version__ = '2.5.1+cu124'
debug = False
cuda: Optional[str] = '12.4'
git_version = 'a8d6afb511a69687bbb2b7e88a3cf67917e1697e'
hip: Optional[str] = None
"""
SAY_ANOTHER_VERSION = """\
import platform, sysconfig
platform.python_version = lambda: {version!r}
platform.python_implementation = lambda: {implementation!r}
sysconfig.get_config_vars()["Py_GIL_DISABLED"] = {free_threaded:d}
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the made-up environments are those of POSIX")


@pytest.fixture(autouse=True)
def _only_what_the_test_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)


def venv(root: Path) -> Path:
    """An environment with the Python that runs the tests and an empty site-packages."""
    (root / "bin").mkdir(parents=True)
    (root / "bin/python").symlink_to(os.path.realpath(sys.executable))
    (root / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix) / 'bin'}\ninclude-system-site-packages = false\n")
    site_packages(root).mkdir(parents=True)
    return root


def site_packages(root: Path) -> Path:
    return root / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def pretend(root: Path, version: str, *, implementation: str = "CPython", free_threaded: bool = False) -> None:
    """Let the Python of the environment say that it is another."""
    code = SAY_ANOTHER_VERSION.format(version=version, implementation=implementation, free_threaded=free_threaded)
    (site_packages(root) / "another_version.py").write_text(code)
    (site_packages(root) / "another_version.pth").write_text("import another_version\n")


def install(directory: Path, name: str, version: str, installer: str | None = None) -> None:
    info = directory / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    if installer:
        (info / "INSTALLER").write_text(installer + "\n")


def torch_package(directory: Path, version_py: str | None = VERSION_PY, *, compiled: str | None = EXTENSION) -> Path:
    package = directory / "torch"
    (package / "_C").mkdir(parents=True)  # the stubs of the compiled part
    (package / "__init__.py").touch()
    if version_py is not None:
        (package / "version.py").write_text(version_py)
    if compiled:
        (package / compiled).touch()
    return package


def read(root: Path) -> python_env.Reading:
    return python_env.read(str(root / "bin/python"), environment={})


def environment_of(root: Path) -> PythonEnv:
    python = read(root).python
    assert python is not None
    return python


def torch_of(root: Path) -> TorchBuild:
    torch = environment_of(root).torch
    assert torch is not None
    return torch


def test_an_empty_environment(tmp_path: Path) -> None:
    reading = read(venv(tmp_path))
    assert reading.python is not None
    assert reading.python.kind == "venv"
    assert reading.python.prefix == str(tmp_path)
    assert reading.python.version.startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    assert reading.python.distributions == ()
    assert reading.gaps == {"python.torch": "not installed in this environment"}


def test_a_torch_of_a_wheel(tmp_path: Path) -> None:
    packages = site_packages(venv(tmp_path))
    install(packages, "torch", "2.5.1+cu124", "pip")
    torch_package(packages)
    torch = torch_of(tmp_path)
    assert (torch.version, torch.cuda, torch.hip, torch.debug) == ("2.5.1+cu124", "12.4", None, False)
    assert torch.git_version == "a8d6afb511a69687bbb2b7e88a3cf67917e1697e"
    assert torch.location == str(packages / "torch")
    assert torch.import_broken is None


@pytest.mark.parametrize(
    ("line", "cuda"),
    [
        ("cuda = '12.8'", "12.8"),
        ("cuda = None", None),
        ("cuda: Optional[str] = '12.4'", "12.4"),
        ('cuda: str="11.8"', "11.8"),
        ("", None),
    ],
)
def test_every_form_of_the_cuda_version(tmp_path: Path, line: str, cuda: str | None) -> None:
    torch_package(site_packages(venv(tmp_path)), f"__version__ = '2.9.0'\n{line}\n")
    assert torch_of(tmp_path).cuda == cuda


def test_distributions_with_installer_and_normalised_name(tmp_path: Path) -> None:
    packages = site_packages(venv(tmp_path))
    install(packages, "nvidia_cudnn_cu12", "9.1.0.70", "uv")
    install(packages, "nvidia_cudnn_cu12", "8.9.2.26", "pip")
    install(packages, "flash_attn", "2.7.0.post2")
    install(packages, "requests", "2.32.0", "pip")
    install(packages, "~orch", "2.4.0", "pip")  # what pip leaves of an uninstallation that was stopped
    assert [(d.name, d.version, d.installer) for d in environment_of(tmp_path).distributions] == [
        ("flash-attn", "2.7.0.post2", None),
        ("nvidia-cudnn-cu12", "8.9.2.26", "pip"),
        ("nvidia-cudnn-cu12", "9.1.0.70", "uv"),
    ]


def test_libraries_of_wheels_with_the_distribution_that_brings_them(tmp_path: Path) -> None:
    packages = site_packages(venv(tmp_path))
    install(packages, "nvidia_cudnn_cu12", "9.1.0.70")
    install(packages, "nvidia_cuda_runtime_cu11", "11.8.89")
    torch = torch_package(packages)
    for name in ("nvidia/cudnn/lib/libcudnn.so.9", "nvidia/cudnn/lib/libcudnn_ops.so.9", "nvidia/nccl/lib/libnccl.so.2",
                 "nvidia/cuda_runtime/lib/libcudart.so.11.0", "torch/lib/libcublas.so.12"):  # fmt: skip
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).touch()
    assert [(one.soname, one.version, one.package) for one in read(tmp_path).libraries] == [
        ("libcudart.so.11.0", "11.8.89", "nvidia-cuda-runtime-cu11 11.8.89"),
        ("libcudnn.so.9", "9.1.0.70", "nvidia-cudnn-cu12 9.1.0.70"),
        ("libnccl.so.2", None, "nccl"),
        ("libcublas.so.12", None, "torch"),
    ]
    assert torch_of(tmp_path).cudnn == "9.1.0.70"
    assert torch.is_dir()


def test_libraries_of_cuda_13_wheels_share_a_directory(tmp_path: Path) -> None:
    packages = site_packages(venv(tmp_path / "venv"))
    install(packages, "nvidia_cublas", "13.1.0.3")
    install(packages, "nvidia_cudnn_cu13", "9.20.0.48")
    for file in ("cu13/lib/libcublasLt.so.13", "cu13/lib/libunknown.so.1", "cudnn/lib/libcudnn.so.9"):
        path = packages / "nvidia" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = python_env.read(str(tmp_path / "venv/bin/python")).libraries
    assert [(library.soname, library.package) for library in found] == [
        ("libcublasLt.so.13", "nvidia-cublas 13.1.0.3"),
        ("libcudnn.so.9", "nvidia-cudnn-cu13 9.20.0.48"),
    ]


def test_a_library_has_the_version_of_its_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv(tmp_path / "venv")
    user = tmp_path / "user"
    for packages, version in ((user, "9.1.0.70"), (site_packages(tmp_path / "venv"), "8.9.2.26")):
        install(packages, "nvidia_cudnn_cu12", version)
        (packages / "nvidia/cudnn/lib").mkdir(parents=True)
        (packages / f"nvidia/cudnn/lib/libcudnn.so.{version[0]}").touch()
    monkeypatch.setenv("PYTHONPATH", str(user))
    found = {library.soname: library.version for library in read(tmp_path / "venv").libraries}
    assert found == {"libcudnn.so.9": "9.1.0.70", "libcudnn.so.8": "8.9.2.26"}


def test_the_cudnn_inside_an_old_torch(tmp_path: Path) -> None:
    package = torch_package(site_packages(venv(tmp_path)))
    (package / "lib").mkdir()
    (package / "lib/libcudnn.so.8").touch()
    assert torch_of(tmp_path).cudnn == "8"


def test_conda_records(tmp_path: Path) -> None:
    meta = venv(tmp_path) / "conda-meta"
    meta.mkdir()
    for record in ("pytorch-2.4.0-py3.11_cuda12.4_cudnn9.1.0_0.json", "cuda-cudart-12.4.127-0.json", "zlib-1.3-0.json"):
        (meta / record).write_text("{}")
    (meta / "history").touch()
    python = environment_of(tmp_path)
    assert python.kind == "conda"
    assert [(d.name, d.version, d.installer) for d in python.distributions] == [
        ("cuda-cudart", "12.4.127", "conda"),
        ("pytorch", "2.4.0", "conda"),
    ]


def test_what_an_interrupted_installation_left_is_no_torch(tmp_path: Path) -> None:
    packages = site_packages(venv(tmp_path))
    (packages / "torch/lib").mkdir(parents=True)
    reading = read(tmp_path)
    assert reading.python is not None
    assert reading.python.torch is None
    assert "interrupted" in reading.gaps["python.torch"]


def test_a_directory_on_the_path_that_cannot_be_asked_for_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_package(site_packages(venv(tmp_path / "venv")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / ("x" * 300)))
    assert torch_of(tmp_path / "venv").version == "2.5.1+cu124"


def test_leftovers_do_not_hide_the_package_behind_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_package(site_packages(venv(tmp_path / "venv")))
    (tmp_path / "leftover/torch/lib").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "leftover"))
    assert torch_of(tmp_path / "venv").location == str(site_packages(tmp_path / "venv") / "torch")


def test_without_its_compiled_part_torch_cannot_be_imported(tmp_path: Path) -> None:
    torch_package(site_packages(venv(tmp_path)), compiled=None)
    assert "_C (the compiled part) is missing" in (torch_of(tmp_path).import_broken or "")


def test_another_module_whose_name_begins_alike_is_not_the_compiled_part(tmp_path: Path) -> None:
    torch_package(site_packages(venv(tmp_path)), compiled="_C_flatbuffer.cpython-310-x86_64-linux-gnu.so")
    assert "_C (the compiled part) is missing" in (torch_of(tmp_path).import_broken or "")


def test_without_its_first_file_torch_cannot_be_imported(tmp_path: Path) -> None:
    (torch_package(site_packages(venv(tmp_path))) / "__init__.py").unlink()
    assert "__init__.py is missing" in (torch_of(tmp_path).import_broken or "")


@pytest.mark.parametrize(
    ("compiled", "version", "free_threaded", "made_for"),
    [
        ("_C.cpython-310-x86_64-linux-gnu.so", "3.11.7", False, "3.10"),
        ("_C.cpython-39-aarch64-linux-gnu.so", "3.12.1", False, "3.9"),
        ("_C.cpython-313t-x86_64-linux-gnu.so", "3.13.1", False, "3.13t"),
        ("_C.cpython-313-x86_64-linux-gnu.so", "3.13.1", True, "3.13"),
        ("_C.cp311-win_amd64.pyd", "3.12.1", False, "3.11"),
    ],
)
def test_a_part_compiled_for_another_python_names_both(
    tmp_path: Path, compiled: str, version: str, free_threaded: bool, made_for: str
) -> None:
    torch_package(site_packages(venv(tmp_path)), compiled=compiled)
    pretend(tmp_path, version, free_threaded=free_threaded)
    own = version.rpartition(".")[0] + ("t" if free_threaded else "")
    broken = torch_of(tmp_path).import_broken or ""
    assert broken.endswith(f"is compiled for Python {made_for}, this is Python {own}")


@pytest.mark.parametrize(
    ("compiled", "version", "free_threaded"),
    [
        ("_C.cpython-310-x86_64-linux-gnu.so", "3.10.14", False),
        ("_C.cpython-39-x86_64-linux-gnu.so", "3.9.2", False),
        ("_C.cpython-313t-x86_64-linux-gnu.so", "3.13.1", True),
        ("_C.cpython-314-x86_64-linux-gnu.so", "3.14.0rc1", False),
        ("_C.cpython-311-darwin.so", "3.11.7", False),
        ("_C.cp311-win_amd64.pyd", "3.11.7", False),
        ("_C.abi3.so", "3.11.7", False),
        ("_C.so", "3.11.7", False),
        ("_C.pyd", "3.11.7", False),
        ("_C.something-new-x86_64.so", "3.11.7", False),
        ("_C.cpython-311d-x86_64-linux-gnu.so", "3.12.0", False),
    ],
)
def test_a_part_that_fits_or_does_not_tell_is_not_called_broken(
    tmp_path: Path, compiled: str, version: str, free_threaded: bool
) -> None:
    torch_package(site_packages(venv(tmp_path)), compiled=compiled)
    pretend(tmp_path, version, free_threaded=free_threaded)
    assert torch_of(tmp_path).import_broken is None


def test_one_fitting_part_of_several_is_enough(tmp_path: Path) -> None:
    package = torch_package(site_packages(venv(tmp_path)), compiled="_C.cpython-310-x86_64-linux-gnu.so")
    (package / "_C.cpython-312-x86_64-linux-gnu.so").touch()
    pretend(tmp_path, "3.12.1")
    assert torch_of(tmp_path).import_broken is None


def test_nothing_is_said_of_a_python_that_is_not_cpython(tmp_path: Path) -> None:
    torch_package(site_packages(venv(tmp_path)), compiled="_C.cpython-39-x86_64-linux-gnu.so")
    pretend(tmp_path, "3.10.14", implementation="PyPy")
    assert torch_of(tmp_path).import_broken is None


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("text", [None, "#!/bin/sh\necho 42\n", "#!/bin/sh\necho no >&2; exit 1\n", "not a program"])
def test_what_was_asked_for_and_is_no_python_is_refused(tmp_path: Path, text: str | None) -> None:
    asked = str(program(tmp_path / "python", text)) if text else "/nonexistent"
    with pytest.raises(UsageError, match="is not a Python that runs"):
        python_env.read(asked, environment={})


def test_the_activated_environment_is_the_one_that_is_read(tmp_path: Path) -> None:
    install(site_packages(venv(tmp_path)), "torch", "1.2.3")
    python = python_env.read(environment={"VIRTUAL_ENV": str(tmp_path)}).python
    assert python is not None
    assert python.prefix == str(tmp_path)
    assert python.distribution("torch") is not None


def test_without_an_activated_environment_it_is_our_own() -> None:
    python = python_env.read(environment={}).python
    assert python is not None
    assert python.executable == sys.executable


def test_our_own_environment_inside_an_activated_conda_is_our_own(tmp_path: Path) -> None:
    venv(tmp_path)
    python = python_env.read(environment={"VIRTUAL_ENV": sys.prefix, "CONDA_PREFIX": str(tmp_path)}).python
    assert python is not None
    assert python.prefix == sys.prefix


def test_an_environment_whose_directory_holds_no_python_is_passed_over(tmp_path: Path) -> None:
    python = python_env.read(environment={"CONDA_PREFIX": str(tmp_path)}).python
    assert python is not None
    assert python.prefix == sys.prefix


def test_an_activated_environment_whose_python_is_gone_is_a_gap(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/usr/bin/python3.0-uninstalled")
    reading = python_env.read(environment={"VIRTUAL_ENV": str(tmp_path)})
    assert reading.python is None
    assert reading.gaps["python"] == f"the activated {tmp_path}/bin/python: there is no such program"


def test_an_activated_environment_whose_python_fails_is_a_gap_with_its_words(tmp_path: Path) -> None:
    program(tmp_path / "bin/python", "#!/bin/sh\necho 'Fatal Python error: no encodings' >&2\nexit 1\n")
    reading = python_env.read(environment={"VIRTUAL_ENV": str(tmp_path)})
    assert reading.python is None
    assert reading.gaps["python"].endswith("Fatal Python error: no encodings")


def test_a_python_that_hangs_does_not_hang_us(tmp_path: Path) -> None:
    program(tmp_path / "bin/python", "#!/bin/sh\nexec sleep 30\n")
    began = time.monotonic()
    reading = python_env.read(timeout_s=0.3, environment={"VIRTUAL_ENV": str(tmp_path)})
    assert time.monotonic() - began < 5
    assert "did not start within 0.3 s" in reading.gaps["python"]


def test_nothing_of_the_working_directory_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv(tmp_path / "venv")
    for name in ("json", "platform", "sysconfig"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('ours was imported')\n")
    monkeypatch.chdir(tmp_path)
    assert environment_of(tmp_path / "venv").prefix == str(tmp_path / "venv")


def test_an_activated_environment_whose_python_dies_says_of_what(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tmp_path / "bin/python").chmod(0o755)
    reading = python_env.read(environment={"VIRTUAL_ENV": str(tmp_path)})
    assert reading.gaps["python"] == f"the activated {tmp_path}/bin/python: it died of signal 11"


def test_whether_the_headers_of_python_are_there(tmp_path: Path) -> None:
    def interpreter(include: Path | None) -> python_env.Interpreter:
        prefix = str(tmp_path)
        return python_env.Interpreter(
            f"{prefix}/bin/python", "3.12.7", "CPython", prefix, prefix, [], False, str(include) if include else None
        )

    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "Python.h").write_text("")
    assert python_env.examine(interpreter(tmp_path / "with"), {}).has_headers is True
    assert python_env.examine(interpreter(tmp_path / "without"), {}).has_headers is False
    assert python_env.examine(interpreter(None), {}).has_headers is None
    assert isinstance(asked := python_env.ask(sys.executable, 10.0), python_env.Interpreter)
    assert asked.include
