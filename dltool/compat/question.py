"""What is asked: any subset of driver, GPUs, CUDA, cuDNN, PyTorch, Python, system and packages that must work together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from dltool.compat.builds import cuda_of_build, processor_name, torch_build, torch_release
from dltool.compat.versions import known_version

if TYPE_CHECKING:
    from dltool.machine import Machine


class Question(Struct, frozen=True, kw_only=True):
    """The constraints; None is not given. Versions are full ones, as `dltool.compat.ask` completes them."""

    driver: str | None = None
    compute_capabilities: tuple[str, ...] = ()
    gpu_segments: tuple[str, ...] = ()
    """"datacenter", "geforce" ...: who may use a compat package."""
    tegra: bool = False
    """A Jetson or the like, whose driver comes with its system."""
    cuda: str | None = None
    """Toolkit whose nvcc compiles extensions."""
    cudnn: str | None = None
    """A cuDNN in the place of the one that PyTorch brings."""
    torch: str | None = None
    build: str | None = None
    """"cu126", "cpu"."""
    python: str | None = None
    os: str = "linux"
    """"linux", "windows" or "wsl"."""
    arch: str = "x86_64"
    glibc: str | None = None
    musl: bool = False
    kernel_module: str | None = None
    """"open" or "proprietary"."""
    compat_package: str | None = None
    """"cuda-compat-13-0"."""
    gcc: str | None = None
    extension_ptx: str | None = None
    """CUDA of an extension that holds PTX only."""
    cpu_only: bool = False
    """There is no GPU: CPU builds are meant."""
    packages: Mapping[str, str] = {}
    """Further packages by name and version; an empty version: any, wanted along with PyTorch."""

    @property
    def windows_driver(self) -> bool:
        """Whether driver versions are counted as on Windows."""
        return self.os in ("windows", "wsl")

    @property
    def cuda_of_torch(self) -> str | None:
        """CUDA that PyTorch was built with, "12.6"; None for CPU builds too."""
        return cuda_of_build(self.build) if self.build else None


def of_machine(machine: Machine) -> Question:
    """What a machine has, as a question. What is no version there is not asked about."""
    python = machine.python
    torch = python.torch if python else None
    release = torch_release(torch.version) if torch else None
    wanted = ("torchvision", "torchaudio", "torchtext", "numpy", "triton", "flash-attn", "xformers", "bitsandbytes")
    return Question(
        driver=_known(machine.driver.version) or _known(machine.driver.kernel_module_version),
        compute_capabilities=tuple(dict.fromkeys(filter(None, (_known(gpu.compute_capability) for gpu in machine.gpus)))),
        tegra=bool(machine.os.tegra),
        cpu_only=not machine.gpus and not machine.pci and machine.driver.kernel_module_version is None,
        glibc=_known(machine.os.glibc),
        musl="alpine" in (machine.os.distribution or "").casefold(),
        torch=torch.version.partition("+")[0] if torch and release else None,
        build=torch_build(torch.version, torch.cuda) if torch and release else None,
        python=_known(python.version) if python else None,
        os="windows" if machine.os.system == "Windows" else "wsl" if machine.os.wsl else "linux",
        arch=processor_name(machine.cpu.architecture or "x86_64"),
        kernel_module=None
        if machine.driver.kernel_module_open is None
        else ("proprietary", "open")[machine.driver.kernel_module_open],
        packages={
            name: found.version
            for name in wanted
            if python and (found := python.distribution(name)) and known_version(found.version)
        },
    )


def _known(version: str | None) -> str | None:
    return version if known_version(version) else None
