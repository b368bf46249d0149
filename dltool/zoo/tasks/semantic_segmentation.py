"""One class per pixel; cross-entropy. An auxiliary head, where the network has one, weighs half of the main one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task

_AUXILIARY = 0.5
"""Weight of the auxiliary head's loss. Source: torchvision, references/segmentation/train.py."""
_PATCHES = 4
"""Random maps are made of so many patches a side: segments are regions, not noise."""


def targets(model: nn.Module, inputs: Inputs, chance: Generator) -> Tensor:
    """A class for each pixel of the output, which may be smaller than the image: (N, h, w)."""
    (images,) = inputs
    shape = output_shape(model, inputs)
    return random_map(max(2, shape[1]), (len(images), *shape[2:]), chance).to(images.device)


def output_shape(model: nn.Module, inputs: Inputs) -> torch.Size:
    """(1, classes, ...) of what the model makes of one sample."""
    training = model.training
    with torch.no_grad():
        shape = _heads(model.eval()(*(x[:1] for x in inputs)))[0].shape
    model.train(training)
    return shape


def random_map(classes: int, shape: tuple[int, ...], chance: Generator) -> Tensor:
    """Classes of pixels or voxels, in random patches: shape is (N, h, w) or (N, d, h, w)."""
    patches = torch.randint(classes, (shape[0], 1, *[_PATCHES] * (len(shape) - 1)), generator=chance)
    return functional.interpolate(patches.float(), shape[1:]).squeeze(1).long()


def loss(model: nn.Module, inputs: Inputs, classes: Tensor) -> Tensor:
    """Cross-entropy of all pixels, plus that of the auxiliary head; of one class against none where the model has one."""
    main, *auxiliary = (_cross_entropy(logits.float(), classes) for logits in _heads(model(*inputs)))
    return main + _AUXILIARY * sum(auxiliary, torch.zeros_like(main))


def _cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits.squeeze(1), classes.float())
    return functional.cross_entropy(logits, classes)


def _heads(output: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
    """The logits, (N, classes, h, w), and those of the auxiliary head."""
    return [output] if isinstance(output, Tensor) else [output[name] for name in ("out", "aux") if name in output]


TASK = Task(unit="image", targets=targets, loss=loss)
