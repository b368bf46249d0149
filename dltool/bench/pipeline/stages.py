"""Each stage of the pipeline as a step of its own: a batch through it, in one thread, as a worker has one.

Every result is held against another way to the same, on the images of the last step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dltool.bench import Prepared, verified
from dltool.bench.devices import Device, Step, import_torch
from dltool.bench.pipeline import colour, decoding
from dltool.bench.pipeline.augmentations import AUGMENTATIONS
from dltool.bench.pipeline.dataset import Pictures, Recipe, chance_of, stacked
from dltool.bench.pipeline.geometry import larger
from dltool.bench.pipeline.labels import labels_of
from dltool.errors import CannotRun
from dltool.results import Verified

BEFORE = ("read", "decode", "resize")
"""What is done before the augmentations."""
AFTER = ("floats", "collate")
STAGES = (*BEFORE, *AUGMENTATIONS, *AFTER, "copy")
_SAME_LEVEL = 1.01
"""Of 255: two resizers may round differently."""
_EDGE = 4
"""Pixels at the edge are not compared: there Pillow also looks at what lies beyond the square."""


def prepare(stage: str, recipe: Recipe, device: Device, *, on_device: bool, pin: bool) -> Prepared:
    """The step of a stage.

    Raises:
        CannotRun: it needs a GPU.
    """
    if device.kind != "cuda" and (on_device or stage == "copy"):
        raise CannotRun(f"the stage {stage} on a device needs a CUDA device", remedy="Leave it out on a CPU.")
    if stage in ("read", "decode"):
        return {"read": _read, "decode": _decode}[stage](recipe)
    if stage == "resize":
        return _resize(recipe)
    if stage == "collate":
        return _collate(recipe)
    if stage == "copy":
        return _copy(recipe, device, pin=pin)
    return _changed(stage, recipe, device.name if on_device else "cpu")


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a worker of a DataLoader."""
    torch = import_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Turns:
    """Batch after batch through a function; what the last one gave is kept."""

    def __init__(self, recipe: Recipe, each: Callable[[int], Any]) -> None:
        self._batch, self._each = recipe.batch, each
        self._next = 0
        self.places: range = range(0)
        self.given: list[Any] = []

    def __call__(self) -> None:
        self.places = range(self._next, self._next + self._batch)
        self._next += self._batch
        with one_thread():
            self.given = [self._each(place) for place in self.places]

    def verdict(self, reference: str, error: Callable[[int, Any], float], tolerance: float = 0.0) -> Callable[[], Verified]:
        """The greatest error of the last batch."""

        def verify() -> Verified:
            errors = [error(place, given) for place, given in zip(self.places, self.given, strict=True)]
            return verified(reference, max(errors, default=float("nan")), tolerance)

        return verify


def _read(recipe: Recipe) -> Prepared:
    pictures = Pictures(recipe)
    turns = _Turns(recipe, lambda place: decoding.read(pictures.path(place)))
    return Prepared(
        turns,
        turns.verdict("the sizes that the file system tells", lambda place, data: abs(len(data) - _size(pictures.path(place)))),
    )


def _size(path: str) -> int:
    return os.stat(path).st_size  # noqa: PTH116 - paths are texts here


def _held(recipe: Recipe) -> list[bytes]:
    """The files, so that a step does not read them."""
    return [decoding.read(path) for path in recipe.images.paths]


def _decode(recipe: Recipe) -> Prepared:
    files, paths = _held(recipe), recipe.images.paths
    turns = _Turns(recipe, lambda place: decoding.decode(files[place % len(files)], recipe.channels))

    def error(place: int, picture: Any) -> float:
        with decoding.import_pillow().open(paths[place % len(paths)]) as opened:
            return 0.0 if opened.convert(decoding.MODES[recipe.channels]).tobytes() == picture.tobytes() else 1.0

    return Prepared(turns, turns.verdict("Pillow reading the file by itself", error))


def _resize(recipe: Recipe) -> Prepared:
    torch = import_torch()
    files = _held(recipe)[: 2 * recipe.batch]
    pictures = [decoding.decode(data, recipe.channels) for data in files]
    side = recipe.source_side
    turns = _Turns(recipe, lambda place: decoding.sized(pictures[place % len(pictures)], side))

    def error(place: int, given: Any) -> float:
        picture = pictures[place % len(pictures)]
        square = picture.crop(decoding.middle(picture.size))
        flat = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
        whole = flat.view(1, *square.size, -1).permute(0, 3, 1, 2).float()
        wanted = torch.nn.functional.interpolate(whole, size=(side, side), mode="bilinear", antialias=True)[0]
        return float((given.float() - wanted)[:, _EDGE:-_EDGE, _EDGE:-_EDGE].abs().max())

    return Prepared(turns, turns.verdict("torch's bilinear resize with antialiasing", error, _SAME_LEVEL))


def _items(recipe: Recipe, side: int) -> list[Any]:
    """A batch of images of a side."""
    pictures = Pictures(recipe)
    found = [decoding.decode(decoding.read(pictures.path(place)), recipe.channels) for place in range(recipe.batch)]
    return [(decoding.sized(picture, side), 0, place) for place, picture in enumerate(found)]


def _collate(recipe: Recipe) -> Prepared:
    items = _items(recipe, recipe.source_side)
    given: list[Any] = []

    def step() -> None:
        with one_thread():
            given[:] = stacked(items)

    def verify() -> Verified:
        wrong = sum(not bool((one == item[0]).all()) for one, item in zip(given[0], items, strict=True)) if given else 1
        return verified("the images one by one", wrong)

    return Prepared(step, verify)


def _copy(recipe: Recipe, device: Device, *, pin: bool) -> Prepared:
    """Floats as workers hand them over; from pinned memory without waiting for each."""
    images = colour.as_floats(stacked(_items(recipe, recipe.side))[0])
    images = images.pin_memory() if pin else images
    given: list[Any] = [None]

    def step() -> None:
        given[0] = images.to(device.name, non_blocking=pin)

    def verify() -> Verified:
        return verified("the same batch on the host", (given[0].cpu() - images).abs().max())

    return Prepared(step, verify)


def _changed(stage: str, recipe: Recipe, where: str) -> Prepared:
    """An augmentation, or making floats; on a device held against the same on the CPU, there against itself anew."""
    source = stacked(_items(recipe, larger(recipe.side) if stage == "crop" else recipe.side))
    step_of: Callable[[str, Any, Any], Callable[[], Any]] = _floats if stage == "floats" else _augmentation
    images = colour.as_floats(source[0]) if stage in AUGMENTATIONS and AUGMENTATIONS[stage].floats else source[0]
    classes = source[1]
    run = step_of(stage, images.to(where), classes.to(where))
    given: Any = None

    def step() -> None:
        nonlocal given
        with one_thread():
            given = run()

    def verify() -> Verified:
        wanted = step_of(stage, images, classes)()
        found = given.float().cpu()
        if stage == "noise" and where != "cpu":  # a GPU draws other numbers
            return verified("the CPU's mean and deviation", _apart(found, wanted), 1e-2)
        return verified("the CPU from the same seed", (found - wanted.float()).abs().max(), 2e-2 if where != "cpu" else 1e-5)

    return Prepared(step, verify)


def _apart(left: Any, right: Any) -> float:
    return max(abs(float(left.mean() - right.mean())), abs(float(left.std() - right.std())))


def _augmentation(stage: str, images: Any, classes: Any) -> Callable[[], Any]:
    labels = labels_of(classes)
    return lambda: AUGMENTATIONS[stage].apply(images, labels, chance_of(0))[0]


def _floats(_stage: str, images: Any, _classes: Any) -> Step:
    return lambda: colour.normalised(colour.as_floats(images))
