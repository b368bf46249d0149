"""Residual networks whose blocks weigh their channels.

Hu, Shen, Sun 2017, Squeeze-and-Excitation Networks. As SE-ResNet-50 of table 1, but with the stride in the 3x3 ("v1.5").
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dltool.models.layers import SqueezeExcitation
from dltool.models.resnet import Bottleneck, ResNet

_REDUCTION = 16
"""Channels over squeezed channels. Source: section 4 of the paper."""


class SEBottleneck(Bottleneck):
    """A bottleneck whose branch is weighed by channel before it is added."""

    def __init__(self, c_in: int, width: int, stride: int, dilation: int, **options: Any) -> None:
        super().__init__(c_in, width, stride, dilation, **options)
        c_out = width * self.expansion
        nn.init.zeros_(self.bn3.weight)  # starts as the shortcut alone; Goyal et al. 2017, section 5.1
        self.se = SqueezeExcitation(c_out, c_out // _REDUCTION)

    def branch(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 4 width, H / stride, W / stride)."""
        return self.se(super().branch(x))


def seresnet50(*, num_classes: int = 1000, layers: tuple[int, ...] = (3, 4, 6, 3)) -> nn.Module:
    """SE-ResNet-50."""
    return ResNet(SEBottleneck, layers, num_classes=num_classes)
