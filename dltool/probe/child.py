"""Our own modules in a child process, for sources that may hang or crash."""

from __future__ import annotations

from dltool.child import Answer, python, run

__all__ = ["Answer", "python", "run"]
