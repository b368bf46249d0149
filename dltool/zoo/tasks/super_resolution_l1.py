"""Images enlarged, each pixel judged by its absolute error, as ESRGAN's generator is trained before its discriminator joins.

Source: Wang et al. 2018, ESRGAN, section 4.1.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dltool.zoo.tasks import Inputs, Task
from dltool.zoo.tasks.super_resolution import targets


def loss(model: nn.Module, inputs: Inputs, large: Tensor) -> Tensor:
    """Mean absolute error of the pixels."""
    return functional.l1_loss(model(*inputs).float(), large.float())


TASK = Task(unit="image", targets=targets, loss=loss)
