"""JPEG files as large as photographs, made of noise: nothing is downloaded, and no two runs differ."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.bench.pipeline.decoding import import_pillow
from dltool.bench.pipeline.folder import Images, images_in

if TYPE_CHECKING:
    from numpy.random import Generator

FILES = 32
CLASSES = 4
WIDTH, HEIGHT = 500, 375
"""The most frequent size of ImageNet's images."""
_QUALITY = 90
_SPREAD = 60.0
"""Standard deviation of the samples, of 255: that of a photograph with good contrast."""
_DECAY = 0.97
"""Of the amplitude from one octave to the next finer one. In photographs amplitudes fall as 1/f, which is 1.0 here; with this,
files take about the 115 kB that ImageNet's 1,281,167 training images have on average (an archive of 147.9 GB).
Source: Field 1987 Relations between the statistics of natural images; Russakovsky et al. 2015 ImageNet Large Scale Visual
Recognition Challenge."""


def make(folder: Path, count: int = FILES, *, width: int = WIDTH, height: int = HEIGHT) -> None:
    """Write images into folders of classes below `folder`.

    Raises:
        CannotRun: Pillow is missing.
    """
    import_pillow()
    import numpy

    chance = numpy.random.default_rng(0)
    for number in range(count):
        home = folder / f"class{number % CLASSES}"
        home.mkdir(parents=True, exist_ok=True)
        _picture(chance, width, height).save(home / f"{number:04d}.jpg", "JPEG", quality=_QUALITY)


@functools.cache
def of_this_process() -> Images:
    """Some for a process to which nobody gave any; they go when it ends."""
    home = _home()
    make(Path(home.name))
    return images_in(Path(home.name))


@functools.cache
def _home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="dltool-images-")


def _picture(chance: Generator, width: int, height: int) -> Any:
    """Noise of every scale, from some patches across the image to single pixels."""
    import numpy
    from PIL import Image

    total: Any = numpy.zeros((height, width, 3), numpy.float32)
    across, amplitude = 2, 1.0
    while across < 2 * width:
        patches = chance.integers(0, 256, (max(2, across * height // width), across, 3), dtype=numpy.uint8)
        scaled = Image.fromarray(patches).resize((width, height), Image.Resampling.BILINEAR)
        total += amplitude * (numpy.asarray(scaled, numpy.float32) - 127.5)
        across, amplitude = 2 * across, _DECAY * amplitude
    samples = 128 + total * (_SPREAD / total.std())
    return Image.fromarray(samples.clip(0, 255).astype(numpy.uint8))
