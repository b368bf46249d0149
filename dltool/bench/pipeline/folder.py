"""The images of a folder, those that cannot be read told apart."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dltool.bench.pipeline.decoding import decode, read
from dltool.errors import UsageError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
_LISTED = 200_000
"""Walking through all 1.3 million files of ImageNet on a network disk takes longer than the benchmark."""
TAKEN = 256
"""Images that are measured with. Each is decoded once before: broken ones are known then, others in the page cache."""
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images that can be decoded, in a fixed random order."""

    paths: tuple[str, ...]
    classes: tuple[int, ...]
    """Of each: the number of its folder."""
    mean_bytes: float
    """Of a file."""
    mean_size: tuple[float, float]
    """Width and height."""
    found: int
    """Files with the ending of an image."""
    broken: tuple[str, ...] = ()
    """Names of those that were looked at and cannot be decoded."""
    more: bool = False
    """There are more files than were listed."""

    @property
    def told(self) -> str:
        """What was taken: "32 images of 111 kB, 500x375 on average, from the page cache"."""
        width, height = self.mean_size
        looked = len(self.paths) + len(self.broken)
        of = "" if looked == self.found else f" of {self.found}{' or more' * self.more}, chosen at random"
        size = f"{self.mean_bytes / 1e3:.0f} kB" if self.mean_bytes >= 1e4 else f"{self.mean_bytes / 1e3:.1f} kB"
        return f"{len(self.paths)} images{of}: {size}, {width:.0f}x{height:.0f} on average, read from the page cache"

    @property
    def trouble(self) -> str:
        """The broken ones in words; nothing where there are none."""
        if not self.broken:
            return ""
        looked = len(self.paths) + len(self.broken)
        named = ", ".join(self.broken[:_NAMED]) + (
            f" and {len(self.broken) - _NAMED} more" if len(self.broken) > _NAMED else ""
        )
        return f"{len(self.broken)} of {looked} images cannot be decoded and are left out: {named}"


def images_in(folder: Path, most: int = TAKEN) -> Images:
    """Some images of a folder and of all folders in it, decoded once. The class of an image is its folder.

    Raises:
        UsageError: there is no such folder, or no image in it that can be decoded.
        CannotRun: Pillow is missing.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}", remedy="--folder names a folder of images; without it images are made.")
    found = sorted(_listed(folder))
    if not found:
        raise UsageError(f"{folder} holds no images", remedy=f"Files that end in {', '.join(ENDINGS[:4])} are looked for.")
    chosen = random.Random(0).sample(found, min(most, len(found)))
    return _looked_at(folder, chosen, len(found))


def _looked_at(folder: Path, chosen: list[str], count: int) -> Images:
    good: list[tuple[str, int, tuple[int, int]]] = []
    broken: list[str] = []
    for path in chosen:
        try:
            data = read(path)
            good.append((path, len(data), decode(data).size))
        except (OSError, ValueError):
            broken.append(os.path.relpath(path, folder))
    if not good:
        raise UsageError(
            f"none of {len(broken)} images in {folder} can be decoded, such as {broken[0]}",
            remedy="Does Pillow open it? Its file may be broken, or not what its ending says.",
        )
    homes = {home: number for number, home in enumerate(sorted({os.path.dirname(path) for path, _, _ in good}))}  # noqa: PTH120
    return Images(
        paths=tuple(path for path, _, _ in good),
        classes=tuple(homes[os.path.dirname(path)] for path, _, _ in good),  # noqa: PTH120 - as texts: there may be many
        mean_bytes=sum(size for _, size, _ in good) / len(good),
        mean_size=(sum(size[0] for _, _, size in good) / len(good), sum(size[1] for _, _, size in good) / len(good)),
        found=count,
        broken=tuple(sorted(broken)),
        more=count >= _LISTED,
    )


def _listed(folder: Path) -> list[str]:
    """Files with the ending of an image, at most so many; a pipe or a device is none, whatever it is called."""
    found: list[str] = []
    for path in _files(folder):
        if path.lower().endswith(ENDINGS) and _is_file(path):
            found.append(path)
            if len(found) >= _LISTED:
                break
    return found


def _files(folder: Path) -> Iterator[str]:
    """All files below; a folder that links lead to twice, or round in a circle, is entered once."""
    entered: set[tuple[int, int]] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        try:
            about = os.stat(here)  # noqa: PTH116 - os.walk gives texts
        except OSError:
            folders.clear()
            continue
        if (about.st_dev, about.st_ino) in entered:
            folders.clear()
            continue
        entered.add((about.st_dev, about.st_ino))
        yield from (os.path.join(here, name) for name in files)  # noqa: PTH118


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        return True  # a link to nothing: named as broken
