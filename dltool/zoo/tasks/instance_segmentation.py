"""Boxes, their classes and a mask for each; otherwise as object detection."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from dltool.zoo.tasks import Inputs, Task, object_detection


def targets(model: nn.Module, inputs: Inputs, chance: Generator) -> list[dict[str, Tensor]]:
    """Boxes and classes, and the ellipse in each box as its mask: (objects, H, W) of zeros and ones."""
    height, width = inputs[0].shape[-2:]
    found = object_detection.targets(model, inputs, chance)
    return [{**target, "masks": _ellipses(target["boxes"], height, width)} for target in found]


def _ellipses(boxes: Tensor, height: int, width: int) -> Tensor:
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    x, y = (torch.arange(size, device=boxes.device) + 0.5 for size in (width, height))
    across, down = (((at - centre[:, axis, None]) / half[:, axis, None]) ** 2 for axis, at in ((0, x), (1, y)))
    return (across[:, None, :] + down[:, :, None] <= 1).byte()


TASK = Task(unit="image", targets=targets, loss=object_detection.loss)
