"""CUDA toolkits and shadowing libraries in made-up directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from dltool.probe import toolkit

VERSION_JSON = """\
{
  "cuda" : {
    "name" : "CUDA SDK",
    "version" : "12.4.1"
  },
  "nsight" : {"version" : "2024.1"}
}
"""


def cuda(path: Path, **files: str) -> Path:
    """A toolkit with nvcc; `files` are version_json, version_txt, cuda_h."""
    (path / "bin").mkdir(parents=True)
    (path / "bin/nvcc").write_bytes(b"\x7fELF\0\xff")
    (path / "bin/nvcc").chmod(0o755)
    for name, text in files.items():
        place = path / {"version_json": "version.json", "version_txt": "version.txt", "cuda_h": "include/cuda.h"}[name]
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    return path


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"version_json": VERSION_JSON}, "12.4.1"),
        ({"version_txt": "CUDA Version 10.2.89\n"}, "10.2.89"),
        ({"cuda_h": "#ifndef X\n#define CUDA_VERSION 11080\n"}, "11.8"),
        ({"cuda_h": "#define CUDA_VERSION 13000 /* 13.0 */\n"}, "13.0"),
        ({"version_json": VERSION_JSON, "cuda_h": "#define CUDA_VERSION 11080\n"}, "12.4.1"),
        ({"version_json": "{}", "version_txt": "no version here"}, None),
        ({}, None),
    ],
)
def test_the_version_is_read_from_the_first_file_that_has_it(
    tmp_path: Path, files: dict[str, str], version: str | None
) -> None:
    cuda(tmp_path / "usr/local/cuda-x", **files)
    (found,) = toolkit.toolkits(tmp_path, {})
    assert found.version == version
    assert found.has_nvcc
    assert found.found_by == ("/usr/local",)


def test_one_toolkit_counts_once_with_all_the_ways_to_it(tmp_path: Path) -> None:
    real = cuda(tmp_path / "usr/local/cuda-12.4", version_json=VERSION_JSON)
    (tmp_path / "usr/local/cuda").symlink_to(real)
    (tmp_path / "usr/local/cuda-12").symlink_to(real)
    home = tmp_path / "my-cuda"
    home.symlink_to(tmp_path / "usr/local/cuda")
    environment = {"CUDA_HOME": str(home), "PATH": f"/nowhere:{home}/bin"}
    (found,) = toolkit.toolkits(tmp_path, environment)
    assert found.path == str(real)
    assert found.found_by == ("CUDA_HOME", "PATH", "/usr/local")


def test_several_toolkits_are_told_apart(tmp_path: Path) -> None:
    for version in ("11.8", "12.4"):
        cuda(tmp_path / f"usr/local/cuda-{version}", version_txt=f"CUDA Version {version}.0")
    cuda(tmp_path / "opt/cuda", version_txt="CUDA Version 13.0.0")
    found = toolkit.toolkits(tmp_path, {"CUDA_PATH": str(tmp_path / "usr/local/cuda-12.4")})
    assert [(one.version, one.found_by) for one in found] == [
        ("12.4.0", ("CUDA_PATH", "/usr/local")),
        ("11.8.0", ("/usr/local",)),
        ("13.0.0", ("/opt",)),
    ]


def test_nvcc_behind_a_shell_wrapper_leads_to_its_toolkit(tmp_path: Path) -> None:
    real = cuda(tmp_path / "usr/lib/nvidia-cuda-toolkit", version_txt="CUDA Version 12.0.1")
    wrapper = tmp_path / "bin/nvcc"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {real}/bin/nvcc "$@"\n')
    wrapper.chmod(0o755)
    (found,) = toolkit.toolkits(tmp_path, {"PATH": str(wrapper.parent)})
    assert (found.path, found.version, found.found_by) == (str(real), "12.0.1", ("PATH",))


def test_places_that_hold_no_toolkit_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "usr/local/cuda-empty").mkdir(parents=True)
    (tmp_path / "usr/local/cuda-samples.txt").touch()
    (tmp_path / "usr/local/cuda").symlink_to("cuda-gone")
    assert toolkit.toolkits(tmp_path, {"CUDA_HOME": str(tmp_path / "gone"), "CUDA_PATH": "", "PATH": ""}) == ()
    assert toolkit.toolkits(tmp_path / ("x" * 300), {"CUDA_HOME": str(tmp_path / ("x" * 300))}) == ()


def test_a_runtime_without_nvcc_is_told_as_such(tmp_path: Path) -> None:
    place = tmp_path / "usr/local/cuda-12.4"
    place.mkdir(parents=True)
    (place / "version.json").write_text(VERSION_JSON)
    (found,) = toolkit.toolkits(tmp_path, {})
    assert not found.has_nvcc


def library(directory: Path, soname: str, real: str | None = None) -> None:
    directory.mkdir(exist_ok=True)
    (directory / (real or soname)).touch()
    if real:
        (directory / soname).symlink_to(real)


def test_libraries_in_the_order_of_the_loader_with_the_version_behind_the_link(tmp_path: Path) -> None:
    first, second = tmp_path / "b", tmp_path / "a"
    library(first, "libcudnn.so.9", "libcudnn.so.9.1.0")
    library(first, "libm.so.6")
    refused = tmp_path / ("x" * 300)  # as a directory of somebody else: even root is refused
    library(second, "libcudnn.so.9", "libcudnn.so.9.5.1")
    library(second, "libcublas.so.12")
    library(second, "libcudart.so.11.0", "libcudart.so.11.8.89")
    path = f":{refused}:{first}:/not/there:{second}:{first}:"
    found = toolkit.shadowing_libraries({"LD_LIBRARY_PATH": path})
    assert [(one.soname, Path(one.path).parent.name, one.version) for one in found] == [
        ("libcudnn.so.9", "b", "9.1.0"),
        ("libcublas.so.12", "a", None),
        ("libcudart.so.11.0", "a", "11.8.89"),
        ("libcudnn.so.9", "a", "9.5.1"),
    ]
    assert {one.source for one in found} == {"LD_LIBRARY_PATH"}


@pytest.mark.parametrize("environment", [{}, {"LD_LIBRARY_PATH": ""}, {"LD_LIBRARY_PATH": "/not/there::/dev/null"}])
def test_no_directory_no_library(environment: dict[str, str]) -> None:
    assert toolkit.shadowing_libraries(environment) == ()


def test_a_link_that_leads_nowhere_has_the_version_of_its_target(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").symlink_to("libcuda.so.550.54.15")
    (found,) = toolkit.shadowing_libraries({"LD_LIBRARY_PATH": str(tmp_path)})
    assert found.version == "550.54.15"
