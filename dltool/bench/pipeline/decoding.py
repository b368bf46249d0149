"""A file's bytes into a tensor of a fixed size, through Pillow."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.errors import CannotRun

if TYPE_CHECKING:
    from torch import Tensor

MODES = {1: "L", 3: "RGB"}
"""By the number of channels."""


def import_pillow() -> Any:
    """Pillow's module of images.

    Raises:
        CannotRun: it is not installed, or broken.
    """
    try:
        from PIL import Image
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "PIL"
        what = "is not installed here" if missing else f"cannot be imported: {error}"
        raise CannotRun(
            f"images are decoded by Pillow, which {what}", remedy="pip install 'dltool[data]', or: pip install Pillow"
        ) from None
    return Image


def read(path: str | Path) -> bytes:
    """All of a file."""
    return Path(path).read_bytes()


def decode(data: bytes, channels: int = 3) -> Any:
    """A Pillow image, decoded at its full size (no draft mode).

    Raises:
        ValueError: it is no image, or a broken one.
    """
    image = import_pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; of bombs, the error is enough
            with image.open(io.BytesIO(data)) as opened:
                return opened.convert(MODES[channels])
    except image.DecompressionBombError:
        raise ValueError("it is too large to be an honest image") from None
    except MemoryError:
        raise
    except Exception as error:  # the decoders of its many formats raise whatever comes to their mind
        raise ValueError(f"it cannot be decoded: {error}") from None


def sized(picture: Any, side: int) -> Tensor:
    """The middle square of a picture, resized to `side`: uint8, (C, side, side). Bilinear with support, as torchvision does."""
    import torch

    square = picture.resize((side, side), import_pillow().Resampling.BILINEAR, box=middle(picture.size))
    flat = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
    return flat.view(side, side, -1).permute(2, 0, 1).contiguous()


def middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, upper, right and lower edge of the largest square in the middle."""
    short = min(size)
    left, top = (size[0] - short) // 2, (size[1] - short) // 2
    return left, top, left + short, top + short
