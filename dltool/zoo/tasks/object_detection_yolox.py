"""Objects found by YOLOX: the network itself gives its losses; random boxes to find."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from dltool.zoo.tasks import Inputs, Task

_OBJECTS = 8
"""In each image; COCO has 7.7 on average. Source: Lin et al. 2014 Microsoft COCO, section 5."""
_SIDES = (0.05, 0.5)
"""Least and largest side of a box, as a share of the image's."""


def targets(model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """Boxes inside each image: (N, 8, 5) of class, centre x and y, width and height in pixels."""
    (images,) = inputs
    size = torch.tensor([images.shape[3], images.shape[2]])
    least, largest = _SIDES
    shape = (len(images), _OBJECTS, 2)
    sides = least + (largest - least) * torch.rand(shape, generator=chance)
    centres = sides / 2 + (1 - sides) * torch.rand(shape, generator=chance)
    classes = torch.randint(model.head.num_classes, (*shape[:2], 1), generator=chance)
    return torch.cat((classes, centres * size, sides * size), -1).to(images.device)


def loss(model: nn.Module, inputs: Inputs, labels: Tensor) -> Tensor:
    """Overlap of boxes, cross-entropy of objectness and classes."""
    return model(*inputs, labels)["total_loss"]


TASK = Task(unit="image", targets=targets, loss=loss)
