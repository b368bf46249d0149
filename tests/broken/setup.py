"""The broken set-ups, by name: what is broken, how it is built, what a doctor has to find, and what counts as saying so."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from broken.venv import Venv
from broken.world import Need, World

Build = Callable[[World, Venv, bool], None]
"""Fills a world and its environment; the last argument says whether it is to be broken."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One fault.

    Attributes:
        name: of the set-up.
        what: is broken, in a few words.
        finding: the id under which the doctor reports it; None where nothing that a doctor reports is wrong.
        says: a regular expression that the doctor's headline of it matches.
        named_by: a regular expression, without case and over the output with its white space folded: a program whose output
            on the broken machine has it, and on the healthy twin has not, names the fault.
        shown_by: likewise, a program that shows the fact from which a person who knows could tell.
        wrong: likewise, a program that says what is not so.
        needs: of the machine on which it is built.
        options: of `dltool doctor`, without which it does not look there.
    """

    name: str
    what: str
    finding: str | None
    says: str
    named_by: str
    shown_by: str
    wrong: str
    needs: tuple[Need, ...]
    options: tuple[str, ...]
    fill: Build

    @contextlib.contextmanager
    def build(self, directory: Path, *, broken: bool, base: Path | None = None) -> Iterator[World]:
        """The world, in a directory that is made; with the packages of `base` in its environment."""
        place = directory / f"{self.name}-{'broken' if broken else 'healthy'}"
        place.mkdir()
        venv = Venv(place / "venv", base)
        world = World(place, venv.prefix)
        self.fill(world, venv, broken)
        yield world
        shutil.rmtree(place)


SETUPS: dict[str, Setup] = {}


def setup(
    what: str,
    finding: str | None,
    says: str = "",
    *,
    named_by: str,
    shown_by: str = r"(?!)",
    wrong: str = r"(?!)",
    needs: tuple[Need, ...] = ("gcc",),
    options: tuple[str, ...] = (),
) -> Callable[[Build], Build]:
    """Enter a set-up under the name of its function; the texts are those of `Setup`."""

    def enter(fill: Build) -> Build:
        name = fill.__name__.strip("_").replace("_", "-")
        SETUPS[name] = Setup(name, what, finding, says, named_by, shown_by, wrong, needs, options, fill)
        return fill

    return enter
