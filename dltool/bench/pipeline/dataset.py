"""Images by their place in an endless order, and batches of them: what a DataLoader is made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dltool.bench.pipeline import decoding
from dltool.bench.pipeline.augmentations import augmented, source_side
from dltool.bench.pipeline.folder import Images
from dltool.bench.pipeline.labels import Labels, labels_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

Item = tuple["Tensor", int, int]
"""An image in bytes (C, H, W), its class, and its place in the order."""


class Batch(NamedTuple):
    """N images with their labels."""

    images: Tensor
    """Normalised floats (N, C, side, side); bytes (N, C, H, W) where the device is to augment them."""
    classes: Tensor
    weights: Tensor
    places: Tensor
    """In the order, so that a batch can be made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What becomes of an image on its way into a batch."""

    images: Images
    side: int = 224
    channels: int = 3
    augment: tuple[str, ...] = ()
    batch: int = 16
    on_device: bool = False
    """Whether the device augments and makes floats; the loader then hands over bytes."""

    @property
    def source_side(self) -> int:
        """Of an image before it is augmented."""
        return source_side(self.side, self.augment)

    @property
    def batch_bytes(self) -> int:
        """Of a batch that a worker hands over."""
        side, each = (self.source_side, 1) if self.on_device else (self.side, 4)
        return self.batch * self.channels * side * side * each


class Pictures:
    """The images of a recipe by place; after the last the first comes again."""

    def __init__(self, recipe: Recipe) -> None:
        self._images = recipe.images
        self._side = recipe.source_side
        self._channels = recipe.channels

    def path(self, place: int) -> str:
        """The file of the image there."""
        return self._images.paths[place % len(self._images.paths)]

    def __getitem__(self, place: int) -> Item:
        picture = decoding.decode(decoding.read(self.path(place)), self._channels)
        label = self._images.classes[place % len(self._images.paths)]
        return decoding.sized(picture, self._side), label, place


class Order:
    """Places 0, 1, 2 ... in batches: for ever, or so many. The images were shuffled when they were chosen."""

    def __init__(self, batch: int, batches: int | None = None) -> None:
        self._batch = batch
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        numbers = itertools.count() if self._batches is None else range(self._batches)
        for number in numbers:
            yield list(range(number * self._batch, (number + 1) * self._batch))


class Collate:
    """Items into a batch, augmented in the process of the worker, or not."""

    def __init__(self, recipe: Recipe) -> None:
        self._augment = recipe.augment
        self._on_device = recipe.on_device

    def __call__(self, items: Sequence[Item]) -> Batch:
        """The batch of these items."""
        images, classes, places = stacked(items)
        labels = labels_of(classes)
        if not self._on_device:
            images, labels = augmented(images, labels, self._augment, chance_of(int(places[0])))
        return Batch(images, labels.classes, labels.weights, places)


def stacked(items: Sequence[Item]) -> tuple[Tensor, Tensor, Tensor]:
    """The images (N, C, H, W), classes (N) and places (N) of items."""
    import torch

    images, classes, places = zip(*items, strict=True)
    return torch.stack(images), torch.tensor(classes), torch.tensor(places)


def chance_of(place: int) -> Generator:
    """The random numbers of the batch that begins there, in whatever process it is made."""
    import torch

    return torch.Generator().manual_seed(1_000_003 + place)


def augmented_batch(batch: Batch, names: Sequence[str], place: int) -> Batch:
    """A batch of bytes augmented where it is, as the workers would have done it; `place`: of its first image."""
    images, labels = augmented(batch.images, Labels(batch.classes, batch.weights), names, chance_of(place))
    return Batch(images, labels.classes, labels.weights, batch.places)


def remade(recipe: Recipe, places: Sequence[int]) -> Batch:
    """The batch of these places, made here."""
    pictures = Pictures(recipe)
    return Collate(recipe)([pictures[place] for place in places])
