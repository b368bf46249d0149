"""One digit per image, read off penalties: the criterion of LeNet-5 of 1998.

LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition, equation 9: the penalty of the right class is to
fall, those of the others to rise, as long as they lie below the penalty of rubbish.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from dltool.zoo.tasks import Inputs, Task

_RUBBISH = 84.0
"""The constant j. The paper gives no value; a state that says nothing (zeros) lies 84 from each code word of 84 signs."""
_CLASSES = 10


def targets(_model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """A digit for each image: (N)."""
    (images,) = inputs
    return torch.randint(_CLASSES, (len(images),), generator=chance).to(images.device)


def loss(model: nn.Module, inputs: Inputs, digits: Tensor) -> Tensor:
    """Equation 9, the mean over images of y_D + log(exp(-j) + sum_i exp(-y_i)), with y the penalties and D the right class."""
    penalties = model(*inputs).float()
    rubbish = torch.full_like(penalties[:, :1], _RUBBISH)
    right = penalties.gather(1, digits.unsqueeze(1)).squeeze(1)
    return (right + torch.logsumexp(-torch.cat((penalties, rubbish), 1), 1)).mean()


TASK = Task(unit="image", targets=targets, loss=loss)
