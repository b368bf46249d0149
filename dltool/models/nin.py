"""Network in network: a small perceptron at every pixel, and an average instead of fully connected layers.

Lin, Chen, Yan 2013, Network In Network. Widths of AlexNet and names as in Zhang, Lipton, Li, Smola, Dive into Deep Learning
(d2l.ai), Network in Network (NiN).
"""

from __future__ import annotations

from torch import Tensor, nn

from dltool.models.lenet import xavier


def nin_block(c_in: int, c_out: int, kernel_size: int, stride: int, padding: int) -> nn.Sequential:
    """A convolution and two of 1x1, each with ReLU."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel_size, stride, padding), nn.ReLU(),
        nn.Conv2d(c_out, c_out, 1), nn.ReLU(),
        nn.Conv2d(c_out, c_out, 1), nn.ReLU(),
    )  # fmt: skip


class NiN(nn.Module):
    """Four blocks; the last has one map per class, whose average is the logit."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nin_block(in_channels, 96, 11, 4, 0), nn.MaxPool2d(3, stride=2),
            nin_block(96, 256, 5, 1, 2), nn.MaxPool2d(3, stride=2),
            nin_block(256, 384, 3, 1, 1), nn.MaxPool2d(3, stride=2),
            nn.Dropout(0.5),
            nin_block(384, num_classes, 3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.apply(xavier)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W), 67 pixels or more -> (N, num_classes)."""
        return self.net(x)


def nin(*, in_channels: int = 1, num_classes: int = 10) -> NiN:
    """NiN of Dive into Deep Learning."""
    return NiN(in_channels, num_classes)
