"""VGG: many 3x3 convolutions in a row, five poolings, three large linear layers.

Simonyan, Zisserman 2014, Very Deep Convolutional Networks for Large-Scale Image Recognition, table 1, columns D and E.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

DEPTHS_16 = (2, 2, 3, 3, 3)
"""Convolutions before each pooling: configuration D."""
DEPTHS_19 = (2, 2, 4, 4, 4)
"""Configuration E."""


def features(depths: Sequence[int], width: int) -> nn.Sequential:
    """Convolutions and poolings: (N, 3, H, W) -> (N, 8 width, H / 32, W / 32)."""
    layers: list[nn.Module] = []
    channels = 3
    for depth, wide in zip(depths, (width, 2 * width, 4 * width, 8 * width, 8 * width), strict=True):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU(inplace=True)]
            channels = wide
        layers.append(nn.MaxPool2d(2, 2))
    made = nn.Sequential(*layers)
    made.apply(initialise)
    return made


class VGG(nn.Module):
    """Features, average over 7x7 cells (no change at 224 pixels), three linear layers.

    Args:
        depths: convolutions before each of the five poolings.
        num_classes: of the last layer.
        dropout: after the first two linear layers.
        width: channels of the first stage.
        hidden: of the first two linear layers.
    """

    def __init__(self, depths: Sequence[int], *, num_classes: int, dropout: float, width: int, hidden: int) -> None:
        super().__init__()
        self.features = features(depths, width)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(8 * width * 7 * 7, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        self.classifier.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def initialise(module: nn.Module) -> None:
    """Source: He et al. 2015 Delving deep into rectifiers, for convolutions; the paper's normal numbers for linear layers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def vgg16(*, num_classes: int = 1000, dropout: float = 0.5, width: int = 64, hidden: int = 4096) -> VGG:
    """VGG-16 (configuration D)."""
    return VGG(DEPTHS_16, num_classes=num_classes, dropout=dropout, width=width, hidden=hidden)


def vgg19(*, num_classes: int = 1000, dropout: float = 0.5, width: int = 64, hidden: int = 4096) -> VGG:
    """VGG-19 (configuration E)."""
    return VGG(DEPTHS_19, num_classes=num_classes, dropout=dropout, width=width, hidden=hidden)
