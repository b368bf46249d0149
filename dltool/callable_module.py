"""Let a module be called: `dltool.machine()` reads the machine while `dltool.machine.Gpu` stays the type it holds."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    """A module whose call is answered by the function of its name in `dltool.api`."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Hand the call on."""
        from dltool import api

        return getattr(api, self.__name__.rpartition(".")[2])(*args, **options)


def make_callable(name: str) -> None:
    """Turn the loaded module `name` into a `CallableModule`."""
    sys.modules[name].__class__ = CallableModule
