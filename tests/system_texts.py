"""What the readers of dltool/probe read: every file and answer of a command with an honest content, and who is asked about it.

Used by test_fuzz_parsers.py, which changes the contents, and by fuzz/run_atheris.py, which begins with them.
"""
# ruff: noqa: E501 - real texts have long lines

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dltool.machine import PythonEnv, TorchBuild
from dltool.probe import (
    child,
    driver,
    elf,
    environments,
    extensions,
    host,
    installed,
    kernel_log,
    kernel_module,
    ld_so,
    loader,
    mendable,
    nvml,
    pci,
    processes,
    python_env,
    rdma,
    toolkit,
)

ELF = Path(__file__).with_name("elf")
KERNEL = "6.8.0-45-generic"
GPU = "sys/bus/pci/devices/0000:01:00.0"
VENV, INFO = "venv", "venv/lib/python3.12/site-packages/torch-2.9.1.dist-info"
TORCH = "venv/lib/python3.12/site-packages/torch"
NEVER = float("inf")


class Row(NamedTuple):
    """Who reads what."""

    at: str
    """The file below the root, or `$ NAME` for what a command answers."""
    honest: bytes
    ask: Callable[[Path], Any]


# --- what is asked ------------------------------------------------------------------------------------------------------------


def answer(root: Path, *, returncode: int = 0) -> Callable[..., child.Answer]:
    """Stands for `child.run`: each command says what lies under its name."""

    def run(argv: list[str], **_: object) -> child.Answer:
        said = (root / "$" / Path(argv[0]).name).read_bytes().decode(errors="replace")
        return child.Answer(said, said, returncode)

    return run


def prefixed(root: Path) -> environments.Found:
    return environments.Found(root / VENV, "venv", "given")


def interpreter(root: Path) -> Any:
    found = environments.interpreter_of(prefixed(root))
    return found if isinstance(found, str) else python_env.examine(found, {})


def own_interpreter(root: Path) -> python_env.Interpreter:
    prefix = str(root / VENV)
    return python_env.Interpreter(
        f"{prefix}/bin/python", "3.12.7", "CPython", prefix, prefix, [f"{prefix}/lib/python3.12/site-packages"], False
    )


def elves(root: Path) -> Any:
    path = str(root / "library.so")
    return (
        elf.dynamic(path), elf.versions_needed(path), elf.versions_provided(path), elf.cxx11_strings(path), elf.has_gpu_code(path),
        elf.gpu_code(path), len(list(elf.fat_entries(path))), extensions.find([str(root)], [], cuda="12.8", deadline=NEVER),
    )  # fmt: skip


def loading(root: Path) -> loader.Reading:
    torch = TorchBuild(version="2.9.1+cu128", location=str(root / TORCH), cuda="12.8")
    python = PythonEnv(executable=str(root / "library.so"), version="3.12.7", torch=torch)
    return loader.read(python, (), environment={}, cache={"libcuda.so.1": str(root / "library.so")})


def asked(root: Path) -> Any:
    """What an interpreter says of itself; a program that says what lies there stands for it."""
    script = root / "python"
    script.write_text(f"#!/bin/sh\ncat '{root}/$/python'\n")
    script.chmod(0o755)
    return python_env.ask(str(script), 5.0)


def cache_of_ld(*libraries: tuple[str, str]) -> bytes:
    texts, entries, at = b"", b"", 48 + 24 * len(libraries)
    for name, path in libraries:
        places = []
        for text in (name, path):
            places.append(at + len(texts))
            texts += text.encode() + b"\0"
        entries += struct.pack("<iIIIQ", 0x0303, *places, 0, 0)
    return b"glibc-ld.so.cache1.1" + struct.pack("<II20x", len(libraries), len(texts)) + entries + texts


def config_space() -> bytes:
    head = b"\xde\x10\x30\x23".ljust(256, b"\0")
    return head + struct.pack("<I", 0x1400_0001).ljust(64, b"\0") + struct.pack("<IHH", 0x0001_000D, 0, 0x1D).ljust(448, b"\0")


def of_host(root: Path) -> host.Reading:
    return host.read(root, {"TORCH_HOME": str(root)})


def of_driver(root: Path) -> driver.Reading:
    return driver.read(root, run=answer(root))


def of_module(root: Path) -> kernel_module.Reading:
    return kernel_module.read(root, loaded=False, nvswitches=True, run=answer(root), kernel=KERNEL)


def of_nvml(root: Path) -> nvml.Reading:
    facts, gaps, _ = nvml._parse((root / "$/nvidia-smi").read_bytes().decode(errors="replace"))
    return nvml._assemble(facts, gaps)


def of_log(root: Path) -> kernel_log.Reading:
    return kernel_log.read(root, run=answer(root))


def of_command(name: str) -> Callable[[Path], kernel_log.Reading]:
    """The log as this command alone tells it."""

    def read(root: Path) -> kernel_log.Reading:
        def run(argv: list[str], **_: object) -> child.Answer:
            return answer(root)(argv) if argv[0] == name else child.Answer("", "Operation not permitted", 1)

        return kernel_log.read(root / "nowhere", run=run)

    return read


def may_be_mended(root: Path) -> Any:
    """What an interpreter says of where its packages go; a program that says what lies there stands for it."""
    script = root / "pythons-place"
    script.write_text(f"#!/bin/sh\ncat '{root}/$/places'\n")
    script.chmod(0o755)
    return mendable.place(PythonEnv(executable=str(script), version="3.12.7", prefix=str(root)))


def stuck(root: Path) -> Any:
    return processes.stuck(root, pause=lambda _seconds: None)


# --- who reads what -----------------------------------------------------------------------------------------------------------

_CPU = "sys/devices/system/cpu/cpu0"
READ = (
    Row("proc/version", b"Linux version 6.8.0-45-generic (buildd@lcy02) #45-Ubuntu SMP microsoft WSL2\n", of_host),
    Row("proc/cpuinfo", b"processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 0x11\nmodel name\t: AMD EPYC 9334\n"
        b"cpu MHz\t\t: 2695.123\nflags\t\t: fpu avx avx2 avx512f hypervisor\n\nprocessor\t: 1\n", of_host),
    Row("proc/1/cgroup", b"0::/kubepods.slice/kubepods-burstable.slice\n", of_host),
    Row("proc/self/cgroup", b"12:memory,cpu:/docker/0123\n1:name=systemd:/\n0::/user.slice/user-1000.slice\n", of_host),
    Row("proc/self/status", b"Name:\tpython\nCapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\n", of_host),
    Row("proc/device-tree/compatible", b"nvidia,p3737-0000\0nvidia,tegra234\0", of_host),
    Row("proc/device-tree/model", b"NVIDIA Jetson AGX Orin Developer Kit\0", of_host),
    Row("sys/class/dmi/id/sys_vendor", b"QEMU\n", of_host),
    Row("sys/class/dmi/id/product_name", b"Standard PC (Q35 + ICH9, 2009)\n", of_host),
    Row(f"{_CPU}/topology/physical_package_id", b"0\n", of_host),
    Row(f"{_CPU}/cpufreq/cpuinfo_max_freq", b"3910253\n", of_host),
    Row(f"{_CPU}/cache/index2/level", b"2\n", of_host),
    Row(f"{_CPU}/cache/index2/size", b"1024K\n", of_host),
    Row(f"{_CPU}/cache/index2/type", b"Unified\n", of_host),
    Row(f"{_CPU}/cache/index2/shared_cpu_list", b"0-7,64-71\n", of_host),
    Row("sys/fs/cgroup/cpu.max", b"400000 100000\n", of_host),
    Row("sys/fs/cgroup/cpu/cpu.cfs_quota_us", b"400000\n", of_host),
    Row("sys/fs/cgroup/cpu/cpu.cfs_period_us", b"100000\n", of_host),
    Row("sys/fs/cgroup/memory.max", b"68719476736\n", of_host),
    Row("sys/fs/cgroup/memory/memory.limit_in_bytes", b"68719476736\n", of_host),
    Row("proc/driver/nvidia/version", b"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build  (dvs)\n"
        b"GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n", of_driver),
    *(Row(f"{GPU}/{name}", content, of_driver) for name, content in {
        "vendor": b"0x10de\n", "class": b"0x030200\n", "device": b"0x2330\n", "numa_node": b"-1\n", "local_cpulist": b"0-31,64-95\n",
        "current_link_speed": b"16.0 GT/s PCIe\n", "max_link_speed": b"32.0 GT/s PCIe\n", "current_link_width": b"16\n",
        "max_link_width": b"255\n", "iommu_group/type": b"DMA-FQ\n", "power/runtime_status": b"active\n",
        "config": config_space(),
    }.items()),
    Row(f"{GPU}/config", config_space(), lambda root: pci._acs(root / GPU)),
    Row(f"lib/modules/{KERNEL}/modules.dep", b"kernel/fs/ext4.ko: kernel/lib/crc16.ko\nupdates/dkms/nvidia.ko.zst: kernel/drivers/x.ko\n",
        of_module),
    Row("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", b"\x06\0\0\0\x01", of_module),
    Row("run/nvidia-fabricmanager/nv-fabricmanager.pid", b"1234\n", of_module),
    Row("$ modinfo", b"filename:  /lib/modules/nvidia.ko\nlicense:  Dual MIT/GPL\nversion:  550.54.15\nsigner:  DKMS key\n", of_module),
    Row("$ systemctl", b"active\n", of_module),
    Row("dev/kmsg", b"6,339,5140900,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus.\n"
        b" SUBSYSTEM=pci\n4,340,5140999,-;NVRM: The NVIDIA GPU 0000:b3:00.0\n", of_log),
    Row("$ dmesg", b"[ 12.345678] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.15\n[  1999.5] nvidia 0000:3b:00.0: PCIe Bus Error:"
        b" severity=Corrected\n[ 99.1][  T12] printk: 12 callbacks suppressed\n", of_command("dmesg")),
    Row("$ dmesg", b"[Tue Nov 19 10:11:12 2024] NVRM: Xid (PCI:0000:3b:00): 31, pid=1\n",
        lambda root: kernel_log.parse((root / "$/dmesg").read_bytes().decode(errors="replace"), "test")),
    Row("$ journalctl", b"[    5.1] node7 kernel: Out of memory: Killed process 4242 (python)\n", of_command("journalctl")),
    Row("$ nvidia-smi", b'> nvmlInit\n= driver.version "550.54.15"\n= gpus.0.name "NVIDIA H100"\n= gpus.0.power_w 71.5\n! gpus.0.vbios no\n',
        of_nvml),
    Row("$ python", json.dumps(["/v/bin/python", "3.12.7", "CPython", "/v", "/usr", ["/v/lib/python3.12"], False]).encode(), asked),
    Row("$ g++", b"13.2.0\n", lambda root: toolkit._gcc_version("/usr/bin/c++", 1.0, run=answer(root))),
    *(Row(f"usr/local/cuda-12.8/{name}", content, lambda root: toolkit.toolkits(root, {})) for name, content in {
        "version.json": b'{"cuda" : {"name" : "CUDA SDK", "version" : "12.8.20250117"}, "nvcc": {"version": "12.8.61"}}',
        "version.txt": b"CUDA Version 10.2.89\n", "include/cuda.h": b"/* */\n#define CUDA_VERSION 12080\n",
    }.items()),
    Row("usr/local/bin/nvcc", b'#!\nexec "/\0/bin/nvcc"\n', lambda root: str(toolkit._behind_wrapper(root / "usr/local/bin/nvcc"))),
    Row("$ nvidia-smi", b'= driver.version "\\ud800.54.15"\n= gpus.0.memory_total_bytes 18446744073709551616\n', of_nvml),
    Row("usr/local/bin/nvcc", b'#!/bin/sh\nexec "/opt/cuda-12.8/bin/nvcc" "$@"\n',
        lambda root: str(toolkit._behind_wrapper(root / "usr/local/bin/nvcc"))),
    Row("etc/ld.so.cache", cache_of_ld(("libcuda.so.1", "/usr/lib/libcuda.so.1"), ("libcudnn.so.9", "/opt/libcudnn.so.9")),
        lambda root: toolkit.cached_libraries(ld_so.read_cache(str(root / "etc/ld.so.cache"), elf.X86_64))),
    Row("$ places", b'["/usr/lib/python3.12", "/opt/venv/lib/site-packages", "/opt/venv", "/usr", true]', may_be_mended),
    Row("dev/infiniband/uverbs0", b"", lambda root: rdma.ports(root)),
    *(Row(f"sys/class/infiniband/mlx5_0/{name}", content, lambda root: rdma.ports(root)) for name, content in {
        "board_id": b"MT_0000000838\n",
        "ports/1/rate": b"400 Gb/sec (4X NDR)\n",
        "ports/1/link_layer": b"InfiniBand\n",
        "ports/1/state": b"4: ACTIVE\n",
        "ports/1/phys_state": b"5: LinkUp\n",
    }.items()),
    *(Row(f"proc/4242/{name}", content, stuck) for name, content in {
        "stat": b"4242 (nvidia-smi (1)) D 1 4242 4242 0 -1 4194304 139 0 0 0 0 0 0 0 20 0 1 0 1234 0 0\n",
        "status": b"Name:\tnvidia-smi\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n",
        "comm": b"nvidia-smi\n",
        "wchan": b"rm_ioctl",
    }.items()),
    Row(f"{VENV}/pyvenv.cfg", b"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.12.7\nuv = 0.5.1\n", interpreter),
    Row(f"{VENV}/pyvenv.cfg", b"home = /usr/bin\n", lambda root: environments.read(prefixed(root))),
    Row(f"{VENV}/include/python3.12/patchlevel.h", b'#define PY_VERSION      "3.12.7"\n', interpreter),
    Row("home/.conda/environments.txt", b"/home/ada/miniconda3\n/opt/conda/envs/study\n",
        lambda root: len(environments.find(home=root / "home", cwd=root, environment={}, system=False))),
    Row(f"{TORCH}/version.py", b"from typing import Optional\n__version__ = '2.9.1+cu128'\ndebug = False\ncuda: Optional[str] = '12.8'\n"
        b"git_version = '5811a8d7da873dd699ff6687092c225caffcf1bb'\nhip: Optional[str] = None\n",
        lambda root: python_env.examine(own_interpreter(root), {})),
    Row(f"{INFO}/INSTALLER", b"pip\n", lambda root: python_env.examine(own_interpreter(root), {})),
    *(Row(f"{INFO}/{name}", content, lambda root: installed.packages(own_interpreter(root).path)) for name, content in {
        "METADATA": b"Metadata-Version: 2.1\nName: torch\nVersion: 2.9.1+cu128\nRequires-Dist: numpy; extra == 'x'\n\n# Torch\n",
        "WHEEL": b"Wheel-Version: 1.0\nTag: cp312-cp312-manylinux_2_28_x86_64\nTag: cp312-cp312-manylinux2014_x86_64\n",
        "INSTALLER": b"conda\n",
        "direct_url.json": b'{"url": "https://user:word@example.org/torch.git", "vcs_info": {"vcs": "git", "commit_id": "0123abc"}}',
    }.items()),
    Row(f"{TORCH}/__init__.py", b'cuda_libs = {"cublas": "libcublas.so.*[0-9]", "cudnn": "libcudnn.so.*[0-9]"}\n'
        b'_preload_cuda_deps("nvrtc", "libnvrtc.so.*[0-9]")\nif "nvidia/cuda_runtime/lib/libcudart.so" not in _maps: pass\n', loading),
    *(Row("library.so", (ELF / name).read_bytes(), ask)
      for name in ("sm80.so", "mixed.so", "sm80_compressed.so") for ask in (elves, loading)),
)  # fmt: skip


def put(root: Path, row: Row, content: bytes) -> None:
    path = root / row.at.replace("$ ", "$/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
