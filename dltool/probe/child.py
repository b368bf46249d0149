"""Our own modules in a child process, for sources that may hang or crash."""

from __future__ import annotations

import sys
from pathlib import Path

from dltool.child import Answer, run

__all__ = ["Answer", "python", "run"]


def python(module: str, *, timeout_s: float) -> Answer:
    """Run one of our modules as a script in this interpreter, importing this very dltool and nothing from the cwd."""
    place = str(Path(__file__).parents[2])
    code = (
        "import sys, runpy; sys.path[:] = filter(None, sys.path); "
        f"{place!r} in sys.path or sys.path.insert(0, {place!r}); "
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    return run([sys.executable, "-c", code], timeout_s=timeout_s)
