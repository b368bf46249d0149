"""Data that a user has: MNIST's files (idx-ubyte), CIFAR-10's (cifar-10-batches-py), or a folder for each class of images."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.bench.learning import unpickling
from dltool.bench.learning.lessons import Lesson, Samples, package, shaped, stratified
from dltool.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

MOST = 10_000
"""Images that are taken, the first of the files or of each class: enough to see whether it learns."""
_MOST_ASKED = 2_000
_IMAGES, _LABELS = 0x803, 0x801
"""Magic numbers of idx files: unsigned bytes in three dimensions, and in one."""
_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp"})
_REMEDY = (
    "--folder takes train-images-idx3-ubyte(.gz) with its three companions (MNIST, Fashion-MNIST), cifar-10-batches-py, "
    "or a folder with one folder of images per class."
)


def images(folder: Path, shape: tuple[int, ...]) -> Lesson:
    """Whatever of the three the folder holds.

    Raises:
        UsageError: none, or damaged.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", remedy=_REMEDY)
    for read in (_idx, _cifar, _classes):
        found = read(folder)
        if found is not None:
            train, test = (Samples((shaped(part.inputs[0], shape),), part.targets) for part in found)
            classes = 1 + max(int(part.targets.max()) for part in found)
            return Lesson(train, test, classes=classes)
    raise UsageError(f"{folder} holds no data that is known", remedy=_REMEDY)


def _idx(folder: Path) -> tuple[Samples, Samples] | None:
    if _either(folder, "train-images-idx3-ubyte") is None:
        return None
    parts = []
    for name, most in (("train", MOST), ("t10k", _MOST_ASKED)):
        found = [_either(folder, f"{name}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
        if None in found:
            raise UsageError(f"{folder} lacks {name}-images or {name}-labels", remedy=_REMEDY)
        pictures, kinds = (_unpacked(path, magic) for path, magic in zip(found, (_IMAGES, _LABELS), strict=True) if path)
        if len(pictures) != len(kinds):
            raise UsageError(f"{folder}: {len(pictures)} images with {len(kinds)} labels in {name}", remedy=_REMEDY)
        parts.append(Samples((pictures[:most, None].float() / 255,), kinds[:most].long()))
    return parts[0], parts[1]


def _either(folder: Path, name: str) -> Path | None:
    """A file, packed or not; some distributions write a dot before idx."""
    names = (name, name.replace("-idx", ".idx"))
    return next((path for each in names for path in (folder / each, folder / f"{each}.gz") if path.is_file()), None)


def _unpacked(path: Path, magic: int) -> Tensor:
    import torch

    remedy = "Copy it again."
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}", remedy=remedy) from None
    head = 4 * (1 + (magic & 0xFF))
    if len(data) < head or struct.unpack_from(">I", data)[0] != magic:
        raise UsageError(f"{path} is no idx file of unsigned bytes", remedy=remedy)
    sides = struct.unpack_from(f">{magic & 0xFF}I", data, 4)
    total = 1
    for side in sides:
        total *= side
    if total != len(data) - head or not total:
        raise UsageError(f"{path} says {'x'.join(map(str, sides))} and holds {len(data) - head} bytes", remedy=remedy)
    return torch.frombuffer(bytearray(data[head:]), dtype=torch.uint8).view(sides)


def _cifar(folder: Path) -> tuple[Samples, Samples] | None:
    inner = folder / "cifar-10-batches-py"
    inner = inner if inner.is_dir() else folder
    if not (inner / "data_batch_1").is_file():
        return None
    return _batch(inner / "data_batch_1", MOST), _batch(inner / "test_batch", _MOST_ASKED)


def _batch(path: Path, most: int) -> Samples:
    import numpy
    import torch

    found = unpickling.load(path)
    data, labels = _parts(found)
    good = isinstance(data, numpy.ndarray) and data.dtype == numpy.uint8 and data.ndim == 2 and data.shape[1] == 3072
    if not good or not isinstance(labels, list) or len(labels) != len(data):
        raise UsageError(f"{path} is no batch of CIFAR-10", remedy=_REMEDY)
    if not all(isinstance(label, int) and 0 <= label < 10 for label in labels):
        raise UsageError(f"{path} has labels that are none of CIFAR-10's", remedy=_REMEDY)
    pictures = torch.from_numpy(numpy.array(data[:most])).view(-1, 3, 32, 32).float() / 255
    return Samples((pictures,), torch.tensor(labels[:most]))


def _parts(found: Any) -> tuple[Any, Any]:
    """Images and labels of a batch; None where there are none."""
    return (found.get(b"data"), found.get(b"labels")) if isinstance(found, dict) else (None, None)


def _classes(folder: Path) -> tuple[Samples, Samples] | None:
    """A folder per class, in the order of their names; in `train` and `val` where there are such, else a fifth is asked."""
    kept = [folder / name for name in ("train", "val") if (folder / name).is_dir()]
    if len(kept) == 2:
        train, test = (_pictures(part) for part in kept)
        return None if train is None or test is None else (train, test)
    whole = _pictures(folder)
    return None if whole is None else stratified(whole.inputs, whole.targets)


def _pictures(folder: Path) -> Samples | None:
    import torch

    by_class = [
        [path for path in sorted(place.iterdir()) if path.suffix.lower() in _ENDINGS]
        for place in sorted(folder.iterdir())
        if place.is_dir()
    ]
    by_class = [paths for paths in by_class if paths]
    if len(by_class) < 2:
        return None
    each = max(1, MOST // len(by_class))
    read = [(_picture(path), number) for number, paths in enumerate(by_class) for path in paths[:each]]
    return Samples((torch.stack([picture for picture, _ in read]),), torch.tensor([number for _, number in read]))


def _picture(path: Path) -> Tensor:
    """(3, 64, 64) in 0 to 1."""
    import numpy
    import torch

    pillow: Any = package("PIL.Image", "Pillow")
    try:
        with pillow.open(path) as opened:
            pixels = numpy.asarray(opened.convert("RGB").resize((64, 64)), dtype=numpy.float32)
    except (OSError, ValueError, pillow.DecompressionBombError) as error:
        raise UsageError(f"cannot read {path}: {error}", remedy="Mend it, or take it out of the folder.") from None
    return torch.tensor(pixels).permute(2, 0, 1) / 255
