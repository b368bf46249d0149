"""Faults of the environment, of PyTorch and of the packages beside it."""

from __future__ import annotations

import shutil

from broken import gpu
from broken.setup import setup
from broken.venv import ELF, RELEASE, Venv, library
from broken.world import World


@setup(
    "a CPU-only PyTorch beside an RTX 4090",
    "torch-cpu-only",
    "CPU-only",
    named_by=r"CPU-only|CPU only|without CUDA",
    shown_by=r"\+cpu",
    needs=("gcc", "mounts"),
)
def torch_for_the_cpu(world: World, venv: Venv, broken: bool) -> None:
    venv.torch(cuda=None if broken else "12.8")
    gpu.whole(world)


@setup(
    "CUDA_VISIBLE_DEVICES is empty: every GPU is hidden",
    "gpus-hidden",
    "CUDA_VISIBLE_DEVICES",
    named_by=r"CUDA_VISIBLE_DEVICES",
    needs=("gcc", "mounts"),
)
def gpus_hidden(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world)
    world.variables["CUDA_VISIBLE_DEVICES"] = "" if broken else "0"


@setup(
    "the import of PyTorch ends in a segmentation fault",
    "probe-import",
    "SIGSEGV|segmentation",
    named_by=r"import[^.]{0,80}(SIGSEGV|segmentation fault)|SIGSEGV[^.]{0,80}import",
    options=("--probe", "--only", "probe-import"),
)
def torch_segfaults(world: World, venv: Venv, broken: bool) -> None:
    package = venv.torch()
    gpu.where_permitted(world)
    crash = "__attribute__((constructor)) static void start(void) { *(volatile int *)0 = 1; }"
    library(package / "lib/libtorch_global_deps.so", crash if broken else "")


@setup(
    "an old libcudnn.so.9 on LD_LIBRARY_PATH lacks a symbol that PyTorch needs",
    "libraries-shadowed",
    "libcudnn.so.9 9.1.0",
    named_by=r"LD_LIBRARY_PATH.{0,60}(gives|loads|shadow).{0,60}libcudnn|libcudnn.{0,80}(in place of|shadow)",
    shown_by=r"undefined symbol: cudnn",
    wrong=r"torch is NOT installed",
)
def old_cudnn(world: World, venv: Venv, broken: bool) -> None:
    package = venv.torch()
    gpu.where_permitted(world)
    venv.distribution("nvidia-cudnn-cu12", "9.10.2.21", files=("nvidia/cudnn/lib/libcudnn.so.9",))
    own = library(venv.site / "nvidia/cudnn/lib/libcudnn.so.9", "int cudnn_new_in_9_10(void) { return 91002; }")
    old = library(world.directory / "old-cudnn/lib/libcudnn.so.9.1.0", soname="libcudnn.so.9")
    (old.parent / "libcudnn.so.9").symlink_to(old.name)
    wants = "extern int cudnn_new_in_9_10(void); int (*use)(void) = cudnn_new_in_9_10;"
    library(package / "lib/libtorch_global_deps.so", wants, needs=(own,), runpath="$ORIGIN/../../nvidia/cudnn/lib")
    (world.directory / "empty").mkdir()
    world.variables["LD_LIBRARY_PATH"] = str(old.parent if broken else world.directory / "empty")


@setup(
    "wheels of cuDNN for CUDA 11 and for CUDA 12 in one environment",
    "nvidia-wheels-mixed",
    "nvidia-cudnn-cu11",
    named_by=r"(several CUDA versions|conflict|duplicate|mixed)[^.]{0,120}nvidia-cudnn|nvidia-cudnn[^.]{0,120}"
    r"(conflict|duplicate|overwrite)",
    shown_by=r"nvidia[-_]cudnn[-_]cu11",
)
def wheels_of_two_cudas(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.where_permitted(world)
    venv.distribution("nvidia-cudnn-cu12", "9.10.2.21", files=("nvidia/cudnn/lib/libcudnn.so.9",))
    library(venv.site / "nvidia/cudnn/lib/libcudnn.so.9")
    if broken:
        venv.distribution("nvidia-cudnn-cu11", "8.9.6.50", files=("nvidia/cudnn/lib/libcudnn.so.8",))
        library(venv.site / "nvidia/cudnn/lib/libcudnn.so.8")


@setup(
    "a torchvision that belongs to another PyTorch",
    "torch-companions-mismatched",
    "torchvision 0.20.0",
    named_by=r"torchvision[^.]{0,20}0\.20\.0\S* (does not belong|is incompatible|requires)|torchvision[^.]{0,60}mismatch",
    shown_by=r"torchvision\W+0\.20\.0",
)
def torchvision_of_another(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.where_permitted(world)
    venv.distribution("torchvision", "0.20.0+cu128" if broken else "0.24.1+cu128")


@setup(
    "an extension that was compiled for sm_120 alone, with an RTX 4090 (8.9)",
    "extension-lacks-gpu-code",
    "RTX 4090.*8\\.9",
    named_by=r"my[-_]attention[^.]{0,40}(no|lacks|without)[^.]{0,20}(code|kernel)",
    shown_by=r"my[-_]attention",
    needs=("gcc", "mounts"),
)
def extension_of_one_architecture(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world)
    venv.distribution("my-attention", "1.0.0")
    name = f"my_attention.cpython-{RELEASE.replace('.', '')}-x86_64-linux-gnu.so"
    shutil.copy(ELF / ("sm120.so" if broken else "sm80.so"), venv.site / name)


@setup(
    "the Python that the environment was made with is gone",
    "environment-broken",
    "no such program",
    named_by=r"Python does not start|broken (venv|environment|interpreter)|interpreter[^.]{0,20}(missing|gone)",
)
def python_gone(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.where_permitted(world)
    if broken:
        for name in ("python", "python3"):
            (venv.prefix / "bin" / name).unlink()
            (venv.prefix / "bin" / name).symlink_to("/opt/python-3.10/bin/python3.10")


@setup(
    "a .pth file kills every Python that starts in the environment",
    "environment-broken",
    "signal 11",
    named_by=r"Python does not start|\.pth",
)
def python_dies_at_start(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.where_permitted(world)
    (venv.site / "hook.pth").write_text("import ctypes; ctypes.string_at(0)\n" if broken else "import ctypes\n")


@setup(
    "the records of two versions of PyTorch: an update was interrupted",
    "packages-clash",
    "torch .*2\\.8\\.0",
    named_by=r"two versions|recorded (twice|in two)|torch[^.]{0,40}(conflict|duplicate)",
    shown_by=r"torch\W+2\.8\.0",
)
def update_interrupted(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.where_permitted(world)
    if broken:
        venv.distribution("torch", "2.8.0+cu126")
