"""Python environments made by hand: a real prefix with a real interpreter, and packages that are as broken as is wanted.

With a `base` the packages of another environment are in it too, by links: the programs that are compared come from there.
Without one its PyTorch is a stand-in that loads libtorch_global_deps.so at import, as the real one does, and has nothing else.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ELF = Path(__file__).parent.parent / "elf"
TORCH = "2.9.1"
RELEASE = f"{sys.version_info[0]}.{sys.version_info[1]}"
_IMPORT = """import ctypes, os
from torch.version import __version__
ctypes.CDLL(os.path.join(os.path.dirname(__file__), "lib", "libtorch_global_deps.so"), mode=ctypes.RTLD_GLOBAL)
"""


class Venv:
    """An environment in a directory.

    Args:
        prefix: the directory, which is made.
        base: the prefix of an environment whose packages are taken over; its PyTorch must be of this Python.
    """

    def __init__(self, prefix: Path, base: Path | None = None) -> None:
        self.prefix = prefix
        self.site = prefix / f"lib/python{RELEASE}/site-packages"
        self.site.mkdir(parents=True)
        (prefix / "bin").mkdir()
        interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        for name in ("python", "python3"):
            (prefix / "bin" / name).symlink_to(interpreter)
        settings = f"home = {interpreter.parent}\ninclude-system-site-packages = false\nversion = {sys.version.split()[0]}\n"
        (prefix / "pyvenv.cfg").write_text(settings)
        self._base = base
        if base is not None:
            self._take_over(base)

    def _take_over(self, base: Path) -> None:
        packages = base / f"lib/python{RELEASE}/site-packages"
        (self.site / "nvidia").mkdir()  # to which a set-up may add
        for path in [*packages.iterdir(), *(packages / "nvidia").iterdir()]:
            if path.name not in ("torch", "nvidia") and not path.name.startswith("torch-"):
                (self.site / path.relative_to(packages)).symlink_to(path)
        for name in ("env-doctor", "rapids"):
            program = (base / "bin" / name).read_text().partition("\n")[2]
            (self.prefix / "bin" / name).write_text(f"#!{self.prefix}/bin/python\n{program}")
            (self.prefix / "bin" / name).chmod(0o755)

    def torch(self, version: str = TORCH, *, cuda: str | None = "12.8") -> Path:
        """PyTorch: what version.py says of it, and its files; returns the package."""
        label = "cpu" if cuda is None else f"cu{cuda.replace('.', '')}"
        package = self.site / "torch"
        if self._base is None:
            self._stand_in(package, with_cuda=cuda is not None)
        else:
            self._linked(package, self._base / f"lib/python{RELEASE}/site-packages/torch")
        says = f"__version__ = {f'{version}+{label}'!r}\ndebug = False\ncuda = {cuda!r}\ngit_version = ''\nhip = xpu = None\n"
        (package / "version.py").unlink(missing_ok=True)
        (package / "version.py").write_text(says)
        self.distribution("torch", f"{version}+{label}")
        return package

    def _stand_in(self, package: Path, *, with_cuda: bool) -> None:
        (package / "lib").mkdir(parents=True)
        (package / "__init__.py").write_text(_IMPORT)
        library(package / "lib/libtorch_global_deps.so")
        library(package / f"_C.cpython-{RELEASE.replace('.', '')}-x86_64-linux-gnu.so")
        if with_cuda:
            shutil.copy(ELF / "mixed.so", package / "lib/libtorch_cuda.so")

    @staticmethod
    def _linked(package: Path, real: Path) -> None:
        """The real package, file by file, so that some can be others."""
        package.mkdir()
        for path in real.iterdir():
            if path.name not in ("lib", "__pycache__"):
                (package / path.name).symlink_to(path)
        (package / "lib").mkdir()
        for path in (real / "lib").iterdir():
            (package / "lib" / path.name).symlink_to(path)
        # Python finds a package by the place of its __init__.py: a link there would lead it back to the real one.
        (package / "__init__.py").unlink()
        shutil.copy(real / "__init__.py", package / "__init__.py")

    def distribution(self, name: str, version: str, *, files: tuple[str, ...] = ()) -> Path:
        """The record of an installed distribution, as pip writes it."""
        written = name.replace("-", "_")
        for old in self.site.glob(f"{written}-*.dist-info"):
            if old.is_symlink():
                old.unlink()
        record = self.site / f"{written}-{version}.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (record / "INSTALLER").write_text("pip\n")
        (record / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        return record


def library(path: Path, source: str = "", *, soname: str = "", needs: tuple[Path, ...] = (), runpath: str = "") -> Path:
    """Compile a shared library; symbols that it does not define may be missing.

    Raises:
        RuntimeError: it does not compile; says why.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-O0", f"-Wl,-soname,{soname or path.name}", "-o", str(path), "-x", "c", "-"]
    command += ["-Wl,--no-as-needed,--allow-shlib-undefined", *(["-x", "none", *map(str, needs)] if needs else [])]
    command += [f"-Wl,--enable-new-dtags,-rpath,{runpath}"] if runpath else []
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{path.name} does not compile:\n{done.stderr}")
    return path
