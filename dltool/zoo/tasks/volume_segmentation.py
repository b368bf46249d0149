"""One class per voxel; Dice loss: 1 minus the overlap of what is found and what is there.

Source: Milletari, Navab, Ahmadi 2016, V-Net, section 3: D = 2 sum(p g) / (sum(p^2) + sum(g^2)), maximised.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task
from dltool.zoo.tasks.semantic_segmentation import output_shape, random_map

_SMOOTH = 1e-5
"""Added above and below the fraction: a volume without foreground is no division by zero."""


def targets(model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """A class for each voxel, 0 the background: (N, D, H, W)."""
    (volumes,) = inputs
    shape = output_shape(model, inputs)
    return random_map(max(2, shape[1]), (len(volumes), *shape[2:]), chance).to(volumes.device)


def loss(model: nn.Module, inputs: Inputs, classes: Tensor) -> Tensor:
    """1 - Dice, averaged over the foreground's classes and the volumes."""
    found, there = foreground(model(*inputs).float(), classes)
    voxels = tuple(range(2, found.ndim))
    overlap = 2 * (found * there).sum(voxels) + _SMOOTH
    whole = (found.square() + there.square()).sum(voxels) + _SMOOTH
    return 1 - (overlap / whole).mean()


def foreground(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of each class but the background, and where each is: both (N, classes, D, H, W)."""
    if logits.shape[1] == 1:
        return logits.sigmoid(), classes.unsqueeze(1).float()
    there = functional.one_hot(classes, logits.shape[1]).movedim(-1, 1).float()
    return torch.softmax(logits, 1)[:, 1:], there[:, 1:]


TASK = Task(unit="volume", targets=targets, loss=loss)
