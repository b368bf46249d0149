"""Names bound to callables by a decorator: checks, workloads, output formats.

A registry imports its package's modules when it is first asked, then the entry points of other distributions. An
import error in one of our own modules is a bug and is raised; one in a plugin is kept in `broken`: shown, not lost.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from dltool.errors import unknown_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class BrokenPlugin(Exception):
    """A plugin, or a part of it, cannot be used; says why."""


class Registry(Generic[T]):
    """The things of one kind (`"check"`, `"workload"`) by their names."""

    def __init__(
        self,
        kind: str,
        *,
        package: str,
        entry_points: str | None = None,
        brought: Callable[[EntryPoint], Iterable[tuple[str, T]]] | None = None,
        listing: str | None = None,
    ) -> None:
        """An empty registry.

        Args:
            kind: what these things are, in the singular.
            package: whose modules register ours.
            entry_points: the group under which other distributions offer theirs.
            brought: finds out what an entry point brings; by default it is imported, and registers its things itself.
            listing: the command that lists all names.
        """
        self.kind = kind
        self.broken: dict[str, str] = {}
        self._package = package
        self._entry_points = entry_points
        self._brought = brought
        self._listing = listing
        self._items: dict[str, T] = {}
        self._own_loaded = False
        self._plugins_loaded = False

    def add(self, name: str, item: T) -> T:
        """Bind `name`; a doubled name is a programming error, never a silent replacement."""
        if name in self._items:
            raise ValueError(f"two {self.kind}s are called {name!r}")
        self._items[name] = item
        return item

    def register(self, name: str) -> Callable[[T], T]:
        """`add` as a decorator."""
        return lambda item: self.add(name, item)

    def get(self, name: str) -> T:
        """The thing called `name`; strangers' plugins are loaded only when it is none of ours.

        Raises:
            UsageError: no such name; the remedy suggests the nearest.
        """
        self._load_module(name)
        if name not in self._items:
            self._load_own()
        if name not in self._items:
            self._load_plugins()
        try:
            return self._items[name]
        except KeyError:
            raise unknown_name(self.kind, name, self._items, listing=self._listing) from None

    def _load_module(self, name: str) -> None:
        """Where a module of ours has the name of the thing, it alone will do: the others stay unloaded."""
        if self._own_loaded or not name.isidentifier():
            return
        package = importlib.import_module(self._package)
        if any(module.name == name for module in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"{self._package}.{name}")

    def added(self) -> tuple[T, ...]:
        """The things that have been added so far; nothing is loaded for it."""
        return tuple(self._items.values())

    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        self._load_all()
        return tuple(self._items)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        self._load_all()
        return iter(self._items.items())

    def _load_all(self) -> None:
        self._load_own()
        self._load_plugins()

    def _load_own(self) -> None:
        if self._own_loaded:
            return
        self._own_loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.endswith("_child"):  # a program of its own, which registers nothing
                importlib.import_module(f"{self._package}.{module.name}")

    def _load_plugins(self) -> None:
        if self._plugins_loaded or self._entry_points is None:
            return
        self._plugins_loaded = True
        from importlib.metadata import entry_points

        for plugin in entry_points(group=self._entry_points):
            try:
                self._add_brought(plugin)
            except BrokenPlugin as error:
                self.broken[f"{plugin.name} ({plugin.value})"] = str(error)
            except (Exception, SystemExit) as error:  # a stranger's module may fail in any way
                self.broken[f"{plugin.name} ({plugin.value})"] = f"{type(error).__name__}: {error}"

    def _add_brought(self, plugin: EntryPoint) -> None:
        if self._brought is None:
            plugin.load()
            return
        refused = []
        for name, item in self._brought(plugin):
            try:
                self.add(name, item)
            except ValueError as error:  # its other things are none the worse
                refused.append(str(error))
        if refused:
            raise BrokenPlugin("; ".join(refused))
