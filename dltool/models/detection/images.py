"""Pictures of any size to one batch, detections back to the pictures; and the frame that all detectors share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models.detection.boxes import Size, resized
from dltool.models.detection.masks import pasted

Target = dict[str, Tensor]
"""boxes (m, 4) in pixels, labels (m) from 1 on; masks (m, H, W) of zeros and ones where masks are learnt."""
Detection = dict[str, Tensor]
"""boxes (k, 4), labels (k), scores (k), the best first; masks (k, 1, H, W) where there are some."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue in ImageNet."""


class Batch(NamedTuple):
    """Pictures of one size."""

    tensors: Tensor
    """(N, 3, H, W), what was added on the right and below is 0."""
    sizes: list[Size]
    """Of each picture within it."""


class Preparation(nn.Module):
    """Normalises, resizes and joins pictures; takes detections back to their sizes.

    Args:
        min_size: of the shorter side, unless the longer one then exceeds
        max_size: of the longer side.
        mean, deviation: of the colours.
        multiple: sides of the batch are multiples of it.
        fixed: height and width of every picture, in place of min_size and max_size.
    """

    def __init__(
        self,
        min_size: int,
        max_size: int,
        *,
        mean: Sequence[float] = MEAN,
        deviation: Sequence[float] = DEVIATION,
        multiple: int = 32,
        fixed: Size | None = None,
    ) -> None:
        super().__init__()
        self.min_size, self.max_size, self.fixed = min_size, max_size, fixed
        self.mean, self.deviation, self.multiple = mean, deviation, multiple

    def forward(self, images: Iterable[Tensor], targets: Sequence[Target] | None = None) -> tuple[Batch, list[Target] | None]:
        """Pictures (3, H, W) with values from 0 to 1, and what is true of each."""
        images = list(images)
        made, told = [], []
        for number, image in enumerate(images):
            before = (image.shape[-2], image.shape[-1])
            after = self._size(before)
            made.append(functional.interpolate(self._normalised(image)[None], size=after, mode="bilinear")[0])
            if targets is not None:
                told.append(_resized_target(targets[number], before, after))
        sizes = [(image.shape[-2], image.shape[-1]) for image in made]
        return Batch(self._joined(made), sizes), told if targets is not None else None

    def _normalised(self, image: Tensor) -> Tensor:
        mean, deviation = (image.new_tensor(value)[:, None, None] for value in (self.mean, self.deviation))
        return (image - mean) / deviation

    def _size(self, size: Size) -> Size:
        if self.fixed:
            return self.fixed
        scale = min(self.min_size / min(size), self.max_size / max(size))
        return math.floor(size[0] * scale), math.floor(size[1] * scale)

    def _joined(self, images: list[Tensor]) -> Tensor:
        height, width = (
            math.ceil(max(image.shape[axis] for image in images) / self.multiple) * self.multiple for axis in (-2, -1)
        )
        batch = images[0].new_zeros(len(images), 3, height, width)
        for place, image in zip(batch, images, strict=True):
            place[:, : image.shape[-2], : image.shape[-1]] = image
        return batch

    def restored(self, found: list[Detection], sizes: Sequence[Size], originals: Sequence[Size]) -> list[Detection]:
        """Detections in the pixels of the pictures as they came."""
        for detection, size, original in zip(found, sizes, originals, strict=True):
            detection["boxes"] = resized(detection["boxes"], size, original)
            if "masks" in detection:
                detection["masks"] = pasted(detection["masks"], detection["boxes"], original)
        return found


def _resized_target(target: Target, before: Size, after: Size) -> Target:
    boxes = target["boxes"]
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ValueError("boxes must be (m, 4) as x1, y1, x2, y2 with positive width and height")
    changed = {**target, "boxes": resized(boxes, before, after)}
    if "masks" in target:
        changed["masks"] = functional.interpolate(target["masks"][:, None].float(), size=after)[:, 0].byte()
    return changed


class Detector(nn.Module):
    """What all detectors do; each has a `backbone` and says what its losses and detections are.

    In train mode, pictures and targets give a dict of losses; in eval mode, pictures give a list of detections.
    """

    transform: Preparation
    backbone: nn.Module
    num_classes: int
    """With the background, class 0."""

    def forward(self, images: Iterable[Tensor], targets: Sequence[Target] | None = None) -> dict[str, Tensor] | list[Detection]:
        """Pictures (3, H, W), as a list or one tensor (N, 3, H, W), with values from 0 to 1.

        Raises:
            ValueError: no targets in train mode, or boxes that are none.
        """
        if self.training and targets is None:
            raise ValueError("in train mode a detector needs targets")
        images = list(images)
        batch, told = self.transform(images, targets if self.training else None)
        features = self.backbone(batch.tensors)
        if told is not None:
            return self.losses(batch, features, told)
        found = self.detections(batch, features)
        return self.transform.restored(found, batch.sizes, [(image.shape[-2], image.shape[-1]) for image in images])

    def losses(self, batch: Batch, features: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Of a training step, by name."""
        raise NotImplementedError

    def detections(self, batch: Batch, features: list[Tensor]) -> list[Detection]:
        """In the pixels of the batch."""
        raise NotImplementedError


def mean_of(losses: Sequence[Tensor]) -> Tensor:
    """Of one loss for each picture."""
    return torch.stack(list(losses)).mean()
