"""Boxes and their classes in pictures; the model gives its own losses, whose sum is learnt from.

Its inputs are pictures (N, 3, H, W), and further ones where it takes some, such as proposals.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from dltool.zoo.tasks import Inputs, Task

_OBJECTS = 4
"""In each picture; COCO's have seven on average, VOC's two or three."""


def targets(model: nn.Module, inputs: Inputs, chance: Generator) -> list[dict[str, Tensor]]:
    """For each picture a few boxes, a quarter to three quarters of it wide and high, with a class each."""
    images = inputs[0]
    height, width = images.shape[-2:]
    return [_objects(height, width, model.num_classes, chance, images.device) for _ in images]


def _objects(height: int, width: int, classes: int, chance: Generator, device: torch.device) -> dict[str, Tensor]:
    size = torch.tensor((width, height))
    sides = (0.25 + 0.5 * torch.rand(_OBJECTS, 2, generator=chance)) * size
    low = torch.rand(_OBJECTS, 2, generator=chance) * (size - sides)
    labels = torch.randint(1, classes, (_OBJECTS,), generator=chance)  # 0 is the background
    return {"boxes": torch.cat((low, low + sides), 1).to(device), "labels": labels.to(device)}


def loss(model: nn.Module, inputs: Inputs, targets: list[dict[str, Tensor]]) -> Tensor:
    """The sum of the losses by name."""
    return torch.stack(list(model(*inputs, targets).values())).sum()


TASK = Task(unit="image", targets=targets, loss=loss)
