"""Data that is ready to be trained on: what goes in, what is to come out, and what is asked at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.bench.learning.trials import Trial
from dltool.errors import CannotRun

if TYPE_CHECKING:
    from torch import Generator, Tensor

TEST_SHARE = 0.2
"""Of the samples, class by class: what is asked and never trained on."""
SPLIT_SEED = 0


@dataclass(frozen=True)
class Samples:
    """Inputs of a model with their targets; samples lie along the first axis."""

    inputs: tuple[Tensor, ...]
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, places: Any) -> Samples:
        """Some of them, by number."""
        return Samples(tuple(tensor[places] for tensor in self.inputs), self.targets[places])

    def to(self, device: str, dtype: Any = None) -> Samples:
        """On a device; what is no whole number as `dtype`."""
        inputs = tuple(_moved(tensor, device, dtype) for tensor in self.inputs)
        return Samples(inputs, self.targets.to(device))


@dataclass(frozen=True)
class Lesson:
    """What is trained on, and what is asked."""

    train: Samples
    test: Samples
    classes: int = 0
    """How many are told apart, where they are classes."""
    baseline: float | None = None
    """What needs no learning: the perplexity of bytes by their frequency, the PSNR of bicubic interpolation."""
    whole: bool = False
    """One graph: every step takes all of it, and the targets of training are those of its first nodes."""
    time_first: bool = False
    """The model takes (T, N), where samples lie (N, T)."""

    def batches(self, size: int, chance: Generator) -> Iterator[Samples]:
        """An epoch in random order; what does not fill a batch is left out."""
        import torch

        if self.whole:
            yield self.train
            return
        order = torch.randperm(len(self.train), generator=chance)
        for start in range(0, len(order) - size + 1, size):
            yield self.arranged(self.train.take(order[start : start + size]))

    def asked(self, size: int) -> Iterator[Samples]:
        """What is tested, in its order."""
        if self.whole:
            yield self.test
            return
        for start in range(0, len(self.test), size):
            yield self.arranged(self.test.take(slice(start, start + size)))

    def arranged(self, samples: Samples) -> Samples:
        """As the model takes them."""
        if not self.time_first:
            return samples
        return Samples(tuple(tensor.T.contiguous() for tensor in samples.inputs), samples.targets.T.contiguous())


def lesson(trial: Trial, folder: Path | None = None) -> Lesson:
    """The data of a trial.

    Raises:
        CannotRun: the package that ships it is not installed.
        UsageError: the folder holds no such data, or it is damaged.
    """
    if trial.folder:
        from dltool.bench.learning import folders

        assert folder is not None
        found: Lesson = getattr(folders, trial.data)(folder, _sides(trial.shape))
        return found
    ready: Lesson = getattr(import_module("dltool.bench.learning.packaged"), trial.data)(_sides(trial.shape))
    return ready


def stratified(inputs: tuple[Tensor, ...], targets: Tensor) -> tuple[Samples, Samples]:
    """A share of each class is kept for the test; always the same."""
    import torch

    chance = torch.Generator().manual_seed(SPLIT_SEED)
    train, test = [], []
    for value in targets.unique():
        places = (targets == value).nonzero().flatten()
        places = places[torch.randperm(len(places), generator=chance)]
        kept = round(TEST_SHARE * len(places))
        test.append(places[:kept])
        train.append(places[kept:])
    both = Samples(inputs, targets)
    return both.take(torch.cat(train).sort().values), both.take(torch.cat(test).sort().values)


def shaped(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(N, c, h, w) as (N, *shape): 28x28 in 32x32 has a border as LeNet-5 wants it; other sizes are resized."""
    from torch.nn import functional

    channels, height, width = shape
    rows, columns = height - images.shape[2], width - images.shape[3]
    if (rows, columns) == (4, 4):
        images = functional.pad(images, (2, 2, 2, 2))
    elif rows or columns:
        images = functional.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
    if images.shape[1] == 3 and channels == 1:
        return images.mean(1, keepdim=True)
    return images.expand(-1, channels, -1, -1).contiguous()


def package(name: str, of: str) -> Any:
    """A package that ships data.

    Raises:
        CannotRun: it is not installed, or cannot be imported.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise CannotRun(
            f"this data comes with {of}, which cannot be imported: {error}; install it: pip install 'dltool[learning]'",
            remedy="pip install 'dltool[learning]'",
        ) from None


def _sides(shape: str) -> tuple[int, ...]:
    return tuple(int(side) for side in shape.split("x")) if shape else ()


def _moved(tensor: Tensor, device: str, dtype: Any) -> Tensor:
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
