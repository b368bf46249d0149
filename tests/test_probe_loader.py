"""What the loader would load, in trees of tiny libraries that gcc makes; where it can be asked, the loader itself decides."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltool import machine
from dltool.machine import Distribution, Library, LoadedLibrary, Machine, PythonEnv, TorchBuild
from dltool.probe import elf, extensions, ld_so, loader
from dltool.redact import Redactor, redact

GCC = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(GCC is None or sys.platform != "linux", reason="no gcc to make libraries with")
FIXTURES = Path(__file__).with_name("elf")


def make(
    path: Path, *needs: Path, soname: str | None = None, rpath: str = "", runpath: str = "", program: bool = False
) -> Path:
    """A library that defines nothing, or a program, that needs others."""
    assert GCC is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = ["-Wl,--disable-new-dtags"] if rpath else ["-Wl,--enable-new-dtags"]
    search = [f"-Wl,-rpath,{rpath or runpath}"] if rpath or runpath else []
    kind = ["-x", "c", "-"] if program else ["-shared", "-nostdlib", f"-Wl,-soname,{soname or path.name}", "-x", "c", "-"]
    command = [GCC, *kind, "-o", str(path), *tags, *search, "-Wl,--no-as-needed,--allow-shlib-undefined",
               *(["-x", "none", *map(str, needs)] if needs else [])]  # fmt: skip
    subprocess.run(command, input=b"int main(void) { return 0; }" if program else b"", check=True, capture_output=True)
    return path


def process(
    executable: Path | None, environment: dict[str, str] | None = None, cache: dict[str, str] | None = None
) -> ld_so.Process:
    return ld_so.Process(
        str(executable) if executable else None,
        environment or {},
        ld_so.Read(time.monotonic() + 10),
        cache=ld_so.read_cache() | (cache or {}),
    )


def traced(program: Path, environment: dict[str, str]) -> dict[str, str]:
    """Soname -> path, as the real loader finds them."""
    run = subprocess.run(
        [str(program)], env={**environment, "LD_TRACE_LOADED_OBJECTS": "1"}, capture_output=True, text=True, check=False
    )
    pairs = (line.split(" (0x")[0].partition(" => ") for line in run.stdout.splitlines() if " => " in line)
    return {name.strip(): os.path.realpath(path.strip()) for name, _, path in pairs if "not found" not in path}


def followed(program: Path, environment: dict[str, str]) -> dict[str, str]:
    return {
        one.dynamic.soname or "": os.path.realpath(one.path)
        for one in process(program, environment).loaded
        if one.dynamic.soname
    }


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One library, `libleaf.so.1`, in several directories, and what needs it by an RPATH, a RUNPATH, or nothing."""
    root = tmp_path_factory.mktemp("tree")
    for directory in ("own", "other", "third", "program"):
        make(root / directory / "libleaf.so.1")
    leaf = root / "own/libleaf.so.1"
    make(root / "lib/libby_rpath.so", leaf, rpath="$ORIGIN/../own")
    make(root / "lib/libby_runpath.so", leaf, runpath="${ORIGIN}/../own")
    make(root / "lib/libby_nothing.so", leaf)
    make(root / "lib/libdeep_rpath.so", root / "lib/libby_nothing.so", rpath="$ORIGIN:$ORIGIN/../own")
    make(root / "lib/libdeep_runpath.so", root / "lib/libby_nothing.so", runpath="$ORIGIN:$ORIGIN/../own")
    make(root / "lib/libown_before.so", root / "lib/libby_runpath.so", root / "third/libleaf.so.1",
         rpath="$ORIGIN:$ORIGIN/../third")  # fmt: skip
    return root


KINDS = ("by_rpath", "by_runpath", "by_nothing", "deep_rpath", "deep_runpath", "own_before")
ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {},
    {"LD_LIBRARY_PATH": "{root}/other"},
    {"LD_LIBRARY_PATH": "/nowhere:{root}/third;{root}/other"},
    {"LD_LIBRARY_PATH": ":{root}/other:"},
    {"LD_PRELOAD": "{root}/third/libleaf.so.1"},
    {"LD_PRELOAD": "libleaf.so.1 libm.so.6", "LD_LIBRARY_PATH": "{root}/other"},
    {"LD_PRELOAD": "/nowhere/libx.so", "LD_LIBRARY_PATH": "{root}/program"},
)


@needs_gcc
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: " ".join(environment) or "empty")
@pytest.mark.parametrize("search", [{}, {"rpath": "{root}/lib:{root}/program"}, {"runpath": "{root}/lib:{root}/program"}],
                         ids=["none", "rpath", "runpath"])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_as_the_loader_itself_says(tree: Path, kind: str, search: dict[str, str], environment: dict[str, str]) -> None:
    paths = {how: path.format(root=tree) for how, path in search.items()}
    # A program without a path to lib/ finds it by LD_LIBRARY_PATH alone, where that is set.
    program = make(tree / f"bin/{kind}-{'-'.join(search)}", tree / f"lib/lib{kind}.so", program=True, **paths)
    variables = {name: value.format(root=tree) for name, value in environment.items()}
    if not search:
        variables["LD_LIBRARY_PATH"] = f"{variables.get('LD_LIBRARY_PATH', '/nowhere')}:{tree}/lib"
    expected, found = traced(program, variables), followed(program, variables)
    assert len(expected) > 1
    assert found.items() >= {name: path for name, path in expected.items() if "ld-linux" not in name}.items()


@needs_gcc
def test_an_rpath_protects_and_a_runpath_does_not(tree: Path) -> None:
    variables = {"LD_LIBRARY_PATH": str(tree / "other")}
    for kind, directory, how in (("by_rpath", "own", ld_so.RPATH), ("by_runpath", "other", ld_so.LIBRARY_PATH)):
        here = process(None, variables)
        assert here.open(str(tree / f"lib/lib{kind}.so"))
        leaf = here.find("libleaf.so")
        assert leaf is not None
        assert (Path(leaf.path).parent.name, leaf.found_by) == (directory, how)


@needs_gcc
def test_the_rpath_of_the_program_counts_for_what_is_opened_later(tree: Path) -> None:
    """conda's Python has one: its libstdc++ serves every extension that says nothing."""
    program = make(tree / "bin/conda-python", program=True, rpath="$ORIGIN/../program")
    here = process(program)
    here.open(str(tree / "lib/libby_nothing.so"))
    leaf = here.find("libleaf.so")
    assert leaf is not None
    assert leaf.path == f"{tree}/bin/../program/libleaf.so.1"
    assert (leaf.found_by, leaf.asked_by and Path(leaf.asked_by.path).name) == (ld_so.RPATH, "libby_nothing.so")


@needs_gcc
def test_what_is_missing_is_named_and_undone(tree: Path) -> None:
    here = process(None)
    assert not here.open(str(tree / "lib/libby_nothing.so"), undo=True)
    assert (here.loaded, here.missing) == ([], {})
    assert not here.open(str(tree / "lib/libby_nothing.so"))
    assert list(here.missing) == ["libleaf.so.1"]
    assert [Path(one.path).name for one in here.loaded] == ["libby_nothing.so"]


@needs_gcc
def test_the_cache_comes_after_the_paths(tree: Path) -> None:
    here = process(None, cache={"libleaf.so.1": f"{tree}/third/libleaf.so.1"})
    here.open(str(tree / "lib/libby_nothing.so"))
    leaf = here.find("libleaf.so")
    assert leaf is not None
    assert (leaf.path, leaf.found_by) == (f"{tree}/third/libleaf.so.1", ld_so.CACHE)


@needs_gcc
def test_a_file_for_another_processor_is_passed_over(tree: Path, tmp_path: Path) -> None:
    data = bytearray((tree / "own/libleaf.so.1").read_bytes())
    struct.pack_into("<H", data, 18, elf.AARCH64 if process(None).machine == elf.X86_64 else elf.X86_64)
    (tmp_path / "libleaf.so.1").write_bytes(data)
    here = process(None, {"LD_LIBRARY_PATH": f"{tmp_path}:{tree}/other"})
    here.open("libleaf.so.1")
    assert [one.path for one in here.loaded] == [f"{tree}/other/libleaf.so.1"]


@needs_gcc
def test_a_second_name_of_a_file_is_not_loaded_again(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "libleaf.so.1").symlink_to(tree / "own/libleaf.so.1")
    here = process(None)
    here.open(str(tree / "own/libleaf.so.1"))
    here.open(str(tmp_path / "libleaf.so.1"))
    assert len(here.loaded) == 1


# --- the cache of ldconfig --------------------------------------------------------------------------------------------------


def cache_file(*entries: tuple[int, str, str, int], before: bytes = b"") -> bytes:
    strings, table = b"", b""
    offset = 48 + 24 * len(entries)
    for flags, name, path, processor in entries:
        texts = name.encode() + b"\0" + path.encode() + b"\0"
        at = offset + len(strings)
        table += struct.pack("<iIIIQ", flags, at, at + len(name.encode()) + 1, 0, processor)
        strings += texts
    head = b"glibc-ld.so.cache1.1" + struct.pack("<II", len(entries), len(strings)) + bytes(20)
    return before + head + table + strings


def test_the_cache_of_ldconfig(tmp_path: Path) -> None:
    path = tmp_path / "ld.so.cache"
    path.write_bytes(
        cache_file(
            (0x0303, "libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1", 0),
            (0x0303, "libcuda.so.1", "/usr/local/lib/libcuda.so.1", 0),
            (0x0003, "libcudart.so.12", "/usr/lib32/libcudart.so.12", 0),
            (0x0303, "libm.so.6", "/lib/glibc-hwcaps/x86-64-v3/libm.so.6", 1 << 62),
            (0x0303, "libm.so.6", "/lib/libm.so.6", 0),
            (0x0A03, "libc.so.6", "/lib/aarch64/libc.so.6", 0),
            before=b"ld.so-1.7.0\0" + bytes(20),
        )
    )
    assert ld_so.read_cache(str(path), elf.X86_64) == {
        "libcuda.so.1": "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
        "libm.so.6": "/lib/libm.so.6",
    }
    assert ld_so.read_cache(str(path), elf.AARCH64) == {"libc.so.6": "/lib/aarch64/libc.so.6"}
    assert ld_so.read_cache(str(path), 0) == {}
    assert ld_so.read_cache(str(tmp_path / "none"), elf.X86_64) == {}


@given(st.binary(max_size=400), st.integers(0, 2**32 - 1))
def test_no_cache_breaks_it(tmp_path_factory: pytest.TempPathFactory, data: bytes, count: int) -> None:
    path = tmp_path_factory.getbasetemp() / "ld.so.cache"
    path.write_bytes(b"glibc-ld.so.cache1.1" + struct.pack("<I", count) + data)
    ld_so.read_cache(str(path), elf.X86_64)


@pytest.mark.skipif(shutil.which("ldconfig", path="/usr/sbin:/sbin") is None, reason="no ldconfig")
def test_as_ldconfig_says() -> None:
    printed = subprocess.run(
        [str(shutil.which("ldconfig", path="/usr/sbin:/sbin")), "-p"], capture_output=True, text=True, check=True
    ).stdout
    for name, path in ld_so.read_cache().items():
        assert f"{name} (" in printed
        assert f"=> {path}\n" in printed


# --- a process that imports torch -------------------------------------------------------------------------------------------

NEWER_INIT = """
        try:
            with open("/proc/self/maps") as f:
                _maps = f.read()
            if "libcudart.so" not in _maps:
                return
            _preload_cuda_deps("nvjitlink", "libnvJitLink.so.*[0-9]")
        except Exception:
            pass
    except OSError as err:
        cuda_libs: dict[str, str] = {
            "cublas": "libcublas.so.*[0-9]",
            "cuda_runtime": "libcudart.so.*[0-9]",
        }
"""


class Site:
    """An environment with a torch of tiny libraries, and toolkit directories beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.packages = root / "lib/python3.12/site-packages"
        self.wheels: list[Library] = []
        self.environment: dict[str, str] = {}

    def wheel(self, part: str, name: str, version: str, *needs: Path, **search: str) -> Path:
        path = make(self.packages / f"nvidia/{part}/lib/{name}", *needs, **search)  # type: ignore[arg-type]
        self.wheels.append(Library(soname=name, path=str(path), version=version, source="wheel"))
        return path

    def system(self, directory: str, soname: str, real: str) -> Path:
        """A library and the link to it, as a toolkit or a driver installs them."""
        make(self.root / directory / real, soname=soname)
        link = self.root / directory / soname
        link.symlink_to(real)
        return link

    def torch(self, *needs: Path, init: str = "", **search: str) -> None:
        package = self.packages / "torch"
        make(package / "lib/libtorch_cuda.so", *needs, **search)  # type: ignore[arg-type]
        make(package / "_C.cpython-312-x86_64-linux-gnu.so", package / "lib/libtorch_cuda.so", runpath="$ORIGIN/lib")
        make(package / "_C.cpython-311-x86_64-linux-gnu.so")
        (package / "__init__.py").write_text(init)

    def read(self, cache: dict[str, str] | None = None) -> loader.Reading:
        python = PythonEnv(
            executable=str(self.root / "bin/python"),
            version="3.12.1",
            prefix=str(self.root),
            torch=TorchBuild(version="2.9.1+cu128", cuda="12.8", location=str(self.packages / "torch")),
        )
        return loader.read(python, self.wheels, environment=self.environment, cache=cache or {},
                           default_directories=(str(self.root / "nowhere"),))  # fmt: skip

    def loads(self, soname: str, cache: dict[str, str] | None = None) -> LoadedLibrary:
        found = {one.soname: one for one in self.read(cache).loads or ()}
        return found[soname]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    if GCC is None or sys.platform != "linux":
        pytest.skip("no gcc to make libraries with")
    return Site(tmp_path / "env")


def test_the_copy_that_loads_and_the_copy_that_it_displaces(site: Site) -> None:
    cudnn = site.wheel("cudnn", "libcudnn.so.9", "9.10.2.21")
    site.system("cuda/lib64", "libcudnn.so.9", "libcudnn.so.9.1.0")
    site.torch(cudnn, runpath="$ORIGIN/../../nvidia/cudnn/lib")
    own = site.loads("libcudnn.so.9")
    assert (own.path, own.version, own.found_by, own.instead_of) == (str(cudnn), "9.10.2.21", "RUNPATH", None)
    site.environment["LD_LIBRARY_PATH"] = str(site.root / "cuda/lib64")
    other = site.loads("libcudnn.so.9")
    assert other == LoadedLibrary(
        soname="libcudnn.so.9",
        path=str(site.root / "cuda/lib64/libcudnn.so.9"),
        real_path=str(site.root / "cuda/lib64/libcudnn.so.9.1.0"),
        version="9.1.0",
        found_by="LD_LIBRARY_PATH",
        needed_by=str(site.packages / "torch/lib/libtorch_cuda.so"),
        instead_of=str(cudnn),
        instead_of_version="9.10.2.21",
    )


def test_an_rpath_keeps_pytorchs_own(site: Site) -> None:
    cudnn = site.wheel("cudnn", "libcudnn.so.9", "9.10.2.21")
    site.system("cuda/lib64", "libcudnn.so.9", "libcudnn.so.9.1.0")
    site.torch(cudnn, rpath="$ORIGIN/../../nvidia/cudnn/lib")
    site.environment["LD_LIBRARY_PATH"] = str(site.root / "cuda/lib64")
    assert site.loads("libcudnn.so.9").instead_of is None


def test_the_parts_of_cudnn_are_opened_in_its_name(site: Site) -> None:
    cudnn = site.wheel("cudnn", "libcudnn.so.9", "9.10.2.21", runpath="$ORIGIN")
    make(site.packages / "nvidia/cudnn/lib/libcudnn_graph.so.9")
    make(site.packages / "nvidia/cudnn/lib/libcudnn_ops.so.9")
    site.torch(cudnn, rpath="$ORIGIN/../../nvidia/cudnn/lib")
    assert not [one for one in site.read().loads or () if "cudnn_" in one.soname], "where the whole is, they are no news"
    graph = make(site.root / "cuda/lib64/libcudnn_graph.so.9")
    site.environment["LD_LIBRARY_PATH"] = str(graph.parent)
    found = site.loads("libcudnn_graph.so.9")
    assert (found.path, found.version, found.found_by) == (str(graph), None, "LD_LIBRARY_PATH")
    assert (found.instead_of, found.instead_of_version) == (str(cudnn.with_name(graph.name)), "9.10.2.21")


@pytest.mark.parametrize(("init", "found_by", "own"), [(NEWER_INIT, "PyTorch", True), ("", "LD_LIBRARY_PATH", False)])
def test_what_torch_loads_by_its_path_is_there_first(site: Site, init: str, found_by: str, own: bool) -> None:
    link = site.wheel("nvjitlink", "libnvJitLink.so.12", "12.8.93")
    runtime = site.wheel("cuda_runtime", "libcudart.so.12", "12.8.90")
    sparse = site.wheel("cusparse", "libcusparse.so.12", "12.5.8", link, runpath="$ORIGIN/../../nvjitlink/lib")
    site.torch(sparse, init=init, rpath="$ORIGIN/../../nvidia/cusparse/lib")
    make(site.packages / "torch/lib/libtorch_global_deps.so", runtime, rpath="$ORIGIN/../../nvidia/cuda_runtime/lib")
    site.system("cuda/lib64", "libnvJitLink.so.12", "libnvJitLink.so.12.1.105")
    site.environment["LD_LIBRARY_PATH"] = str(site.root / "cuda/lib64")
    found = site.loads("libnvJitLink.so.12")
    assert (found.found_by, found.instead_of is None) == (found_by, own)
    assert site.loads("libcudart.so.12").found_by == "RPATH"


def test_what_no_path_leads_to_is_loaded_from_the_wheels(site: Site) -> None:
    """Where the first attempt fails, torch loads every library of its wheels by path and tries again."""
    blas = site.wheel("cublas", "libcublas.so.12", "12.8.4.1")
    runtime = site.wheel("cuda_runtime", "libcudart.so.12", "12.8.90")
    make(site.packages / "torch/lib/libtorch_global_deps.so", runtime)
    site.torch(blas, init=NEWER_INIT)
    assert {(one.soname, one.found_by) for one in site.read().loads or ()} == {
        ("libcublas.so.12", "PyTorch"), ("libcudart.so.12", "PyTorch"),
    }  # fmt: skip


def test_condas_copies_are_no_displacement_of_wheels_that_nothing_uses(site: Site) -> None:
    site.wheel("cublas", "libcublas.so.12", "12.8.4.1")
    blas = site.system("lib", "libcublas.so.12", "libcublas.so.12.4.5.8")
    site.torch(blas, rpath="$ORIGIN/../../../../../lib")
    found = site.loads("libcublas.so.12")
    assert (found.path, found.instead_of) == (str(blas), None)


def test_libcuda_is_asked_for_by_cudart(site: Site) -> None:
    runtime = site.wheel("cuda_runtime", "libcudart.so.12", "12.8.90")
    site.torch(runtime, rpath="$ORIGIN/../../nvidia/cuda_runtime/lib")
    driver = site.system("driver", "libcuda.so.1", "libcuda.so.550.54.15")
    real = driver.resolve()
    stub = make(site.root / "cuda/lib64/stubs/libcuda.so", soname="libcuda.so.1")
    cache = {"libcuda.so.1": str(driver)}
    found = site.loads("libcuda.so.1", cache)
    assert (found.version, found.found_by, found.real_path) == ("550.54.15", "ld.so.cache", str(real))
    assert found.size_bytes == real.stat().st_size
    stub.with_name("libcuda.so.1").symlink_to("libcuda.so")
    site.environment["LD_LIBRARY_PATH"] = str(stub.parent)
    found = site.loads("libcuda.so.1", cache)
    assert (found.version, found.real_path) == (None, str(stub))
    assert found.instead_of == cache["libcuda.so.1"]


def test_a_search_that_takes_too_long_is_a_gap(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.torch()
    monkeypatch.setattr(loader, "_RESOLVE_S", -1.0)
    found = site.read()
    assert found.loads is None
    assert "took more than" in found.gaps["loads"]
    assert found.torch is not None


def test_the_code_inside_torch(site: Site) -> None:
    site.torch()
    shutil.copy(FIXTURES / "mixed.so", site.packages / "torch/lib/libtorch_cuda.so")
    torch = site.read().torch
    assert torch is not None
    assert (torch.machine_code, torch.machine_code_in_part, torch.ptx) == (("sm_80", "sm_90"), ("sm_90a",), ("compute_90",))
    assert torch.code_read_from == str(site.packages / "torch/lib/libtorch_cuda.so")


def test_without_code_it_is_not_known(site: Site) -> None:
    site.torch()
    found = site.read()
    assert found.torch is not None
    assert found.torch.machine_code is None
    assert "libtorch_cuda" in found.gaps["python.torch.machine_code"]


def test_nothing_known_of_python_is_no_failure() -> None:
    found = loader.read(None, (), environment={})
    assert found.torch is None
    assert found.extensions == ()


# --- extensions -------------------------------------------------------------------------------------------------------------


def found_in(site: Path, *distributions: str, cuda: str | None = "12.8") -> dict[str, Any]:
    installed = [
        Distribution(name=name, version=version, location=str(site))
        for name, version in (text.split() for text in distributions)
    ]
    extensions_ = extensions.find([str(site)], installed, cuda=cuda, deadline=time.monotonic() + 10)
    return {Path(one.path).relative_to(site).as_posix(): one for one in extensions_}


def test_extensions_with_gpu_code(tmp_path: Path) -> None:
    for place, name in (
        ("flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so", "sm80.so"),
        ("xformers/_C.so", "sm90a.so"),
        ("vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so", "sm90a.so"),
        ("my_kernels/_C.so", "ptx120.so"),
        ("my_kernels/deep/down/_C.so", "ptx120.so"),
        ("bitsandbytes/libbitsandbytes_cuda126.so", "sm80.so"),
        ("bitsandbytes/libbitsandbytes_cuda128.so", "sm100f.so"),
        ("torch/lib/libtorch_cuda.so", "sm80.so"),
        ("nvidia/cublas/lib/libcublas.so.12", "sm80.so"),
        ("xformers-0.0.33.dist-info/x.so", "sm80.so"),
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FIXTURES / name, tmp_path / place)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/_C.so").write_bytes(b"\x7fELF")
    (tmp_path / "around").symlink_to(tmp_path)
    found = found_in(tmp_path, "flash-attn 2.8.3", "xformers 0.0.33", "vllm 0.12.0", "bitsandbytes 0.50.2")
    assert {place: one.package for place, one in found.items() if not place.startswith("around")} == {
        "flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so": "flash-attn 2.8.3",
        "xformers/_C.so": "xformers 0.0.33",
        "vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so": "vllm 0.12.0",
        "my_kernels/_C.so": "my_kernels",
        "bitsandbytes/libbitsandbytes_cuda128.so": "bitsandbytes 0.50.2",
    }
    assert found["xformers/_C.so"].machine_code == ("sm_90a",)
    assert found["my_kernels/_C.so"].ptx == ("compute_120",)
    assert found["bitsandbytes/libbitsandbytes_cuda128.so"].machine_code == ("sm_100f",)


@needs_gcc
def test_what_is_linked_against_torch_counts_without_gpu_code(tmp_path: Path) -> None:
    c10 = make(tmp_path / "torch/lib/libc10.so")
    make(tmp_path / "pyg_lib/libpyg.so", c10)
    make(tmp_path / "other/_C.so")
    assert list(found_in(tmp_path)) == ["pyg_lib/libpyg.so"]


def test_no_time_no_extensions(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "sm80.so", tmp_path / "x.so")
    assert extensions.find([str(tmp_path)], (), cuda=None, deadline=time.monotonic() - 1) == ()
    assert extensions.find([str(tmp_path / "none")], (), cuda=None, deadline=time.monotonic() + 9) == ()


def test_a_part_of_the_code_is_told_only_when_it_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    code = elf.GpuCode(machine_code=("sm_80",), machine_code_in_part=(), ptx=(), containers=15, complete=False)
    monkeypatch.setattr(elf, "gpu_code", lambda path, deadline: code)
    assert extensions.code_of("x", 0.0) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["GLIBC_2.4", "GLIBC_2.28", "GLIBCXX_3.4.9", "GLIBCXX_3.4.22"], ("GLIBC_2.28", "GLIBCXX_3.4.22")),
        ([], ()),
    ],
)
def test_the_newest_of_each_family(names: list[str], expected: tuple[str, ...]) -> None:
    assert loader.newest(names) == expected


def test_the_facts_survive_json_and_redaction(site: Site) -> None:
    cudnn = site.wheel("cudnn", "libcudnn.so.9", "9.10.2.21")
    site.torch(cudnn, runpath="$ORIGIN/../../nvidia/cudnn/lib")
    read = Machine(loads=site.read().loads)
    assert machine.from_json(read.to_json(), source="itself") == read
    shown = redact(read, Redactor(b"key", home=str(site.root)))
    assert shown.loads is not None
    assert shown.loads[0].path == "~/lib/python3.12/site-packages/nvidia/cudnn/lib/libcudnn.so.9"
    assert redact(shown, Redactor(b"key", home=str(site.root))) == shown
