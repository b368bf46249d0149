"""The broken set-ups, by name: what is broken, how it is built, what a doctor has to find, and what counts as saying so."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fake_nvml import recorded

from broken import gpu
from broken.venv import ELF, RELEASE, Venv, library
from broken.world import Need, World

Build = Callable[[World, Venv, bool], None]
"""Fills a world and its environment; the last argument says whether it is to be broken."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One fault.

    Attributes:
        name: of the set-up.
        what: is broken, in a few words.
        finding: the id under which the doctor reports it; None where nothing that a doctor reports is wrong.
        says: a regular expression that the doctor's headline of it matches.
        named_by: a regular expression, without case and over the output with its white space folded: a program whose output
            on the broken machine has it, and on the healthy twin has not, names the fault.
        shown_by: likewise, a program that shows the fact from which a person who knows could tell.
        wrong: likewise, a program that says what is not so.
        needs: of the machine on which it is built.
        options: of `dltool doctor`, without which it does not look there.
    """

    name: str
    what: str
    finding: str | None
    says: str
    named_by: str
    shown_by: str
    wrong: str
    needs: tuple[Need, ...]
    options: tuple[str, ...]
    fill: Build

    @contextlib.contextmanager
    def build(self, directory: Path, *, broken: bool, base: Path | None = None) -> Iterator[World]:
        """The world, in a directory that is made; with the packages of `base` in its environment."""
        place = directory / f"{self.name}-{'broken' if broken else 'healthy'}"
        place.mkdir()
        venv = Venv(place / "venv", base)
        world = World(place, venv.prefix)
        self.fill(world, venv, broken)
        yield world
        shutil.rmtree(place)


SETUPS: dict[str, Setup] = {}


def setup(
    what: str,
    finding: str | None,
    says: str = "",
    *,
    named_by: str,
    shown_by: str = r"(?!)",
    wrong: str = r"(?!)",
    needs: tuple[Need, ...] = ("gcc",),
    options: tuple[str, ...] = (),
) -> Callable[[Build], Build]:
    """Enter a set-up under the name of its function; the texts are those of `Setup`."""

    def enter(fill: Build) -> Build:
        name = fill.__name__.strip("_").replace("_", "-")
        SETUPS[name] = Setup(name, what, finding, says, named_by, shown_by, wrong, needs, options, fill)
        return fill

    return enter


# --- the driver -------------------------------------------------------------------------------------------------------

_NO_DRIVER = r"No NVIDIA Driver detected|NVML Shared Library Not Found"


@setup(
    "no driver is installed beside an RTX 4090 on the PCI bus",
    "driver-missing",
    "RTX 4090|driver",
    named_by=r"NVIDIA GPU[^.]{0,60}without (a|its) driver|no driver (for|is installed)|driver (is )?(missing|not installed)"
    r"|has no driver|No NVIDIA Driver detected",
    shown_by=r"10de:2684|AD102|RTX 4090",
    needs=("gcc", "mounts"),
)
def driver_missing(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    if broken:
        gpu.pci(world, bound=False)
    else:
        gpu.whole(world)


@setup(
    "the driver was updated under a running kernel module: its libraries are newer",
    "driver-version-mismatch",
    "580",
    named_by=r"version mismatch|module[^.]{0,80}librar|librar[^.]{0,80}module",
    wrong=_NO_DRIVER,
    needs=("gcc", "mounts"),
)
def driver_half_updated(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    refused = "#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n"
    gpu.whole(
        world, error="nvmlInit=18,nvmlInit_v2=18,nvmlInitWithFlags=18" if broken else "", smi_script=refused if broken else ""
    )
    if broken:
        gpu.kernel(world, "580.82.07")


@setup(
    "the driver hangs: NVML and nvidia-smi never answer",
    "driver-not-answering",
    "hangs",
    named_by=r"did not answer|does not answer|hung in|not responding|hangs|timed out",
    wrong=_NO_DRIVER,
    needs=("gcc", "mounts"),
)
def driver_hangs(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(
        world,
        hang="nvmlDeviceGetTemperature,nvmlDeviceGetMemoryInfo,nvmlDeviceGetMemoryInfo_v2" if broken else "",
        smi_script="#!/bin/sh\nsleep 86400\n" if broken else "",
    )


@setup(
    "an nvidia-smi on the PATH sleeps for ever; the driver itself answers",
    None,
    named_by=r"nvidia-smi[^.]{0,60}"
    r"(hang|hung|did not answer|timed out|timeout)",
    needs=("gcc", "mounts"),
)
def nvidia_smi_hangs(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world, smi_script="#!/bin/sh\nsleep 86400\n" if broken else "")


@setup(
    "the file /dev/nvidia-uvm is missing, which CUDA opens and nvidia-smi does not",
    "device-nodes-missing",
    "nvidia-uvm",
    named_by=r"nvidia-uvm",
    needs=("gcc", "mounts"),
)
def uvm_missing(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world)
    if broken:
        (world.root / "dev/nvidia-uvm").unlink()


@setup(
    "the driver, R470, is too old for the CUDA 12.8 of PyTorch",
    "driver-too-old",
    "470",
    named_by=r"driver[^.]{0,80}too old|needs (a )?driver|newer driver|requires driver|CRITICAL CONFLICT|driver supports up to"
    r"[^.]{0,40}(but|conflict)|forward compat",
    shown_by=r"470\.256",
    needs=("gcc", "mounts"),
)
def driver_too_old(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world, *(("470.256.02", 11040) if broken else ()))


@setup(
    "the toolkit's stub of libcuda is on LD_LIBRARY_PATH",
    "libcuda-stub",
    "stub",
    named_by=r"\bstub\b(?! library is not)",
    shown_by=r"/stubs",
    needs=("gcc", "mounts"),
)
def libcuda_is_the_stub(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world)
    stub = library(world.directory / "cuda-12.8/lib64/stubs/libcuda.so.1", "int cuInit(unsigned f) { return 34; }")
    world.variables["LD_LIBRARY_PATH"] = str(stub.parent if broken else stub.parent.parent)


@setup(
    "the driver was installed without libcuda: NVML and nvidia-smi work",
    "libcuda-missing",
    "libcuda.so.1",
    named_by=r"libcuda[^,]{0,40}(missing|cannot be loaded|not found|could not be found)",
    needs=("gcc", "mounts"),
)
def libcuda_missing(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world)
    for one in (world.root / gpu.LIBRARIES).glob("libcuda.so*"):
        if broken:
            one.unlink()


# --- PyTorch and its packages -----------------------------------------------------------------------------------------


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
    package = venv.torch(cuda=None)
    crash = "__attribute__((constructor)) static void start(void) { *(volatile int *)0 = 1; }"
    library(package / "lib/libtorch_global_deps.so", crash if broken else "")


@setup(
    "an old libcudnn.so.9 on LD_LIBRARY_PATH lacks a symbol that PyTorch needs",
    "libraries-shadowed",
    "libcudnn.so.9 9.1.0",
    named_by=r"LD_LIBRARY_PATH[^.]{0,40}(gives|loads|shadow)[^.]{0,60}libcudnn|libcudnn[^,]{0,80}in place of",
    shown_by=r"undefined symbol: cudnn|old-cudnn/lib|libcudnn\.so\.9\.1\.0",
)
def old_cudnn(world: World, venv: Venv, broken: bool) -> None:
    package = venv.torch()
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
    venv.torch(cuda=None)
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
    venv.torch(cuda=None)
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
    if broken:
        venv.distribution("torch", "2.8.0+cu126")


# --- the host and the container ---------------------------------------------------------------------------------------


@setup(
    "a container that was started without the GPU of its host",
    "container-without-gpu",
    "without it",
    named_by=r"container (was )?started without|--gpus all|nvidia-container-toolkit",
    shown_by=r"10de:2684",
    needs=("gcc", "mounts"),
)
def container_without_gpu(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    world.variables["container"] = "docker"
    gpu.pci(world)
    gpu.kernel(world)
    if not broken:
        gpu.nodes(world)
        gpu.libraries(world, recorded.rtx4090())
        gpu.smi(world)


@setup(
    "64 MiB of /dev/shm, as Docker gives",
    "shm-small",
    "64",
    named_by=r"/dev/shm[^.]{0,60}(only|small|too little|run out)",
    shown_by=r"/dev/shm|\bshm\b",
    needs=("gcc", "mounts"),
)
def shm_of_64_mib(world: World, venv: Venv, broken: bool) -> None:
    venv.torch(cuda=None)
    world.variables["container"] = "docker"
    world.mounts.append(f"mount -t tmpfs -o size={'64m' if broken else '8g'} tmpfs /dev/shm")


@setup(
    "a control group that grants half a processor",
    "cpu-quota-low",
    "0.5",
    named_by=r"quota[^.]{0,10} (is )?0\.5|throttled",
    shown_by=r"cgroup|quota",
    needs=("gcc", "cgroup"),
)
def half_a_processor(world: World, venv: Venv, broken: bool) -> None:
    venv.torch(cuda=None)
    world.cgroups["cpu"] = {"cpu.cfs_quota_us": "50000" if broken else "-1"}


@setup(
    "a control group that grants 4 GiB of memory beside 24 GiB on the GPU",
    "memory-small",
    "4",
    named_by=r"limit of the control group|memory limit|cgroup|ratio|recommended|System Memory|less (system )?memory",
    needs=("gcc", "cgroup", "mounts"),
)
def four_gib_of_memory(world: World, venv: Venv, broken: bool) -> None:
    venv.torch()
    gpu.whole(world)
    world.cgroups["memory"] = {"memory.limit_in_bytes": str((4 if broken else 64) * 2**30)}


@setup("a process may open 128 files", "open-files-low", "128", named_by=r"only 128|128 (open )?files|open files[^.]{0,20}128")
def few_open_files(world: World, venv: Venv, broken: bool) -> None:
    venv.torch(cuda=None)
    world.limits.append(f"-n {128 if broken else 4096}")
