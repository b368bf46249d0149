"""Containers, toolkits, the host round the GPUs and the packages beside PyTorch: each fault, and what looks like one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cases
import pytest
from recorded import Fault, altered, commands, judge, problems

from dltool.probe import elf, host, toolkit
from dltool.results import Status

LAPTOP, SERVER, CONTAINER, OLD_CARD = "laptop_rtx4060", "h100_server", "container", "gtx1080ti"
GIB = 2**30
SITE = "~/.venvs/study/lib/python3.12/site-packages"
TORCH = "python.torch"


def installed(*packages: str, conda: bool = False) -> dict[str, Any]:
    """Only these distributions: "triton 3.2.0"."""
    return {
        "python.distributions": [
            {"name": name, "version": version, "location": SITE, "installer": "conda" if conda else "pip"}
            for name, version in (package.split() for package in packages)
        ],
        "libraries": [],
    }


def nvcc(version: str, *found_by: str, has_nvcc: bool = True) -> dict[str, Any]:
    return {"path": f"/usr/local/cuda-{version}", "version": version, "found_by": list(found_by), "has_nvcc": has_nvcc}


def build(version: str) -> dict[str, Any]:
    label = version.partition("+cu")[2]
    return {f"{TORCH}.version": version, f"{TORCH}.cuda": f"{label[:-1]}.{label[-1]}" if label else None}


def disk(**facts: Any) -> dict[str, Any]:
    return {"disks": [{"purpose": "home", "path": "~", "total_bytes": 500 * GIB, "free_bytes": 90 * GIB, **facts}]}


NO_TORCH = {TORCH: None, "gaps.python.torch": "not installed in this environment"}
WITHOUT = {
    "gpus": [], "driver.version": None, "driver.cuda_version": None, "driver.nvml_library": None, "driver.libcuda": None,
    "driver.nvml_library_version": None, "driver.nvml_error": "NVML_ERROR_LIBRARY_NOT_FOUND", "driver.device_nodes": [],
    "gaps.gpus": "NVML Shared Library Not Found (NVML_ERROR_LIBRARY_NOT_FOUND in nvmlInit)",
}  # fmt: skip
LOST = {
    "gpus": [], "driver.version": None, "driver.cuda_version": None, "driver.nvml_error": "NVML_ERROR_UNKNOWN",
    "gaps.gpus": "Unknown Error (NVML_ERROR_UNKNOWN in nvmlInit)",
}  # fmt: skip
EXTENSION = {"package": "flash-attn 2.8.2", "path": f"{SITE}/flash_attn_2_cuda.so"}
BOTH_TOOLKITS = [nvcc("11.8", "PATH"), nvcc("12.4", "CUDA_HOME")]
OTHER_GPU = {"gpus.0.name": "NVIDIA H100 NVL"}

FAULTS = {
    "a container started without --gpus": Fault(
        CONTAINER, WITHOUT, "container-without-gpu", "fail", "started without it", ("--gpus all", "nvidia-ctk runtime")
    ),
    "a container told to have none": Fault(
        CONTAINER, WITHOUT | {"environment.NVIDIA_VISIBLE_DEVICES": "void"}, "container-without-gpu", "fail", "=void"
    ),
    "a container after daemon-reload": Fault(
        CONTAINER, LOST, "container-lost-gpu", "fail", "lost its access", ("docker restart", "create-dev-char-symlinks")
    ),
    "utility without compute": Fault(
        CONTAINER, {"environment.NVIDIA_DRIVER_CAPABILITIES": "utility", "driver.libcuda": None}, "container-capabilities",
        "fail", "leaves out compute", ("compute,utility",),
    ),
    "an image of CUDA 13 on a driver of CUDA 12": Fault(
        CONTAINER, {**NO_TORCH, "environment.CUDA_VERSION": "13.0.1"}, "container-image-cuda", "warn", "made for CUDA 13.0",
        ("dltool compat",),
    ),
    "an image that requires CUDA 13": Fault(
        CONTAINER, {**NO_TORCH, "environment.NVIDIA_REQUIRE_CUDA": "cuda>=13.0 brand=tesla,driver>=535"},
        "container-image-cuda", "warn", "13.0",
    ),
    "an image from before the GPU": Fault(
        CONTAINER, {**NO_TORCH, "environment.CUDA_VERSION": "11.0.3"}, "container-image-cuda", "warn", "compute capability 9.0"
    ),
    "CUDA_HOME into nothing": Fault(
        LAPTOP, {"environment.CUDA_HOME": "/usr/local/cuda-9"}, "cuda-home-wrong", "warn", "names no CUDA toolkit",
        ("unset CUDA_HOME",),
    ),
    "CUDA_HOME without nvcc": Fault(
        SERVER,
        {"environment.CUDA_HOME": "/opt/cuda",
         "toolkits": [nvcc("12.4", "/usr/local"), nvcc("12", "CUDA_HOME", has_nvcc=False)]},
        "cuda-home-wrong", "warn", "names no CUDA toolkit", ("export CUDA_HOME=/usr/local/cuda-12.4",),
    ),
    "nvcc of another major": Fault(
        LAPTOP, {"toolkits": [nvcc("11.8", "PATH")]}, "toolkit-mismatched", "warn", "nvcc 11.8 does not build",
        ("cuda-toolkit-12-6",),
    ),
    "nvcc from before the GPU": Fault(
        LAPTOP, {"toolkits": [nvcc("12.4", "PATH")], "gpus.*.compute_capability": "12.0", **build("2.9.1+cu128")},
        "toolkit-mismatched", "warn", "12.0",
    ),
    "two toolkits are meant": Fault(
        SERVER, {"toolkits": BOTH_TOOLKITS, "environment.CUDA_HOME": "/usr/local/cuda-12.4"}, "toolkits-differ", "warn",
        "11.8 and 12.4", ("export PATH=",),
    ),
    "gcc too new": Fault(
        SERVER, {"host_compiler": {"path": "/usr/bin/g++", "version": "14.2.0", "found_by": "PATH"}},
        "host-compiler-unsuited", "warn", "gcc 14.2.0 is too new", (),
    ),
    "little memory may be locked": Fault(
        SERVER, {"rdma": ["mlx5_0"], "limits.locks_any_memory": False}, "memlock-low", "warn", "8 MiB", ("limits.d/memlock",)
    ),
    "little memory may be locked in a container": Fault(
        CONTAINER, {"rdma": ["mlx5_0"]}, "memlock-low", "warn", "8 MiB", ("--ulimit memlock=-1",)
    ),
    "less memory than the GPU": Fault(
        LAPTOP, {"memory.total_bytes": 3 * GIB}, "memory-small", "warn", "3.0 GiB of main memory", ()
    ),
    "a container with little memory": Fault(
        CONTAINER, {"memory.cgroup_limit_bytes": 16 * GIB}, "memory-small", "warn", "limit of the control group",
        ("--memory=",),
    ),
    "memory used up": Fault(
        LAPTOP, {"memory.available_bytes": GIB // 4, "memory.swap_total_bytes": 2 * GIB, "memory.swap_free_bytes": 0},
        "memory-exhausted", "warn", "used up", ("ps -eo",),
    ),
    "a full disk": Fault(LAPTOP, disk(free_bytes=GIB // 8), "disk-full", "warn", "128 MiB free", ("du -xh",)),
    "no free file entries": Fault(LAPTOP, disk(free_files=0), "disk-full", "warn", "no free file entries"),
    "a cache that cannot be written": Fault(
        LAPTOP, disk(purpose="HF_HOME", writable=False), "disk-full", "warn", "HF_HOME cannot be written", ("HF_HOME=",)
    ),
    "numbers that mean other GPUs": Fault(
        SERVER, {**OTHER_GPU, "environment.CUDA_VISIBLE_DEVICES": "0"}, "gpu-order-ambiguous", "warn", "another order",
        ("CUDA_DEVICE_ORDER=PCI_BUS_ID",),
    ),
    "NumPy 2 with an old PyTorch": Fault(
        OLD_CARD, {**build("2.2.2+cu118"), **installed("numpy 2.0.0")}, "numpy-mismatched", "warn", "NumPy 1", ('"numpy<2"',)
    ),
    "Triton of another PyTorch": Fault(
        LAPTOP, installed("triton 3.1.0"), "triton-mismatched", "warn", "triton 3.1.0 does not go with", ("torch==2.7.1",)
    ),
    "Triton with a driver of CUDA 11": Fault(
        LAPTOP,
        {"driver.version|kernel_module_version|nvml_library_version": "520.61.05", "driver.cuda_version": "11.8",
         **build("2.4.0+cu118"), **installed("triton 3.0.0")},
        "triton-mismatched", "warn", "needs a driver of CUDA 12",
    ),
    "a ptxas that Triton does not know": Fault(
        LAPTOP, {**build("2.6.0+cu126"), **installed("triton 3.2.0"), "triton_ptxas": "12.8"}, "triton-mismatched", "warn",
        "12.8", ("unset TRITON_PTXAS_PATH",),
    ),
    "no libcuda.so for an old Triton": Fault(
        LAPTOP, {**build("2.1.0+cu118"), **installed("triton 2.1.0"), "driver.has_libcuda_link": False}, "triton-mismatched",
        "warn", "libcuda.so", ("ln -s libcuda.so.1",),
    ),
    "no libcuda.so for Triton 3.5, which links with -lcuda as well": Fault(
        LAPTOP, {**build("2.9.1+cu128"), **installed("triton 3.5.1"), "driver.has_libcuda_link": False}, "triton-mismatched",
        "warn", "looks for libcuda.so",
    ),
    "two ONNX Runtimes": Fault(
        LAPTOP, installed("onnxruntime 1.23.2", "onnxruntime-gpu 1.23.2"), "packages-clash", "fail", "both installed",
        ("uninstall onnxruntime onnxruntime-gpu",),
    ),
    "two CuPys": Fault(LAPTOP, installed("cupy-cuda11x 13.3.0", "cupy-cuda12x 13.3.0"), "packages-clash", "fail", "cupy"),
    "flash-attn for another PyTorch": Fault(
        LAPTOP, installed("flash-attn 2.8.2+cu12torch2.6cxx11abiFALSE"), "packages-mismatched", "fail", "torch 2.6",
        ("--no-build-isolation",),
    ),
    "an extension for another CUDA": Fault(
        LAPTOP, installed("pyg-lib 0.4.0+pt27cu118"), "packages-mismatched", "fail", "made for CUDA 11"
    ),
    "flash-attn for the other C++ strings": Fault(
        LAPTOP, {**installed("flash-attn 2.8.2+cu12torch2.7cxx11abiFALSE"), f"{TORCH}.cxx11_abi": True},
        "packages-mismatched", "fail", "old C++ ABI",
    ),
    "xformers for another PyTorch": Fault(
        LAPTOP, installed("xformers 0.0.24"), "packages-mismatched", "warn", "needs torch ==2.2.0"
    ),
    "a package for younger GPUs": Fault(
        OLD_CARD, installed("flash-attn 2.5.8"), "packages-mismatched", "warn", "compute capability 8.0"
    ),
    "other C++ strings in the file": Fault(
        LAPTOP, {f"{TORCH}.cxx11_abi": False, "python.extensions": [{**EXTENSION, "cxx11_abi": True}]},
        "extension-abi-mismatched", "fail", "the new C++ strings", ("--no-build-isolation",),
    ),
    "cuDNN 9 where 8 is asked for": Fault(
        LAPTOP, {**NO_TORCH, **installed("ctranslate2 4.4.0", "nvidia-cudnn-cu12 9.5.1.17")}, "cudnn-of-other-major", "fail",
        "asks for cuDNN 8", ("-U ctranslate2",),
    ),
    "cuDNN where nobody looks": Fault(
        LAPTOP, {**NO_TORCH, **installed("faster-whisper 1.0.3", "nvidia-cudnn-cu12 8.9.7.29")}, "cudnn-of-other-major",
        "warn", "only in a wheel", ("LD_LIBRARY_PATH=",),
    ),
    "pandas from before NumPy 2": Fault(
        LAPTOP, installed("numpy 2.1.0", "pandas 2.1.4"), "numpy-mismatched", "warn", "pandas 2.1.4 is compiled for NumPy 1",
        ('"numpy<2"', '"pandas>=2.2.2"'),
    ),
    "Triton whose ptxas is older than the GPU": Fault(
        LAPTOP, {**build("2.9.1+cu128"), **installed("triton 3.5.1"), "gpus.0.compute_capability": "12.1",
                 "gpus.0.name": "NVIDIA GB10"},
        "triton-mismatched", "warn", "sm_121a", ("TRITON_PTXAS_PATH=",),
    ),
    "NCCL older than PyTorch's": Fault(
        LAPTOP, {**build("2.8.0+cu128"), **installed("torch 2.8.0+cu128", "nvidia-nccl-cu12 2.21.5")}, "nvidia-wheels-mixed",
        "fail", "NCCL 2.21.5 is older", ("nvidia-nccl-cu12==2.27.3",),
    ),
    "a release without a row between two that agree": Fault(
        OLD_CARD, installed("flash-attn 2.4.2"), "packages-mismatched", "warn", "2.4.2 needs compute capability 8.0",
        ("uninstall -y flash-attn",),
    ),
    "vLLM beside another PyTorch than it pins": Fault(
        LAPTOP, {**build("2.6.0+cu124"), **installed("vllm 0.10.0")}, "packages-mismatched", "warn", "needs torch ==2.7.1",
        ("vllm==0.10.0",),
    ),
    "no library of bitsandbytes for this CUDA": Fault(
        LAPTOP, {**build("2.8.0+cu129"), **installed("bitsandbytes 0.46.0")}, "packages-mismatched", "warn", "not for 12.9",
        ("-U bitsandbytes",),
    ),
    "TensorFlow on a GPU of Blackwell": Fault(
        LAPTOP, {**NO_TORCH, **installed("tensorflow 2.19.0", "nvidia-cudnn-cu12 9.3.0.75"),
                 "gpus.0.compute_capability": "12.0", "gpus.0.name": "NVIDIA GeForce RTX 5080"},
        "packages-mismatched", "warn", "no code for compute capability 12.0", ("nvcr.io/nvidia/tensorflow",),
    ),
    "an ONNX Runtime of CUDA 11 and a system of CUDA 12": Fault(
        LAPTOP, {**NO_TORCH, **installed("onnxruntime-gpu 1.16.0"), "toolkits": [nvcc("12.1", "PATH")]},
        "packages-mismatched", "warn", "is built for CUDA 11, not for 12.1", ("-U onnxruntime-gpu",),
    ),
    "TensorFlow without CUDA libraries": Fault(
        LAPTOP, {**NO_TORCH, **installed("tensorflow 2.16.1")}, "framework-without-cuda", "warn", "it runs on the CPU",
        ("tensorflow[and-cuda]==2.16.1",),
    ),
    "TensorFlow on Windows itself": Fault(
        LAPTOP, {**NO_TORCH, **installed("tensorflow 2.15.0"), "os.system": "Windows", "os.glibc": None},
        "framework-without-cuda", "warn", "on Windows itself", ("wsl --install",),
    ),
    "JAX with the plugin of another release": Fault(
        LAPTOP, {**NO_TORCH, **installed("jax 0.4.28", "jaxlib 0.4.28", "jax-cuda12-plugin 0.4.30")},
        "framework-without-cuda", "warn", "does not go with jaxlib 0.4.28", ("jax[cuda12]==0.4.28",),
    ),
    "an old jaxlib with an older cuDNN": Fault(
        LAPTOP, {**NO_TORCH, **installed("jaxlib 0.4.7+cuda11.cudnn86", "nvidia-cudnn-cu11 8.5.0.96")},
        "framework-without-cuda", "fail", "needs cuDNN 8.6", ("nvidia-cudnn-cu11>=8.6,<9",),
    ),
    "cuDNN too old for TensorFlow": Fault(
        LAPTOP, {**NO_TORCH, "python.version": "3.10.12", **installed("tensorflow 2.12.0", "nvidia-cudnn-cu11 8.5.0.96")},
        "cudnn-of-other-major", "fail", "needs cuDNN 8.6", ("-m venv",),
    ),
}  # fmt: skip

HEALTHY: dict[str, tuple[str, dict[str, Any]]] = {
    "root may lock what it likes": (SERVER, {"rdma": ["mlx5_0"], "limits.locks_any_memory": True}),
    "InfiniBand that NCCL leaves alone": (SERVER, {"rdma": ["mlx5_0"], "environment.NCCL_IB_DISABLE": "1"}),
    "no limit of locked memory": (SERVER, {"rdma": ["mlx5_0"], "limits.locked_memory_bytes": None}),
    "a GPU as large as main memory": (LAPTOP, {"memory.total_bytes": 8 * GIB, "gpus.*.memory_total_bytes": 12 * GIB}),
    "memory full of files, swap free": (
        LAPTOP,
        {"memory.available_bytes": GIB // 4, "memory.swap_total_bytes": 8 * GIB, "memory.swap_free_bytes": 7 * GIB},
    ),
    "a small file system": (LAPTOP, disk(total_bytes=GIB // 2, free_bytes=GIB // 100)),
    "a working directory that is read only": (CONTAINER, disk(purpose="working directory", writable=False)),
    "packages that know NumPy 2": (LAPTOP, installed("numpy 2.1.0", "pandas 2.2.2", "scipy 1.13.0")),
    "a patch of Triton": (LAPTOP, {**build("2.9.1+cu128"), **installed("triton 3.5.0")}),
    "Triton told to use a ptxas of CUDA 13": (
        LAPTOP,
        {
            **build("2.9.1+cu128"),
            **installed("triton 3.5.1"),
            "gpus.0.compute_capability": "12.1",
            "gpus.0.name": "NVIDIA GB10",
            "triton_ptxas": "13.0",
        },
    ),
    "NCCL newer than PyTorch's": (
        LAPTOP,
        {**build("2.8.0+cu128"), **installed("torch 2.8.0+cu128", "nvidia-nccl-cu12 2.28.3")},
    ),
    "TensorFlow as NVIDIA builds it": (
        LAPTOP,
        {
            **NO_TORCH,
            **installed("tensorflow 2.17.0+nv25.2", "nvidia-cudnn-cu12 9.7.1.26"),
            "gpus.0.compute_capability": "12.0",
            "gpus.0.name": "NVIDIA GeForce RTX 5080",
        },
    ),
    "TensorFlow and the libraries of PyTorch": (LAPTOP, installed("tensorflow 2.18.0", "nvidia-cudnn-cu12 9.5.1.17")),
    "JAX and its plugin": (LAPTOP, installed("jax 0.6.2", "jaxlib 0.6.2", "jax-cuda12-plugin 0.6.2", "jax-cuda12-pjrt 0.6.2")),
    "JAX for the CPU": (LAPTOP, installed("jax 0.6.2", "jaxlib 0.6.2")),
    "nvcc of another minor": (LAPTOP, {"toolkits": [nvcc("12.2", "PATH")]}),
    "an old toolkit that nobody chose": (LAPTOP, {"toolkits": [nvcc("11.8", "/usr/local")]}),
    "two toolkits, one is meant": (SERVER, {"toolkits": [nvcc("11.8", "/usr/local"), nvcc("12.8", "PATH")]}),
    "a newer image whose PyTorch has its own CUDA": (CONTAINER, {"environment.CUDA_VERSION": "13.0.1"}),
    "an image of a later minor": (CONTAINER, {"environment.CUDA_VERSION": "12.9.1"}),
    "all capabilities": (CONTAINER, {"environment.NVIDIA_DRIVER_CAPABILITIES": "all"}),
    "compute alone": (CONTAINER, {"environment.NVIDIA_DRIVER_CAPABILITIES": "compute"}),
    "different GPUs, counted by the bus": (
        SERVER,
        {**OTHER_GPU, "environment.CUDA_VISIBLE_DEVICES": "0", "environment.CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    ),
    "different GPUs, all visible": (SERVER, OTHER_GPU),
    "gcc at the limit": (SERVER, {"host_compiler": {"path": "/usr/bin/g++", "version": "13.3.0", "found_by": "PATH"}}),
    "the Triton that belongs to it": (LAPTOP, installed("triton 3.3.1")),
    "a new Triton without libcuda.so": (
        LAPTOP,
        {**build("2.10.0+cu128"), **installed("triton 3.6.0"), "driver.has_libcuda_link": False},
    ),
    "NumPy 2 with a new PyTorch": (LAPTOP, installed("numpy 2.3.4")),
    "flash-attn compiled here": (LAPTOP, installed("flash-attn 2.8.3")),
    "flash-attn of the right wheel": (
        LAPTOP,
        {**installed("flash-attn 2.8.3+cu12torch2.7cxx11abiTRUE"), f"{TORCH}.cxx11_abi": True},
    ),
    "onnxruntime-gpu alone": (LAPTOP, installed("onnxruntime-gpu 1.23.2")),
    "faster-whisper beside PyTorch": (LAPTOP, installed("faster-whisper 1.1.0", "nvidia-cudnn-cu12 9.5.1.17")),
    "MKL's old switch": (LAPTOP, {"environment.MKL_DEBUG_CPU_TYPE": "5", "cpu.vendor": "AuthenticAMD"}),
    "TF32 switched off": (LAPTOP, {"environment.NVIDIA_TF32_OVERRIDE": "0"}),
    "a container without a GPU on a host without one": (
        "cpu_only",
        {"os.container": "docker"},
    ),
}


@pytest.mark.parametrize(("name", "facts"), HEALTHY.values(), ids=HEALTHY.keys())
def test_what_only_looks_like_a_fault(name: str, facts: dict[str, Any]) -> None:
    assert problems(altered(name, facts)) == {}


def test_what_is_only_told() -> None:
    for facts, check in (
        ({"environment.MKL_DEBUG_CPU_TYPE": "5", "cpu.vendor": "AuthenticAMD"}, "mkl-switch-dead"),
        ({}, "float32-without-tensor-cores"),
        ({"os.system": "Windows"}, "triton-mismatched"),
        ({"gpus.*.memory_total_bytes": 24 * GIB}, "memory-small"),
    ):
        assert judge(altered(LAPTOP, facts))[check].status.value == "info", check


def test_the_remedy_of_a_clash_installs_the_one_for_gpus() -> None:
    found = judge(altered(LAPTOP, installed("onnxruntime 1.23.2", "onnxruntime-gpu 1.23.2")))["packages-clash"]
    assert "onnxruntime-gpu" in commands(found).splitlines()[-1]


def test_the_loaders_cache_tells_of_cudnn_and_libcuda(tmp_path: Path) -> None:
    numbered = tmp_path / "libcuda.so.1"
    numbered.touch()
    cache = {"libcuda.so.1": str(numbered), "libcudnn.so.9": "/usr/lib/libcudnn.so.9", "libc.so.6": "/lib/libc.so.6"}
    assert [library.soname for library in toolkit.cached_libraries(cache)] == ["libcudnn.so.9"]
    assert toolkit.has_libcuda_link(cache) is False
    (tmp_path / "libcuda.so").touch()
    assert toolkit.has_libcuda_link(cache) is True
    assert toolkit.has_libcuda_link({}) is None


def test_the_compiler_that_nvcc_calls(tmp_path: Path) -> None:
    for name in ("x86_64-linux-gnu-g++-13", "clang++"):
        (tmp_path / name).touch(mode=0o755)
    (tmp_path / "g++").symlink_to("x86_64-linux-gnu-g++-13")
    found = toolkit.host_compiler({"PATH": str(tmp_path)})
    assert found is not None
    assert (found.version, found.found_by) == ("13", "PATH")
    chosen = toolkit.host_compiler({"PATH": str(tmp_path), "CUDAHOSTCXX": "clang++"})
    assert chosen is not None
    assert (chosen.version, chosen.found_by) == (None, "CUDAHOSTCXX")
    assert toolkit.host_compiler({"PATH": ""}) is None


def test_a_compiler_that_tells_its_version_itself(tmp_path: Path) -> None:
    program = tmp_path / "g++"
    program.write_text("#!/bin/sh\necho 11.4.0\n")
    program.chmod(0o755)
    found = toolkit.host_compiler({"PATH": str(tmp_path)})
    assert found is not None
    assert found.version == "11.4.0"


def test_the_ptxas_that_triton_is_told_to_use(tmp_path: Path) -> None:
    (tmp_path / "version.json").write_text(json.dumps({"cuda": {"name": "CUDA SDK", "version": "12.8.1"}}))
    assert toolkit.triton_ptxas({"TRITON_PTXAS_PATH": str(tmp_path / "bin/ptxas")}) == "12.8.1"
    assert toolkit.triton_ptxas({}) is None


def test_the_host_tells_of_adapters_and_caches(tmp_path: Path) -> None:
    assert host.rdma(tmp_path) is None
    (tmp_path / "sys/class/infiniband/mlx5_0").mkdir(parents=True)
    assert host.rdma(tmp_path) == ()
    (tmp_path / "dev/infiniband/uverbs0").mkdir(parents=True)
    assert host.rdma(tmp_path) == ("mlx5_0",)
    reading = host.read(tmp_path, {"HF_HOME": str(tmp_path / "not/yet/there")})
    cache = next(disk for disk in reading.disks if disk.purpose == "HF_HOME")
    assert cache.path == str(tmp_path)
    assert cache.writable


def test_strings_of_a_file_that_passes_none(tmp_path: Path) -> None:
    assert elf.cxx11_strings("/bin/sh") is None
    assert elf.cxx11_strings(str(tmp_path / "none")) is None


def test_a_described_environment_becomes_a_machine() -> None:
    machine, left = cases.translate({"gpu": "2x Tesla T4", "torch": "2.5.1+cu121", "shoe_size": 43, "dev_shm_bytes": 67108864})
    assert left == ["shoe_size (no fact of ours)"]
    assert len(machine.gpus) == 2
    assert machine.memory.shm_total_bytes == 67108864
    assert machine.python is not None
    assert machine.python.torch is not None
    assert machine.python.torch.cuda == "12.1"


def test_our_own_cases_are_judged_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert cases.main([str(cases.OURS), "--expect"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" right")
    assert cases.main([]) == 2


@pytest.mark.parametrize(
    ("facts", "says", "command"),
    [
        ({"host_compiler": None}, "no gcc is on the PATH", "build-essential"),
        ({"host_compiler": {"path": "/usr/bin/g++", "version": "13.3.0", "found_by": "PATH"}, "python.has_headers": False,
          "python.version": "3.10.12"}, "headers of Python 3.10", "python3.10-dev"),
    ],
)  # fmt: skip
def test_what_triton_needs_to_compile_its_launcher(facts: dict[str, Any], says: str, command: str) -> None:
    found = judge(altered(LAPTOP, {**installed("triton 3.3.1"), **facts}))["triton-mismatched"]
    assert found.status is Status.INFO
    assert says in found.summary
    assert command in found.remedies[0].commands[0]


def test_headers_and_a_compiler_are_enough_for_triton() -> None:
    whole = {"host_compiler": {"path": "/usr/bin/gcc", "version": "13.3.0", "found_by": "PATH"}, "python.has_headers": True}
    assert judge(altered(LAPTOP, {**installed("triton 3.3.1"), **whole}))["triton-mismatched"].status is Status.PASS


def test_a_package_that_compiles_when_it_is_used_and_no_nvcc() -> None:
    found = judge(altered(LAPTOP, {**installed("deepspeed 0.15.1"), "toolkits": []}))["toolkit-mismatched"]
    assert found.status is Status.INFO
    assert "deepspeed compiles kernels" in found.summary
    assert any("CUDA_HOME=/usr/local/cuda-12.6" in command for command in found.remedies[0].commands)
    assert judge(altered(LAPTOP, {**installed("numpy 2.1.0"), "toolkits": []}))["toolkit-mismatched"].status is Status.SKIP


@pytest.mark.parametrize(("installer", "status"), [("pip", "fail"), ("uv", "fail"), ("conda", "pass")])
def test_what_is_known_of_published_wheels_is_not_said_of_condas(installer: str, status: str) -> None:
    """conda has builds of its own, under the same names and versions."""
    facts = {**installed("flash-attn 2.8.2+cu12torch2.6cxx11abiFALSE"), f"{TORCH}.cxx11_abi": False}
    facts["python.distributions"] = [{**one, "installer": installer} for one in facts["python.distributions"]]
    assert judge(altered(LAPTOP, facts))["extension-abi-mismatched"].status.value == status


@pytest.mark.parametrize(
    ("package", "command"), [("jaxlib 0.6.2", "jax[cuda12]"), ("tensorflow-cpu 2.15.0", "tensorflow[and-cuda]")]
)
def test_a_build_for_the_cpu_is_told(package: str, command: str) -> None:
    found = judge(altered(LAPTOP, installed(package)))["framework-without-cuda"]
    assert found.status is Status.INFO
    assert any(command in one for one in found.remedies[0].commands)
    assert judge(altered("cpu_only", installed(package)))["framework-without-cuda"].status is Status.PASS
