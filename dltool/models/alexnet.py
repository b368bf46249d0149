"""AlexNet in the form with one tower and no response normalisation.

Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks. The network of 2012 (Krizhevsky, Sutskever,
Hinton, ImageNet Classification with Deep Convolutional Neural Networks) has two towers and 60,965,224 parameters.
"""

from __future__ import annotations

from torch import Tensor, nn


class AlexNet(nn.Module):
    """Five convolutions and three fully connected layers."""

    def __init__(self, num_classes: int, hidden: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(256 * 6 * 6, hidden), nn.ReLU(inplace=True),
            nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), 63 pixels or more -> (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def alexnet(*, num_classes: int = 1000, hidden: int = 4096) -> AlexNet:
    """AlexNet."""
    return AlexNet(num_classes, hidden)
