"""Which model of the zoo a published figure is of: rows of `catalog/model_names.csv`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from msgspec import Struct

from dltool import tables
from dltool.reference import Figure


class Counterpart(Struct, frozen=True, kw_only=True):
    """A model as a publisher calls it, and what it is here."""

    published: str
    conditions: str = ""
    """Words that the conditions of a figure must hold."""
    mode: str = ""
    """"train", "infer" or "decode"; empty: whatever the figure's workload says."""
    name: str = ""
    """Of the zoo; empty: there is none."""
    options: Mapping[str, str] = {}
    also: tuple[str, ...] = ()
    """The same model of other packages: "timm:resnet50"."""
    input: str = ""
    """What it takes, see `dltool.zoo.inputs`."""
    optimizer: str = ""
    batch: int | None = None
    """Samples of a step, where a figure does not tell: assumed."""
    comparable: bool = True
    why: str = ""

    def is_of(self, figure: Figure) -> bool:
        """Whether a figure is one of this model."""
        mine = figure.case.get("model") == self.published
        return mine and (not self.conditions or self.conditions in figure.conditions)

    def mode_of(self, figure: Figure) -> str:
        """ "train", "infer" or "decode"."""
        return self.mode or figure.workload

    def is_named(self, name: str, options: Mapping[str, str]) -> bool:
        """Whether a model with these options is this one."""
        return (name == self.name and _spaceless(options) == _spaceless(self.options)) or (name in self.also and not options)

    @property
    def tokens(self) -> int | None:
        """Of a sequence; None where it takes none."""
        match = re.fullmatch(r"int<\d+:N,(\d+)", self.input)
        return int(match[1]) if match else None


@cache
def counterparts() -> tuple[Counterpart, ...]:
    """All rows, those that no figure is compared with too."""
    return tuple(_counterpart(row) for row in tables.rows("model_names"))


def counterpart_of(figure: Figure) -> Counterpart | None:
    """What a published figure is of; None: a name that the table lacks."""
    return next((one for one in counterparts() if one.is_of(figure)), None)


def options_of(text: str) -> dict[str, str]:
    """`head=pretraining; depths=(3, 3)` taken apart, with commas too."""
    return {name: value.strip() for name, value in re.findall(r"(\w+)\s*=\s*((?:\([^)]*\)|[^,;()])+)", text)}


def batch_of(figure: Figure) -> int | None:
    """The samples of a step, where the figure tells: "bs 256 img 224"."""
    match = re.search(r"\bbs (\d+)\b", figure.conditions)
    return int(match[1]) if match else None


def _spaceless(options: Mapping[str, str]) -> dict[str, str]:
    return {key: value.replace(" ", "") for key, value in options.items()}


def _counterpart(row: tables.Row) -> Counterpart:
    return Counterpart(
        published=row["published"],
        conditions=row["conditions"],
        mode=row["mode"],
        name=row["name"],
        options=options_of(row["options"]),
        also=tuple(row["also"].split()),
        input=row["input"],
        optimizer=row["optimizer"],
        batch=tables.integer(row["batch"]),
        comparable=row["compare"] == "yes",
        why=row["why"],
    )
