"""What is wrong with this GPU machine, what it could do, and what it really does.

    dltool.machine()          the facts of this machine
    dltool.doctor()           what is wrong with it
    dltool.gpu("H100 SXM")    a board of the catalogue with its derived peaks
    dltool.compat(gpu="RTX 5090", driver="575", torch="2.9.1+cu128")    whether they go together, and what to install if not
    dltool.bench("gemm")      measurements
    dltool.models.build("resnet50")    a standard network in plain torch

These are the objects that the commands use. Importing dltool is cheap: each name loads its room when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dltool.api import doctor as doctor
    from dltool.api import gpu as gpu


def __getattr__(name: str) -> Any:
    if name in ("doctor", "gpu"):
        return getattr(import_module("dltool.api"), name)
    if name in ("machine", "bench", "compat"):  # modules that can be called, see dltool.api
        return import_module(f"dltool.{name}")
    if name == "models":
        return import_module("dltool.models")
    raise AttributeError(f"module 'dltool' has no attribute {name!r}")
