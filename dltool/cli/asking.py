"""The options that describe a machine which may not be this one: shared by `compat` and `setup`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dltool.compat.ask import Asked
    from dltool.compat.question import Question


def _option(name: str, text: str, metavar: str = "V") -> object:
    return typer.Option(name, help=text, metavar=metavar)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What is asked about; nothing given is this machine."""

    driver: Annotated[str | None, _option("--driver", "Driver version, or a branch: 535.183.01, 580.")] = None
    gpu: Annotated[str | None, _option("--gpu", "GPU by any name, see gpu-info.", "NAME")] = None
    cc: Annotated[str | None, _option("--cc", "Compute capability in place of --gpu: 8.6.", "X.Y")] = None
    cuda: Annotated[str | None, _option("--cuda", "CUDA toolkit whose nvcc compiles extensions: 12.8.")] = None
    cudnn: Annotated[str | None, _option("--cudnn", "A cuDNN in place of the one that PyTorch brings.")] = None
    torch: Annotated[str | None, _option("--torch", "PyTorch, with its build: 2.14.1+cu126.")] = None
    torchvision: Annotated[str | None, _option("--torchvision", "torchvision release.")] = None
    torchaudio: Annotated[str | None, _option("--torchaudio", "torchaudio release.")] = None
    numpy: Annotated[str | None, _option("--numpy", "NumPy release.")] = None
    python: Annotated[str | None, _option("--python", "Python version: 3.12.")] = None
    os: Annotated[str | None, _option("--os", "System: linux, windows or wsl.", "NAME")] = None
    arch: Annotated[str | None, _option("--arch", "Processor: x86_64 or aarch64.", "NAME")] = None
    glibc: Annotated[str | None, _option("--glibc", "C library of the distribution: 2.31.")] = None
    kernel_module: Annotated[str | None, _option("--kernel-module", "open or proprietary.", "NAME")] = None
    compat_package: Annotated[
        str | None, _option("--compat-package", "Forward-compatibility package: cuda-compat-13-0.", "NAME")
    ] = None
    gcc: Annotated[str | None, _option("--gcc", "Host compiler of nvcc.")] = None
    extension_ptx: Annotated[str | None, _option("--extension-ptx", "CUDA of an extension that holds PTX only.")] = None
    with_: Annotated[
        list[str] | None, _option("--with", "Further package: torchvision, flash-attn==2.8.3.", "NAME[==V],..")
    ] = None

    @property
    def given(self) -> bool:
        """Whether anything was asked."""
        return any(getattr(self, field.name) not in (None, []) for field in fields(self))

    def ask(self, base: Question | None = None) -> Asked:
        """The question; `base` says what is so besides.

        Raises:
            UsageError: a value is none, says too little, or contradicts another.
        """
        from dltool.cli.common import names
        from dltool.compat.ask import ask

        named = {"torchvision": self.torchvision, "torchaudio": self.torchaudio, "numpy": self.numpy}
        own = (
            "driver", "gpu", "cc", "cuda", "cudnn", "torch", "python", "os", "arch", "glibc", "kernel_module",
            "compat_package", "gcc", "extension_ptx",
        )  # fmt: skip
        wanted = [*(f"{name}=={version}" for name, version in named.items() if version is not None), *names(self.with_)]
        return ask(**{name: getattr(self, name) for name in own}, with_=wanted, base=base)
