"""Stand-ins for what `setup create` runs: a folder of tiny wheels, and a Python that plays an installation."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

from dltool.results import Environment

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
TORCH = '''
"""As much of torch as the proof of an environment asks for: a matrix is one number."""
__version__ = "{version}"
float32, float64 = "float32", "float64"
class version:
    cuda = None
class Generator:
    def manual_seed(self, seed): return self
class Tensor:
    def __init__(self, value): self.value = value
    def __matmul__(self, other): return Tensor(self.value * other.value)
    def __sub__(self, other): return Tensor(self.value - other.value)
    def __truediv__(self, other): return Tensor(self.value / other.value)
    def __float__(self): return float(self.value)
    def to(self, **how): return self
    def abs(self): return Tensor(abs(self.value))
    def max(self): return self
def rand(*size, dtype, generator): return Tensor(2.0)
class cuda:
    @staticmethod
    def is_available(): return False
'''
FAKE_PYTHON = '''#!{python}
"""Makes an environment that is a copy of itself, and installs as the variables PLAY_INSTALL and PLAY_PROOF say."""
import json, os, pathlib, shutil, sys, time
arguments = sys.argv[1:]
with open({record!r}, "a") as record:
    record.write(json.dumps(arguments) + "\\n")
play = json.loads(os.environ.get("PLAY_INSTALL", "{{}}"))
if arguments[:2] == ["-m", "venv"]:
    place = pathlib.Path(arguments[2])
    (place / "bin").mkdir(exist_ok=True)
    (place / "lib").mkdir(exist_ok=True)
    (place / "pyvenv.cfg").write_text("home = /usr/bin\\nversion = {version}.0\\n")
    shutil.copy(__file__, place / "bin/python")
    if "venv" in play:
        sys.exit(play["venv"])
elif "install" in arguments:
    packages = pathlib.Path(sys.argv[0]).parents[1] / "lib/python{version}/site-packages"
    for name in play.get("half", []):
        (packages / name).mkdir(parents=True)
    print(play.get("say", "Successfully installed"), flush=True)
    time.sleep(play.get("sleep", 0))
    sys.exit(play.get("code", 0))
elif "check" in arguments:
    print("No broken requirements found.")
else:
    told = {{"python": "{version}.0", "versions": {{"torch": "2.13.0+cpu"}}, "imports": {{"torch": ""}}, "torch": "2.13.0+cpu",
            "cuda": None, "cuda_available": False, "cuda_error": "", "products": [{{"device": "cpu", "name": "CPU",
            "error": 1e-9, "tolerance": 1e-5, "seconds": 0.1, "failure": ""}}]}}
    print(json.dumps(told | json.loads(os.environ.get("PLAY_PROOF", "{{}}"))))
'''


def wheel(folder: Path, name: str, version: str, files: dict[str, str], requires: str = "") -> Path:
    """A pure-Python wheel."""
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    every = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    every[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*every, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in every.items():
            archive.writestr(inside, text)
    return path


def wheelhouse(folder: Path, version: str = "2.13.0+cpu") -> Path:
    """torch, something that it needs, and torchvision."""
    folder.mkdir(parents=True, exist_ok=True)
    torch = {
        "torch/__init__.py": TORCH.format(version=version),
        "torch/version.py": f"__version__ = '{version}'\ncuda = None\n",
        "torch/_C.so": "",
    }
    wheel(folder, "torch", version, torch, requires="needed==1.2")
    wheel(folder, "needed", "1.2", {"needed.py": ""})
    wheel(folder, "torchvision", "0.28.0+cpu", {"torchvision/__init__.py": "import torch\n"}, requires="torch==2.13.0")
    return folder


def fake_python(folder: Path) -> Path:
    """An interpreter that plays; what it was asked is in `asked.txt` beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python"
    path.write_text(FAKE_PYTHON.format(python=sys.executable, record=str(folder / "asked.txt"), version=PYTHON))
    path.chmod(0o755)
    return path


def asked(interpreter: Path) -> list[str]:
    """What the fake was asked so far, by its verb."""
    lines = [json.loads(line) for line in (interpreter.parent / "asked.txt").read_text().splitlines()]
    verbs = ("venv", "install", "check")
    return [next((verb for verb in verbs if verb in line), "proof") for line in lines]


def environment(**changed: object) -> Environment:
    """A CPU build in a venv."""
    usual = {
        "manager": "venv", "python": PYTHON, "torch": "2.13.0", "build": "cpu", "index": "https://index.example.org/cpu",
        "requirements": ("torch==2.13.0+cpu",),
    }  # fmt: skip
    return Environment(**(usual | changed))
