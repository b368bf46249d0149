"""Which augmentations there are, and in which order they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dltool.bench.pipeline import colour, geometry, mixing
from dltool.errors import unknown_name

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from dltool.bench.pipeline.labels import Labels


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One of them."""

    apply: Callable[[Tensor, Labels, Generator], tuple[Tensor, Labels]]
    floats: bool
    """Whether it takes floats from 0 to 1; else bytes do, which are a quarter as many."""


AUGMENTATIONS = {
    "crop": Augmentation(geometry.crop, floats=False),
    "flip": Augmentation(geometry.flip, floats=False),
    "mosaic": Augmentation(mixing.mosaic, floats=False),
    "rotate": Augmentation(geometry.rotate, floats=True),
    "light": Augmentation(colour.light, floats=True),
    "noise": Augmentation(colour.noise, floats=True),
    "mixup": Augmentation(mixing.mixup, floats=True),
    "cutout": Augmentation(geometry.cutout, floats=True),
}
"""In the order in which they run: what bytes can do first."""
USUAL = ("crop", "flip", "light")
"""What a classifier is usually trained with."""


def parse(names: Iterable[str]) -> tuple[str, ...]:
    """Augmentations by their names, in the order in which they run: "all", "none", or some.

    Raises:
        UsageError: one that there is not; the nearest are suggested.
    """
    asked = [name.strip().lower() for name in names]
    for name in asked:
        if name not in (*AUGMENTATIONS, "all", "none"):
            raise unknown_name("augmentation", name, (*AUGMENTATIONS, "all", "none"))
    return tuple(name for name in AUGMENTATIONS if name in asked or "all" in asked)


def source_side(side: int, names: Iterable[str]) -> int:
    """How large images are decoded that are to be `side` in the end: a crop needs more."""
    return geometry.larger(side) if "crop" in names else side


def augmented(images: Tensor, labels: Labels, names: Iterable[str], chance: Generator) -> tuple[Tensor, Labels]:
    """Bytes (N, C, H, W) through augmentations, in their order, into normalised floats.

    A batch of the same seed comes out the same.
    """
    chosen = [AUGMENTATIONS[name] for name in AUGMENTATIONS if name in names]
    for each in chosen:
        if not each.floats:
            images, labels = each.apply(images, labels, chance)
    images = colour.as_floats(images)
    for each in chosen:
        if each.floats:
            images, labels = each.apply(images, labels, chance)
    return colour.normalised(images), labels
