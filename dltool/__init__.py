"""What is wrong with this GPU machine, what it could do, and what it really does.

The objects here are the ones that the commands use. Importing dltool is cheap: each name loads its room when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dltool.api import bench as bench
    from dltool.api import doctor as doctor
    from dltool.api import gpu as gpu
    from dltool.api import machine as machine

_API = ("machine", "doctor", "gpu", "bench")


def __getattr__(name: str) -> Any:
    if name in _API:
        from dltool import api

        return getattr(api, name)
    raise AttributeError(f"module 'dltool' has no attribute {name!r}")
