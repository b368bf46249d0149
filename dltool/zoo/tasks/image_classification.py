"""One class per image; cross-entropy. Auxiliary heads of a training network weigh in as their papers say."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task

_AUXILIARY = 0.3
"""Weight of each auxiliary head's loss. Source: Szegedy et al. 2014 Going deeper with convolutions, section 5."""


def targets(model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """A class of those that the model tells apart, for each image: (N)."""
    (images,) = inputs
    training = model.training
    with torch.no_grad():
        classes = _heads(model.eval()(images))[0].shape[1]
    model.train(training)
    return torch.randint(classes, (len(images),), generator=chance).to(images.device)


def loss(model: nn.Module, inputs: Inputs, classes: Tensor) -> Tensor:
    """Cross-entropy of the classes, plus that of each auxiliary head."""
    main, *auxiliary = (functional.cross_entropy(logits.float(), classes) for logits in _heads(model(*inputs)))
    return main + _AUXILIARY * sum(auxiliary, torch.zeros_like(main))


def _heads(output: Tensor | tuple[Tensor | None, ...]) -> list[Tensor]:
    """The logits, (N, classes), and those of the auxiliary heads that a training network adds."""
    if isinstance(output, Tensor):
        return [output]
    return [logits for logits in output if logits is not None]


TASK = Task(unit="image", targets=targets, loss=loss)
